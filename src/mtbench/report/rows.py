"""The table of jobs: one row of HTML for each, written once for the page of its operator and for the first page.

A page has its first rows in itself, so that it can be read without JavaScript; the others are in a script beside it, which is
loaded when they are asked for: a page that is opened from a folder can load a script, but not read a file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from markupsafe import Markup, escape

from mtbench.report.arms import Style
from mtbench.report.pages import as_yaml, script_json, summary
from mtbench.report.tables import METRICS, SPEEDS, parameters, telling
from mtbench.results import format

Row = dict[str, Any]

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
    Heading("arm"),
    Heading("dtype"),
    Heading("batch", "number"),
    Heading("sequence", "number"),
    Heading("parameters", "params"),
    Heading("status"),
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


def job_rows(records: pl.DataFrame, page: str, styles: Mapping[str, Style]) -> list[Markup]:
    """The rows of an operator's records, in their order; `page` is its file."""
    told = telling(records)
    return [_row(row, told[row["page"]], page, styles) for row in records.select(USED).iter_rows(named=True)]


def columns(records: pl.DataFrame) -> str:
    """The classes of a table of these records that say which columns have nothing to tell."""
    varied = any(telling(records).values())
    tokens = records["tokens_per_s"].is_not_null().any()
    return " ".join([*([] if varied else ["no-params"]), *([] if tokens else ["no-tokens"])])


def write(stem: str, rows: Sequence[Markup], folder: Path) -> None:
    """Writes all rows of an operator's page as the script `rows-STEM.js`."""
    content = f"mtbenchRows({script_json(stem)}, {script_json([str(row) for row in rows])});\n"
    (folder / f"rows-{stem}.js").write_text(content, encoding="utf-8")


def _row(row: Row, told: Sequence[str], page: str, styles: Mapping[str, Style]) -> Markup:
    params = parameters(row)
    label = row["label"]
    swatch = f'<i class="swatch" style="background:{styles[label].colour}"></i>' if label in styles else ""
    params_text = "".join(
        f'<span class="param">{escape(name)}&nbsp;<b>{escape(as_yaml(params[name]))}</b></span> '
        for name in told
        if name in params
    )
    since = ' <small title="A newer record of the same contender and cell counts in the charts">repeated since</small>'
    status = row["status"]
    cells = [
        f'<td class="op"><a href="{escape(page)}">{escape(row["operator"])}</a></td>',
        f'<td class="arm">{swatch}<a href="job.html#{row["row"]}" title="Everything that was recorded of it">'
        f"{escape(label)}</a></td>",
        f"<td>{escape(row['dtype'])}</td>",
        _number(row["batch_size"], str(row["batch_size"])),
        _number(row["seq_len"], str(row["seq_len"])),
        f'<td class="params">{params_text}</td>',
        f'<td data-sort="{escape(status)}"><span class="status status-{escape(status)}">{escape(status)}</span>'
        f"{since if row['repeated'] else ''}{_not_converged(row)}</td>",
    ]
    for metric in METRICS:
        ns = row[metric.ns]
        text = format.interval(ns, row[metric.low_ns], row[metric.high_ns], row["confidence"])
        time, _, bounds = text.partition(" [")
        cells.append(_number(ns, time, f" <small>[{bounds}</small>" if bounds else ""))
    cells += [
        _number(row["limit_fraction"], format.percent(row["limit_fraction"])),
        _number(row["tokens_per_s"], format.tokens(row["tokens_per_s"]), _first_token(row), "number tokens"),
        _number(row["first_call_ns"], format.duration(row["first_call_ns"])),
        _number(row["peak_bytes"], format.size(row["peak_bytes"])),
        _words([row["reason"], *(row["warnings"] or [])]),
    ]
    return Markup(f"<tr>{''.join(cells)}</tr>")


def _number(value: float | None, text: str, more: str = "", kind: str = "number") -> str:
    sort = "" if value is None else value
    return f'<td class="{kind}" data-sort="{sort}">{escape(text)}{more}</td>'


def _first_token(row: Row) -> str:
    ns, rate = row["time_to_first_token_ns"], row["decode_tokens_per_s"]
    others = "" if rate is None else f", then {escape(format.tokens(rate))}"
    return "" if ns is None else f" <small>first after {escape(format.duration(ns))}{others}</small>"


def _not_converged(row: Row) -> str:
    hint = "The interval was still wider than the target when the budget was spent"
    return f' <small title="{hint}">not converged</small>' if row["converged"] is False else ""


def _words(said: Sequence[str | None]) -> str:
    """A row stays a few lines high, however much there is to say."""
    texts = [text for text in said if text and text.strip()]
    if not texts:
        return '<td class="words"></td>'
    first = summary(texts[0])
    if len(texts) == 1 and first == texts[0]:
        return f'<td class="words">{escape(first)}</td>'
    more = f" <small>and {len(texts) - 1} more</small>" if len(texts) > 1 else ""
    told = "".join(f"<pre>{escape(text)}</pre>" for text in texts[:MOST_TEXTS])
    told += "<p>The job's own page has them all.</p>" if len(texts) > MOST_TEXTS else ""
    return f'<td class="words"><details><summary>{escape(first)}{more}</summary>{told}</details></td>'
