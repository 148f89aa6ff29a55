"""The wire between controller and worker: typed messages, one a line in JSON, over two pipes of its own.

A library may print what it likes to standard output; it cannot disturb the messages. JSON, since a worker may run under
another interpreter with other package versions. A process that waits for a message blocks in the kernel and burns no core.

Each request is a class below; its `answer` is the class of what comes back, unless the worker refuses. They go through a
`mtbench.bench.channel.Channel`.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from mtbench.bench.rates import Rates, Roofs
from mtbench.bench.soundness import sound_times
from mtbench.frameworks.base import Description, Settings
from mtbench.operators.base import Shape
from mtbench.plan.accuracy import Divergence, Errors, Limits
from mtbench.plan.protocol import Protocol
from mtbench.results.samples import block_statistic

REFUSALS = ("mismatch", "unsupported", "oom", "timeout", "crashed", "failed")
"""The statuses of a record that a worker can give a job."""

# answers


@dataclass(frozen=True)
class Refused:
    """Instead of an answer: a status of mtbench.results.record, and why; `errors` where an answer was wrong."""

    status: str
    reason: str
    errors: Errors | None = None

    def __post_init__(self) -> None:
        if self.status not in REFUSALS:
            raise ValueError(f"'{self.status}' is no status of a refusal")


@dataclass(frozen=True)
class Started:
    """`clock_tick_ns`: the steps in which the worker's clock moves."""

    description: Description
    python_version: str
    clock_tick_ns: float | None = None


@dataclass(frozen=True)
class Floor:
    floor_ns: float


@dataclass(frozen=True)
class Prepared:
    """A job that is built, checked, warm and sized; the last two took `warmup_ns`. A sample is the mean of `calls_per_sample`
    calls."""

    first_call_ns: int
    warmup_ns: int
    errors: Errors
    flops: float | None
    bytes_moved: float
    calls_per_block: int
    throughput_calls: int
    calls_per_sample: int = 1
    warnings: list[str] = field(default_factory=list)
    compiled_with: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LatencyBlock:
    """Nanoseconds of each call, in order; and, of calls that make a text, from each one's start to each of its tokens."""

    samples_ns: list[int]
    stamps_ns: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        sound_times(self.samples_ns)


@dataclass(frozen=True)
class ThroughputBlock:
    """Nanoseconds for one call in each part of a block, in order. `call_ns` is their median: a mean over the block would
    include every slice of time that something else took."""

    parts_ns: list[float]

    def __post_init__(self) -> None:
        sound_times(self.parts_ns)

    @property
    def call_ns(self) -> float:
        return block_statistic(self.parts_ns)

    @property
    def mean_ns(self) -> float:
        """The mean of the parts, which includes all the time that the block took."""
        return sum(self.parts_ns) / len(self.parts_ns)

    @property
    def disturbance(self) -> float:
        """How many times `call_ns` the slowest part took: equal parts differ where something else used the machine."""
        return max(self.parts_ns) / self.call_ns


@dataclass(frozen=True)
class CallTime:
    """Nanoseconds for one call."""

    call_ns: float


@dataclass(frozen=True)
class Finished:
    """What was found after the blocks. `peaks` where they were measured again; `growth`: bytes left behind by a call; `tokens`:
    how many came in a call, the mean, where that is counted and not known beforehand."""

    errors: Errors
    peak_kind: str
    device_ns: float | None = None
    peak_bytes: int | None = None
    peaks: Rates | None = None
    warnings: list[str] = field(default_factory=list)
    divergence: Divergence | None = None
    growth: float | None = None
    tokens: float | None = None


@dataclass(frozen=True)
class Worked:
    calls: int


@dataclass(frozen=True)
class FreeMemory:
    free_bytes: int | None
    working_set_bytes: int | None


@dataclass(frozen=True)
class Done:
    """It is done."""


# requests

A = TypeVar("A")


@dataclass(frozen=True)
class Request(Generic[A]):
    """Base of every request. `do` is its name on the wire, `answer` the class of its answer."""

    do: ClassVar[str]
    answer: ClassVar[type[Any]]


@dataclass(frozen=True)
class Start(Request[Started]):
    """Sets the library up. `compiler_cache` is a folder for its compiler's cache; None for the usual one."""

    do = "start"
    answer = Started
    framework: str
    file: str | None
    mode: str
    settings: Settings
    protocol: Protocol
    compiler_cache: str | None = None


@dataclass(frozen=True)
class TimeFloor(Request[Floor]):
    """Times the library's cheapest call. Apart from Start, since workers start side by side."""

    do = "floor"
    answer = Floor


@dataclass(frozen=True)
class MeasurePeaks(Request[Rates]):
    """The best rates that products and moving data reach here with a dtype. With `within_s`, a brief measurement of about that
    many seconds at most: the best of all measurements counts."""

    do = "peaks"
    answer = Rates
    dtype: str
    within_s: float | None = None


@dataclass(frozen=True)
class TimeCanary(Request[CallTime]):
    """Times a fixed product. Where its time changes over a sweep, the machine's speed has changed, and no operator's."""

    do = "canary"
    answer = CallTime


@dataclass(frozen=True)
class Prepare(Request[Prepared]):
    """Builds a job, times its first call, checks its answer, warms it up and sizes its blocks.

    `check_seed` is drawn anew for each sweep and differs between restarts. So nobody can know beforehand which rows are
    checked, and which inputs are tried besides the timed ones."""

    do = "prepare"
    answer = Prepared
    operator: str
    file: str | None
    params: dict[str, Any]
    variant: str
    dtype: str
    shape: Shape
    limits: Limits
    check_seed: int = 0


@dataclass(frozen=True)
class TimeLatency(Request[LatencyBlock]):
    """One block, every call waited for."""

    do = "latency"
    answer = LatencyBlock


@dataclass(frozen=True)
class TimeThroughput(Request[ThroughputBlock]):
    """One block of queued calls, in parts that are each waited for once."""

    do = "throughput"
    answer = ThroughputBlock


@dataclass(frozen=True)
class Finish(Request[Finished]):
    """Checks that the timed calls were honest, and measures device time and the memory peak, untimed.

    `thorough` adds the checks that need not be repeated in a later restart; `call_ns` is the shortest median that was
    measured, and `roofs` the rates that it must not exceed. Rates that are measured now on a `busy` machine are unsure.
    """

    do = "finish"
    answer = Finished
    thorough: bool
    call_ns: float
    roofs: Roofs
    busy: bool = False


@dataclass(frozen=True)
class Work(Request[Worked]):
    """Runs the call for `seconds`, untimed, for the energy pass."""

    do = "work"
    answer = Worked
    seconds: float


@dataclass(frozen=True)
class AskMemory(Request[FreeMemory]):
    """The memory that the device has free, and the most of the system's that it should use, where the library says."""

    do = "memory"
    answer = FreeMemory


@dataclass(frozen=True)
class Release(Request[Done]):
    """Lets go of the prepared job, and of what the library cached for it."""

    do = "release"
    answer = Done


REQUESTS: tuple[type[Request[Any]], ...] = (
    Start, TimeFloor, MeasurePeaks, TimeCanary, Prepare, TimeLatency, TimeThroughput, Finish, Work, AskMemory, Release,
)  # fmt: skip
