"""Runs the self-test, part by part; what fails costs its own rows and no others."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from mtbench import machine
from mtbench.errors import ConfigError, Unsupported, unknown
from mtbench.frameworks.base import Description
from mtbench.results.format import plural
from mtbench.results.selftest import Outcome, Row
from mtbench.selftest import agreement, goals, surroundings, sweeps, trials
from mtbench.selftest.surroundings import Surroundings
from mtbench.selftest.trials import Broken, Series

Say = Callable[[str], None]
Keep = Callable[[Outcome], None]

DEVICES = ("auto", "cpu", "gpu")


@dataclass(frozen=True)
class Extent:
    """How much is measured."""

    busy_rounds: int
    twins: Series
    more: Series
    rival_rounds: int
    repeated_jobs: int  # of the sweep that is run twice
    default_jobs: int  # of a sweep with the default protocol
    default_sweeps: int  # with it, so many


FULL = Extent(
    busy_rounds=20,
    twins=Series(restarts=4, rounds=20, cells=8, batches=12, budget_s=150.0),
    more=Series(restarts=4, rounds=40, cells=6, batches=8, budget_s=150.0),
    rival_rounds=40,
    repeated_jobs=100,
    default_jobs=12,
    default_sweeps=3,
)
QUICK = Extent(
    busy_rounds=6,
    twins=Series(restarts=3, rounds=21, cells=5, batches=1, budget_s=15.0),
    more=Series(restarts=3, rounds=39, cells=2, batches=1, budget_s=15.0),
    rival_rounds=20,
    repeated_jobs=8,
    default_jobs=2,
    default_sweeps=1,
)


@dataclass(frozen=True)
class Test:
    """What every part of the self-test is told."""

    around: Surroundings
    extent: Extent
    library: Description  # torch, or NumPy where torch is not possible
    no_torch: str | None  # why
    device: str
    folder: Path

    @property
    def kind(self) -> str:
        return self.around.kind


def run(
    device: str = "auto",
    quick: bool = False,
    extent: Extent | None = None,
    say: Say = lambda line: None,
    only: Sequence[str] = (),
    keep: Keep = lambda outcome: None,
) -> Outcome:
    """Measures everything that can be measured here, or `only` the named parts of it.

    `extent` is that of `quick` or of the full self-test; `keep` gets what is known after each part. Raises ConfigError
    where the device or a part does not exist, and KeyboardInterrupt where the user wants an end.
    """
    if device not in DEVICES:
        raise ConfigError(unknown("device", device, DEVICES))
    for name in only:
        if name not in PARTS:
            raise ConfigError(unknown("part of the self-test", name, list(PARTS)))
    wanted = [name for name in PARTS if name in only or not only]
    started = time.monotonic()
    library, no_torch = _library(device)
    on_gpu = library.device == "gpu"
    around = surroundings.look(on_gpu)
    say(f"A {around.kind} machine: {around.why}.")
    description = machine.describe()
    outcome = Outcome(
        rows=(),
        kind=around.kind,
        why=around.why,
        device=library.device_name if on_gpu else "cpu",
        library=f"{library.library} {library.version}",
        quick=quick,
        seconds=0.0,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine_id=machine.identity(description),
        machine=description,
        left_out=tuple(PARTS),
    )
    with tempfile.TemporaryDirectory(prefix="mtbench-selftest-") as folder:
        for name in wanted:
            test = Test(around, extent or (QUICK if quick else FULL), library, no_torch, device, Path(folder))
            made = PARTS[name](test)
            outcome = replace(
                outcome,
                rows=(*outcome.rows, *made),
                seconds=time.monotonic() - started,
                left_out=tuple(part for part in outcome.left_out if part != name),
            )
            keep(outcome)
            for row in made:
                say(f"{row.what}: {row.measured or row.detail} ({row.verdict})")
    return outcome


def _library(device: str) -> tuple[Description, str | None]:
    """The library that measures: torch, or NumPy on a CPU without torch, with the reason."""
    try:
        return agreement.describe(device), None
    except (Unsupported, Broken) as error:
        if device == "gpu":
            raise ConfigError(f"The self-test uses torch on a GPU: {error}") from error
        return _numpy(), str(error)


def _numpy() -> Description:
    from mtbench.frameworks.base import Settings
    from mtbench.frameworks.numpy import NumPy

    return NumPy(Settings()).describe()


@contextmanager
def _guarded(rows: list[Row], *what: str) -> Iterator[None]:
    """Turns an error into rows, so that the self-test goes on: these goals are then missed or not possible here."""
    try:
        yield
    except Unsupported as error:
        rows += [goals.not_possible(one, str(error)) for one in what]
    except Broken as error:
        rows += [goals.failed(one, str(error)) for one in what]


def _need_torch(test: Test) -> None:
    if test.no_torch is not None:
        raise Unsupported(test.no_torch)


def _busy_wait(test: Test) -> list[Row]:
    rows: list[Row] = []
    with _guarded(rows, "busy-wait of known length"):
        clock_ns = trials.clock_ns()
        for busy in trials.busy_wait(test.extent.busy_rounds, test.folder):
            name = f"busy-wait of {busy.duration_ms:g} ms"
            detail = f"median of {busy.blocks} blocks; one look at the clock takes {clock_ns:.0f} ns"
            what = f"{name}: error of the median"
            rows.append(goals.deviation(name, test.kind, what, busy.ratio, busy.blocks, detail))
    return rows


def _twins(test: Test) -> list[Row]:
    rows: list[Row] = []
    by_test, as_verdict = (f"an arm against itself: called different {how}" for how in ("by the test", "as a verdict"))
    with _guarded(rows, by_test, as_verdict):
        found = trials.contenders(test.library, test.device, ["twin"], test.extent.twins, test.folder)
        twins = found.comparisons["twin"]
        detail = found.describe(test.extent.twins)
        for name, what, count in (
            ("different by the test", by_test, goals.different_by_test(twins)),
            ("different as a verdict", as_verdict, goals.different_as_verdict(twins)),
        ):
            rows.append(goals.proportion(name, test.kind, what, count, len(twins), detail))
    return rows


def _more(test: Test) -> list[Row]:
    rows: list[Row] = []
    series = test.extent.more
    three, one = (f"+{n} % injected, {series.rounds} rounds: detected" for n in (3, 1))
    with _guarded(rows, three, one, "smallest difference that can be seen"):
        variants = ["three_percent_more", "one_percent_more"]
        found = trials.contenders(test.library, test.device, variants, series, test.folder)
        detail = found.describe(series)
        for name, what, variant in zip(("3 % more", "1 % more"), (three, one), variants, strict=True):
            pairs = found.comparisons[variant]
            rows.append(goals.proportion(name, test.kind, what, goals.detected(pairs), len(pairs), detail))
        rows.append(goals.smallest([pair for pairs in found.comparisons.values() for pair in pairs], series.rounds))
    return rows


def _rivals(test: Test) -> list[Row]:
    rows: list[Row] = []
    timer, loop = "agreement with torch.utils.benchmark.Timer", "a plain hand-written loop beside the harness"
    with _guarded(rows, timer, loop):
        _need_torch(test)
        found = agreement.beside_softmax(test.device, test.extent.rival_rounds)
        for name, what, how in (("torch's Timer", timer, "timer"), ("plain loop", loop, "loop")):
            comparison, call_ns = found[how]
            detail = f"softmax of {call_ns / 1e3:.3g} µs, {comparison.pairs} rounds in one process"
            rows.append(goals.agreement(name, test.kind, what, comparison, detail))
    return rows


def _do_bench(test: Test) -> list[Row]:
    rows: list[Row] = []
    what = "agreement with triton.testing.do_bench in device time"
    with _guarded(rows, what):
        _need_torch(test)
        if test.library.device_kind != "cuda":
            raise Unsupported(f"do_bench times CUDA's devices, and torch runs on {test.library.device_kind} here.")
        comparison, call_ns = agreement.beside_do_bench(test.device, test.extent.rival_rounds)
        detail = f"linear of {call_ns / 1e3:.3g} µs, {comparison.pairs} rounds in one process"
        room = goals.DO_BENCH_NS / call_ns
        rows.append(goals.agreement("Triton's do_bench", test.kind, what, comparison, detail, room))
    return rows


def _sweep(test: Test, operator: str = "softmax", **params: int) -> list[str]:
    given = [f"operator.params.{name}={value}" for name, value in params.items()]
    return [f"framework={test.library.library}", f"device={test.device}", f"operator={operator}", *given, "sweep=none"]


def _twice(test: Test) -> list[Row]:
    """On a GPU half of the jobs are long against their launch and half are not, since the host's part of a call repeats in
    another way than the device's."""
    rows: list[Row] = []
    on_gpu = test.library.device == "gpu"
    repeated = _sweep(test, "linear", embed_dim=2048) if on_gpu else _sweep(test)
    batch_sizes = {", bound by the host": 1, ", bound by the device": 32} if on_gpu else {"": 1}
    differ, each = "times that differ by more than 5 %", "the controller's own time for each job"
    twice = {f"the same sweep twice{bound}: {differ}": size for bound, size in batch_sizes.items()}
    with _guarded(rows, *twice, each):
        per_size = max(1, test.extent.repeated_jobs // len(twice))
        sizes = ",".join(str(size) for size in twice.values())
        arguments = [*repeated, _lengths(per_size), f"shape.batch_size={sizes}", *sweeps.SHORT]
        first, cost = sweeps.run(arguments, test.folder / "first")
        second, _ = sweeps.run(arguments, test.folder / "second")
        for what, size in twice.items():
            of_size = ([one for one in sweep if one.batch_size == size] for sweep in (first, second))
            found = sweeps.ratios(*of_size)
            detail = f"{len(found) // 2} jobs, each in latency and throughput; {sweeps.moved_together(found)}"
            rows.append(
                goals.proportion("same sweep twice", test.kind, what, sweeps.different(found), len(found), detail)
            )
        detail = f"a sweep of {cost.jobs} jobs that took {cost.wall_s:.3g} s; all but waiting for workers"
        rows.append(goals.amount("controller", test.kind, each, [cost.controller_s], cost.jobs, "s", detail))
    return rows


def _cost(test: Test) -> list[Row]:
    rows: list[Row] = []
    outside, checks = "time outside warm-up and timed blocks", "time in the checks after the blocks"
    with _guarded(rows, outside, checks):
        # Two of the five restarts: each costs the same outside its blocks, and the start of it all weighs rather too much.
        arguments = [*_sweep(test), _lengths(test.extent.default_jobs), "protocol.restarts=2"]
        costs = [sweeps.run(arguments, test.folder / f"default-{n}")[1] for n in range(test.extent.default_sweeps)]
        last, several = costs[-1], f"{len(costs)} {plural(len(costs), 'sweep')} of "
        detail = (
            f"{several}{last.jobs} jobs of one arm, the default protocol with two restarts, {last.wall_s:.3g} s: {last}"
        )
        for name, what, shares in (
            ("outside", outside, [one.outside for one in costs]),
            ("checks", checks, [one.checks for one in costs]),
        ):
            rows.append(goals.amount(name, test.kind, what, shares, last.jobs, "", detail))
    return rows


def _lengths(jobs: int) -> str:
    """The setting for so many shapes of nearly the same size."""
    return f"shape.seq_len=range(64,{64 + jobs})"


PARTS: dict[str, Callable[[Test], list[Row]]] = {
    "busy_wait": _busy_wait,
    "twins": _twins,
    "injected": _more,
    "rivals": _rivals,
    "do_bench": _do_bench,
    "twice": _twice,
    "cost": _cost,
}
"""The parts, in the order in which they are measured, each of which makes some rows of the table."""
