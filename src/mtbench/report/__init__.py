"""The report: records in, one folder of pages out, which works offline.

`build` is the way in. Its parts: `tables` (what was read), `ratios` (how contenders compare), `arms` (what they are
called and how they are drawn), `front` (the first page's answers), `roofline` (what shares its limits), `history` (what
changed over versions), `views` and `charts`, `contents` (all that is shown), `pages` and `jobs` (how it is written), and
`publish`, which puts the finished folder in place.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import vl_convert

from mtbench.catalogue import support
from mtbench.errors import ConfigError, unknown
from mtbench.report import front, history, jobs, pages, tables
from mtbench.report.charts import Chart, theme
from mtbench.report.contents import Contents, Operator, contents, where
from mtbench.report.history import History
from mtbench.report.publish import published
from mtbench.report.tables import METRICS, Tables
from mtbench.results import selftest as outcome
from mtbench.results.answers import sentences
from mtbench.results.comparison import HIGHEST_THRESHOLD, THRESHOLD
from mtbench.results.format import CONFIDENCE, percent
from mtbench.version import __version__

FORMATS = ("svg", "png")
"""The formats in which charts can be written as files of their own."""

PNG_SCALE = 2  # pixels per chart pixel, as a page on a high-density screen has


def build(folders: Sequence[Path], out: Path, chart_format: str | None = None) -> Path:
    """Reads every record below `folders` and writes the report to the folder `out`; returns the path of its index page.

    `chart_format` (svg or png) also writes each chart as a file, ratio charts for the pair that a page first shows.
    Files that are not readable records are left out, named on the index page and logged as warnings. An earlier report
    in `out` is replaced; other files there stay.

    Raises ConfigError where a folder does not exist, no record is found, `out` is a file or holds a file in the way that
    no report wrote, or the format is not known.
    """
    if chart_format is not None and chart_format not in FORMATS:
        raise ConfigError(unknown("chart format", chart_format, FORMATS))
    read = tables.load(folders)
    selftests, unreadable = outcome.newest(folders)
    read.problems.extend(tables.relative(problem, folders) for problem in unreadable)
    for problem in read.problems:
        logging.getLogger(__name__).warning(problem)
    shown = contents(read)
    over_time = history.of(read, shown.styles)
    with published(out) as building:
        _write_pages(read, shown, over_time, selftests, building)
        _write_results(read.results, building)
        if chart_format:
            _write_charts([*shown.charts, *over_time.charts], chart_format, building)
    return out / "index.html"


def _write_pages(
    read: Tables, shown: Contents, over_time: History, selftests: Sequence[outcome.Outcome], folder: Path
) -> None:
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
    }

    def write(file: str, template: str, **values: Any) -> None:
        (folder / file).write_text(pages.page(template, **everywhere | values), encoding="utf-8")

    for one in shown.operators:
        write(
            one.page,
            "operator.html",
            labels=one.labels,
            pair=one.pair,
            operator=one.name,
            sections=one.sections,
            jobs=pages.job_rows(one.records),
            counts=pages.status_counts(one.records),
            where=where(one.records),
        )
    write("roofline.html", "roofline.html", grounds=shown.limits)
    if over_time.told:
        write("history.html", "history.html", history=over_time)
    write("support.html", "support.html", rows=pages.support_rows(read.records), meanings=support.MEANINGS)
    write("job.html", "job.html", groups=jobs.groups(), in_a_script=jobs.IN_A_SCRIPT)
    tables_of_cells, rows_in_all = front.matrix(shown.answers, shown.page_names)
    write(
        "index.html",
        "index.html",
        answers=shown.answers,
        cards=front.cards(shown.answers),
        matrix=tables_of_cells,
        rows_in_all=rows_in_all,
        settling=[{"command": one.command, "extent": sentences.extent(one)} for one in shown.answers.settle],
        charts=shown.front,
        heat=shown.machines,
        operators=[_operator_row(one) for one in shown.operators],
        jobs=pages.job_rows(read.records),
        counts=pages.status_counts(read.records),
        machines=pages.machines(read.records),
        software=pages.software(read.records),
        selftests=selftests,
        problems=read.problems,
    )
    assets = folder / "assets"
    assets.mkdir()
    jobs.write(read, assets)
    (assets / "vega.js").write_text(_vega(), encoding="utf-8")
    for name in ("report.js", "report.css", "front.css"):
        (assets / name).write_text(pages.asset(name), encoding="utf-8")


@cache
def _vega() -> str:
    """Vega, Vega-Lite and vega-embed as one script, which takes a second to put together."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def _operator_row(operator: Operator) -> dict[str, Any]:
    records, charted = operator.records, operator.records.filter("charted")
    return {
        "operator": operator.name,
        "jobs": len(records),
        "ok": len(records.filter(status="ok")),
        "cells": records.select(*tables.CELL).n_unique(),
        "arms": charted["label"].n_unique(),
        "dtypes": records["dtype"].unique().sort().to_list(),
        "batch_sizes": records["batch_size"].unique().sort().to_list(),
        "seq_lens": records["seq_len"].unique().sort().to_list(),
        "parameter_sets": records.select(*tables.SECTION).n_unique(),
    }


def _write_results(flat: pl.DataFrame, folder: Path) -> None:
    flat.write_parquet(folder / "results.parquet")
    flat.write_csv(folder / "results.csv")


def _write_charts(drawn: list[Chart], chart_format: str, folder: Path) -> None:
    (folder / "charts").mkdir()
    for chart in drawn:
        file = folder / "charts" / f"{chart.name}.{chart_format}"
        config = theme("light") | {"background": "white", "font": "sans-serif"}
        if chart_format == "svg":
            file.write_text(vl_convert.vegalite_to_svg(chart.spec, config=config), encoding="utf-8")
        else:
            file.write_bytes(vl_convert.vegalite_to_png(chart.spec, config=config, scale=PNG_SCALE))
