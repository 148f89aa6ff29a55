"""How far an answer may be from the reference, and how far it is, in three measures. Read by worker and controller alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

ELEMENT_FACTOR = 3
"""An element may be off by so many times what a row may. Of 675 right results the worst element was off by 1.3 to 3.7 times
what the worst row was, and by less than 1.9 times the row's limit."""

FALSE_ALARM = 1e-6
"""The chance that a right result is refused since the largest of its many rounding errors is large."""


@dataclass(frozen=True)
class Limits:
    """`norm` bounds the error of a whole result, `row` that of each of its rows, `element` that of each value. `exact`: there
    is nothing to round, so that every value must be the reference's."""

    norm: float
    row: float
    exact: bool = False

    @property
    def element(self) -> float:
        return ELEMENT_FACTOR * self.row

    def element_among(self, count: int, error: float) -> float:
        """What one of `count` elements may be off by, whose root mean square error is `error`.

        The more elements there are, the larger the largest of their rounding errors is: of 50,000 logits some 4.3 times the
        root mean square. It is taken for one of them up to the quantile of a normal distribution that `count` of them exceed
        with the chance of `FALSE_ALARM` (union bound).
        """
        from statistics import NormalDist

        return max(self.element, -NormalDist().inv_cdf(FALSE_ALARM / (2 * max(count, 1))) * error)

    def times(self, factor: float) -> "Limits":
        return Limits(factor * self.norm, factor * self.row, self.exact)


@dataclass(frozen=True)
class Divergence:
    """How far logits are from those of the weights before a library rounded them: ||after - before|| / ||before|| over all of
    so many positions. Of trained weights also the mean over positions of the KL divergence in nats, KL(before || after), and
    the fraction of positions where both have the same largest one; of random ones None."""

    error: float
    positions: int
    kl_nats: float | None = None
    top1_agreement: float | None = None


def mean(found: Sequence[Divergence]) -> Divergence | None:
    """Of several restarts, which check the same number of positions; None of none."""
    if not found:
        return None
    told = [one for one in found if one.kl_nats is not None and one.top1_agreement is not None]
    return Divergence(
        fmean(one.error for one in found),
        found[0].positions,
        fmean(one.kl_nats or 0.0 for one in told) if told else None,
        fmean(one.top1_agreement or 0.0 for one in told) if told else None,
    )


@dataclass(frozen=True)
class Errors:
    """Of an answer against the reference: see mtbench.bench.worker.correctness for what each is."""

    norm: float = 0.0
    row: float = 0.0
    element: float = 0.0

    def worst(self, other: "Errors") -> "Errors":
        """The larger of both, in each measure."""
        return Errors(max(self.norm, other.norm), max(self.row, other.row), max(self.element, other.element))
