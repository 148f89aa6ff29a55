"""Where another measure has another winner than latency: calls that are queued, or energy.

Whoever queues many calls may need another library than whoever waits for each, and the fastest is not always the one that needs
least energy. Only differences are told.
"""

from mtbench.results.answers.contests import Form, Round, Shape
from mtbench.results.answers.sentences import clauses_of, differs, together
from mtbench.results.answers.words import and_, from_to, listed
from mtbench.results.certainty import OPEN
from mtbench.results.comparison import HIGHEST_THRESHOLD
from mtbench.results.format import times


def queued(single: Round, many: Round) -> tuple[str, str] | None:
    """Who is fastest in queued calls where that is another library than in single ones, and the level (LEVELS) of the less sure
    of the two. None where they agree, or where one is open."""
    waited, queues = (
        {
            contest.shape: contest.hinge
            for contest in one.contests
            if contest.hinge is not None and differs(contest.hinge)
        }
        for one in (single, many)
    )
    turned = {
        shape: rival
        for shape, rival in queues.items()
        if shape in waited and waited[shape].winner.library != rival.winner.library
    }
    if not turned:
        return None
    shapes = [contest.shape for contest in many.contests]
    first = and_(sorted({waited[shape].winner.library for shape in turned}))
    level = together([one[shape].certainty for shape in turned for one in (waited, queues)])
    return (
        f"with queued calls it is the other way round: {'; '.join(clauses_of(turned, shapes))}; with calls that are waited "
        f"for, the fastest is {first}.",
        level,
    )


def energy(one: Round) -> tuple[str, str] | None:
    """Which library needs less energy for a call than the fastest one, where that is recorded. The level is always open: a
    record has one energy, without an interval. Differences as small as noise are not told."""
    less: dict[Shape, tuple[Form, Form, float]] = {}
    for contest in one.contests:
        known = [form for form in contest.forms if form.library in contest.chosen_from and _joule(form) > 0]
        least = min(known, key=_joule, default=None)
        if least is None or contest.winner not in known or least.library == contest.winner.library:
            continue
        ratio = _joule(contest.winner) / _joule(least)
        if ratio > 1 + HIGHEST_THRESHOLD:
            less[contest.shape] = (least, contest.winner, ratio)
    if not less:
        return None
    shapes = [contest.shape for contest in one.contests]
    clauses = []
    for library in dict.fromkeys(form.library for form, _, _ in less.values()):
        own = {shape: found for shape, found in less.items() if found[0].library == library}
        lean = dict.fromkeys(form.name for form, _, _ in own.values())
        fast = dict.fromkeys(winner.name for _, winner, _ in own.values())
        ratios = [ratio for _, _, ratio in own.values()]
        factor = from_to(times(min(ratios)), times(max(ratios)))
        at = "" if len(own) == len(shapes) else f" at {listed(list(own), shapes)}"
        clauses.append(f"{and_(list(fast))} takes {factor} the energy of {and_(list(lean))}{at}")
    return f"the fastest needs more energy: {'; '.join(clauses)} (open: one figure each, without an interval).", OPEN


def _joule(form: Form) -> float:
    return form.row.get("energy_joule") or 0.0
