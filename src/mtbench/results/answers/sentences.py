"""Answers in words: templates over contests and changes, the same in the terminal, the report and the API.

A sentence names arms as the terminal does, gives a factor above 1, and says how sure it is. Nothing is averaged: over several
shapes it gives the range.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from mtbench.results.answers import stored_weights
from mtbench.results.answers.contests import Group, Rival, Round, Row, Shape
from mtbench.results.answers.questions import Change, Distance, Settle, Step
from mtbench.results.answers.words import and_, from_to, listed, or_
from mtbench.results.certainty import LEVELS, LIKELY, OPEN, SURE, Certainty, certainty
from mtbench.results.certainty import equal as is_equal
from mtbench.results.format import duration, one_line, percent, plural, span, times
from mtbench.results.verdicts import Comparison

MANY = 3
"""If more arms than this have no time, a sentence counts them; the table and the caveats name them."""


def title(group: Group, told: Sequence[str] = (), machine: bool = False, dtype: bool = True) -> str:
    """`Decode, gqa of smollm2_135m, bfloat16`."""
    parts = [
        *([group.machine] if machine else []),
        group.regime,
        group.subject(told),
        *([group.dtype] if dtype else []),
    ]
    text = ", ".join(parts)
    return text if machine else text[0].upper() + text[1:]


def fastest(one: Round, by_arm: bool = False) -> tuple[str, str]:
    """Who is fastest in a group, without its title, and how sure that is, one of LEVELS. Winners are told apart by library, or
    by arm."""
    if not one.contests:
        return f"no time: {failures(one.failed)}.", OPEN
    rivals = {contest.shape: contest.hinge for contest in one.contests if contest.hinge is not None}
    if not rivals:
        only = ", ".join(dict.fromkeys(contest.winner.name for contest in one.contests))
        ns = [contest.winner.ns for contest in one.contests]
        lost = f" ({failures(one.failed)})" if one.failed else ""
        return f"only {only} was timed, {from_to(duration(min(ns)), duration(max(ns)))} a call{lost}.", OPEN
    shapes = list(rivals)
    decided = {shape: rival for shape, rival in rivals.items() if differs(rival)}
    winners = {winner_of(rival, by_arm) for rival in decided.values()}
    equal = [shape for shape, rival in rivals.items() if is_equal(rival.comparison) and rival.certainty.level != OPEN]
    unclear = [shape for shape in shapes if shape not in decided and shape not in equal]
    if len(shapes) == 1:
        return _alone(one, next(iter(rivals.values())))
    if not winners:
        return _undecided(one, rivals, equal, unclear)
    libraries = {form.library for rival in rivals.values() for form in (rival.winner, rival.form)}
    clauses = clauses_of(decided, shapes, len(libraries) > 1, by_arm)
    if equal:
        clauses.append(f"equally fast at {listed(equal, shapes)}")
    if unclear:
        clauses.append(f"open at {listed(unclear, shapes)}")
    depends = "it depends on the shape: " if len(winners) > 1 else ""
    every = [rival.certainty for contest in one.contests for rival in contest.rivals]
    level = together([*every, *[Certainty(OPEN)] * len(unclear)])
    lost = _lost(one)
    return f"{depends}{'; '.join(clauses)}{lost}.", level


def clauses_of(
    decided: dict[Shape, Rival], shapes: Sequence[Shape], libraries: bool = True, by_arm: bool = False
) -> list[str]:
    """For each library that wins, or each arm, how it wins, at which of these shapes and how sure that is."""
    found = []
    for name in dict.fromkeys(winner_of(rival, by_arm) for rival in decided.values()):
        won = {shape: rival for shape, rival in decided.items() if winner_of(rival, by_arm) == name}
        where = "" if len(won) == len(shapes) else f" at {listed(list(won), shapes)}"
        found.append(_won(won, libraries) + where + _how_sure(won.values()))
    return found


def winner_of(rival: Rival, by_arm: bool = False) -> str:
    """The winner's library, or its arm."""
    return rival.winner.name if by_arm else rival.winner.library


def _alone(one: Round, rival: Rival) -> tuple[str, str]:
    """The sentence for a single shape."""
    others = [each for each in one.contests[0].rivals if each is not rival]
    level = together([each.certainty for each in one.contests[0].rivals])
    winner, other, found, sure = rival.winner.name, rival.form.name, rival.comparison, rival.certainty
    lost = _lost(one)
    closer = "".join(
        f"; {winner} is {_beats(each)}" for each in others if differs(each) and each.comparison.ratio < found.ratio
    )
    if is_equal(found) and sure.level != OPEN:
        return (
            f"{winner} and {other} are equally fast, within {percent(_apart(found))} ({sure.level}){lost}.",
            level,
        )
    if rival.doubt is not rival.form and sure.level == OPEN and _shown(found):
        but = f"{_faster(rival)} than {other}, but {rival.doubt.name} {sure.why}"
        return f"open between {winner} and {rival.form.library}: {but}{closer}{lost}.", OPEN
    if sure.level == OPEN or found.ratio < 1:
        return f"open between {winner} and {other}: {either(found)} ({sure.why}){closer}{lost}.", OPEN
    beaten = [each for each in others if differs(each)]
    alike = [each for each in beaten if each.certainty.level == sure.level]
    text = f"{winner} is {'likely ' * (sure.level == LIKELY)}{_faster(rival)} than {other}"
    text += "".join(f", {_faster(each)} than {each.form.name}" for each in alike)
    of_another = (
        f"{sure.level}: {sure.why} of {rival.doubt.name}" if rival.doubt is not rival.form and sure.why else sure
    )
    unlike = "".join(f", {_beats(each)}" for each in beaten if each.certainty.level != sure.level)
    return f"{text} ({of_another}){unlike}{lost}.", level


def _undecided(
    one: Round, rivals: dict[Shape, Rival], equal: Sequence[Shape], unclear: Sequence[Shape]
) -> tuple[str, str]:
    names = sorted(
        {rival.winner.library for rival in rivals.values()} | {rival.form.library for rival in rivals.values()}
    )
    if len(names) == 1:
        forms = (form for contest in one.contests for form in contest.forms if form.library == names[0])
        names = sorted({form.name for form in forms})
    who = and_(names)
    lost = _lost(one)
    if not unclear:
        level = together([rivals[shape].certainty for shape in equal])
        return f"{who} are equally fast at all {len(equal)} shapes ({level}){lost}.", level
    why = _most([rivals[shape].certainty.why for shape in unclear])
    widest = max((rivals[shape] for shape in unclear), key=lambda rival: rival.comparison.ratio)
    also = f", equally fast at {len(equal)}" if equal else ""
    apart = f"measured up to {times(max(widest.comparison.ratio, 1.0))} apart"
    return f"open between {who} at {len(unclear)} of {len(rivals)} shapes ({why}; {apart}){also}{lost}.", OPEN


def _won(won: dict[Shape, Rival], libraries: bool) -> str:
    """`mlx_compiled is 1.4x to 3.2x faster than torch`; by arm where it is the same one everywhere, else by library."""
    winners = {rival.winner.name for rival in won.values()}
    others = {rival.form.name for rival in won.values()}
    who = winners.pop() if len(winners) == 1 else next(iter(won.values())).winner.library
    own = {rival.winner.library for rival in won.values()}
    rest = {rival.form.library for rival in won.values()}
    named = [*sorted(rest - own), *(["its other forms"] if rest & own else [])]
    than = others.pop() if len(others) == 1 else or_(named) if libraries else "its other forms"
    likely = all(rival.certainty.level == LIKELY for rival in won.values())
    if len(won) == 1:
        return f"{who} is {'likely ' * likely}{_faster(next(iter(won.values())))} than {than}"
    ratios = [rival.comparison.ratio for rival in won.values()]
    return f"{who} is {'likely ' * likely}{from_to(times(min(ratios)), times(max(ratios)))} faster than {than}"


def _beats(rival: Rival) -> str:
    """`likely 3.2x faster than torch (likely: only 2 restarts)`."""
    likely = "likely " * (rival.certainty.level == LIKELY)
    return f"{likely}{_faster(rival)} than {rival.form.name} ({rival.certainty})"


def _faster(rival: Rival) -> str:
    one = rival.comparison
    ratio, _, bounds = times(one.ratio, *(one.bounds or ())).partition(" ")
    return f"{ratio} faster{f' {bounds}' if bounds else ''}"


def _how_sure(rivals: Iterable[Rival]) -> str:
    levels = [rival.certainty for rival in rivals]
    counts = Counter(one.level for one in levels)
    if len(levels) == 1:
        return f" ({levels[0]})"
    if len(counts) == 1:
        why = _most([one.why for one in levels])
        return f" ({levels[0].level}{f': {why}' if why else ''})"
    return f" ({', '.join(f'{level} at {counts[level]}' for level in LEVELS if counts[level])})"


def either(one: Comparison) -> str:
    """`anything from 1.3x slower to 1.5x faster`, for what may be either."""
    if one.bounds is None:
        return f"measured {times(max(one.ratio, 1 / one.ratio))} apart, without an interval"
    low, high = one.bounds
    slower, faster = times(1 / low) if low > 0 else "much", times(high)
    return (
        f"anything from {slower} slower to {faster} faster" if low < 1 < high else f"measured {times(one.ratio)} apart"
    )


def change(one: Change) -> tuple[str, str]:
    """Whether a change pays, without the group's title, and how sure that is. For compiling, what the first call costs."""
    who = f"compiling {one.library}" if one.what == "compiled" else f"{one.library} in {one.what}"
    than = "" if one.what == "compiled" else f" than in {one.than}"
    pays, does_not = ("pays: ", "does not pay: ") if one.what == "compiled" else ("is ", "is ")
    equal = [step for step in one.steps if is_equal(step.comparison)]
    decided = [step for step in one.steps if step.certainty.level != OPEN and step not in equal]
    faster = [step for step in decided if step.comparison.ratio < 1]
    slower = [step for step in decided if step.comparison.ratio >= 1]
    unclear = [step for step in one.steps if step not in (*decided, *equal)]
    shapes = [step.shape for step in one.steps]
    clauses = []
    if faster:
        clauses.append(pays + _by(faster, shapes, "faster", than))
    if slower:
        clauses.append(does_not + _by(slower, shapes, "slower", than))
    if equal:
        clauses.append(
            f"{'changes nothing' if one.what == 'compiled' else 'is as fast'}{_at(equal, shapes)} ({_level(equal)})"
        )
    if unclear:
        why = _most([step.certainty.why for step in unclear])
        clauses.append(f"{'may pay or not' if one.what == 'compiled' else 'is open'}{_at(unclear, shapes)} ({why})")
    cost = (
        first_call(one.steps) if one.what == "compiled" else stored_weights.cost([step.after.row for step in one.steps])
    )
    level = together([step.certainty for step in one.steps])
    return f"{who} {', '.join(clauses)}{f'; {cost}' if cost else ''}.", level


def first_call(steps: Sequence[Step]) -> str:
    """What the first call of the compiled form costs, and after how many calls that is won back."""
    known = [step for step in steps if step.after.row["first_call_ns"] is not None]
    if not known:
        return "its first call was not timed"
    costs = [step.after.row["first_call_ns"] for step in known]
    text = f"the first call takes {from_to(duration(min(costs)), duration(max(costs)))}"
    calls = [_won_back(step) for step in known]
    back = [count for count in calls if count is not None]
    if not back:
        return text
    few, many = _rounded(min(back)), _rounded(max(back))
    return f"{text}, won back after {from_to(few, many)} calls" if many != "1" else text


def _won_back(step: Step) -> float | None:
    """Calls after which compiling has paid for its first call; None where it does not, or that is open."""
    if is_equal(step.comparison) or step.certainty.level == OPEN or step.comparison.ratio >= 1:
        return None
    cost: float = step.after.row["first_call_ns"] - (step.before.row["first_call_ns"] or 0)
    return max(1.0, cost / (step.before.ns * (1 - step.comparison.ratio)))


def _by(steps: Sequence[Step], shapes: Sequence[Shape], word: str, than: str) -> str:
    """`1.4x to 3.2x faster than in float32 at seq 64 (sure)`."""
    oriented = [step.comparison if word == "slower" else step.comparison.swapped() for step in steps]
    if len(oriented) == 1:
        ratio, _, bounds = times(oriented[0].ratio, *(oriented[0].bounds or ())).partition(" ")
        text = f"{ratio} {word}{f' {bounds}' if bounds else ''}"
    else:
        ratios = [one.ratio for one in oriented]
        text = f"{from_to(times(min(ratios)), times(max(ratios)))} {word}"
    levels = {step.certainty.level for step in steps}
    why = _most([step.certainty.why for step in steps])
    sure = (levels.pop() + (f": {why}" if why else "")) if len(levels) == 1 else "some likely, some sure"
    return f"{text}{than}{_at(steps, shapes)} ({sure})"


def _at(steps: Sequence[Step], shapes: Sequence[Shape]) -> str:
    return "" if len(steps) == len(shapes) else f" at {listed([step.shape for step in steps], shapes)}"


def distance(found: Sequence[Distance]) -> tuple[str, str]:
    """How near the winners of a group come to what the machine can do, and how sure that is, one of LEVELS."""
    fractions = [one.fraction for one in found]
    unsure = [one for one in found if not one.sure]
    most = "at most " if len(unsure) == len(found) else ""
    where = f" at {len(unsure)} of {len(found)} shapes" if 0 < len(unsure) < len(found) else ""
    doubt = f" ({LIKELY}: roof unsure{where})" if unsure else ""
    who = and_(sorted({one.contest.winner.name for one in found}))
    by = sorted({one.set_by for one in found if one.set_by})
    told = f", the best rate that {and_(by)} reached here" if by else ""
    reach = "reaches" if len({one.contest.winner.name for one in found}) == 1 else "reach"
    share = from_to(percent(min(fractions)), percent(max(fractions)))
    text = f"{who} {reach} {most}{share} of what this machine can do{told}{doubt}."
    return text, LIKELY if unsure else SURE


def settle(one: Settle) -> str:
    """The command that sharpens what is open."""
    return f"{one.command}   ({extent(one)})"


def extent(one: Settle) -> str:
    """`4 cells, about 3 min`."""
    takes = "" if one.seconds is None else f", about {span(one.seconds)}"
    return f"{one.cells} {plural(one.cells, 'cell')}{takes}"


def failures(rows: Sequence[Row]) -> str:
    """`mlx and torch_compiled crashed: no compiler`; each reason once, the last one of each arm."""
    why = {row["arm"]: f"{row['status']}: {one_line(row['reason'] or 'no reason').rstrip('.')}" for row in rows}
    arms: dict[str, list[str]] = {}
    for arm, said in why.items():
        arms.setdefault(said, []).append(arm)
    return "; ".join(f"{and_(sorted(those))} {said}" for said, those in arms.items()) or "nothing was measured"


def _lost(one: Round) -> str:
    """Arms that have no time anywhere in the group: a winner has not beaten these."""
    timed = {form.row["arm"] for contest in one.contests for form in contest.forms}
    lost = {row["arm"]: row["status"] for row in one.failed if row["arm"] not in timed}
    if len(lost) > MANY:
        counts = (f"{count} {status}" for status, count in Counter(lost.values()).items())
        return f"; {len(lost)} arms have no time ({', '.join(counts)})"
    return "".join(f"{', ' if number else '; '}{arm} {status}" for number, (arm, status) in enumerate(lost.items()))


def differs(rival: Rival) -> bool:
    """Whether the winner is shown to beat this rival, at least likely."""
    return rival.certainty.level != OPEN and not is_equal(rival.comparison) and rival.comparison.ratio > 1


def _shown(one: Comparison) -> bool:
    return certainty(one).level != OPEN and one.ratio > 1


def _apart(one: Comparison) -> float:
    return max(one.high, 1 / one.low) - 1


def _level(steps: Sequence[Step]) -> str:
    return together([step.certainty for step in steps])


def together(found: Sequence[Certainty]) -> str:
    """The level of several: that of the least sure."""
    return max((one.level for one in found), key=LEVELS.index, default=OPEN)


def _rounded(count: float) -> str:
    """A number of calls to two digits."""
    return f"{int(float(f'{count:.1e}')):,}"


def _most(reasons: Sequence[str | None]) -> str | None:
    """The most frequent reason."""
    known = Counter(reason for reason in reasons if reason)
    return known.most_common(1)[0][0] if known else None
