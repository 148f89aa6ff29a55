"""What the instrument has to show, and whether it did: verdicts from numbers alone.

Goals are for one of two kinds of machine, dedicated or shared. A goal is `met` or `missed` where the interval of what
was measured lies on one side of it. Where the goal lies within the interval, the number itself decides if there are as
many trials as the goal is set for; else it is `not shown`: 0 of 20 proves no 1 %.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from mtbench.results import format
from mtbench.results.selftest import MET, MISSED, NOT_POSSIBLE, NOT_SHOWN, REPORTED, Row
from mtbench.results.stats import Interval, mean_interval
from mtbench.results.verdicts import Comparison

DEDICATED, SHARED = "dedicated", "shared"

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Goal:
    """A bound, and the number of trials from which on the measured value decides where its interval does not."""

    bound: float
    at_least: bool = False
    trials: float = math.inf

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {percent(self.bound)}"


Goals = dict[str, dict[str, Goal | None]]

GOALS: Goals = {
    "busy-wait of 0.1 ms": {DEDICATED: Goal(0.002), SHARED: None},
    "busy-wait of 1 ms": {DEDICATED: Goal(0.002), SHARED: Goal(0.005)},
    "busy-wait of 10 ms": {DEDICATED: Goal(0.002), SHARED: Goal(0.005)},
    "different by the test": dict.fromkeys((DEDICATED, SHARED), Goal(0.05, trials=200)),
    "different as a verdict": dict.fromkeys((DEDICATED, SHARED), Goal(0.01, trials=200)),
    "3 % more": {
        DEDICATED: Goal(0.99, at_least=True, trials=100),
        SHARED: Goal(0.90, at_least=True, trials=100),
    },
    "1 % more": {DEDICATED: Goal(0.90, at_least=True, trials=100), SHARED: None},
    "torch's Timer": {DEDICATED: Goal(0.02), SHARED: Goal(0.05)},
    "Triton's do_bench": {DEDICATED: Goal(0.03), SHARED: Goal(0.03)},
    "plain loop": dict.fromkeys((DEDICATED, SHARED), Goal(0.02)),
    "same sweep twice": {DEDICATED: Goal(0.01, trials=100), SHARED: None},
    "outside": dict.fromkeys((DEDICATED, SHARED), Goal(0.15, trials=10)),
    "checks": dict.fromkeys((DEDICATED, SHARED)),
    "controller": dict.fromkeys((DEDICATED, SHARED), Goal(0.25, trials=100)),
}
"""By what is measured and the kind of machine; None: to be reported without a goal."""

DO_BENCH_NS = 2000
"""Two microseconds are agreement, too: CUDA's events resolve half of one, and each launch between them costs some."""


def judge(goal: Goal | None, value: float, low: float, high: float, trials: int) -> str:
    """The verdict on a value with its interval."""
    if goal is None:
        return REPORTED
    if goal.at_least:
        value, low, high, bound = -value, -high, -low, -goal.bound
    else:
        bound = goal.bound
    if high <= bound:
        return MET
    if low > bound:
        return MISSED
    return MET if value <= bound and trials >= goal.trials else NOT_SHOWN


def proportion_interval(count: int, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """The exact interval of a proportion: C. J. Clopper, E. S. Pearson, Biometrika 26, 1934."""
    from scipy.stats import binomtest

    found = binomtest(count, trials).proportion_ci(confidence, method="exact")
    return Interval(count / trials, float(found.low), float(found.high), confidence)


def proportion(name: str, kind: str, what: str, count: int, trials: int, detail: str = "") -> Row:
    """How many of so many trials, against a goal."""
    goal = GOALS[name][kind]
    found = proportion_interval(count, trials)
    verdict = judge(goal, found.estimate, found.low, found.high, trials)
    return Row(
        what,
        "" if goal is None else str(goal),
        f"{count} of {trials}, {percent(found.estimate)} [{percent(found.low)}, {percent(found.high)}]",
        f"{verdict} with n={trials}" if verdict == NOT_SHOWN else verdict,
        detail,
        {"count": count, "n": trials, "low": found.low, "high": found.high},
    )


def deviation(
    name: str, kind: str, what: str, ratio: Interval, trials: int, detail: str = "", room: float = 0.0
) -> Row:
    """How far a ratio is from 1, against a goal that is at least `room`."""
    goal = GOALS[name][kind]
    if goal is not None and room > goal.bound:
        goal = Goal(room)
    low, high = abs(ratio.low - 1), abs(ratio.high - 1)
    least = 0.0 if ratio.low <= 1 <= ratio.high else min(low, high)
    verdict = judge(goal, abs(ratio.estimate - 1), least, max(low, high), trials)
    return Row(
        what,
        "" if goal is None else f"± {percent(goal.bound)}",
        format.deviation(ratio.estimate, ratio.low, ratio.high),
        f"{verdict} with n={trials}" if verdict == NOT_SHOWN else verdict,
        detail,
        {"ratio": ratio.estimate, "low": ratio.low, "high": ratio.high, "confidence": ratio.confidence, "n": trials},
    )


def agreement(name: str, kind: str, what: str, found: Comparison, detail: str = "", room: float = 0.0) -> Row:
    """How far two timers of the same call are apart."""
    ratio = Interval(found.ratio, found.low, found.high, found.confidence)
    return deviation(name, kind, what, ratio, found.pairs, detail, room)


def amount(
    name: str, kind: str, what: str, values: Sequence[float], jobs: int, unit: str = "", detail: str = ""
) -> Row:
    """A cost of each of some equal sweeps: their mean, with Student's interval from two on. Sweeps of fewer jobs than the goal
    is set for cannot miss it, because what it costs to start is shared by fewer."""
    goal = GOALS[name][kind]
    found = mean_interval(values, CONFIDENCE) if len(values) > 1 else Interval(values[0], values[0], values[0], 0.0)
    value, low, high = found.estimate, max(0.0, found.low), found.high
    verdict = judge(goal, value, low, high, jobs)
    if verdict == NOT_SHOWN or (goal is not None and verdict == MISSED and jobs < goal.trials):
        verdict = f"{NOT_SHOWN} with n={jobs}"
    shown, *bounds = (f"{one:.3g} {unit}" if unit else percent(one) for one in (value, low, high))
    shown += f" [{', '.join(bounds)}]" if len(values) > 1 else ""
    bound = "" if goal is None else (f"≤ {goal.bound:g} {unit}" if unit else str(goal))
    numbers = {"value": value, "low": low, "high": high, "n": jobs, "sweeps": len(values)}
    return Row(what, bound, shown, verdict, detail, numbers)


def different_by_test(found: Sequence[Comparison]) -> int:
    """How many comparisons have an interval without 1: what the test rejects at 5 %, restarts of the workers included."""
    return sum(one.low > 1 or one.high < 1 for one in found)


def different_as_verdict(found: Sequence[Comparison]) -> int:
    """How many comparisons end in faster or slower."""
    return sum(one.verdict in ("faster", "slower") for one in found)


def detected(found: Sequence[Comparison]) -> int:
    """How many comparisons find the second arm slower, by the test."""
    return sum(one.low > 1 for one in found)


def smallest(found: Sequence[Comparison], rounds: int) -> Row:
    """The smallest difference that can be seen: what the rounds find four times in five, and lies outside the interval."""
    effects = sorted(max(one.smallest_detectable, one.high / one.ratio - 1) for one in found)
    middle, worst = median(effects), effects[-1]
    return Row(
        f"smallest difference that {rounds} rounds can show",
        "",
        f"{percent(middle)}, at worst {percent(worst)}",
        REPORTED,
        f"median and largest of {len(effects)} comparisons",
        {"median": middle, "largest": worst, "n": len(effects)},
    )


def failed(what: str, reason: str) -> Row:
    """What should have been measured and was not."""
    return Row(what, "", "failed", MISSED, reason)


def not_possible(what: str, reason: str) -> Row:
    return Row(what, "", "", NOT_POSSIBLE, reason)


def percent(fraction: float) -> str:
    """`0.0123` is "1.23 %"."""
    return f"{100 * fraction:.3g} %"
