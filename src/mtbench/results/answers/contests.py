"""Who ran against whom: every arm of a cell beside the fastest one, within one machine, regime, operator and dtype.

All arms of a contest have the same operator, parameters and dtype, whatever competed in the sweep. So float32 and bfloat16
never mix, and neither do decode and prefill, nor two machines.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from mtbench.plain import to_json
from mtbench.results import comparison, samples
from mtbench.results.answers.regimes import REGIMES, regime
from mtbench.results.baseline import LAST_RESORT
from mtbench.results.cells import named, names_that_differ
from mtbench.results.certainty import LEVELS, OPEN, Certainty, certainty
from mtbench.results.comparison import Timing
from mtbench.results.format import value
from mtbench.results.machines import machine_names
from mtbench.results.record import Record
from mtbench.results.verdicts import Comparison

Row = Mapping[str, Any]

Shape = tuple[int, int, int | None]
"""Batch size, positions, keys."""

Identity = tuple[str, str | None, str]
"""An arm, its library's version, and in what else its forms differ."""

USUAL = "torch"
"""The library that others are compared with where several would do."""

PHASE = ("phase",)
"""Parameters that the regime says already."""


@dataclass(frozen=True)
class Measured:
    """A record's columns (its samples may be left out) and its latency; no `timing` where no right answer was timed."""

    row: Row
    timing: Timing | None


def of_records(records: Iterable[Record], metric: str = "latency") -> list[Measured]:
    """Records with their samples, in latency or throughput."""
    return [Measured(vars(one), Timing.of(vars(one), metric, samples.blocks(one, metric))) for one in records]


@dataclass(frozen=True)
class Group:
    """What one sentence is about. `params` is JSON; `machine` a name for people."""

    machine_id: str
    machine: str
    regime: str
    operator: str
    model: str | None
    params: str
    dtype: str

    @property
    def place(self) -> tuple[Any, ...]:
        """A sorting key: machines apart, regimes in their order, whole models before their parts."""
        whole = 0 if self.operator == "causal_lm" else 1
        return (
            self.machine_id,
            REGIMES.index(self.regime),
            whole,
            self.operator,
            self.model or "",
            self.dtype,
            self.params,
        )

    def subject(self, told: Sequence[str] = ()) -> str:
        """The operator or model in words, with these of its parameters."""
        params = json.loads(self.params)
        whole = self.operator == "causal_lm" and self.model is not None
        name = str(self.model) if whole else self.operator + (f" of {self.model}" if self.model else "")
        return " ".join([name, *(f"{one}={value(params[one])}" for one in told if one in params)])


@dataclass(frozen=True)
class Form:
    """One arm in one cell: its name, its library, and its latencies, oldest first."""

    name: str
    library: str
    compiled: bool
    row: Row
    timings: tuple[Timing, ...]

    @property
    def ns(self) -> float:
        return self.timings[-1].ns


@dataclass(frozen=True)
class Rival:
    """The winner of a contest against another library: its fastest form, that form's time over the winner's, and how sure it
    is that the winner beats *every* form of it. `doubt` is the form of which that is least sure."""

    winner: Form
    form: Form
    comparison: Comparison
    certainty: Certainty
    doubt: Form


@dataclass(frozen=True)
class Contest:
    """One shape of a group. `forms` are fastest first; `over` has each one's time over the winner's, by name. `failed` are the
    records that have no time."""

    group: Group
    shape: Shape
    winner: Form
    forms: tuple[Form, ...]
    over: Mapping[str, Comparison] = field(default_factory=dict)

    @cached_property
    def libraries(self) -> list[str]:
        return list(dict.fromkeys(form.library for form in self.forms))

    @cached_property
    def chosen_from(self) -> list[str]:
        """The libraries that someone may choose between."""
        return list(dict.fromkeys(form.library for form in _chosen_from(self.forms)))

    @property
    def aside(self) -> list[str]:
        """Libraries that were measured too, which no answer names."""
        return [one for one in self.libraries if one not in self.chosen_from]

    def best(self, library: str) -> Form:
        return next(form for form in self.forms if form.library == library)

    @cached_property
    def rivals(self) -> list[Rival]:
        """The winner against each other library, closest first; against its own other forms where there is no other."""
        others = [one for one in self.chosen_from if one != self.winner.library]
        if not others:
            own = [form for form in _chosen_from(self.forms) if form is not self.winner]
            return [self._rival([form]) for form in own[:1]]
        found = [self._rival([form for form in self.forms if form.library == one]) for one in others]
        return sorted(found, key=lambda rival: rival.comparison.ratio)

    @property
    def hinge(self) -> Rival | None:
        """The rival that decides who is fastest: the closest of those against whom that is open, else the closest."""
        return next((one for one in self.rivals if one.certainty.level == OPEN), next(iter(self.rivals), None))

    def _rival(self, forms: Sequence[Form]) -> Rival:
        doubt = max(forms, key=lambda form: LEVELS.index(certainty(self.over[form.name]).level))
        return Rival(self.winner, forms[0], self.over[forms[0].name], certainty(self.over[doubt.name]), doubt)


@dataclass(frozen=True)
class Round:
    """All contests of a group, and its records without a time."""

    group: Group
    contests: list[Contest]
    failed: list[Row]


def rounds(
    measured: Sequence[Measured],
    group_by: Callable[[Row], Group] | None = None,
    form_by: Callable[[Row], str] | None = None,
) -> list[Round]:
    """Every group with its contests, smaller shapes first, in a readable order; `group_by` gives a record's group, by default
    `groups_of`. `form_by` says in what two forms of one arm differ, where such a group does not hold that equal.

    All comparisons with the winners of a group's contests are one family (Holm). The winner is chosen by the same data. The
    family allows for that: a false winner must beat the true one, and that pair is in it.
    """
    group_of = group_by or groups_of(measured)
    measured = [one for one in measured if one.row["status"] != "unverified"]  # others' figures prove nothing
    names = form_names([one.row for one in measured], form_by)
    groups: dict[Group, dict[Shape, dict[str, list[Measured]]]] = {}
    failed: dict[Group, list[Row]] = {}
    for one in sorted(measured, key=_age):
        group = group_of(one.row)
        shape = (one.row["batch_size"], one.row["seq_len"], one.row["kv_len"])
        forms = groups.setdefault(group, {}).setdefault(shape, {})
        if one.row["status"] == "mismatch":
            forms.pop(names[_identity(one.row, form_by)], None)  # a newer wrong answer takes the older speed away
        if one.timing is not None:
            forms.setdefault(names[_identity(one.row, form_by)], []).append(one)
        elif one.row["status"] not in ("ok", "interrupted"):
            failed.setdefault(group, []).append(one.row)
    ordered = sorted(groups, key=lambda group: group.place)
    contests = _contests({group: groups[group] for group in ordered})
    return [Round(group, contests[group], failed.get(group, [])) for group in ordered]


def groups_of(measured: Sequence[Measured]) -> Callable[[Row], Group]:
    """What gives the group of each of these records."""
    names = machine_names((one.row["machine"], one.row["machine_id"], one.row["source"]) for one in measured)

    def group_of(row: Row) -> Group:
        machine = names[row["machine"], row["machine_id"]]
        identity = (row["machine_id"] or "", machine, regime(row), row["operator"], row["model"])
        return Group(*identity, _kept_params(row["params"], row["model"]), row["dtype"])

    return group_of


@lru_cache(maxsize=1024)
def _kept_params(params: str, model: str | None) -> str:
    told = named(json.loads(params), model)
    return to_json({name: value for name, value in told.items() if name not in ("model", *PHASE)})


def told_params(groups: Iterable[Group]) -> dict[str, list[str]]:
    """For each operator, the parameters in which its groups differ, and always the type of quantised weights: without it,
    `bfloat16` would be taken for their type."""
    found: dict[str, list[dict[str, Any]]] = {}
    for group in groups:
        found.setdefault(group.operator, []).append(json.loads(group.params))
    return {operator: sorted({*names_that_differ(sets), *_quantised(sets)}) for operator, sets in found.items()}


def _quantised(sets: Iterable[Mapping[str, Any]]) -> list[str]:
    return ["weight_dtype"] if any(each.get("weight_dtype") not in (None, "bf16") for each in sets) else []


def form_names(rows: Iterable[Row], form_by: Callable[[Row], str] | None = None) -> dict[Identity, str]:
    """What each form is called: its arm, its version where a library has several, and what `form_by` says where an arm has
    several of that."""
    rows = list(rows)
    versions: dict[str, set[str]] = {}
    of_arm: dict[str, set[str]] = {}
    for row in rows:
        versions.setdefault(row["framework"], set()).update(filter(None, [row["library_version"]]))
        of_arm.setdefault(row["arm"], set()).add(_identity(row, form_by)[2])
    names = {}
    for row in rows:
        identity = arm, version, said = _identity(row, form_by)
        told = [version] if version and len(versions[row["framework"]]) > 1 and version not in arm else []
        told += [said] if len(of_arm[arm]) > 1 else []
        names[identity] = f"{arm} ({', '.join(told)})" if told else arm
    return names


def _identity(row: Row, form_by: Callable[[Row], str] | None = None) -> Identity:
    return row["arm"], row["library_version"], "" if form_by is None else form_by(row)


def _age(one: Measured) -> tuple[bool, Any]:
    finished = one.row["finished_at"]
    return finished is not None, finished


def _contests(
    groups: Mapping[Group, Mapping[Shape, Mapping[str, Sequence[Measured]]]],
) -> dict[Group, list[Contest]]:
    """The contests of every group. All comparisons with winners are made at once, since one by one they take long."""
    drawn: list[tuple[Group, Shape, Form, list[Form]]] = []
    for group, shapes in groups.items():
        for shape, by_name in sorted(shapes.items(), key=lambda each: (each[0][:2], each[0][2] or 0)):
            forms = sorted((_form(name, found) for name, found in by_name.items()), key=lambda form: form.ns)
            if forms:
                drawn.append((group, shape, _chosen_from(forms)[0], forms))
    pairs = [(index, form) for index, (*_, winner, forms) in enumerate(drawn) for form in forms if form is not winner]
    found = comparison.newest((drawn[index][0], drawn[index][2].timings, form.timings) for index, form in pairs)
    over: list[dict[str, Comparison]] = [{} for _ in drawn]
    for (index, form), one in zip(pairs, found, strict=True):
        over[index][form.name] = one
    contests: dict[Group, list[Contest]] = {group: [] for group in groups}
    for (group, shape, winner, forms), beaten in zip(drawn, over, strict=True):
        contests[group].append(Contest(group, shape, winner, tuple(forms), beaten))
    return contests


def _chosen_from(forms: Sequence[Form]) -> Sequence[Form]:
    """The forms that someone may choose between: without libraries of the last resort where two others are there."""
    chosen = [form for form in forms if form.library not in LAST_RESORT]
    return chosen if len(chosen) > 1 else forms


def _form(name: str, found: Sequence[Measured]) -> Form:
    timings = tuple(one.timing for one in found if one.timing is not None)
    row = found[-1].row
    return Form(name, row["framework"], row["mode"] not in ("eager", None), row, timings)


@dataclass(frozen=True)
class Duel:
    """One library's fastest form against the reference library's in one contest. `comparison` is B's time over A's, where A is
    the reference."""

    group: Group
    shape: Shape
    a: Form
    b: Form
    comparison: Comparison


def duels(found: Iterable[Round]) -> list[Duel]:
    """Every other library against the one that most contests have, in each contest that has both. Where the winner is one of
    the two, this is what was compared before; the others are corrected as a family for each group."""
    found = list(found)
    counts: dict[str, int] = {}
    for contest in (contest for one in found for contest in one.contests):
        for library in contest.chosen_from:
            counts[library] = counts.get(library, 0) + (len(contest.chosen_from) > 1)
    if not any(counts.values()):
        return []
    reference = min(counts, key=lambda library: (-counts[library], library != USUAL, library))
    drawn = [
        (one.group, contest, contest.best(reference), contest.best(other))
        for one in found
        for contest in one.contests
        for other in contest.chosen_from
        if other != reference and reference in contest.chosen_from
    ]
    left = [(group, a.timings, b.timings) for group, contest, a, b in drawn if contest.winner not in (a, b)]
    others = iter(comparison.newest(left))
    made = []
    for group, contest, a, b in drawn:
        if contest.winner is a:
            one = contest.over[b.name]
        else:
            one = contest.over[a.name].swapped() if contest.winner is b else next(others)
        made.append(Duel(group, contest.shape, a, b, one))
    return made
