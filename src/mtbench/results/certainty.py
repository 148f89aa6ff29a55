"""How sure a comparison is, in one of three words, and why it is no surer."""

from dataclasses import dataclass

from mtbench.results.comparison import ALPHA
from mtbench.results.format import plural
from mtbench.results.inference import FEWEST_RESTARTS
from mtbench.results.verdicts import Comparison

SURE, LIKELY, OPEN = "sure", "likely", "open"

LEVELS = (SURE, LIKELY, OPEN)
"""sure: a verdict from enough restarts to tell how much they differ. likely: a verdict from fewer restarts, or no verdict but
an interval that excludes 1. open: it could be either."""


LONE_ROUND = 5.0
"""The ratio that a single round must show to be called likely. On a busy machine one of two arms took 2.3 times as long as the
other, and minutes later, in the next run, as long."""


@dataclass(frozen=True)
class Certainty:
    """One of LEVELS. `why` says why it is not sure, in a few words; None where it is."""

    level: str
    why: str | None = None

    def __str__(self) -> str:
        return self.level if self.why is None else f"{self.level}: {self.why}"


def equal(one: Comparison) -> bool:
    """Whether the two are equally fast for all that matters: the verdict says so, or the whole interval lies within the least
    difference that matters, even if it does not hold 1."""
    if one.verdict == "equivalent":
        return True
    if not one.interleaved or one.bounds is None or one.confidence < 1 - ALPHA or one.threshold is None:
        return False
    return 1 / (1 + one.threshold) <= one.low and one.high <= 1 + one.threshold


def certainty(one: Comparison) -> Certainty:
    """How sure it is that the two differ as the ratio says, or are equal where the verdict is equivalent."""
    restarts = f"only {one.restarts} {plural(one.restarts, 'restart')}"
    if one.verdict in (
        "faster",
        "slower",
        "equivalent",
    ):  # what is assumed of restarts may be too little on a busy machine
        return Certainty(LIKELY, restarts) if one.spread_assumed else Certainty(SURE)
    if one.verdict == "descriptive":
        apart = f"measured {one.reason}" if one.reason else "not interleaved"
        bounded = one.bounds is not None and one.differs
        return Certainty(LIKELY if bounded else OPEN, apart if one.bounds else f"{apart}, in too few rounds")
    if one.confidence < 1 - ALPHA:
        far = one.differs and (one.pairs > 1 or not 1 / LONE_ROUND < one.ratio < LONE_ROUND)
        return Certainty(LIKELY if far else OPEN, f"only {one.pairs} {plural(one.pairs, 'round')}")
    if not one.differs:
        return Certainty(OPEN, "could be either")
    if one.p_value > ALPHA:
        few = one.restarts < FEWEST_RESTARTS
        return Certainty(LIKELY, restarts if few else "not significant after correction")
    return Certainty(LIKELY, "too little to matter" if equal(one) else "may be too little to matter")


def outcome(one: Comparison) -> str:
    """The verdict as a table shows it: an inconclusive one says why."""
    return " ".join(filter(None, [one.verdict, doubt(one)]))


def doubt(one: Comparison) -> str:
    """Why a verdict is inconclusive, in brackets; nothing for any other verdict."""
    why = why_inconclusive(one)
    return f"({why})" if why else ""


def why_inconclusive(one: Comparison) -> str | None:
    """Why a verdict is inconclusive, in a few words; None for any other verdict."""
    return certainty(one).why if one.verdict == "inconclusive" else None
