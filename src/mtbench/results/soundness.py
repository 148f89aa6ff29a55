"""Which rows of a Parquet file are records: what else was read is named and left out, so that it never costs a good one.

A file may be another program's, a later version's, or damaged where its checksums did not notice. What passes here can be
sorted, drawn and compared without another look: names are there, JSON is what it should be, and times are above 0 and finite.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtbench.results.columns import Column

if TYPE_CHECKING:
    import polars as pl

NAMES = ("operator", "framework", "arm", "dtype", "sweep_id", "cell_id", "job_id")
NEEDED = ("status", "params", "batch_size", "seq_len", *NAMES)
"""Without these a row belongs nowhere. An older schema may lack any other."""

LONGEST_NAME, LONGEST_TEXT, LONGEST_JSON = 1_000, 20_000, 10_000_000
"""In characters. Longer reasons and warnings are cut; a row with a longer name, or longer JSON, is not a record."""

MOST_WARNINGS = 100

SHORTEST_NS, LONGEST_NS = 1e-3, 1e18
"""A call of less than a picosecond, or of more than thirty years, was not measured."""

LARGEST = 1e30  # of any other number: beyond it sums, squares and axes overflow

DEEPEST = 20  # levels of JSON

NEVER_NEGATIVE = ("ns", "bytes", "fraction", "FLOP", "FLOP/s", "bytes/s", "tokens/s", "error")
MAY_BE_NEGATIVE = ("canary_drift",)
TIMES = ("latency", "throughput")


def checked(
    frame: "pl.DataFrame", columns: Sequence[Column], statuses: Sequence[str], newest: int
) -> "tuple[pl.DataFrame, list[str]]":
    """The rows of a frame that are records, with texts cut, and a line for each file that has others. Records have these
    columns, one of these statuses, and no later schema than the `newest`."""
    why = _why(frame, columns, _faults(columns, statuses, newest))
    sound = why.is_null()
    problems = []
    if not sound.all():
        bad = frame.select("path").with_columns(why=why).filter(~sound)
        rows = Counter(frame["path"].to_list())
        for (path,), own in bad.group_by("path", maintain_order=True):
            count = "" if rows[path] == 1 else f"{own.height} of {rows[path]} rows, the first "
            problems.append(f"{path}: left out, {count}not a record ({own['why'][0]})")
        frame = frame.filter(sound)
    return _cut(frame), problems


def _why(frame: "pl.DataFrame", columns: Sequence[Column], faults: "Iterator[tuple[pl.Expr, str]]") -> "pl.Series":
    """For each row, the first thing that is wrong with it; null for a record."""
    import polars as pl

    reasons = [pl.when(wrong.fill_null(False)).then(pl.lit(why)) for wrong, why in faults]
    found = frame.select(why=pl.coalesce(reasons))["why"]
    for column in columns:
        if column.unit != "JSON":
            continue
        name, kind = column.name, list if column.name == "conditions" else dict
        spoilt = {text for text in frame[name].unique() if text is not None and not _is_json(text, kind)}
        if spoilt:
            told = pl.when(pl.col(name).is_in(list(spoilt))).then(pl.lit(f"its {name} is no JSON of the right form"))
            found = frame.select(why=pl.coalesce(found, told))["why"]
    return frame.select(why=pl.coalesce(found, _samples_fault(frame)))["why"]


def _faults(columns: Sequence[Column], statuses: Sequence[str], newest: int) -> "Iterator[tuple[pl.Expr, str]]":
    import polars as pl

    for name in NEEDED:
        yield pl.col(name).is_null(), f"it has no {name}"
    yield pl.col("schema_version") > newest, "a later version of mtbench wrote it"
    yield ~pl.col("status").is_in(statuses), f"its status is none of {', '.join(statuses)}"
    yield (pl.col("status") == "mismatch") & pl.col("latency_ns").is_not_null(), "a mismatch has no speed"
    yield (pl.col("status") == "ok") & pl.col("source").is_not_null(), "others published it, so it is not verified"
    for name in NAMES:
        yield pl.col(name).str.len_bytes() == 0, f"its {name} is empty"
    for name in ("batch_size", "seq_len"):
        yield ~pl.col(name).is_between(1, 2**53), f"its {name} is out of range"
    for column in columns:
        value = pl.col(column.name)
        if column.type in (float, float | None):
            yield ~(value.is_finite() & (value.abs() <= LARGEST)), f"its {column.name} is no finite number"
        if (
            column.unit in NEVER_NEGATIVE
            and column.type in (float | None, int, int | None)
            and column.name not in MAY_BE_NEGATIVE
        ):
            yield value < 0, f"its {column.name} is negative"
        if column.type in (str, str | None) and column.unit != "JSON" and column.name != "reason":
            yield (
                value.str.len_bytes() > 4 * LONGEST_NAME,
                f"its {column.name} is longer than {LONGEST_NAME} characters",
            )
        if column.unit == "JSON":
            yield value.str.len_bytes() > LONGEST_JSON, f"its {column.name} is longer than {LONGEST_JSON} characters"
    yield ~pl.col("confidence").is_between(0, 1), "its confidence is not between 0 and 1"
    for metric in TIMES:
        value, low, high = (pl.col(f"{metric}{end}") for end in ("_ns", "_low_ns", "_high_ns"))
        for one in (value, low, high):
            yield ~one.is_between(SHORTEST_NS, LONGEST_NS), f"its {metric} is no time that was measured"
        room = 1e-9 * value  # of numbers that went through text
        yield (low > value + room) | (high < value - room), f"the interval of its {metric} does not hold it"


def _samples_fault(frame: "pl.DataFrame") -> "pl.Series":
    """Samples that are negative or not finite, or blocks that took no time at all."""
    import polars as pl

    wrong: set[int] = set()
    for name in ("latency_samples_ns", "token_samples_ns", "throughput_samples_ns"):
        rounds = frame.select(row=pl.int_range(pl.len()), sample=name).explode("sample").explode("sample")
        value = pl.col("sample")
        if not name.startswith("throughput"):
            low, high = value.list.min(), value.list.max()
            bad = (low < 0) | (high > LONGEST_NS) | (value.list.median() <= 0)
        else:
            bad = ~(value.is_finite() & value.is_between(SHORTEST_NS, LONGEST_NS))
        wrong |= set(rounds.filter(bad.fill_null(False))["row"].to_list())
    said = ["its samples are no times that were measured" if row in wrong else None for row in range(frame.height)]
    return pl.Series("samples", said, dtype=pl.String)


def _is_json(text: str, kind: type) -> bool:
    try:
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    if kind is list and not (isinstance(found, list) and all(isinstance(one, Mapping) for one in found)):
        return False
    return isinstance(found, kind) and _depth_fits(found)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _depth_fits(value: Any, left: int = DEEPEST) -> bool:
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return left > 0 and all(_depth_fits(item, left - 1) for item in items)


def _cut(frame: "pl.DataFrame") -> "pl.DataFrame":
    """The frame with texts of reasonable length, and few warnings."""
    import polars as pl

    def shortened(text: "pl.Expr") -> "pl.Expr":
        return (
            pl.when(text.str.len_bytes() > 4 * LONGEST_TEXT)
            .then(text.str.head(LONGEST_TEXT) + " … (cut)")
            .otherwise(text)
        )

    return frame.with_columns(
        shortened(pl.col("reason")),
        pl.col("warnings").list.head(MOST_WARNINGS).list.eval(shortened(pl.element())),
    )
