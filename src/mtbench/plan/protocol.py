"""How long and in which order things are measured: the settings, the order of a round, and when to stop.

The settings' values are in conf/protocol/*.yaml, each with its unit; their reasons are here.
"""

from dataclasses import dataclass, field

from mtbench.errors import ConfigError, unknown

PEAKS = ("cached", "measure")
CACHES = ("fresh", "kept")
LARGEST = 1e12
"""Of any setting: seconds of 30,000 years, bytes of a terabyte, and what any clock and file can hold."""

STOPS = ("moderate", "heavy", "trapping", "sleeping")


@dataclass
class Protocol:
    """The measurement settings. Times end in their unit."""

    restarts: int = 5
    """How often all workers are started afresh. Ten starts of one process differed by 5 to 12 % on a shared machine, so
    one start says little about the next. Student's interval over restarts reaches 2.5 of their standard deviations to
    either side for 3 restarts, 1.2 for 5 and 0.7 for 10. Below 3, a deviation of 5 % is assumed, and only large
    differences get a verdict."""

    looks: list[int] = field(default_factory=lambda: [8, 16])
    """Rounds of a visit after which to look whether the interval is narrow enough; the last is the most rounds. Looking
    at every round would stop at lucky moments, and with fewer than 8 rounds no interval has the confidence of a look."""

    target: float = 0.01
    """Stop a visit when every arm's interval of the median is within this fraction of the median."""

    confidence: float = 0.95
    """Of the reported intervals. A look uses the stricter 1 - (1 - confidence) / number of looks (Bonferroni)."""

    cell_budget_s: float = 60.0
    """The most time for a cell's rounds over all restarts, building and warming up not counted; what is reached by then is
    reported as not converged."""

    baseline: str | None = None
    """The arm that others are compared with; the first one of the sweep where not given."""

    block_calls: int = 5
    """The fewest calls in a block."""

    block_ms: float = 20.0
    """The shortest block: long against the clock's resolution and a scheduler's time slice."""

    block_cap_s: float = 0.5
    """A block of very slow calls has fewer than `block_calls`, down to one, rather than exceed this; so has a window of the
    warm-up. A single call of this length needs no other before it on a CPU."""

    keep_warm_ms: float = 50.0
    """Untimed calls before each block on a GPU, where idling drops the clocks."""

    warmup_calls: int = 3
    """The fewest warm-up calls."""

    warmup_s: float = 0.2
    """The shortest warm-up on a CPU."""

    warmup_gpu_s: float = 1.0
    """The shortest warm-up on a GPU, whose clocks take longer to rise."""

    warmup_window: int = 10
    """Calls in a window, fewer of slow ones (`block_cap_s`); the medians of two successive windows must agree."""

    warmup_tolerance: float = 0.02
    """How closely they must agree."""

    warmup_cap_s: float = 10.0
    """The longest warm-up; a call that is not steady by then is measured and flagged."""

    timeout_s: float = 300.0
    """A worker that does not answer one request within this time is killed. A first torch.compile takes 20 s."""

    cpus: list[int] = field(default_factory=list)
    """The processors that all workers are kept on, by number; empty for all. Cores of a shared machine differ: an arm
    that happens to sit on a worse one was 23 % slower, and 1.5 % with all arms on one core. Threads are limited to these."""

    cold_cache: bool = False
    """Whether calls cycle through enough copies of their inputs to overflow the last-level cache. Weights stay."""

    cold_cache_bytes: int = 64 << 20
    """The last-level cache that is to be overflowed, where the machine does not say."""

    cooldown_fraction: float = 0.0
    """Rest after each visit to a cell, as a fraction of the visit's duration, for machines that heat up."""

    cooldown_cap_s: float = 120.0
    """The longest wait for a machine that says it is too hot."""

    stop_when_hot: str | None = None
    """The level of heat at which the sweep ends as if by Ctrl-C, and keeps what it has: `heavy`, from which on a Mac slows
    down, or `trapping`, the next; where a processor or NVIDIA's GPU is slowed down for its heat, that counts as heavy."""

    stop_after: float = 0.0
    """Seconds after which the sweep ends as if by Ctrl-C, and keeps what it has; 0 for none. `mtbench resume` goes on."""

    energy_s: float = 0.0
    """Length of the energy pass of each job, and of the idle measurement before; 0 for none. Counters move in steps of
    0.1 s, so some seconds are needed."""

    growth: int = 0
    """Calls after which is told how many bytes each leaves behind; 0 for none. A leak shows after some thousands. There are
    fewer where they would take more than half a minute together."""

    memory_fraction: float = 0.8
    """The part of free memory that a cell may be estimated to need; beyond that its arms are measured one by one."""

    drift: float = 0.02
    """A trend of the canary over a restart above this fraction marks the records of that restart's cells as drifted."""

    peaks: str = "cached"
    """Where the peak rates come from that results are held against: `cached` takes what an earlier sweep of the last week
    measured here with the same versions, and measures what is missing; `measure` measures anew, some seconds for each
    library and dtype."""

    compiler_cache: str = "fresh"
    """What a compiler finds on disk when it compiles first: `fresh`, nothing, in a folder that an arm has for one sweep;
    `kept`, what was there before. One first call took 8.7 s with an empty cache and 3.1 s with one that knew it."""

    seed: int = 0
    """Of the order of arms within rounds, and of inputs and weights."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, int | float) and not abs(value) <= LARGEST:  # NaN is not, either
                raise ConfigError(f"protocol.{name}={value} must be a number of at most {LARGEST:.0e}.")
        positive = ("restarts", "cell_budget_s", "block_calls", "block_ms", "block_cap_s", "warmup_window", "timeout_s")
        for name in positive:
            if getattr(self, name) <= 0:
                raise ConfigError(f"protocol.{name}={getattr(self, name)} must be more than 0.")
        for name in (
            "keep_warm_ms",
            "warmup_calls",
            "warmup_s",
            "warmup_gpu_s",
            "warmup_tolerance",
            "warmup_cap_s",
            "cooldown_fraction",
            "cooldown_cap_s",
            "stop_after",
            "growth",
        ):
            if getattr(self, name) < 0:
                raise ConfigError(f"protocol.{name}={getattr(self, name)} must not be negative.")
        if self.warmup_calls < 1 and self.warmup_s <= 0:
            raise ConfigError(
                "protocol.warmup_calls=0 with protocol.warmup_s=0 leaves no call from which to size the blocks."
            )
        if self.seed < 0 or self.cold_cache_bytes < 1 or any(cpu < 0 for cpu in self.cpus):
            raise ConfigError(
                "protocol.seed and protocol.cpus must not be negative, and protocol.cold_cache_bytes be 1 or more."
            )
        if self.stop_when_hot is not None and self.stop_when_hot not in STOPS:
            raise ConfigError(unknown("protocol.stop_when_hot", self.stop_when_hot, STOPS))
        if self.peaks not in PEAKS:
            raise ConfigError(unknown("protocol.peaks", self.peaks, PEAKS))
        if self.compiler_cache not in CACHES:
            raise ConfigError(unknown("protocol.compiler_cache", self.compiler_cache, CACHES))
        if not self.looks or self.looks[0] < 1 or list(self.looks) != sorted(set(self.looks)):
            raise ConfigError(
                f"protocol.looks={list(self.looks)} must be rising numbers of rounds, such as [10,20,40]."
            )
        if not 0 < self.memory_fraction <= 1:
            raise ConfigError(f"protocol.memory_fraction={self.memory_fraction} must lie above 0, up to 1.")
        for name in ("target", "confidence"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"protocol.{name}={getattr(self, name)} must lie between 0 and 1.")

    @property
    def rounds(self) -> int:
        """The most rounds in one visit to a cell."""
        return self.looks[-1]

    @property
    def visit_budget_s(self) -> float:
        """The most time for the rounds of one visit to a cell."""
        return self.cell_budget_s / self.restarts

    @property
    def look_confidence(self) -> float:
        """Confidence of the interval at each look, so that all looks together keep `confidence`."""
        return 1 - (1 - self.confidence) / len(self.looks)
