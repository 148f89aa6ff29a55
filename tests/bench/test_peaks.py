"""The measured roofs, on a machine whose rates are known; how they are kept; and what a record is held against."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import roofs_under_load

from mtbench.bench.controller.job_record import record_of
from mtbench.bench.controller.job_state import JobState, Sweep
from mtbench.bench.controller.peaks import Peaks, Store
from mtbench.bench.controller.process import Process
from mtbench.bench.rates import Rates, Roofs
from mtbench.bench.wire import MeasurePeaks, Prepared, Started
from mtbench.bench.worker import calibration
from mtbench.bench.worker.blocks import Subject
from mtbench.bench.worker.correctness import Mismatch
from mtbench.engines.local import Host
from mtbench.frameworks.base import Description
from mtbench.machine.watch import Reading, Watch
from mtbench.operators.base import Shape
from mtbench.plain import from_plain, to_plain
from mtbench.plan.accuracy import Errors
from mtbench.plan.jobs import Arm, Task, job
from mtbench.plan.progress import Progress
from mtbench.plan.protocol import Protocol
from mtbench.results import limits
from mtbench.results import record as records
from mtbench.results.limits import limit_ns

MIB = 1 << 20
PLAIN = str(Path(__file__).parent / "user" / "framework" / "plain.py")


@dataclass
class Array:
    """No values, only a shape and an item's bytes."""

    shape: tuple[int, ...]
    item: int
    do: Callable[["Array", int], "Array"]

    @property
    def count(self) -> int:
        count = 1
        for side in self.shape:
            count *= side
        return count

    def __getitem__(self, part: slice) -> "Array":
        return replace(self, shape=(len(range(*part.indices(self.count))),))

    def __add__(self, one: int) -> "Array":
        return self.do(self, 2 * self.count * self.item)


class Machine:
    """Queues work and completes it when waited for. A product with a transposed matrix is the faster one; what fits in
    `cache` moves at 100 GB/s, all else at 20 GB/s; each call costs 1 µs, each wait 10 µs."""

    def __init__(self, cache: int = 4 * MIB, memory: int = 1 << 40, lazy: bool = False) -> None:
        self.cache, self.memory, self.lazy = cache, memory, lazy
        self.flops_per_s = {4: 1e11, 2: 4e11}
        self.now_ns = self.queued_ns = self.last_ns = 0.0
        self.largest = 0  # bytes of one array
        self.xp = SimpleNamespace(
            matmul=self.matmul, permute_dims=lambda x, axes: replace(x, shape=("transposed", *x.shape)),
            sum=lambda x, keepdims: self.move(x, x.count * x.item),
            concat=lambda parts: self.move(parts[0], 2 * sum(part.count * part.item for part in parts), 0.5),
            tile=self.tile,
        )  # fmt: skip

    def array(self, host: Any, dtype: str) -> Array:
        return Array(host.shape, {"float32": 4, "bfloat16": 2}[dtype], self.move)

    def tile(self, x: Array, repetitions: Sequence[int]) -> Array:
        shape = tuple(side * times for side, times in zip(x.shape, repetitions, strict=True))
        made = replace(x, shape=shape)
        if made.count * made.item > self.memory:
            raise RuntimeError("out of memory")
        self.largest = max(self.largest, made.count * made.item)
        return made

    def matmul(self, x: Array, w: Array) -> Array:
        factor = 1.25 if "transposed" in w.shape else 1.0
        self.queue(2.0 * x.shape[0] ** 3 / (factor * self.flops_per_s[x.item]) * 1e9)
        return x

    def move(self, x: Array, moved: int, factor: float = 1.0) -> Array:
        self.queue(moved / (factor * (1e11 if moved <= self.cache else 2e10)) * 1e9)
        return x

    def queue(self, ns: float) -> None:
        self.now_ns += 1000
        self.last_ns = ns
        self.queued_ns += ns

    def settle(self, out: Any) -> None:
        self.now_ns += 10_000 + (self.last_ns if self.lazy else self.queued_ns)
        self.queued_ns = self.last_ns = 0.0

    def subject(self, call: Callable[..., Any], inputs: Any, wait: Callable[..., Any]) -> Subject:
        return Subject(call, inputs, wait, lambda out: None, lambda: int(self.now_ns))

    def rates(
        self, dtype: str = "float32", on_gpu: bool = False, most_bytes: float = math.inf, **protocol: Any
    ) -> Rates:
        settings = Protocol(**protocol)
        return calibration.peak_rates(self, self.subject, dtype, on_gpu, settings, 60.0, most_bytes)  # type: ignore[arg-type]


def test_the_peak_product_is_the_better_layout_in_queued_calls():
    assert Machine().rates().flops_per_s == pytest.approx(1.25e11, rel=0.01)


def test_moving_data_has_a_roof_for_each_working_set_up_to_far_beyond_the_cache():
    table = Machine().rates(cold_cache_bytes=8 * MIB).bytes_per_s
    assert sorted(table) == [1 << power for power in range(16, 26)]  # to 4 times the 8 MiB
    assert table[2 * MIB] == pytest.approx(1e11, rel=0.06)
    assert table[8 * MIB] == pytest.approx(2e10, rel=0.02)
    assert table[64 << 10] < 0.5e11  # mostly the cost of calling
    assert max(Machine().rates(on_gpu=True).bytes_per_s) == 1 << 30


def test_a_cpu_may_compute_a_half_product_in_float32_and_a_gpu_has_units_for_it():
    machine = Machine()
    machine.flops_per_s = {4: 1e11, 2: 1e9}
    assert machine.rates("bfloat16").flops_per_s == pytest.approx(1.25e11, rel=0.01)
    assert machine.rates("bfloat16", on_gpu=True).flops_per_s == pytest.approx(1.25e9, rel=0.01)


def test_what_does_not_fit_in_memory_leaves_the_smaller_sizes_and_nothing_at_all_is_an_error():
    table = Machine(memory=MIB).rates().bytes_per_s
    assert max(table) == MIB
    with pytest.raises(RuntimeError, match="out of memory"):
        Machine(memory=1000).rates()


@pytest.mark.parametrize("most_bytes", [4 * MIB, 32 * MIB])
def test_what_the_peaks_take_stays_within_what_they_may(most_bytes: int) -> None:
    machine = Machine()
    rates = machine.rates(on_gpu=True, most_bytes=most_bytes)
    assert machine.largest <= most_bytes / 2
    assert max(rates.bytes_per_s) == most_bytes / 2
    assert rates.flops_per_s is not None


def test_the_smallest_problem_is_always_tried() -> None:
    rates = Machine().rates(most_bytes=1)
    assert rates.flops_per_s is not None
    assert list(rates.bytes_per_s) == [64 << 10]


def test_a_library_that_never_does_its_queued_work_sets_no_roof():
    with pytest.raises(Mismatch, match="work is not done"):
        Machine(lazy=True).rates()


def test_a_machine_on_which_waiting_takes_long_accuses_no_library():
    """Beside other work a thread that is woken has to wait for a processor: here 5 ms, each time."""
    machine = Machine()
    settle = machine.settle

    def late(out: Any) -> None:
        settle(out)
        machine.now_ns += 5_000_000

    machine.settle = late  # type: ignore[method-assign]
    assert machine.rates().flops_per_s is not None


def test_the_memory_roof_is_the_best_of_working_sets_of_at_least_half_the_size():
    rates = Rates(1e12, {64: 1.0, 128: 8.0, 256: 5.0, 512: 2.0, 1024: 3.0})
    roofs = {size: rates.at(size).bytes_per_s for size in (1, 128, 256, 257, 512, 513, 1024, 1 << 40)}
    assert roofs == {1: 8.0, 128: 8.0, 256: 8.0, 257: 5.0, 512: 5.0, 513: 3.0, 1024: 3.0, 1 << 40: None}
    assert rates.at(1 << 40, beyond=True).bytes_per_s == 3.0  # what a call that claims so many bytes is held against
    assert Rates().at(100.0, beyond=True) == Rates().at(100.0) == Roofs()
    assert rates.at(None) == Roofs(1e12)


def test_the_limit_is_that_of_the_lower_roof_and_unknown_where_a_roof_for_the_work_is():
    assert limit_ns(1e9, 1e6, 1e12, 1e9) == pytest.approx(1e6)  # bytes
    assert limit_ns(1e9, 1e3, 1e12, 1e9) == pytest.approx(1e6)
    assert limit_ns(1e10, 1e3, 1e12, 1e9) == pytest.approx(1e7)  # FLOPs
    assert limit_ns(0, 1e6, None, 1e9) == pytest.approx(1e6)
    assert limit_ns(1e9, 1e6, None, 1e9) is None
    assert limit_ns(0, 0, 1e12, 1e9) is None


def test_rates_survive_the_wire_and_nonsense_is_refused():
    rates = Rates(1e12, {64: 1.0, 128: 8.0})
    assert from_plain(Rates, json.loads(json.dumps(to_plain(rates)))) == rates
    for flops, table in (
        (-1.0, {}),
        (1.0, {"64": 0.0}),
        (1.0, {"64": None}),
        (1.0, {"a": 1.0}),
        ("fast", {}),
        (1.0, []),
    ):
        with pytest.raises(ValueError, match=r"rates|not|invalid"):
            from_plain(Rates, {"flops_per_s": flops, "bytes_per_s": table})


def state(
    misbehaving: Any, ran_on: str = "cpu", version: str = "1", dtype: str = "float32", wheel: str = "15", **arm: str
) -> JobState:
    made = JobState(misbehaving("well", dtype=dtype, **arm))
    ran = Description("numpy", version, ran_on, ran_on, "a device", 1, None, "memory", {"mlx_metal_wheel": wheel})
    made.worker = Started(ran, "3.12.0")
    return made


def test_the_peak_is_the_best_of_the_arms_that_compute_alike(misbehaving):
    known = Peaks()
    plain, mlx, tf32 = (state(misbehaving, **arm) for arm in ({}, {"framework": "mlx"}, {"matmul_precision": "tf32"}))
    known.note(plain, Rates(1e9, {64: 5.0, 128: 2.0}))
    known.note(mlx, Rates(3e9, {64: 1.0, 128: 4.0}))
    known.note(tf32, Rates(9e9, {64: 100.0}))
    assert known.best(plain) == known.best(mlx) == Rates(3e9, {64: 5.0, 128: 4.0})
    assert known.best(tf32).flops_per_s == 9e9
    assert known.best(state(misbehaving, dtype="float16")) == Rates()


def test_one_mode_of_a_library_is_measured_for_all(misbehaving):
    known = Peaks()
    known.note(state(misbehaving), Rates(1e9))
    assert known.has(state(misbehaving, mode="compiled"))
    assert known.has(state(misbehaving, variant="portable"))
    for other in ({"framework": "mlx"}, {"device": "gpu"}, {"matmul_precision": "tf32"}, {"requirement": "numpy==2"}):
        assert not known.has(state(misbehaving, **other)), other


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Peaks in a cache folder of the test's own: no other test's sweep has left any there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return Store("machine", [])


RATES = Rates(1e12, {64: 1.0, 128: 8.0})


def test_kept_peaks_serve_the_same_library_on_the_same_machine_and_no_other(store, misbehaving):
    store.write(state(misbehaving), RATES)
    kept = store.read(state(misbehaving, mode="compiled"))
    assert kept is not None
    assert kept.rates == RATES
    others = ({"version": "2"}, {"wheel": "26"}, {"dtype": "float16"}, {"ran_on": "gpu"}, {"matmul_precision": "tf32"})
    for other in others:
        assert store.read(state(misbehaving, **other)) is None, other
    assert Store("another machine", []).read(state(misbehaving)) is None
    assert Store("machine", [1]).read(state(misbehaving)) is None


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"measured_at": "2026-01-01"}', "\0\0", '{"key": {}, "measured_at": 3, "rates": {}}'],
)
def test_a_broken_file_is_no_peak_and_is_replaced(store, misbehaving, content):
    store.write(state(misbehaving), RATES)
    (file,) = store.folder.iterdir()
    file.write_text(content)
    assert store.read(state(misbehaving)) is None
    store.write(state(misbehaving), RATES)
    assert store.read(state(misbehaving)) is not None
    assert list(store.folder.iterdir()) == [file]


@pytest.mark.parametrize(
    ("age", "kept"), [(timedelta(days=6), True), (timedelta(days=8), False), (-timedelta(1), False)]
)
def test_peaks_are_kept_for_a_week(store, misbehaving, age, kept):
    store.write(state(misbehaving), RATES)
    (file,) = store.folder.iterdir()
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"measured_at": (datetime.now(UTC) - age).isoformat()}))
    assert (store.read(state(misbehaving)) is not None) is kept


def test_a_cache_folder_that_cannot_be_written_costs_nothing_but_the_cache(store, misbehaving):
    store.folder.parent.mkdir(parents=True)
    store.folder.write_text("in the way")
    store.write(state(misbehaving), RATES)
    assert store.read(state(misbehaving)) is None


def test_a_record_says_what_was_achieved_and_how_much_the_roofs_would_allow(misbehaving):
    one = state(misbehaving)
    one.latency_ns, one.throughput_ns = [[[900] * 5] * 8], [[500.0] * 8]
    one.note_prepared(Prepared(1, 1, Errors(), flops=1000.0, bytes_moved=128.0, calls_per_block=5, throughput_calls=5))
    one.peaks = Rates(1e10, {64: 1e9, 128: 1e9})
    found = record_of(one, Sweep("s", Protocol(), "m", {}))
    assert (found.flops_per_s, found.bytes_per_s) == (pytest.approx(2e9), pytest.approx(2.56e8))
    assert (found.peak_flops_per_s, found.peak_bytes_per_s) == (1e10, 1e9)
    assert found.limit_ns == pytest.approx(128)  # 100 for the FLOPs
    assert found.limit_fraction == pytest.approx(128 / 500)
    one.peaks = Rates()
    found = record_of(one, Sweep("s", Protocol(), "m", {}))
    assert found.flops_per_s == pytest.approx(2e9)
    assert (found.peak_flops_per_s, found.limit_ns, found.limit_fraction) == (None, None, None)


class Notes(Progress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


class Reaching:
    """Workers that say of these rates that they measured them, one after the other and the last one for ever, on a machine that
    is busy or idle. `asked` is within what time, where that was said."""

    def __init__(self, *rates: Rates, busy: bool = False) -> None:
        self.left, self.asked = list(rates), list[float | None]()
        reading = Reading(load=1000.0 if busy else 0.0)

        class Watched(Watch):
            def sample(watched) -> Reading:
                return reading

        class Worker(Process):
            def ask(worker, request: Any, timeout_s: float) -> Any:
                return (
                    self.rates(request.within_s) if request.do == MeasurePeaks.do else super().ask(request, timeout_s)
                )

        self.host = Host(start_process=Worker, watch=Watched)

    def rates(self, within_s: float | None) -> Rates:
        self.asked.append(within_s)
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


SLOW, FAST = (
    Rates(4.5e13, {1 << power: 6e11 for power in range(31)}),
    Rates(3.65e14, {1 << power: 8e12 for power in range(31)}),
)


def test_the_second_sweep_takes_the_peaks_of_the_first_and_says_so(store, misbehaving, brief, measure):
    jobs = [misbehaving("well"), misbehaving("well", variant="portable")]
    slow = Reaching(SLOW).host
    first, other = measure(jobs, brief, told := Notes(), slow).records
    assert [first.status, other.status] == ["ok", "ok"], (first.reason, other.reason)
    assert told.notes == []
    (file,) = store.folder.iterdir()
    content = json.loads(file.read_text())
    content["rates"] = to_plain(FAST)
    file.write_text(json.dumps(content))
    second, third = measure(jobs, brief, told := Notes(), slow).records
    assert {record.peak_flops_per_s for record in (second, third)} == {FAST.flops_per_s} != {first.peak_flops_per_s}
    (note,) = told.notes
    assert "protocol.peaks=measure" in note
    renewed, _ = measure(jobs, replace(brief, peaks="measure"), told := Notes(), slow).records
    assert renewed.peak_flops_per_s == SLOW.flops_per_s
    assert told.notes == []
    assert json.loads(file.read_text())["rates"]["flops_per_s"] == SLOW.flops_per_s


def test_a_record_is_written_again_when_a_later_arm_has_raised_the_peak(misbehaving, brief, measure, tmp_path):
    """The first cell has one arm; that of the second, on another library, was seen to reach more."""
    brief.peaks = "cached"
    early, late = misbehaving("well"), misbehaving("well", seq_len=6, framework="plain", framework_file=PLAIN)
    first, second = measure([early, late], brief, host=Reaching(SLOW, FAST, SLOW).host).records
    assert (first.peak_flops_per_s, first.peak_bytes_per_s) == (second.peak_flops_per_s, second.peak_bytes_per_s)
    assert first.peak_flops_per_s == FAST.flops_per_s
    frame, _ = records.read([tmp_path / early.folder / records.FILE_NAME])
    assert frame["peak_flops_per_s"].to_list() == [FAST.flops_per_s]
    assert frame["limit_fraction"].to_list() == [first.limit_fraction]


def test_peaks_are_measured_again_at_the_end_of_each_restart_and_the_best_counts(store, misbehaving, brief, measure):
    brief.restarts = 2
    workers = Reaching(SLOW, SLOW, FAST)
    (record,) = measure([misbehaving("well")], brief, host=workers.host).records
    first, *again = workers.asked
    assert first is None
    assert len(again) == 2
    assert all(0 < within_s < 60 for within_s in again)
    assert record.peak_flops_per_s == FAST.flops_per_s
    (record,) = measure(
        [misbehaving("well")], brief, host=Reaching(SLOW).host
    ).records  # the next sweep, in a busy minute
    assert record.peak_flops_per_s == FAST.flops_per_s
    kept = json.loads(next(store.folder.iterdir()).read_text())["rates"]
    assert kept["flops_per_s"] == FAST.flops_per_s


def test_what_was_measured_on_a_busy_machine_is_not_kept_and_the_record_says_so(store, misbehaving, brief, measure):
    (record,) = measure([misbehaving("well")], brief, host=Reaching(SLOW, busy=True).host).records
    assert any(warning.startswith("roof unsure") for warning in record.warnings)
    assert not store.folder.exists()
    (record,) = measure([misbehaving("well")], brief, host=Reaching(SLOW).host).records
    assert not any(warning.startswith("roof unsure") for warning in record.warnings)
    assert store.folder.exists()


def test_sweeps_beside_load_and_without_agree_once_the_roof_is_known(store, misbehaving, brief, measure):
    """Beside other work a roof is unsure and not kept; measured without, it holds for later sweeps, whatever is beside them."""
    told = []
    for rates, busy in ((SLOW, True), (FAST, False), (SLOW, True)):
        (record,) = measure([misbehaving("well")], brief, host=Reaching(rates, busy=busy).host).records
        told.append((record.peak_flops_per_s, limits.sure(vars(record))))
    assert told == [(SLOW.flops_per_s, False), (FAST.flops_per_s, True), (FAST.flops_per_s, True)]


def test_roofs_side_by_side_agree_where_both_are_sure():
    idle = {"products": (100.0, True), "moving": (50.0, True)}
    beside = {"products": (40.0, False), "moving": (46.0, True)}
    lines, agree = roofs_under_load.told(beside, idle, idle)
    assert agree
    assert lines[2:] == [
        "| products | 40, -60% (unsure) | 100 | 100, +0% |",
        "| moving | 46, -8% | 50 | 50, +0% |",
    ]
    assert not roofs_under_load.told(beside | {"moving": (44.0, True)}, idle, idle)[1]


def test_what_was_kept_and_has_been_raised_is_no_younger_for_that(store, misbehaving):
    store.write(state(misbehaving), SLOW)
    (file,) = store.folder.iterdir()
    content = json.loads(file.read_text())
    measured_at = (datetime.now(UTC) - timedelta(days=6)).isoformat()
    file.write_text(json.dumps(content | {"measured_at": measured_at}))
    again = Store("machine", [])
    assert again.read(state(misbehaving)) is not None
    again.write(state(misbehaving), FAST)
    assert json.loads(file.read_text())["measured_at"] == measured_at


def test_a_peak_is_sure_where_its_two_best_blocks_agree_or_another_sure_one_does():
    sure, unsure = Rates(1e9, {64: 1.0}), Rates(1.05e9, {64: 3.0}, unsure_flops=True, unsure_sizes=(64,))
    both = sure.merged(unsure)
    assert both == unsure.merged(sure)
    assert both == Rates(1.05e9, {64: 3.0}, unsure_flops=False, unsure_sizes=(64,))
    assert both.sure() == Rates(1.05e9, {})
    assert Rates(2e9, {64: 4.0}).merged(unsure) == Rates(2e9, {64: 4.0})
    assert both.at(64) == Roofs(1.05e9, 3.0, flops_sure=True, bytes_sure=False)
    assert sure.doubted().sure() == Rates()
    assert from_plain(Rates, json.loads(json.dumps(to_plain(both)))) == both


def test_blocks_that_differ_make_a_peak_unsure():
    steady = Machine().rates()
    assert not steady.unsure_flops
    assert not steady.unsure_sizes
    unsteady = Machine()
    pace = cycle([1.0, 1.5, 2.2, 3.0])  # of settling: no two blocks alike
    settle = unsteady.settle

    def disturbed(out: Any) -> None:
        unsteady.queued_ns *= next(pace)
        settle(out)

    unsteady.settle = disturbed  # type: ignore[method-assign]
    assert unsteady.rates().unsure_sizes


def test_a_size_is_measured_even_where_each_way_has_lagged_before():
    machine = Machine()
    moves = calibration.Moves(machine, machine.subject, "float32", Protocol())  # type: ignore[arg-type]
    moves.laggards = dict.fromkeys(moves.ways, MIB)
    assert moves._peak(2 * MIB).rate > 0


def test_a_dip_between_sizes_is_measured_again():
    machine = Machine(cache=1 << 40)
    move, slow = machine.move, [30]  # calls at 2 MiB that something else disturbs

    def disturbed(x: Array, moved: int, factor: float = 1.0) -> Array:
        if moved == 2 * MIB and slow[0] > 0 and machine.now_ns:
            slow[0] -= 1
            factor /= 14
        return move(x, moved, factor)

    machine.move = disturbed  # type: ignore[method-assign]
    machine.xp.sum = lambda x, keepdims: disturbed(x, x.count * x.item)
    machine.xp.concat = lambda parts: disturbed(parts[0], 2 * sum(part.count * part.item for part in parts), 0.5)
    table = machine.rates(block_ms=0.2).bytes_per_s
    assert slow[0] == 0
    assert table[2 * MIB] > 0.8 * table[4 * MIB]


def noted(machine: Machine) -> list[int]:
    """The sizes of the products that a machine is asked for from now on."""
    asked: list[int] = []

    def noting(x: Array, w: Array) -> Array:
        asked.append(x.shape[0])
        return machine.matmul(x, w)

    machine.xp.matmul = noting
    return asked


def test_a_brief_look_takes_the_largest_products_alone():
    machine = Machine()
    machine.flops_per_s = {4: 1e12}
    asked = noted(machine)
    found = calibration.peak_rates(machine, machine.subject, "float32", False, Protocol(), 60.0, brief=True)  # type: ignore[arg-type]
    assert found.flops_per_s == pytest.approx(1.25e12, rel=0.01)
    assert asked.count(512) <= 6 < asked.count(1024)


def test_a_brief_look_without_time_takes_one_product_that_fills_it():
    machine = Machine()  # 256: 0.34 ms, 512: 2.7 ms, 1024: 21 ms
    asked = noted(machine)
    found = calibration.peak_rates(machine, machine.subject, "float32", False, Protocol(), 0.1, brief=True)  # type: ignore[arg-type]
    assert found.flops_per_s == pytest.approx(1.25e11, rel=0.01)
    assert set(asked) == {256, 512}  # the next one takes longer by itself


def test_a_brief_look_takes_what_memory_has_room_for():
    machine = Machine(memory=4 * 512**2)
    found = calibration.peak_rates(machine, machine.subject, "float32", False, Protocol(), 60.0, brief=True)  # type: ignore[arg-type]
    assert found.flops_per_s == pytest.approx(1.25e11, rel=0.01)
    assert machine.largest == 4 * 512**2


def test_what_a_library_was_measured_to_reach_here_is_known_before_it_is_started(tmp_path: Path) -> None:
    store = Store("here", [])
    store.folder = tmp_path
    assert store.product_of(Arm("mlx"), "float32") is None
    store.write(kept_state("mlx", "0.31.0"), Rates(3e9, {}))
    store.write(kept_state("torch", "2.13.0"), Rates(3e11, {}))
    assert store.product_of(Arm("mlx", mode="compiled"), "float32") == 3e9
    store.write(kept_state("mlx", "0.32.4"), Rates(2e9, {}))
    assert store.product_of(Arm("mlx"), "float32") == 2e9  # the last word, not the best
    assert store.product_of(Arm("mlx"), "bfloat16") is None
    assert store.product_of(Arm("mlx", env=(("LD_PRELOAD", "libopenblas.so.0"),)), "float32") is None
    assert store.product_of(Arm("mlx", own=(("blas", "libopenblas.so.0"),)), "float32") is None
    assert Store("elsewhere", []).product_of(Arm("mlx"), "float32") is None


def test_the_roof_is_that_of_every_library_that_was_measured_here_whoever_is_in_the_sweep(tmp_path: Path) -> None:
    store = Store("here", [])
    store.folder = tmp_path
    fast, slow = kept_state("torch", "2.13.0"), kept_state("mlx", "0.32.4")
    store.write(fast, Rates(3e11, {1 << 20: 1e10, 1 << 26: 5e9}))
    peaks = Peaks()
    peaks.note(slow, Rates(3e9, {1 << 20: 2e10, 1 << 26: 4e9}))
    peaks.note_others(slow, store.others(slow))
    assert peaks.best(slow) == Rates(3e11, {1 << 20: 2e10, 1 << 26: 5e9})
    assert peaks.set_by(slow, 1 << 20) == ("torch 2.13.0", "mlx 0.32.4")
    assert peaks.set_by(slow, 1 << 26) == ("torch 2.13.0", "torch 2.13.0")
    peaks.own.add(store.file(fast))  # where this sweep measures torch itself, its old peak is none
    assert peaks.best(slow).flops_per_s == 3e9
    elsewhere = Store("elsewhere", [])
    elsewhere.folder = tmp_path
    assert elsewhere.others(slow) == {}
    for file in tmp_path.iterdir():
        file.write_text(file.read_text().replace('"dtype": "float32"', '"dtype": "float16"'))
    assert store.others(slow) == {}
    for file in tmp_path.iterdir():
        file.write_text("{")
    assert store.others(slow) == {}


def kept_state(library: str, version: str) -> JobState:
    state = JobState(job(Task("softmax", (("embed_dim", 8),), "float32", Shape(1, 8)), Arm(library), 1e-5))
    told = Description(library, version, "cpu", "cpu", "cpu", None, None, "a peak", {})
    state.worker = Started(description=told, python_version="3.11")
    return state
