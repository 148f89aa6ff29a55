"""Renders the pages with Jinja. Escaping is on, because a record may hold anything, such as a traceback or `</script>`."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import jinja2
import orjson
import polars as pl
from markupsafe import Markup, escape

from mtbench.catalogue import support
from mtbench.results import format

Row = dict[str, Any]

LONGEST_NAME = 100  # characters of a page's file name, which most file systems end at 255 bytes

STATUS_MEANINGS = {
    "ok": "measured and verified",
    "mismatch": "wrong answer, so no speed",
    "unsupported": "not possible here",
    "oom": "out of memory",
    "timeout": "took too long",
    "crashed": "the worker died",
    "failed": "an error was raised",
    "interrupted": "stopped before a result",
    "unverified": "a speed without a checked answer, drawn hollow",
}


def page(template: str, **values: Any) -> str:
    """One page as HTML."""
    return _environment().get_template(template).render(**values)


def asset(name: str) -> str:
    """A file of the templates' folder as it stands: the style sheet, the script."""
    loader = _environment().loader
    assert loader is not None
    return loader.get_source(_environment(), name)[0]


def page_names(operators: Iterable[str]) -> dict[str, str]:
    """A file name for each operator's page, fit for any file system and never that of another page."""
    taken = {"history", "index", "job", "roofline", "support"}
    names = {}
    for operator in operators:
        name = re.sub(r"[^\w.-]+", "_", operator, flags=re.ASCII)[:LONGEST_NAME]
        while name.lower() in taken:
            name += "_"
        taken.add(name.lower())
        names[operator] = f"{name}.html"
    return names


def status_counts(records: pl.DataFrame) -> list[Row]:
    """How many jobs ended in each status, ok first, then as many as there are."""
    counts = Counter(records["status"].to_list())
    order = sorted(counts, key=[*STATUS_MEANINGS, *counts].index)
    return [{"status": s, "count": counts[s], "meaning": STATUS_MEANINGS.get(s, "")} for s in order]


def support_rows(records: pl.DataFrame) -> list[Row]:
    """The matrix of operators and libraries, each cell with what the records say of it: measured, or unsupported and why.

    Operators and libraries that only records know, a user's own, are there with what these say.
    """
    said: dict[tuple[str, str], list[Row]] = {}
    key = ["operator", "framework", "mode", "variant", "dtype", "where"]
    told = records.with_columns(where=pl.coalesce("device_kind", "device")).filter(
        pl.col("status").is_in(["ok", "unsupported"])
    )
    for row in told.sort("finished_at", nulls_last=False).unique(key, keep="last").sort(key).to_dicts():
        said.setdefault((row["operator"], row["framework"]), []).append(row)
    rows = support.by_operator(support.matrix())
    libraries = list(
        dict.fromkeys([*(one.library for one in next(iter(rows.values()))), *(name for _, name in sorted(said))])
    )
    return [
        {
            "operator": operator,
            "cells": {
                library: _support_cell(
                    next((support.cell(one) for one in rows.get(operator, ()) if one.library == library), ""),
                    said.get((operator, library), []),
                )
                for library in libraries
            },
        }
        for operator in sorted({*rows, *(name for name, _ in said)})
    ]


def _support_cell(by_code: str, said: list[Row]) -> Row:
    """`how` as the code has it, or the records where nothing of it was possible; `measured` and `refused` by contender."""
    measured: dict[str, list[str]] = {}
    refused: dict[str, list[str]] = {}
    for row in said:
        place = " ".join(filter(None, [row["mode"], *([row["variant"]] * (row["variant"] != "native")), row["where"]]))
        if row["status"] == "ok":
            measured.setdefault(place, []).append(row["dtype"])
        else:
            refused.setdefault(f"{place}: {' '.join((row['reason'] or '').split())}", []).append(row["dtype"])
    return {
        "how": by_code if measured or not refused else "unsupported",
        "measured": [f"{place}: {', '.join(dtypes)}" for place, dtypes in measured.items()],
        "refused": [f"{', '.join(dtypes)} {place}" for place, dtypes in refused.items()],
    }


def machines(records: pl.DataFrame) -> list[Row]:
    """Each machine with what its records say of it, one line a fact."""
    found = records.sort("finished_at").unique("machine_id", keep="last", maintain_order=True).to_dicts()
    return [
        {
            "name": row["machine_name"],
            "id": row["machine_id"],
            "facts": dict(_facts(json.loads(row["machine"]))),
        }
        for row in found
        if row["machine_id"]
    ]


def software(records: pl.DataFrame) -> list[Row]:
    """Each library as it ran: version, device, threads, matrix library and whatever details it gave."""
    columns = ("machine_id", "framework", "library_version", "device_kind", "device_name", "matmul_precision")
    more = ("threads", "blas", "library_details", "mtbench_version")
    rows = records.filter(pl.col("library_version").is_not_null(), pl.col("machine_id") != "").sort("finished_at")
    found = rows.unique([*columns, *more[:2]], keep="last", maintain_order=True).sort(columns)
    return [
        {name: row[name] for name in (*columns, *more)}
        | {
            "machine": row["machine_name"],
            "details": dict(_facts(json.loads(row["library_details"]))),
        }
        for row in found.to_dicts()
    ]


def summary(reason: str) -> str:
    """One short line of a reason. A traceback says what went wrong in its last line, everything else in its first."""
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    if not lines:
        return ""
    line = lines[-1] if "Traceback" in reason else lines[0]
    return line if len(line) <= 72 else f"{line[:71]}…"


def _facts(value: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Nested plain values as named lines. What is unknown is left out: its name says nothing."""
    for name, fact in value.items():
        words = name.replace("_", " ")
        if fact in (None, [], {}, ""):
            continue
        if name.endswith("_bytes") and isinstance(fact, (int, float)):
            yield words.removesuffix(" bytes"), format.size(fact)
        elif isinstance(fact, Mapping):
            yield words, ", ".join(f"{text} {part}" for part, text in _facts(fact))
        elif isinstance(fact, (list, tuple)):
            yield words, "; ".join(_item(item) for item in fact)
        else:
            yield words, {True: "yes", False: "no"}[fact] if isinstance(fact, bool) else str(fact)


def _item(value: Any) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    rest = {name: fact for name, fact in value.items() if name != "name"}
    return ", ".join([str(value["name"])] * ("name" in value) + [f"{text} {name}" for name, text in _facts(rest)])


def templates_of(package: str) -> jinja2.Environment:
    """The templates of a package, as all pages are written: escaped, and an error where a name is missing."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _environment() -> jinja2.Environment:
    environment = templates_of("mtbench.report")
    environment.filters["embedded"] = _embedded
    environment.filters["as_yaml"] = as_yaml
    environment.filters["summary"] = summary
    environment.filters["code"] = code
    return environment


def _embedded(value: Any) -> Markup:
    """JSON inside a script element: without a `<`, nothing in it can end the element or begin another."""
    return Markup(script_json(value))


def script_json(value: Any) -> str:
    """JSON as it may stand in a script in a page."""
    return own_script_json(value).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def own_script_json(value: Any) -> str:
    """JSON in a script that is a file of its own, where a `<` is a letter like any other, and so short. What is not finite
    is null there, which no chart draws."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def code(text: str) -> Markup:
    """A sentence with its commands, which stand in backticks, marked as such."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    )


def as_yaml(value: Any) -> str:
    """A parameter as YAML would have it."""
    return value if isinstance(value, str) else json.dumps(value)
