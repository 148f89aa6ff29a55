"""What the contenders are called in a report, and how each is drawn: the same on every page.

A contender is an arm as it turned out: with the device it got, the library's version and the machine. Its label names
the framework, the mode, how it was set up and what else competes, and of the rest only what tells it apart from the other
contenders.
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

IDENTITY = (
    "framework", "mode", "setup", "contender", "variant", "device", "matmul_precision", "library_version", "machine_id",
    "source", "unverified", "arm",
)  # fmt: skip
"""The columns that make a contender; `contender` is what else competes, such as its dtype, and `unverified` says of those
without a checked answer that they have none."""

UNVERIFIED = "unverified"

Contender = Mapping[str, str | None]

# What a label may name besides framework and mode, and within which group of contenders it must differ to be named.
# A device or a precision is told of all contenders or of none: they are what a reader compares across libraries.
_NAMED_WHERE_THEY_DIFFER: dict[str, tuple[str, ...]] = {
    "variant": ("framework", "mode"),
    "device": (),
    "matmul_precision": (),
    "library_version": ("framework",),
    "machine_id": (),
}

# Okabe and Ito's colours, paired by hue so that the modes of one library are kin: eager first, compiled second
# (jfly.uni-koeln.de/color). The pairs after the third are of like lightness, for whoever has that many libraries.
PALETTE = (
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#e69f00"),
    ("#009e73", "#63c5a4"),
    ("#a6528c", "#d795c0"),
    ("#7a7a7a", "#aaaaaa"),
    ("#8c564b", "#c08a7e"),
    ("#84851b", "#b9ba4a"),
    ("#5b5ea6", "#9395d4"),
)
SHAPES = ("circle", "triangle-up", "square", "diamond", "cross")
DASHES = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3), (4, 1))


@dataclass(frozen=True)
class Style:
    """How a contender is drawn. The colour tells contenders apart; the dash and the point's shape say the mode."""

    label: str
    colour: str
    dash: tuple[int, ...]
    shape: str


def labelled(records: pl.DataFrame) -> pl.DataFrame:
    """The records with a `label` column, unique to each contender, and `unverified`."""
    records = records.with_columns(unverified=pl.when(pl.col("status") == UNVERIFIED).then(pl.lit(UNVERIFIED)))
    contenders = (
        records.select(*IDENTITY, "machine").unique(list(IDENTITY), keep="first", maintain_order=True).to_dicts()
    )
    # A job that never reached its worker knows no device or version: it must not make the others spell theirs out.
    measured = records.filter(pl.col("status") == "ok").select(*IDENTITY).unique().to_dicts() or contenders
    telling = {name: _differs(measured, name, *groups) for name, groups in _NAMED_WHERE_THEY_DIFFER.items()}
    checked = set(records.filter(pl.col("status").is_in(["ok", "mismatch", UNVERIFIED])).select(*IDENTITY).iter_rows())
    labels: dict[tuple[str | None, ...], str] = {}
    for contender in sorted(contenders, key=lambda c: (_key(c) not in checked, len(str(c["arm"])))):
        key = _key(contender)
        label = _label(contender, telling)
        # What never ran to a checked answer is in no chart, so its name need not be told apart.
        labels[key] = _free(label, str(contender["arm"]), labels.values()) if key in checked else label
    table = [dict(zip(IDENTITY, key, strict=True)) | {"label": label} for key, label in labels.items()]
    schema = {name: records.schema[name] for name in IDENTITY} | {"label": pl.String()}
    return records.join(
        pl.DataFrame(table, schema=schema), on=list(IDENTITY), how="left", nulls_equal=True, maintain_order="left"
    )


def styles(records: pl.DataFrame) -> dict[str, Style]:
    """A style for each label, in the order of legends: libraries together, eager before compiled."""
    contenders = records.select(*IDENTITY, "label").unique("label").to_dicts()
    # Eager leads its hue; whatever other modes a framework has follow in the alphabet.
    modes = sorted({c["mode"] for c in contenders}, key=lambda mode: (mode != "eager", mode != "compiled", mode))
    contenders.sort(key=lambda c: (_family(c), modes.index(c["mode"]), c["label"]))
    hues: dict[tuple[object, ...], int] = {}
    seen: Counter[tuple[object, ...]] = Counter()
    found: dict[str, Style] = {}
    for contender in contenders:
        mode = modes.index(contender["mode"])
        twin = seen[_family(contender), mode]  # the same arm asked for twice, to see the noise, gets a hue of its own
        seen[_family(contender), mode] += 1
        hue = hues.setdefault((_family(contender), twin), len(hues))
        found[contender["label"]] = Style(
            label=contender["label"],
            colour=PALETTE[hue % len(PALETTE)][mode % 2],
            dash=DASHES[mode % len(DASHES)],
            shape=SHAPES[mode % len(SHAPES)],
        )
    return found


def machine_name(machine: str | None, machine_id: str | None) -> str:
    """A machine in words: its chip, or failing that the beginning of its identity."""
    chip = json.loads(machine or "{}").get("chip")
    return str(chip) if chip else f"machine {(machine_id or 'unknown')[:6]}"


def device_name(row: Mapping[str, Any]) -> str:
    """What a record ran on: the kind of device, and its own name where that says more than the machine's."""
    kind, name = row["device_kind"] or row["device"], row["device_name"]
    known = (None, kind, machine_name(row["machine"], row["machine_id"]))
    return str(kind) if name in known else f"{kind} ({name})"


def _label(contender: Contender, telling: Mapping[str, Collection[tuple[str | None, ...]]]) -> str:
    mode = contender["mode"]
    parts = [f"{contender['framework']}" if mode in ("eager", None) else f"{contender['framework']} {mode}"]
    parts += [contender["setup"]] if contender["setup"] else []
    parts += [contender["contender"]] if contender["contender"] else []
    for name, groups in _NAMED_WHERE_THEY_DIFFER.items():
        value = contender[name]
        told = tuple(contender[group] for group in groups) in telling[name]
        if value and told and (name, value) != ("device", "auto"):
            parts.append(machine_name(contender["machine"], value) if name == "machine_id" else value)
    if contender["source"]:
        parts.append(
            f"published by {contender['source']}, {machine_name(contender['machine'], contender['machine_id'])}"
        )
    parts += [UNVERIFIED] if contender["unverified"] else []
    return " · ".join(parts)


def _key(contender: Contender) -> tuple[str | None, ...]:
    return tuple(contender[name] for name in IDENTITY)


def _free(label: str, arm: str, taken: Collection[str]) -> str:
    """The label, told apart by the arm's own name, and by a number where even that is taken."""
    candidates = (label, f"{label} ({arm})", *(f"{label} ({arm}, {n})" for n in range(2, len(taken) + 3)))
    return next(candidate for candidate in candidates if candidate not in taken)


def _differs(contenders: Sequence[Contender], name: str, *groups: str) -> set[tuple[str | None, ...]]:
    """The groups of contenders within which a column has more than one value."""
    values: dict[tuple[str | None, ...], set[str]] = {}
    for contender in contenders:
        if value := contender[name]:
            values.setdefault(tuple(contender[group] for group in groups), set()).add(value)
    return {group for group, found in values.items() if len(found) > 1}


def _family(contender: Contender) -> tuple[str, ...]:
    return tuple(str(contender[name]) for name in IDENTITY if name not in ("mode", "arm"))
