"""The report: records in, one folder of pages out, which works offline.

`build` is the way in. Its parts: `tables` (what was read), `ratios` (how contenders compare), `arms` (what they are
called and how they are drawn), `operators` (the page of each), `front` (the first page's answers), `roofline` (what shares its
limits), `history` (what changed over versions), `views` and `charts`, `contents` (all that is shown), `matrix`, `rows`,
`pages` and `jobs` (how it is written), and `publish`, which puts the finished folder in place.
"""

import logging
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import polars as pl
import vl_convert
from markupsafe import Markup

from mtbench import paths
from mtbench.catalogue import support
from mtbench.errors import ConfigError, unknown
from mtbench.report import front, history, jobs, pages, rows, tables
from mtbench.report.arms import where
from mtbench.report.charts import Chart, theme
from mtbench.report.contents import Contents, contents
from mtbench.report.history import History
from mtbench.report.operators import Operator
from mtbench.report.publish import published
from mtbench.report.tables import LATENCY, METRICS, Tables
from mtbench.results import newest
from mtbench.results import selftest as outcome
from mtbench.results.answers import sentences
from mtbench.results.comparison import HIGHEST_THRESHOLD, THRESHOLD
from mtbench.results.format import CONFIDENCE, percent
from mtbench.results.memory import uncollected
from mtbench.results.version import __version__

FORMATS = ("svg", "png")
"""The formats in which charts can be written as files of their own."""

PNG_SCALE = 2  # pixels per chart pixel, as a page on a high-density screen has


MOST_PICTURES = 60
"""Pictures for readers without JavaScript, which take some tenths of a second each; the tables have the numbers anyway."""


def build(folders: Sequence[Path], out: Path, chart_format: str | None = None, pictures: bool = False) -> Path:
    """Reads every record below `folders` and writes the report to the folder `out`; returns the path of its index page.

    `folders` may also name merged files. `chart_format` (svg or png) also writes each chart as a file, ratio charts for the
    pair that a page first shows. `pictures` adds those that a page shows where JavaScript is off. Files that are not readable
    records are left out, named on the index page and logged as warnings. An earlier report in `out` is replaced; other files
    there stay.

    Raises ConfigError where a folder does not exist, no record is found, `out` is a file or holds a file in the way that
    no report wrote, or the format is not known.
    """
    if chart_format is not None and chart_format not in FORMATS:
        raise ConfigError(unknown("chart format", chart_format, FORMATS))
    with uncollected():
        return _build(folders, out, chart_format, pictures)


def _build(folders: Sequence[Path], out: Path, chart_format: str | None, pictures: bool) -> Path:
    read = tables.load(folders)
    selftests, unreadable = outcome.newest(folders)
    read.problems.extend(tables.relative(problem, folders) for problem in unreadable)
    for problem in read.problems:
        logging.getLogger(__name__).warning(problem)
    if read.left_out:
        logging.getLogger(__name__).warning(
            f"{read.left_out:,} older records are not shown; give fewer folders or files."
        )
    shown = contents(read)
    over_time = history.of(read, shown.styles)
    with published(out) as building:
        (building / "assets").mkdir()
        pictured = _write_pictures([*shown.charts, *over_time.charts], building / "assets") if pictures else set()
        _write_pages(read, shown, over_time, selftests, pictured, building)
        _write_results(read.results, building)
        if chart_format:
            _write_charts([*shown.charts, *over_time.charts], chart_format, building)
    return out / "index.html"


def _write_pages(
    read: Tables,
    shown: Contents,
    over_time: History,
    selftests: Sequence[outcome.Outcome],
    pictured: Collection[str],
    folder: Path,
) -> None:
    assets = folder / "assets"
    everywhere = {
        "version": __version__,
        "built": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "themes": {name: theme(name) for name in ("light", "dark")},
        "metrics": METRICS,
        "labels": shown.labels,
        "colours": {label: one.colour for label, one in shown.styles.items()},
        "pair": shown.pair,
        "page_names": shown.page_names,
        "has_history": over_time.told,
        "where": where(read.records),
        "confidence": percent(CONFIDENCE),
        "threshold": percent(THRESHOLD),
        "highest_threshold": percent(HIGHEST_THRESHOLD),
        "headings": rows.HEADINGS,
        "pictured": pictured,
    }

    def write_page(file: str, template: str, drawn: Sequence[Chart] = (), **values: Any) -> None:
        """Writes a page, and its charts into a script beside it."""
        data = f"charts-{Path(file).stem}.js"
        if drawn:
            (assets / data).write_text(f"mtbenchCharts({pages.own_script_json(_specs(drawn))});\n", encoding="utf-8")
        page = pages.page(template, **everywhere | {"chart_data": f"assets/{data}" if drawn else None} | values)
        (folder / file).write_text(page, encoding="utf-8")

    first: list[Markup] = []
    for one in shown.operators:
        own = rows.job_rows(one.records, one.page, shown.styles)
        stem = one.page.removesuffix(".html")
        rows.write(stem, own, assets)
        inside = own.html(rows.IN_A_PAGE)
        first += inside[: rows.IN_A_PAGE - len(first)]
        write_page(
            one.page,
            "operator.html",
            one.charts,
            labels=one.labels,
            pair=one.pair,
            operator=one.name,
            panels=one.panels,
            jobs=_job_table(inside, one.records, [stem]),
            where=where(one.records),
        )
    limits = [chart for ground in shown.limits for chart in ground.charts]
    write_page("roofline.html", "roofline.html", limits, grounds=shown.limits)
    if over_time.told:
        write_page("history.html", "history.html", over_time.charts, history=over_time)
    write_page("support.html", "support.html", rows=pages.support_rows(read.records), meanings=support.MEANINGS)
    write_page(
        "job.html",
        "job.html",
        jobs.charts(),
        groups=jobs.groups(),
        metric_of=jobs.METRIC_OF,
        in_a_script=jobs.IN_A_SCRIPT,
    )
    tables_of_cells, rows_in_all = front.matrix(shown.answers, shown.page_names)
    write_page(
        "index.html",
        "index.html",
        [*shown.front, *shown.machines],
        answers=shown.answers,
        cards=front.cards(shown.answers),
        matrix=tables_of_cells,
        rows_in_all=rows_in_all,
        settling=[{"command": one.command, "extent": sentences.extent(one)} for one in shown.answers.settle],
        charts=shown.front,
        heat=shown.machines,
        operators=[_operator_row(one) for one in shown.operators],
        jobs=_job_table(first, read.records, [page.removesuffix(".html") for page in shown.page_names.values()]),
        counts=pages.status_counts(read.records),
        machines=pages.machines(read.records),
        software=pages.software(read.records),
        selftests=selftests,
        problems=read.problems,
        left_out=read.left_out,
        most=newest.MOST,
    )
    jobs.write(read, assets)
    (assets / "vega.js").write_bytes(_vega())
    for name in ("report.js", "report.css", "front.css"):
        (assets / name).write_text(pages.asset(name), encoding="utf-8")


def _specs(charts: Sequence[Chart]) -> dict[str, Any]:
    return {chart.name: chart.packed for chart in charts}


def _job_table(first: Sequence[Markup], records: pl.DataFrame, stems: Sequence[str]) -> dict[str, Any]:
    """What the macro `jobs` takes: the rows in the page, and the scripts that have all."""
    return {
        "first": first,
        "total": len(records),
        "stems": stems,
        "columns": rows.columns(records),
        "counts": pages.status_counts(records),
    }


@cache
def _vega() -> bytes:
    """Vega, Vega-Lite and vega-embed as one script. It takes seconds to put together, so it is kept in the cache."""
    kept = paths.cache() / f"vega-{metadata.version('vl-convert-python')}.js"
    with suppress(OSError):
        content = kept.read_bytes()
        if content.endswith(_VEGA_END):
            return content
    content = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").encode() + _VEGA_END
    with suppress(OSError):
        paths.write_atomically(kept, content)
    return content


_VEGA_END = b"\n// whole\n"  # a copy that was cut is made anew


def _write_pictures(charts: Sequence[Chart], assets: Path) -> set[str]:
    """Draws the charts that a page first shows, without what only a pointer can use; returns their names."""
    wanted = [chart for chart in charts if chart.metric in (None, LATENCY)]
    if len(wanted) > MOST_PICTURES:
        return set()
    for chart in wanted:
        picture = vl_convert.vegalite_to_svg(_without_tooltips(chart.spec), config=_ON_PAPER)
        (assets / f"{chart.name}.svg").write_text(picture, encoding="utf-8")
    return {chart.name for chart in wanted}


def _without_tooltips(spec: Any) -> Any:
    if isinstance(spec, dict):
        return {
            name: _without_tooltips(value) for name, value in spec.items() if name not in ("tooltip", "datasets")
        } | ({"datasets": spec["datasets"]} if "datasets" in spec else {})
    return [_without_tooltips(value) for value in spec] if isinstance(spec, list) else spec


_ON_PAPER = theme("light") | {"background": "white", "font": "sans-serif"}
"""How a chart looks in a file of its own."""


def _operator_row(operator: Operator) -> dict[str, Any]:
    of = {name: operator.records[name].to_list() for name in {*tables.CELL, "dtype", "status"}}
    return {
        "operator": operator.name,
        "jobs": len(operator.records),
        "ok": of["status"].count("ok"),
        "cells": len(set(zip(*(of[name] for name in tables.CELL), strict=True))),
        "arms": len(operator.labels),
        "dtypes": sorted(set(of["dtype"])),
        "batch_sizes": sorted(set(of["batch_size"])),
        "seq_lens": sorted(set(of["seq_len"])),
        "parameter_sets": len(set(zip(*(of[name] for name in tables.SECTION), strict=True))),
    }


def _write_results(flat: pl.DataFrame, folder: Path) -> None:
    flat.write_parquet(folder / "results.parquet")
    flat.write_csv(folder / "results.csv")


def _write_charts(drawn: list[Chart], chart_format: str, folder: Path) -> None:
    (folder / "charts").mkdir()
    for chart in drawn:
        file = folder / "charts" / f"{chart.name}.{chart_format}"
        if chart_format == "svg":
            file.write_text(vl_convert.vegalite_to_svg(chart.spec, config=_ON_PAPER), encoding="utf-8")
        else:
            file.write_bytes(vl_convert.vegalite_to_png(chart.spec, config=_ON_PAPER, scale=PNG_SCALE))
