"""The report: records in, one folder of pages out, which opens offline and asks nothing of any network.

`build` is the way in. Its parts: `tables` (what was read), `ratios` (how contenders compare), `arms` (what they are
called and how they are drawn), `roofline` (what shares its limits), `views` and `charts`, `pages`, and `publish`, which puts
the finished folder in place.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import polars as pl
import vl_convert

from mtbench import __version__, support
from mtbench.errors import ConfigError, unknown
from mtbench.report import jobs, pages, roofline, tables
from mtbench.report.arms import Style, device_name, machine_name, styles
from mtbench.report.charts import Chart, drawn, theme
from mtbench.report.publish import published
from mtbench.report.ratios import ratios, summary
from mtbench.report.tables import METRICS, Tables
from mtbench.report.views import LimitsView, OverviewView, SectionView
from mtbench.results.cells import names_that_differ
from mtbench.results.comparison import HIGHEST_THRESHOLD, THRESHOLD
from mtbench.results.format import CONFIDENCE, percent
from mtbench.selftest import outcome

FORMATS = ("svg", "png")
"""The formats in which charts can be written as files of their own."""

PNG_SCALE = 2  # pixels per chart pixel, as a page on a high-density screen has


@dataclass(frozen=True)
class Section:
    """One parameter set of an operator, with the charts that hold it and nothing else."""

    heading: str
    params: dict[str, Any]
    charts: list[Chart]


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
    read.problems.extend(unreadable)
    for problem in read.problems:
        logging.getLogger(__name__).warning(problem)
    with published(out) as building:
        drawn = _write_pages(read, selftests, building)
        _write_results(read.results, building)
        if chart_format:
            _write_charts(drawn, chart_format, building)
    return out / "index.html"


def _write_pages(read: Tables, selftests: Sequence[outcome.Outcome], folder: Path) -> list[Chart]:
    style = styles(read.charted)
    compared = {metric.name: ratios(read, metric, list(style)) for metric in METRICS}
    both = pl.concat(compared.values())
    pair = _first_pair(read.charted, both, list(style))
    operators = read.records["page"].unique().sort().to_list()
    names = pages.page_names(operators)
    everywhere = {
        "version": __version__,
        "built": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "themes": {name: theme(name) for name in ("light", "dark")},
        "metrics": METRICS,
        "labels": list(style),
        "colours": {label: one.colour for label, one in style.items()},
        "pair": pair,
        "page_names": names,
        "confidence": percent(CONFIDENCE),
        "threshold": percent(THRESHOLD),
        "highest_threshold": percent(HIGHEST_THRESHOLD),
    }
    made: list[Chart] = []
    for operator in operators:
        records, charted = (frame.filter(page=operator) for frame in (read.records, read.charted))
        here = [label for label in style if label in charted["label"]]
        first = _first_pair(charted, both.filter(page=operator), here, wanted=pair)
        sections = _sections(records, names[operator].removesuffix(".html"), compared, style, first)
        made += [chart for section in sections for chart in section.charts]
        html = pages.page(
            "operator.html",
            **everywhere | {"labels": here, "pair": first},
            operator=operator,
            sections=sections,
            jobs=pages.job_rows(records),
            counts=pages.status_counts(records),
            where=_where(records),
        )
        (folder / names[operator]).write_text(html, encoding="utf-8")
    limits, under = _limits(read.charted, style)
    html = pages.page("roofline.html", **everywhere, grounds=limits, where=_where(read.records))
    (folder / "roofline.html").write_text(html, encoding="utf-8")
    html = pages.page("support.html", **everywhere, rows=pages.support_rows(read.records), meanings=support.MEANINGS)
    (folder / "support.html").write_text(html, encoding="utf-8")
    html = pages.page("job.html", **everywhere, groups=jobs.groups(), in_a_script=jobs.IN_A_SCRIPT)
    (folder / "job.html").write_text(html, encoding="utf-8")
    overviews = _overviews(compared, style, pair, _where(read.records))
    html = pages.page(
        "index.html",
        **everywhere,
        charts=overviews,
        operators=[_operator_row(read.records.filter(page=operator), operator) for operator in operators],
        jobs=pages.job_rows(read.records),
        counts=pages.status_counts(read.records),
        machines=pages.machines(read.records),
        software=pages.software(read.records),
        selftests=selftests,
        problems=read.problems,
        where=_where(read.records),
    )
    (folder / "index.html").write_text(html, encoding="utf-8")
    assets = folder / "assets"
    assets.mkdir()
    jobs.write(read, assets)
    (assets / "vega.js").write_text(_vega(), encoding="utf-8")
    for name in ("report.js", "report.css"):
        (assets / name).write_text(pages.asset(name), encoding="utf-8")
    return [*overviews, *made, *under]


def _sections(
    records: pl.DataFrame,
    stem: str,
    compared: dict[str, pl.DataFrame],
    style: dict[str, Style],
    pair: tuple[str, str] | None,
) -> list[Section]:
    """Each parameter set of an operator, headed by what differs between them, with its charts; `stem` names those."""
    sets = tables.sections(records)
    differing = names_that_differ([tables.held_parameters(one) for one in sets])
    found = []
    for number, one in enumerate(sets, 1):
        params = tables.held_parameters(one)
        said = [f"{name} {pages.as_yaml(params[name])}" for name in differing if name in params]
        heading = ", ".join(said or [f"without {name}" for name in differing])
        title = f"{one['page']}{heading and f': {heading}'}"
        own = tables.of_section(records, one)
        shown = []
        for metric in METRICS:
            ratios = tables.of_section(compared[metric.name], one)
            name = f"{stem}-{number}-{metric.name}"
            shown += drawn(SectionView(name, title, metric, own, ratios, style, pair, _where(own)))
        found.append(Section(heading, params, shown))
    return found


def _overviews(
    compared: dict[str, pl.DataFrame], style: dict[str, Style], pair: tuple[str, str] | None, where: str
) -> list[Chart]:
    views = [OverviewView(metric, summary(compared[metric.name]), style, pair, where) for metric in METRICS]
    return [chart for view in views for chart in drawn(view)]


def _limits(charted: pl.DataFrame, style: dict[str, Style]) -> tuple[list[dict[str, Any]], list[Chart]]:
    """What the page of the measured limits shows of each device and dtype, and all its charts."""
    shown: list[dict[str, Any]] = []
    for ground in roofline.grounds(charted):
        charts = drawn(LimitsView(ground, style, _where(ground.records)))
        shown.append({"heading": ground.heading, "charts": charts, "rows": ground.listed})
    return shown, [chart for one in shown for chart in one["charts"]]


@cache
def _vega() -> str:
    """Vega, Vega-Lite and vega-embed as one script, which takes a second to put together."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def _first_pair(
    charted: pl.DataFrame, compared: pl.DataFrame, labels: list[str], wanted: tuple[str, str] | None = None
) -> tuple[str, str] | None:
    """The two contenders that a page compares first: of different libraries, in one mode, with many cells, and close.

    `wanted`, which is what the other pages show, wherever those two have a cell in common.
    """
    framework, mode = (dict(charted.select("label", name).iter_rows()) for name in ("framework", "mode"))

    def rank(pair: tuple[str, str]) -> tuple[bool, bool, int, float]:
        a, b = pair
        logs = compared.filter(a=a, b=b)["ratio"].log().to_list()
        return framework[a] == framework[b], mode[a] != mode[b], -len(logs), abs(fmean(logs))

    pairs = [(a, b) for a, b in combinations(labels, 2) if len(compared.filter(a=a, b=b))]
    if wanted in pairs:
        return wanted
    return min(pairs, key=rank, default=None)


def _where(records: pl.DataFrame) -> str:
    """The machines behind records and their devices, in a few words."""
    columns = ["machine", "machine_id", "device", "device_kind", "device_name"]
    ran = records.filter(status="ok").select(columns).unique(columns[1:]).to_dicts()
    devices: dict[str, set[str]] = {}
    for row in ran:
        devices.setdefault(machine_name(row["machine"], row["machine_id"]), set()).add(device_name(row))
    words = [f"{machine}, {' and '.join(sorted(found))}" for machine, found in sorted(devices.items())]
    if not words:
        return "Nothing was measured."
    return f"On {'; '.join(words)}." if len(words) <= 3 else f"On {len(words)} machines."


def _operator_row(records: pl.DataFrame, operator: str) -> dict[str, Any]:
    charted = records.filter("charted")
    return {
        "operator": operator,
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
