"""Whether stopping a visit as soon as its intervals are narrow changes what is found."""

import numpy as np

from mtbench.bench.controller.rounds import settled
from mtbench.plan.protocol import Protocol
from mtbench.results.comparison import ALPHA, compare
from mtbench.results.inference import Floats
from mtbench.results.samples import Blocks
from mtbench.selftest.simulation import judged
from mtbench.selftest.simulation.judged import Estimate
from mtbench.selftest.simulation.noise import NOISES
from mtbench.selftest.simulation.promises import Scale, Table, percent

RESTARTS = 3


def stopping(scale: Scale, rng: np.random.Generator) -> Table:
    """Visits that end at the first look that is satisfied, against all rounds."""
    protocol = Protocol(target=0.02)
    table = Table(
        "Stopping when it is narrow enough",
        f"Two equal arms, {RESTARTS} restarts. A visit of {protocol.rounds} rounds ends early, after "
        f"{' or '.join(map(str, protocol.looks[:-1]))}, if its intervals are then within {100 * protocol.target:g} %. Bias is "
        "the mean log ratio, in per cent with its Monte Carlo error (promised: 0). Coverage is that of the interval "
        "(promised: 95 %).",
        ["noise", "bias", "bias with all rounds", "coverage", "coverage with all rounds", "visits that end early"],
    )
    for noise in NOISES:
        if noise.name not in ("0 %", "1 %", "lognormal", "bursts", "AR(1) 0.7"):
            continue
        drawn = noise.draw(rng, (scale.trials // 10, 1, 2, RESTARTS, protocol.rounds))[:, 0]
        stopped = [_stopped(one, protocol) for one in drawn]
        whole = [_measured(one, [protocol.rounds] * RESTARTS) for one in drawn]
        found = [[compare(*arms) for arms in trials] for trials in ([arms for arms, _ in stopped], whole)]
        centers, held = [], []
        for trials in found:
            kept = [one for one in trials if one is not None]
            centers.append(Estimate.of(100 * np.log([one.ratio for one in kept])))
            held.append(Estimate.of(np.array([one.low <= 1 <= one.high for one in kept])))
        early = np.mean([rounds < protocol.rounds for _, visits in stopped for rounds in visits])
        table.rows.append(
            [
                noise.name,
                *(f"{one.value:+.3f} ± {one.error:.3f}" for one in centers),
                *map(percent, held),
                f"{100 * early:.0f} %",
            ]
        )
        if abs(centers[0].value) > judged.TOLERANCE * centers[0].error or not held[0].at_least(1 - ALPHA):
            table.broken.append(f"{table.title}, {noise.name}: {table.rows[-1]}")
    return table


def _stopped(logs: Floats, protocol: Protocol) -> tuple[tuple[Blocks, Blocks], list[int]]:
    """The two arms' blocks, and how many rounds each visit had, as the controller would have it."""
    rounds = []
    for restart in range(logs.shape[1]):
        visit = np.exp(logs[:, restart]).tolist()
        enough = (
            look for look in protocol.looks if settled({str(n): arm[:look] for n, arm in enumerate(visit)}, protocol)
        )
        rounds.append(next(enough, protocol.rounds))
    return _measured(logs, rounds), rounds


def _measured(logs: Floats, rounds: list[int]) -> tuple[Blocks, Blocks]:
    first, second = (
        {
            (restart, number): float(np.exp(arm[restart, number]))
            for restart, until in enumerate(rounds)
            for number in range(until)
        }
        for arm in logs
    )
    return first, second
