"""Timing on a clock of its own: every nanosecond is accounted for."""

import gc
from dataclasses import dataclass, field
from itertools import accumulate, cycle
from statistics import median

import pytest

from mtbench.bench.worker import blocks, calibration
from mtbench.plan.protocol import Protocol


@dataclass
class FakeLibrary:
    """Calls queue work that takes `call_ns`; waiting completes what is queued. Each hand-over costs `submit_ns`."""

    durations_ns: list[int]
    submit_ns: int = 0
    now_ns: int = 0
    queued_ns: int = 0
    calls: int = 0
    waits: list[int] = field(default_factory=list)
    collector_was_on: bool = False

    def call(self) -> object:
        self.collector_was_on = self.collector_was_on or gc.isenabled()
        self.queued_ns += self.durations_ns[min(self.calls, len(self.durations_ns) - 1)]
        self.calls += 1
        self.now_ns += self.submit_ns
        return object()

    def wait(self, out: object) -> None:
        assert out is not None
        self.now_ns += self.queued_ns
        self.queued_ns = 0
        self.waits.append(self.calls)

    def subject(self, **options) -> blocks.Subject:
        return blocks.Subject(self.call, [[]], self.wait, lambda out: None, lambda: self.now_ns, **options)


def test_latency_waits_for_each_call_and_times_nothing_else():
    library = FakeLibrary([100, 200, 300], submit_ns=1)
    assert blocks.latency_calls(library.subject(), 3) == [101, 201, 301]
    assert library.waits == [1, 2, 3]


def test_a_canary_is_a_small_part_of_a_round_on_a_gpu_too():
    library = FakeLibrary([300_000] * 5 + [450_000, 350_000])
    assert calibration.time_canary(library.subject(on_gpu=True), Protocol(keep_warm_ms=50)) == 300_000
    assert library.calls == 7  # a millisecond of keeping warm, of four calls, and three that are timed


def test_throughput_waits_once_for_all_calls():
    library = FakeLibrary([100], submit_ns=7)
    assert blocks.throughput_calls(library.subject(), 10) == pytest.approx(107)
    assert library.waits == [10]


def test_the_last_output_is_kept_for_the_check_afterwards():
    library = FakeLibrary([100])
    subject = library.subject()
    blocks.latency_calls(subject, 2)
    first = subject.last
    blocks.throughput_calls(subject, 2)
    assert first is not None
    assert subject.last is not None
    assert subject.last is not first


def test_the_previous_output_is_freed_outside_the_timed_span():
    log = []

    class Output:
        def __del__(self) -> None:
            log.append("freed")

    def clock() -> int:
        log.append("clock")
        return len(log)

    subject = blocks.Subject(lambda: Output(), [[]], lambda out: None, lambda out: None, clock)
    blocks.latency_calls(subject, 3)
    for position, event in enumerate(log):
        if event == "freed":
            assert log[:position].count("clock") % 2 == 0


def test_warm_up_is_steady_once_two_windows_agree():
    library = FakeLibrary([1_000_000] * 5 + [100_000])
    protocol = Protocol(warmup_calls=3, warmup_s=0.004, warmup_window=10, warmup_tolerance=0.02)
    warmth = blocks.warm_up(library.subject(), protocol)
    assert warmth.steady
    assert warmth.call_ns == 100_000
    assert warmth.calls == 4 + 10 + 10  # until 4 ms are over, a window that differs, one that agrees


def test_warm_up_that_never_settles_ends_at_the_cap_and_says_so():
    library = FakeLibrary([1_000_000 + 100_000 * number for number in range(1000)])
    protocol = Protocol(warmup_s=0.01, warmup_cap_s=0.5)
    warmth = blocks.warm_up(library.subject(), protocol)
    assert not warmth.steady
    assert library.now_ns < 0.6e9


def test_slow_calls_are_made_no_more_often_than_their_time_is_worth():
    protocol = Protocol(warmup_calls=3, warmup_window=10, warmup_cap_s=10, block_cap_s=0.5)
    library = FakeLibrary([1_000_000_000])
    subject = library.subject()
    warmth = blocks.warm_up(subject, protocol)
    assert (warmth.steady, warmth.calls) == (True, 4)  # windows of ten would have reached the cap
    assert blocks.calls_for_throughput(subject, warmth.call_ns, protocol) == 1
    subject.call_ns = warmth.call_ns
    assert blocks.latency_block(subject, 1, protocol) == [1_000_000_000]
    assert blocks.throughput_block(subject, 1, protocol) == [1e9]
    assert library.calls == 4 + 1 + 1  # none to warm the caches of a CPU
    subject.on_gpu = True
    blocks.latency_block(subject, 1, protocol)
    assert library.calls == 4 + 1 + 1 + 2


def test_a_recompilation_in_a_window_is_not_steady():
    library = FakeLibrary([100_000])
    compiled_at = [15, 25]
    protocol = Protocol(warmup_s=0.001, warmup_window=10)
    subject = library.subject(compilations=lambda: sum(library.calls > at for at in compiled_at))
    blocks.warm_up(subject, protocol)
    assert library.calls == 10 + 10 + 10 + 10  # the first two windows hold a compilation each


def test_a_gpu_is_warmed_longer_and_kept_warm_before_each_block():
    protocol = Protocol(warmup_s=0.01, warmup_gpu_s=0.1, keep_warm_ms=50, warmup_calls=1)
    cpu, gpu = FakeLibrary([1_000_000]), FakeLibrary([1_000_000])
    on_cpu = blocks.warm_up(cpu.subject(), protocol)
    on_gpu = blocks.warm_up(gpu.subject(on_gpu=True), protocol)
    assert on_gpu.calls == on_cpu.calls + 90
    before = gpu.calls
    assert len(blocks.latency_block(gpu.subject(on_gpu=True), 5, protocol)) == 5
    assert gpu.calls == before + 50 + 5
    before = cpu.calls
    blocks.latency_block(cpu.subject(), 5, protocol)
    assert cpu.calls == before + 1 + 5


@pytest.mark.parametrize(
    ("call_ns", "calls"),
    [(1_000, 20_000), (4_000_000, 5), (30_000_000, 5), (1e9, 2), (60e9, 1)],
)
def test_a_block_is_long_enough_and_not_endless(call_ns, calls):
    assert blocks.calls_for_block(call_ns, Protocol(block_calls=5, block_ms=20, block_cap_s=2)) == calls


def test_throughput_queues_enough_calls_though_queueing_is_cheap():
    library = FakeLibrary([1_000], submit_ns=0)
    calls = blocks.calls_for_throughput(library.subject(), 50_000, Protocol(block_ms=20))
    assert 20_000 <= calls <= 30_000


def test_the_collector_is_off_in_blocks_and_on_again_after():
    library = FakeLibrary([100_000])
    blocks.latency_block(library.subject(), 5, Protocol())
    blocks.throughput_block(library.subject(), 5, Protocol())
    assert not library.collector_was_on
    assert gc.isenabled()


def test_a_cold_cache_takes_the_input_sets_in_turn():
    taken = []
    subject = blocks.Subject(taken.append, [["a"], ["b"], ["c"]], lambda out: None, lambda out: None, lambda: 0)
    blocks.latency_calls(subject, 4)
    subject.run()
    blocks.throughput_calls(subject, 4)
    assert taken == ["a", "b", "c"] * 3


class CoarseClock:
    """Apple's: it moves in steps of 41.67 ns, and reading it takes 25 ns. A call takes `call_ns`, a little more or less."""

    TICK_NS = 125 / 3

    def __init__(self, call_ns: float) -> None:
        self.call_ns = call_ns
        self.time_ns = 0.0
        self.jitter = 0

    def read(self) -> int:
        self.time_ns += 25
        return int(int(self.time_ns / self.TICK_NS) * self.TICK_NS)

    def call(self) -> object:
        self.jitter = (self.jitter + 7) % 11
        self.time_ns += self.call_ns + (self.jitter - 5) / 5
        return object()

    def subject(self) -> blocks.Subject:
        return blocks.Subject(self.call, [[]], lambda out: None, lambda out: None, self.read)


def test_the_clocks_tick_is_learnt_by_reading_it():
    assert blocks.clock_tick_ns(CoarseClock(0).read) in (41, 42)
    assert blocks.clock_tick_ns(CoarseClock(0).read, stated_ns=41.67) in (41.67, 42)
    pace = cycle([244, 246, 247, 251])  # a clock of 1 ns, which takes a quarter of a microsecond to read
    fine = accumulate(pace)
    assert blocks.clock_tick_ns(lambda: next(fine)) == 1


def test_calls_too_short_for_the_clock_are_timed_together():
    # 562 and 564.5 ns, which single calls make 541.7 and 583.3: a ratio of 1.076
    medians, single = [], []
    for call_ns in (562.0, 564.5):
        clock = CoarseClock(call_ns)
        subject = clock.subject()
        single.append(median(blocks.latency_calls(subject, 999)))
        subject.calls_per_sample = blocks.calls_for_sample(call_ns, 41.67)
        assert subject.calls_per_sample in (37, 38)
        waits = []
        subject.wait = waits.append
        samples = blocks.latency_calls(subject, 99)
        assert len(samples) == 99
        assert len(waits) == 99 * subject.calls_per_sample  # each call is still waited for
        medians.append(median(samples))
    assert all(value % CoarseClock.TICK_NS < 1.5 or value % CoarseClock.TICK_NS > 40.5 for value in single)
    assert medians[1] / medians[0] == pytest.approx(564.5 / 562, rel=0.002)
    assert medians[0] == pytest.approx(562, rel=0.003)  # with the clock's reading, 25 ns of so many calls


def test_calls_that_are_long_for_the_clock_are_timed_one_by_one():
    assert blocks.calls_for_sample(30_000, 41.67) == 1
    assert blocks.calls_for_sample(562, 1) == 1
    protocol = Protocol(block_calls=5, block_ms=20, block_cap_s=0.5)
    assert blocks.calls_for_block(562, protocol, 38) == 937
    assert blocks.calls_for_block(562, protocol) == 35588
