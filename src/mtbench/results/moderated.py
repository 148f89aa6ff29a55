"""What earlier sweeps say of the spread between restarts, as a prior for the next one.

G. K. Smyth, Linear models and empirical Bayes methods for assessing differential expression in microarray experiments,
Statistical Applications in Genetics and Molecular Biology 3, 2004: variances of many cells are taken to come from one scaled
inverse chi-square distribution, which is fitted to them, and each cell's own is shrunk towards it.

The cells of *one* sweep must not be each other's prior, tempting as that is: they share the processes of a restart. Where
two restarts' processes happen to be slow alike, all cells agree that restarts differ little, and all are wrong together. In
the simulation (`docs/truth.md`) that made 95 % into 87 % at two restarts and 91 % at three.
"""

import math
from collections.abc import Sequence

import numpy as np

from mtbench.results.prior import HIGHEST_DF, Prior

FEWEST_VARIANCES = 10


def learn(variances: Sequence[tuple[float, float]], sweeps_df: float = math.inf) -> Prior | None:
    """The prior that these variances between restarts, each with its degrees of freedom, come from.

    They are to be those of all cells of earlier sweeps of the same machine, of the same quantity (times of one arm for an
    interval, ratios of two for a comparison): see `inference.variance_between`. `sweeps_df` are the degrees of freedom of the
    restarts of these sweeps, each restart counted once: cells that share its processes tell no more of the center than one
    cell would. Variances of 0 tell of a clock that ticks too slowly, and are left out. None for fewer than FEWEST_VARIANCES.
    """
    from scipy.special import digamma, polygamma

    known = [(variance, df) for variance, df in variances if variance > 0 and df > 0]
    if len(known) < FEWEST_VARIANCES:
        return None
    variance, df = np.array(known).T
    # Smyth's section 6.2: log s^2 has mean log(v0) + digamma(d/2) - log(d/2) - digamma(d0/2) + log(d0/2), and variance
    # trigamma(d/2) + trigamma(d0/2).
    logs = np.log(variance) - digamma(df / 2) + np.log(df / 2)
    between_cells = max(0.0, float(np.var(logs, ddof=1) - np.mean(polygamma(1, df / 2))))
    excess = between_cells + float(polygamma(1, sweeps_df / 2))
    center = float(np.mean(logs))
    if excess <= 0:
        return Prior(math.exp(center), HIGHEST_DF)
    half = _inverse_trigamma(excess)
    return Prior(math.exp(center + float(digamma(half)) - math.log(half)), min(2 * half, HIGHEST_DF))


def _inverse_trigamma(value: float) -> float:
    """The x whose trigamma is this, by Newton's method on 1 / trigamma, which is nearly straight (Smyth's appendix)."""
    from scipy.special import polygamma

    if value < 1e-6:
        return 1 / value
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, x))
        x += step
        if abs(step) < 1e-9 * x:
            break
    return x
