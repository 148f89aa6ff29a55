"""What can be asked of a sweep: does compiling pay, do fewer bits pay, how far is it from the limit, what limits the answer."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from statistics import median

from mtbench.plain import to_json
from mtbench.results import comparison, limits
from mtbench.results.answers import stored_weights
from mtbench.results.answers.contests import Contest, Form, Group, Round, Row, Shape
from mtbench.results.certainty import Certainty, certainty
from mtbench.results.verdicts import Comparison

FULL = "float32"
"""The precision that others are compared with."""

QUANTISED, PLAIN_PRODUCT = "quantized_linear", "linear"


@dataclass(frozen=True)
class Step:
    """One form against another in one shape: from the usual one to the one that may pay. `comparison` is the second one's time
    over the first one's."""

    shape: Shape
    before: Form
    after: Form
    comparison: Comparison

    @property
    def certainty(self) -> Certainty:
        return certainty(self.comparison)


@dataclass(frozen=True)
class Change:
    """The same change in all shapes of a group: compiling a library, or another precision of it. `what` is `compiled`, a dtype
    or a number of bits; `than` what that is compared with."""

    group: Group
    library: str
    what: str
    than: str
    steps: tuple[Step, ...]


Pairs = list[tuple[Shape, Form, Form]]


@dataclass(frozen=True)
class _Asked:
    """A change before its forms are compared. All changes are compared at once, since one by one they take long."""

    group: Group
    library: str
    what: str
    than: str
    pairs: Pairs


def compiling(rounds: Iterable[Round]) -> list[Change]:
    """Each library's fastest compiled form against its fastest eager one, in each group that has both."""
    found = []
    for one in rounds:
        by_library: dict[str, Pairs] = {}
        for contest in one.contests:
            for library in contest.libraries:
                forms = [form for form in contest.forms if form.library == library]
                eager = next((form for form in forms if not form.compiled), None)
                compiled = next((form for form in forms if form.compiled), None)
                if eager is not None and compiled is not None:
                    by_library.setdefault(library, []).append((contest.shape, eager, compiled))
        for library, pairs in sorted(by_library.items()):
            found.append(_Asked(one.group, library, "compiled", "eager", pairs))
    return _answered(found)


def precisions(rounds: Sequence[Round]) -> list[Change]:
    """Each library's fastest form in another dtype than float32, against its fastest one in float32; and likewise with
    quantised weights, against plain ones of the same dtype."""
    by_work: dict[Group, dict[str, Round]] = {}
    for one in rounds:
        by_work.setdefault(replace(one.group, dtype=""), {})[one.group.dtype] = one
    found = []
    for dtypes in by_work.values():
        full = dtypes.get(FULL)
        others = [one for dtype, one in dtypes.items() if dtype != FULL]
        found += [asked for one in others if full is not None for asked in _changes(full, one, one.group.dtype, FULL)]
    return _answered([*found, *_bits(rounds), *_weights(rounds)])


def _bits(rounds: Sequence[Round]) -> Iterator[_Asked]:
    plain = {_product(one.group): one for one in rounds if one.group.operator == PLAIN_PRODUCT}
    for one in rounds:
        if one.group.operator == QUANTISED:
            usual = plain.get(_product(one.group))
            if usual is not None:
                params = json.loads(one.group.params)
                groups = "" if params.get("group_size") is None else f" in groups of {params['group_size']}"
                mode = params.get("mode", "affine")
                what = f"{params.get('bits')} bits{groups}" if mode == "affine" else f"{mode}"
                yield from _changes(usual, one, what, f"plain {usual.group.dtype}")


def _weights(rounds: Sequence[Round]) -> Iterator[_Asked]:
    """Of whole models: each library's quantised weights against its own in the dtype."""
    by_work: dict[Group, list[tuple[str, Round]]] = {}
    for one in rounds:
        if stored_weights.told({"params": one.group.params}):
            name = stored_weights.stored({"params": one.group.params})
            by_work.setdefault(stored_weights.in_any_way(one.group), []).append((name, one))
    for found in by_work.values():
        usual = next((one for name, one in found if name == stored_weights.UNROUNDED), None)
        for name, one in found:
            if usual is not None and name != stored_weights.UNROUNDED:
                yield from _changes(usual, one, f"{name} weights", usual.group.dtype)


def _product(group: Group) -> Group:
    """The group of a product, with no parameters but its sizes. A bias is a small part of it, and the quantised product has
    none."""
    params = {name: value for name, value in json.loads(group.params).items() if name in ("embed_dim", "out_dim")}
    return replace(group, operator=PLAIN_PRODUCT, params=to_json(params))


def _changes(before: Round, after: Round, what: str, than: str) -> Iterator[_Asked]:
    ours = {contest.shape: contest for contest in before.contests}
    by_library: dict[str, Pairs] = {}
    for contest in after.contests:
        usual = ours.get(contest.shape)
        for library in contest.chosen_from:
            if usual is not None and library in usual.libraries:
                pairs = by_library.setdefault(library, [])
                pairs.append((contest.shape, usual.best(library), contest.best(library)))
    for library, pairs in sorted(by_library.items()):
        yield _Asked(after.group, library, what, than, pairs)


def _answered(asked: Sequence[_Asked]) -> list[Change]:
    """The changes with their comparisons; those of one change are a family."""
    pairs = [
        (number, before.timings, after.timings) for number, one in enumerate(asked) for _, before, after in one.pairs
    ]
    judged = iter(comparison.newest(pairs))
    return [
        Change(one.group, one.library, one.what, one.than, tuple(Step(*pair, next(judged)) for pair in one.pairs))
        for one in asked
    ]


@dataclass(frozen=True)
class Distance:
    """How near a contest's winner comes to what this machine can do: a fraction, and the libraries that set the roof. The
    fraction may be smaller where the roof is not `sure`."""

    group: Group
    contest: Contest
    fraction: float
    set_by: str | None
    sure: bool = True


def distances(rounds: Iterable[Round]) -> list[Distance]:
    """The distances of the winners whose limit is known."""
    return [
        Distance(one.group, contest, row["limit_fraction"], limits.set_by(row), limits.sure(row))
        for one in rounds
        for contest in one.contests
        if (row := contest.winner.row)["limit_fraction"] is not None
    ]


@dataclass(frozen=True)
class Settle:
    """The command that sharpens what is open in one sweep, how long it takes in seconds (None where the records do not tell),
    and the cells that it measures."""

    command: str
    seconds: float | None
    cells: int


def still_open(rounds: Iterable[Round]) -> dict[str, set[str]]:
    """The cells (their id) of each sweep in which it is not sure who is fastest, where measuring on may tell."""
    found: dict[str, set[str]] = {}
    for one in rounds:
        for contest in one.contests:
            for rival in contest.rivals:
                row = contest.winner.row
                if rival.certainty.level != "sure" and rival.comparison.interleaved and row["sweep_id"]:
                    found.setdefault(row["sweep_id"], set()).add(row["cell_id"])
    return found


def settling(rows: Sequence[Row], open_cells: dict[str, set[str]], folders: dict[str, str]) -> list[Settle]:
    """For each sweep that has open cells, how to go on with it. `folders` has where each sweep's records are; those that it
    does not know are settled by one command."""
    found: dict[str, Settle] = {}
    for sweep, cells in open_cells.items():
        there = [row for row in rows if row["sweep_id"] == sweep]
        measured = max((row["restarts"] for row in there), default=0)
        planned = max((json.loads(row["protocol"]).get("restarts", 0) for row in there), default=0) or measured
        more = 2 * planned - measured  # what `resume --only-inconclusive` adds
        visits = _visit_seconds(there)
        known = [visits[cell] for cell in cells if cell in visits]
        seconds = more * math.fsum(known) * len(cells) / len(known) if known and more > 0 else None
        command = f"python -m mtbench resume {folders.get(sweep, 'DIR')} --only-inconclusive"
        before = found.get(command, Settle(command, 0.0, 0))
        in_all = None if seconds is None or before.seconds is None else before.seconds + seconds
        found[command] = Settle(command, in_all, before.cells + len(cells))
    return list(found.values())


def _visit_seconds(rows: Iterable[Row]) -> dict[str, float]:
    """How long the median visit to each cell took, in seconds: from the previous reading of the machine to the visit's own."""
    readings: set[tuple[datetime, str]] = set()
    starts: list[datetime] = []
    for row in rows:
        if row["started_at"] is not None:
            starts.append(row["started_at"])
        for reading in json.loads(row["conditions"] or "[]"):
            with suppress(KeyError, ValueError):  # older readings have no time
                readings.add((datetime.fromisoformat(reading["taken_at"]), row["cell_id"]))
    ordered = sorted(readings)
    first = min(starts, default=None)
    before = [first if first is not None and ordered and first < ordered[0][0] else None, *(at for at, _ in ordered)]
    spans = [
        (cell, (at - earlier).total_seconds()) for (at, cell), earlier in zip(ordered, before, strict=False) if earlier
    ]
    return {
        cell: median(seconds for _, seconds in each)
        for cell, each in ((cell, list(each)) for cell, each in groupby(sorted(spans), key=lambda one: one[0]))
    }
