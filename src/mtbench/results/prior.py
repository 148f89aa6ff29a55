"""What earlier sweeps of a machine say of the spread between restarts, as a plan keeps it and a record's columns hold it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

HIGHEST_DF = 6.0
"""No prior counts for more restarts than that, however well earlier sweeps agree: tomorrow's machine is not yesterday's."""


@dataclass(frozen=True)
class Prior:
    """What is known of the variance between restarts before they are looked at, and how many degrees of freedom it is worth."""

    variance: float
    df: float


@dataclass(frozen=True)
class Earlier:
    """What sweeps of one machine say of one device: priors of the logarithm of an arm's `time`, and of the `ratio` of two arms.

    `libraries` are the frameworks that were measured: name, requirement, version and kind of device of each. `jobs`, `pairs`
    and `sweeps` count what the priors were learnt from.
    """

    machine_id: str
    device: str
    libraries: tuple[tuple[str, str | None, str | None, str | None], ...]
    jobs: int
    pairs: int
    sweeps: int
    time: Prior | None = None
    ratio: Prior | None = None


LIBRARY = ("framework", "requirement", "library_version", "device_kind")
"""The columns that must agree for samples of two sweeps to be of one kind."""

DISTURBED = (
    "contended", "drifted", "the machine slept", "swapped while", "measured under thermal", "measured while heat",
)  # fmt: skip
"""The beginnings of the warnings of a job whose machine was not quiet. Other jobs learn nothing from it, nor it from them."""

TIME, RATIO = ("earlier_spread", "earlier_df"), ("earlier_ratio_spread", "earlier_ratio_df")
"""The columns of a record that hold a prior: standard deviation and degrees of freedom."""


def columns_of(known: Iterable[Earlier], row: Mapping[str, Any]) -> dict[str, float]:
    """The columns that hold what is known of a record's machine, device and library; none where nothing is, or where the
    machine was not quiet."""
    if disturbed(row):
        return {}
    library = tuple(row[name] for name in LIBRARY)
    for one in known:
        if (one.machine_id, one.device) == (row["machine_id"], row["device"]) and library in one.libraries:
            return _written(TIME, one.time) | _written(RATIO, one.ratio)
    return {}


def disturbed(row: Mapping[str, Any]) -> bool:
    """Whether a record's machine had other work, or changed its speed."""
    return any(warning.startswith(DISTURBED) for warning in row["warnings"] or ())


def of_row(row: Mapping[str, Any], names: tuple[str, str] = TIME) -> Prior | None:
    """The prior that a record's columns hold, of its time or of its ratios (`RATIO`)."""
    spread, df = (row.get(name) for name in names)
    return None if spread is None or df is None else Prior(spread**2, df)


def _written(names: tuple[str, str], prior: Prior | None) -> dict[str, float]:
    return {} if prior is None else dict(zip(names, (prior.variance**0.5, prior.df), strict=True))
