"""What the contenders are called in a report, and how each is drawn: the same on every page.

A contender is an arm as it turned out: with the device it got and the library's version. It has the name that the terminal
gives the arm, and in brackets what tells it from another of that name. Machines have panels of their own, so that a machine
is in no name but that of figures which others published.
"""

import zlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from mtbench.results.format import natural
from mtbench.results.machines import machine_name

IDENTITY = (
    "framework", "mode", "setup", "contender", "variant", "device", "numbered", "matmul_precision", "library_version",
    "source", "published_on", "unverified", "arm",
)  # fmt: skip
"""The columns that make a contender. `contender` is what else competes, such as its dtype; `numbered` the device and its
number, where several of a machine measured the same; `published_on` the machine of figures that others published;
`unverified` says of those without a checked answer that they have none."""

UNVERIFIED = "unverified"

Contender = Mapping[str, str | None]

# What a name tells in brackets, where it differs within this group of contenders.
_NAMED_WHERE_THEY_DIFFER: dict[str, tuple[str, ...]] = {
    "library_version": ("framework",),
    "device": ("arm",),
    "numbered": ("arm",),
    "matmul_precision": ("arm",),
    "variant": ("arm",),
    "setup": ("arm",),
}

HUES = {
    "mlx": ("#0e6cb0", "#1693ec"),
    "torch": ("#ba3f0a", "#f35d1d"),
    "numpy": ("#15774e", "#1da26a"),
    "jax": ("#9d469d", "#c072c0"),
    "llama_cpp": ("#766911", "#a18e17"),
}
"""A library's hue, the same in every report, eager in the darker shade and compiled in the lighter. Each has a contrast of 3:1
and more with a light page and with a dark one (WCAG 2.2, 1.4.11)."""

OTHER_HUES = (
    ("#595cc8", "#8487d6"),
    ("#c03054", "#da6a86"),
    ("#1e7477", "#289da1"),
    ("#816345", "#ab8763"),
    ("#636970", "#888f96"),
)
"""Of libraries that a user brings, chosen by the name alone."""

SHAPES = ("circle", "triangle-up", "square", "diamond", "cross", "triangle-down")
DASHES = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3), (4, 1), (1, 3))


@dataclass(frozen=True)
class Style:
    """How a contender is drawn: the library's hue, and a shade, a dash and a shape of its own within the library."""

    label: str
    colour: str
    dash: tuple[int, ...]
    shape: str


def labelled(records: pl.DataFrame) -> pl.DataFrame:
    """The records with a `label` column, unique to each contender, `published_on`, `unverified` and `numbered`."""
    records = records.with_columns(
        numbered=_numbered(),
        unverified=pl.when(pl.col("status") == UNVERIFIED).then(pl.lit(UNVERIFIED)),
        published_on=pl.when(pl.col("source").is_not_null()).then(pl.col("machine_id")),
    )
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
        labels[key] = _free(label, labels.values()) if key in checked else label
    table = [dict(zip(IDENTITY, key, strict=True)) | {"label": label} for key, label in labels.items()]
    schema = {name: records.schema[name] for name in IDENTITY} | {"label": pl.String()}
    return records.join(
        pl.DataFrame(table, schema=schema), on=list(IDENTITY), how="left", nulls_equal=True, maintain_order="left"
    )


def _numbered() -> pl.Expr:
    """`gpu 1`, of all that a machine's GPUs measured where any cell of an arm was measured on several of them. Those that
    shared a sweep, each with cells of its own, are one contender: else no chart would hold a whole line of it."""
    several = pl.col("device_index").n_unique().over("machine_id", "device", "cell_id", "arm") > 1
    told = pl.format("{} {}", "device", "device_index")
    return pl.when(several.any().over("machine_id", "device")).then(told)


def styles(records: pl.DataFrame) -> dict[str, Style]:
    """A style for each label, in the order of legends: libraries together, eager before compiled."""
    contenders = records.select(*IDENTITY, "label").unique("label").to_dicts()
    # Eager leads its hue; whatever other modes a framework has follow in the alphabet.
    contenders.sort(key=lambda c: (str(c["framework"]), *_by_mode(c), natural(c["label"])))
    taken: dict[str, set[int]] = defaultdict(set)
    found: dict[str, Style] = {}
    for contender in contenders:
        library = str(contender["framework"])
        first = {"eager": 0, "compiled": 1}.get(str(contender["mode"]), 2)
        place = first if first not in taken[library] else max(2, *(each + 1 for each in taken[library]))
        taken[library].add(place)
        found[contender["label"]] = Style(
            label=contender["label"],
            colour=_shade(hue(library), place),
            dash=DASHES[place % len(DASHES)],
            shape=SHAPES[place % len(SHAPES)],
        )
    return found


def hue(library: str) -> tuple[str, str]:
    """The darkest and the lightest shade of a library's hue."""
    return HUES.get(library.replace(".", "_")) or OTHER_HUES[zlib.crc32(library.encode()) % len(OTHER_HUES)]


def _shade(ends: tuple[str, str], place: int) -> str:
    """The first two contenders of a library have the ends of its hue; others have what is between them."""
    if place < 2:
        return ends[place]
    part = ((place - 1) * 0.381966) % 1  # by the golden section successive ones lie apart
    dark, light = ([int(end[i : i + 2], 16) for i in (1, 3, 5)] for end in ends)
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in zip(dark, light, strict=True))


def _by_mode(contender: Contender) -> tuple[bool, bool, str]:
    mode = str(contender["mode"])
    return mode != "eager", mode != "compiled", mode


def device_name(row: Mapping[str, Any]) -> str:
    """What a record ran on: the kind of device, and its own name where that says more than the machine's."""
    kind, name = row["device_kind"] or row["device"], row["device_name"]
    machine = machine_name(row["machine"], row["machine_id"])
    known = name in (None, kind, machine) or machine.endswith((f" with {name}", f" x {name}"))
    return str(kind) if known else f"{kind} ({name})"


def where(records: pl.DataFrame) -> str:
    """The machines behind records and their devices, in a few words."""
    columns = ("status", "machine_name", "machine", "machine_id", "device", "device_kind", "device_name")
    ran = set(zip(*(records[name].to_list() for name in columns), strict=True))
    devices: dict[str, set[str]] = {}
    for row in (dict(zip(columns, values, strict=True)) for values in ran if values[0] == "ok"):
        devices.setdefault(row["machine_name"], set()).add(device_name(row))
    words = [f"{machine}, {' and '.join(sorted(found))}" for machine, found in sorted(devices.items())]
    if not words:
        return "Nothing was measured."
    return f"On {'; '.join(words)}." if len(words) <= 3 else f"On {len(words)} machines."


def _label(contender: Contender, telling: Mapping[str, Collection[tuple[str | None, ...]]]) -> str:
    name = str(contender["arm"] or contender["framework"])
    told = []
    for column, groups in _NAMED_WHERE_THEY_DIFFER.items():
        value = contender[column]
        differs = tuple(contender[group] for group in groups) in telling[column]
        known = column == "device" and (value == "auto" or contender["numbered"])
        if value and differs and value not in name and not known:
            told.append(value)
    parts = [f"{name} ({', '.join(told)})" if told else name]
    if contender["source"]:
        machine = machine_name(contender["machine"], contender["published_on"])
        parts.append(f"published by {contender['source']}, {machine}")
    parts += [UNVERIFIED] if contender["unverified"] else []
    return " · ".join(parts)


def _key(contender: Contender) -> tuple[str | None, ...]:
    return tuple(contender[name] for name in IDENTITY)


def _free(label: str, taken: Collection[str]) -> str:
    """The label, told apart by a number where it is taken."""
    candidates = (label, *(f"{label} ({n})" for n in range(2, len(taken) + 3)))
    return next(candidate for candidate in candidates if candidate not in taken)


def _differs(contenders: Sequence[Contender], name: str, *groups: str) -> set[tuple[str | None, ...]]:
    """The groups of contenders within which a column has more than one value."""
    values: dict[tuple[str | None, ...], set[str]] = {}
    for contender in contenders:
        if value := contender[name]:
            values.setdefault(tuple(contender[group] for group in groups), set()).add(value)
    return {group for group, found in values.items() if len(found) > 1}
