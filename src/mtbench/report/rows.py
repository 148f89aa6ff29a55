"""The table of jobs, written once for the page of its operator and for the first page.

A page has its first rows in itself, so that it can be read without JavaScript; all are in a script beside it, which is
loaded when they are asked for: a page that is opened from a folder can load a script, but not read a file. The script has
them a column at a time and each text once. The page makes elements only of those that it shows, by the rule of `JobRows.html`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
from markupsafe import Markup, escape

from mtbench.report.arms import Style
from mtbench.report.packed import packed_column
from mtbench.report.pages import as_yaml, own_script_json, summary
from mtbench.report.tables import METRICS, SPEEDS, Metric, parameters, telling
from mtbench.results import format

IN_A_PAGE = 200
"""Rows that stand in a page itself."""

MOST_TEXTS = 10
"""Reason and warnings in a row: a hundred long ones, as a foreign record may have, would be megabytes of the first page."""


USED = (
    "row", "page", "label", "operator", "dtype", "batch_size", "seq_len", "params", "model", "kv_len", "status", "repeated",
    "converged", *SPEEDS, "confidence", "limit_fraction", "tokens_per_s", "time_to_first_token_ns",
    "decode_tokens_per_s", "first_call_ns", "peak_bytes", "reason", "warnings",
)  # fmt: skip
"""The columns that a row shows: a record has a hundred more."""


@dataclass(frozen=True)
class Heading:
    """A column of the table: `kind` is its class, `hint` what a pointer tells."""

    title: str
    kind: str = ""
    hint: str = ""


HEADINGS = (
    Heading("operator", "op"),
    Heading("arm", "arm"),
    Heading("dtype"),
    Heading("batch", "number"),
    Heading("sequence", "number"),
    Heading("parameters", "params"),
    Heading("status", "status-of"),
    Heading("latency", "number", "Median time of a call that is waited for, with its interval"),
    Heading("throughput, per call", "number", "Time per call when many are queued, with its interval"),
    Heading(
        "% of limit", "number", "The shortest time that this machine's measured rates allow, over the time it took"
    ),
    Heading(
        "tokens", "number tokens", "By throughput: all prompt tokens of a call in prefill, one a sequence in decode"
    ),
    Heading("first call", "number", "With compilation"),
    Heading("peak memory", "number"),
    Heading("reason and warnings", "words"),
)


@dataclass(frozen=True)
class Column:
    """The cells of a column, one for each row: what stands in them, what sorts them where that is something else, and what
    stands small behind it."""

    html: list[str]
    sort: list[Any] | None = None
    aside: list[str] | None = None

    def cells(self, heading: Heading, most: int) -> list[str]:
        """The first cells as HTML, so many at most."""
        kind = f' class="{heading.kind}"' if heading.kind else ""
        html = self.html[:most]
        if self.aside is not None:
            html = [
                f"{text} <small>{more}</small>" if more else text for text, more in zip(html, self.aside, strict=False)
            ]
        if self.sort is None:
            return [f"<td{kind}>{text}</td>" for text in html]
        return [f'<td{kind} data-sort="{_told(by)}">{text}</td>' for text, by in zip(html, self.sort, strict=False)]


@dataclass(frozen=True)
class JobRows:
    """The rows of some jobs: the number of each record, and a column for each of HEADINGS."""

    numbers: list[int]
    columns: list[Column]

    def html(self, most: int) -> list[Markup]:
        """The first rows as HTML, so many at most."""
        columns = [column.cells(heading, most) for heading, column in zip(HEADINGS, self.columns, strict=True)]
        return [
            Markup(f"<tr>{''.join(cells)}</tr>".replace(LINK, f"job.html#{number}"))
            for number, *cells in zip(self.numbers[:most], *columns, strict=True)
        ]

    def packed(self) -> dict[str, Any]:
        """All rows as `jobTable` in report.js takes them."""
        columns = [{name: each and packed_column(each) for name, each in vars(one).items()} for one in self.columns]
        return {"numbers": self.numbers, "columns": columns}


LINK = "job.html#\x00"
"""Stands for the link to the record, without whose number many rows name their contender in the same words."""


def job_rows(records: pl.DataFrame, page: str, styles: Mapping[str, Style]) -> JobRows:
    """The rows of an operator's records, in their order; `page` is its file."""
    told = telling(records)
    of = {name: records[name].to_list() for name in USED}

    @cache
    def operator(name: str) -> str:
        return f'<a href="{escape(page)}">{escape(name)}</a>'

    @cache
    def arm(label: str) -> str:
        swatch = f'<i class="swatch" style="background:{styles[label].colour}"></i>' if label in styles else ""
        return f'{swatch}<a href="{LINK}" title="Everything that was recorded of it">{escape(label)}</a>'

    columns = [
        Column([operator(name) for name in of["operator"]]),
        Column([arm(label) for label in of["label"]]),
        Column([str(escape(dtype)) for dtype in of["dtype"]]),
        Column(list(map(str, of["batch_size"]))),
        Column(list(map(str, of["seq_len"]))),
        Column(_parameters(of, told)),
        Column(
            [_status(*each) for each in zip(of["status"], of["repeated"], of["converged"], strict=True)], of["status"]
        ),
        *(_times(of, metric) for metric in METRICS),
        _numbers(of["limit_fraction"], format.percent),
        _numbers(
            of["tokens_per_s"],
            format.tokens,
            list(map(_first_token, of["time_to_first_token_ns"], of["decode_tokens_per_s"])),
        ),
        _numbers(of["first_call_ns"], format.duration),
        _numbers(of["peak_bytes"], format.size),
        Column([_words([reason, *(more or [])]) for reason, more in zip(of["reason"], of["warnings"], strict=True)]),
    ]
    return JobRows(of["row"], columns)


def columns(records: pl.DataFrame) -> str:
    """The classes of a table of these records that say which columns have nothing to tell."""
    varied = any(telling(records).values())
    tokens = records["tokens_per_s"].null_count() < records.height
    return " ".join([*([] if varied else ["no-params"]), *([] if tokens else ["no-tokens"])])


def write(stem: str, rows: JobRows, folder: Path) -> None:
    """Writes all rows of an operator's page as the script `rows-STEM.js`."""
    content = f"mtbenchRows({own_script_json(stem)}, {own_script_json(rows.packed())});\n"
    (folder / f"rows-{stem}.js").write_text(content, encoding="utf-8")


def _numbers(values: Sequence[Any], told: Callable[[Any], str], aside: list[str] | None = None) -> Column:
    return Column(list(map(told, values)), _sorted_by(values), aside)


def _times(of: Mapping[str, list[Any]], metric: Metric) -> Column:
    texts = map(format.interval, of[metric.ns], of[metric.low_ns], of[metric.high_ns], of["confidence"])
    parts = [text.partition(" [") for text in texts]
    bounds = [f"[{bounds}" if bounds else "" for _, _, bounds in parts]
    return Column([time for time, _, _ in parts], _sorted_by(of[metric.ns]), bounds)


def _sorted_by(values: Sequence[float | None]) -> list[float | None]:
    """Numbers to as many digits as tell two jobs apart: many of them are most of what a page loads."""
    return [None if value is None else value if isinstance(value, int) else _short(value) for value in values]


def _short(value: float) -> float:
    short = float(f"{value:.6g}")
    return int(short) if short.is_integer() else short


def _told(value: Any) -> str:
    return "" if value is None else str(escape(value)) if isinstance(value, str) else str(value)


def _parameters(of: Mapping[str, list[Any]], told: Mapping[str, list[str]]) -> list[str]:
    """Of each row those parameters that `told` has for its page."""

    @cache
    def html(page: str, params: str, model: str | None, kv_len: int | None) -> str:
        found = parameters({"params": params, "model": model, "kv_len": kv_len})
        return "".join(
            f'<span class="param">{escape(name)}&nbsp;<b>{escape(as_yaml(found[name]))}</b></span> '
            for name in told[page]
            if name in found
        )

    return list(map(html, of["page"], of["params"], of["model"], of["kv_len"]))


@cache
def _status(status: str, repeated: bool, converged: bool | None) -> str:
    since = ' <small title="A newer record of the same contender and cell counts in the charts">repeated since</small>'
    hint = "The interval was still wider than the target when the budget was spent"
    wide = f' <small title="{hint}">not converged</small>' if converged is False else ""
    return f'<span class="status status-{escape(status)}">{escape(status)}</span>{since if repeated else ""}{wide}'


def _first_token(ns: float | None, rate: float | None) -> str:
    others = "" if rate is None else f", then {escape(format.tokens(rate))}"
    return "" if ns is None else f"first after {escape(format.duration(ns))}{others}"


def _words(said: Sequence[str | None]) -> str:
    """A row stays a few lines high, however much there is to say."""
    texts = [text for text in said if text and text.strip()]
    if not texts:
        return ""
    first = summary(texts[0])
    if len(texts) == 1 and first == texts[0]:
        return str(escape(first))
    more = f" <small>and {len(texts) - 1} more</small>" if len(texts) > 1 else ""
    told = "".join(f"<pre>{escape(text)}</pre>" for text in texts[:MOST_TEXTS])
    told += "<p>The job's own page has them all.</p>" if len(texts) > MOST_TEXTS else ""
    return f"<details><summary>{escape(first)}{more}</summary>{told}</details>"
