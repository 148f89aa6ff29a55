"""The answers of a sweep, in words: who is fastest, by how much, how sure; what pays; what limits it; what would settle it.

`answers` is the way in. The terminal, the report and the API show the same sentences.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mtbench.results.answers import bits, contests, otherwise, questions, sentences
from mtbench.results.answers.caveats import Caveat, caveats
from mtbench.results.answers.contests import Group, Measured, Round
from mtbench.results.answers.questions import Settle
from mtbench.results.answers.regimes import REGIMES
from mtbench.results.answers.stored_weights import in_any_way
from mtbench.results.certainty import LEVELS, OPEN, SURE
from mtbench.results.certainty import equal as is_equal
from mtbench.results.format import plural

FASTEST, BITS, QUEUED, ENERGY = "fastest", "bits", "queued", "energy"
COMPILE, PRECISION, LIMIT = "compile", "dtype", "limit"

HEADLINES = 3
"""Groups of one regime that a headline names; more are counted."""


@dataclass(frozen=True)
class Answer:
    """One sentence. `question` is `fastest`, `bits`, `queued`, `energy`, `compile`, `dtype` or `limit`; `certainty` one of
    `certainty.LEVELS`; `title` says what it is about, `text` the rest."""

    question: str
    group: Group
    certainty: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.title}: {self.text}"


@dataclass(frozen=True)
class Answers:
    """All that a sweep, or several, answer. `headline` has a sentence or two for each regime of each machine."""

    headline: list[str]
    answers: list[Answer]
    caveats: list[Caveat]
    settle: list[Settle]
    rounds: list[Round] = field(repr=False)

    def of(self, question: str) -> list[Answer]:
        """The answers to one question."""
        return [one for one in self.answers if one.question == question]

    def lines(self) -> list[str]:
        """Everything, a sentence a line."""
        lines = list(self.headline)
        lines += [str(one) for one in self.answers if str(one) not in lines]
        lines += [str(one) for one in self.caveats]
        return lines + [f"To settle what is open: {sentences.settle(one)}" for one in self.settle]

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_pretty_(self, printer: "object", cycle: bool) -> None:
        printer.text(str(self))  # type: ignore[attr-defined]


def answers(
    measured: Sequence[Measured], folders: Mapping[str, str] | None = None, beside: Sequence[Measured] = ()
) -> Answers:
    """What these records answer. `folders` has the folder of each sweep, for the command that would settle what is open.

    `measured` are the records in the metric that is asked for. Where that is latency, `beside` are the records in throughput;
    answers that they give differently are added.
    """
    rounds = contests.rounds(measured)
    told = contests.told_params(one.group for one in rounds)
    several = len({one.group.machine_id for one in rounds}) > 1

    def named(group: Group) -> str:
        return sentences.title(group, told[group.operator], several)

    found = []
    for one in rounds:
        text, level = sentences.fastest(one)
        found.append(Answer(FASTEST, one.group, level, named(one.group), text))
    for one in bits.rounds(measured):
        text, level = bits.fastest(one)
        found.append(Answer(BITS, one.group, level, f"{named(one.group)}, at any bits", text))
    by_group = {one.group: one for one in contests.rounds(beside)}
    for one in rounds:
        others = {QUEUED: otherwise.queued(one, by_group[one.group]) if one.group in by_group else None}
        for question, told_otherwise in (others | {ENERGY: otherwise.energy(one)}).items():
            if told_otherwise is not None:
                text, level = told_otherwise
                found.append(Answer(question, one.group, level, named(one.group), text))
    for question, changes in ((COMPILE, questions.compiling(rounds)), (PRECISION, questions.precisions(rounds))):
        for change in changes:
            text, level = sentences.change(change)
            title = (
                named(change.group)
                if question == COMPILE
                else sentences.title(change.group, told[change.group.operator], several, dtype=False)
            )
            found.append(Answer(question, change.group, level, title, text))
    for one in rounds:
        known = questions.distances([one])
        if known:
            text, level = sentences.distance(known)
            found.append(Answer(LIMIT, one.group, level, named(one.group), text))
    rows = [one.row for one in measured]
    settle = questions.settling(rows, questions.still_open(rounds), dict(folders or {}))
    there = set((folders or {}).values())
    limits = caveats(rows, there.pop() if len(there) == 1 else "DIR")
    return Answers(_headline(rounds, found, several), found, limits, settle, rounds)


def _headline(rounds: Sequence[Round], found: Sequence[Answer], several: bool) -> list[str]:
    """For each machine and regime: its answers where they are few, else how many cells each library won. For a model whose
    weights were measured at several numbers of bits, the answer at any bits."""
    lines = []
    at_any_bits = [one for one in found if one.question == BITS]
    covered = {one.group for one in at_any_bits}
    fastest = [one for one in found if one.question == FASTEST]
    for machine in dict.fromkeys(one.group.machine_id for one in rounds):
        for regime in REGIMES:
            here = [one for one in fastest if (one.group.machine_id, one.group.regime) == (machine, regime)]
            own = [one for one in rounds if (one.group.machine_id, one.group.regime) == (machine, regime)]
            lines += [str(one) for one in at_any_bits if (one.group.machine_id, one.group.regime) == (machine, regime)]
            own = [one for one in own if in_any_way(one.group) not in covered]
            here = [one for one in here if in_any_way(one.group) not in covered]
            if here:
                chosen = _chosen(own)
                texts = [one for one in here if one.group in chosen]
                lines += [str(one) for one in texts] if len(texts) <= HEADLINES else [_counted(own, here, several)]
    aside = sorted({name for one in rounds for contest in one.contests for name in contest.aside})
    return lines + [f"{name} does not compete; its times are shown for comparison." for name in aside]


def _chosen(own: Sequence[Round]) -> set[Group]:
    """The groups of a regime that stand for it: those of whole models where there are any; of several dtypes the one in which
    the fastest arm ran."""
    whole = [one for one in own if one.group.operator == "causal_lm"] or list(own)
    best: dict[tuple[str, str | None, str], Round] = {}
    for one in whole:
        key = (one.group.operator, one.group.model, one.group.params)
        if one.contests or key not in best:
            best[key] = min((each for each in (best.get(key), one) if each is not None), key=_shortest)
    return {one.group for one in best.values()}


def _shortest(one: Round) -> float:
    return min((contest.winner.ns for contest in one.contests), default=float("inf"))


def _counted(own: Sequence[Round], here: Sequence[Answer], several: bool) -> str:
    """`Plain shapes, 12 cells: mlx is fastest in 5 (sure in 3), torch in 4 (sure in 4); 3 are open.`"""
    won: Counter[str] = Counter()
    sure: Counter[str] = Counter()
    equal = unclear = alone = 0
    for contest in (contest for one in own for contest in one.contests):
        rival = contest.hinge
        if rival is None:
            alone += 1
        elif is_equal(rival.comparison) and rival.certainty.level != OPEN:
            equal += 1
        elif rival.certainty.level == OPEN or rival.comparison.ratio < 1:
            unclear += 1
        else:
            won[rival.winner.library] += 1
            sure[rival.winner.library] += all(one.certainty.level == SURE for one in contest.rivals)
    cells = won.total() + equal + unclear + alone
    group = here[0].group
    clauses = [f"{library} is fastest in {count} (sure in {sure[library]})" for library, count in won.most_common()]
    clauses += [f"equally fast in {equal}"] * bool(equal) + [f"open in {unclear}"] * bool(unclear)
    clauses += [f"without a rival in {alone}"] * bool(alone)
    where = f"{group.machine}, {group.regime}" if several else group.regime[0].upper() + group.regime[1:]
    return f"{where}, {cells} {plural(cells, 'cell')}: {', '.join(clauses) or 'no time'}."


__all__ = [
    "BITS",
    "COMPILE",
    "ENERGY",
    "FASTEST",
    "LEVELS",
    "LIMIT",
    "PRECISION",
    "QUEUED",
    "Answer",
    "Answers",
    "Measured",
    "answers",
]
