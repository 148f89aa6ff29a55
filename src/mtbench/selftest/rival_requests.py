"""Additional requests of the self-test to its worker: time the same call as other tools do."""

from dataclasses import dataclass

from mtbench.bench.wire import CallTime, Request


@dataclass(frozen=True)
class TimeLoop(Request[CallTime]):
    """The median of a block of softmax, timed by the loop that anyone would write."""

    do = "loop"
    answer = CallTime


@dataclass(frozen=True)
class TimeByTimer(Request[CallTime]):
    """The time per call by torch.utils.benchmark.Timer, as many calls as a throughput block has."""

    do = "timer"
    answer = CallTime


@dataclass(frozen=True)
class TimeByDoBench(Request[CallTime]):
    """The median device time by triton.testing.do_bench."""

    do = "do_bench"
    answer = CallTime


@dataclass(frozen=True)
class TimeDevice(Request[CallTime]):
    """The device time as every record has it."""

    do = "device_time"
    answer = CallTime


REQUESTS = (TimeLoop, TimeByTimer, TimeByDoBench, TimeDevice)
