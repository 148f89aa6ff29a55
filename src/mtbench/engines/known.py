"""What is known of this machine before anything runs on it."""

from mtbench import machine
from mtbench.bench.controller.peaks import Store
from mtbench.plan.arm import Arm
from mtbench.plan.protocol import Protocol


def product_flops_per_s(arm: Arm, dtype: str, protocol: Protocol) -> float | None:
    """The FLOP/s that matrix products of an arm's library last reached on this CPU; None where no measurement is kept."""
    return Store(machine.identity(machine.describe()), protocol.cpus).product_of(arm, dtype)
