"""The order of a round, and when to stop."""

import random
from collections.abc import Mapping, Sequence

from mtbench.plan.protocol import Protocol


def round_order(arms: Sequence[str], seed: int, cell: str, restart: int, number: int) -> list[str]:
    """The arms of one round in random order: the same for the same seed, another for each round.

    Random order within rounds is what makes the rounds' differences those of the arms (Fisher's randomisation), whatever
    the machine's speed does meanwhile.
    """
    order = list(arms)
    random.Random(f"{seed}/{cell}/{restart}/{number}").shuffle(order)
    return order


def settled(blocks_ns: Mapping[str, Sequence[float]], protocol: Protocol) -> bool:
    """Whether every arm's interval of the median block lies within the target, at the look's confidence."""
    from mtbench.results.estimates import within

    return all(within(values, protocol.target, protocol.look_confidence) for values in blocks_ns.values())
