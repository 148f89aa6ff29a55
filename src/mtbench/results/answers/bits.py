"""Whole models whose weights are stored in several ways: which library, at how many bits, and what fewer bits cost."""

from collections.abc import Sequence

from mtbench.results.answers import contests, sentences, stored_weights
from mtbench.results.answers.contests import Contest, Form, Measured, Round
from mtbench.results.answers.stored_weights import UNROUNDED, stored
from mtbench.results.answers.words import and_
from mtbench.results.certainty import LEVELS, OPEN, certainty
from mtbench.results.format import times


def rounds(measured: Sequence[Measured]) -> list[Round]:
    """The contests of all libraries at all numbers of bits, where a model was measured with several."""
    whole = [one for one in measured if stored_weights.told(one.row)]
    group_of = contests.groups_of(measured)
    found = contests.rounds(whole, lambda row: stored_weights.in_any_way(group_of(row)), stored)
    return [one for one in found if len({stored(form.row) for each in one.contests for form in each.forms}) > 1]


def fastest(one: Round) -> tuple[str, str]:
    """Which arm is fastest at any number of bits, what that is worth against 16 bits, and what it costs, without the title; and
    how sure it is that no other library is faster."""
    text, level = sentences.fastest(one, by_arm=True)
    winners = [contest.winner.row for contest in one.contests]
    whose = "the winner's" if level != OPEN else f"{and_(sorted({row['arm'] for row in winners}))}'s"
    said = [text.removesuffix("."), stored_weights.cost(winners, whose), _against_plain(one.contests)]
    return f"{'; '.join(filter(None, said))}.", level


def _against_plain(found: Sequence[Contest]) -> str:
    """`at 16 bits torch takes 2.1x to 2.4x as long (sure)`, where fewer bits win at all shapes; or that it is open."""
    plain = {contest.shape: form for contest in found if (form := _plain(contest)) not in (None, contest.winner)}
    if len(plain) < len(found):
        return ""
    over = [contest.over[form.name] for contest in found if (form := plain[contest.shape]) is not None]
    libraries = {form.library for form in plain.values() if form is not None}
    who = libraries.pop() if len(libraries) == 1 else "the fastest"
    sure = max((certainty(one) for one in over), key=lambda one: LEVELS.index(one.level))
    if sure.level == OPEN:
        return f"at 16 bits {who} may take as long ({sure})"
    low, high = times(min(one.ratio for one in over)), times(max(one.ratio for one in over))
    return f"at 16 bits {who} takes {low if low == high else f'{low} to {high}'} as long ({sure})"


def _plain(contest: Contest) -> Form | None:
    """The fastest form without rounded weights."""
    return next((form for form in contest.forms if stored(form.row) == UNROUNDED), None)
