"""The worker: one process, one arm. It sets its library up, builds what it is told to, and times blocks when asked.

Started as `python -m mtbench.bench.worker READ_FD WRITE_FD`. Requests and answers are those of mtbench.bench.wire. It ends when
its input closes. It imports NumPy and one framework, and none of the controller's libraries.
"""

import math
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mtbench.bench import failures, wire
from mtbench.bench.channel import Channel, Closed
from mtbench.bench.rates import Rates
from mtbench.bench.worker import blocks, calibration, correctness, growth, honesty, integrity
from mtbench.bench.worker.forms import build, compiled
from mtbench.bench.worker.gate import Gate, gate_for
from mtbench.bench.worker.priority import raise_priority
from mtbench.catalogue import registry
from mtbench.errors import ConfigError, ServerFailed, Unsupported
from mtbench.frameworks.base import Description, Framework
from mtbench.machine.memory import available_bytes
from mtbench.operators.base import ITEM_BYTES, Operator, Shape
from mtbench.plan.protocol import Protocol
from mtbench.results.samples import block_statistic

FLOOR_CALLS = 200

DEVICE_TIMINGS = 5

COLD_FACTOR = 3
"""Cold inputs together exceed the last-level cache this many times, so that none survives until its next turn."""

PEAK_BUDGET_S, PEAK_GPU_BUDGET_S = 1.0, 5.0
"""Time for the best product, and again for moving data. On a GPU every block comes after untimed calls."""

PEAK_MEMORY_PARTS = 8
"""Peak rates take at most one of this many parts of free memory: they must not push a small machine into swap."""

PEAK_SECOND_FACTOR = 2.0
"""How many times as long the peaks are measured where a result seems to exceed them."""

PEAK_BRIEF_FACTOR = 0.3
"""At the end of a restart they are measured for this part of the time at most: the best of all measurements counts."""


@dataclass
class Ready:
    """One job, built, checked and warm."""

    subject: blocks.Subject
    problem: Operator
    shape: Shape
    dtype: str
    gate: Gate
    latency_calls: int
    throughput_calls: int
    recompiled: bool = False


class Worker:
    """Answers requests: each by the method of its name (`Request.do`)."""

    requests = wire.REQUESTS

    def __init__(self, raise_priority: Callable[[], None] = raise_priority) -> None:
        self.raise_priority = raise_priority
        self.framework: Framework
        self.description: Description
        self.mode: str
        self.protocol: Protocol
        self.prepared: Ready | None = None
        self.canary_call: blocks.Subject | None = None
        self.has_prepared = False
        self.rate_check = integrity.RateCheck(lambda dtype: self._peak_rates(dtype, PEAK_SECOND_FACTOR))

    def start(self, request: wire.Start) -> wire.Started:
        self.mode = request.mode
        self.protocol = request.protocol
        if self.protocol.cpus:
            _pin(self.protocol.cpus)  # before the library makes its threads
        self.raise_priority()  # likewise
        chosen: type[Framework] = registry.load("framework", request.framework, request.file)
        chosen.check_own(request.settings)
        if request.compiler_cache is not None:
            chosen.keep_compiled_in(Path(request.compiler_cache))
        with blocks.collector_off():  # collections took 0.1 s of an import
            self.framework = chosen(request.settings)
            self.description = self.framework.describe()
        self.tick_ns = blocks.clock_tick_ns(time.perf_counter_ns, time.get_clock_info("perf_counter").resolution * 1e9)
        blocks.settle_collector(set_aside=True)
        return wire.Started(self.description, platform.python_version(), self.tick_ns)

    def floor(self, request: wire.TimeFloor) -> wire.Floor:
        null = self._subject(self.framework.null(), [[]])
        with blocks.collector_off():
            blocks.latency_calls(null, FLOOR_CALLS // 4)
            return wire.Floor(block_statistic(blocks.latency_calls(null, FLOOR_CALLS)))

    def peaks(self, request: wire.MeasurePeaks) -> Rates:
        return self._peak_rates(request.dtype, within_s=request.within_s)

    def _peak_rates(self, dtype: str, factor: float = 1.0, within_s: float | None = None) -> Rates:
        if not self.framework.measures_peaks:
            return Rates()
        self.framework.check_dtype(dtype)
        on_gpu = self.description.device == "gpu"
        budget_s = factor * (PEAK_GPU_BUDGET_S if on_gpu else PEAK_BUDGET_S)
        budget_s = budget_s if within_s is None else min(PEAK_BRIEF_FACTOR * budget_s, within_s / 2)
        most_bytes = (self.framework.free_bytes() or available_bytes()) / PEAK_MEMORY_PARTS
        return calibration.peak_rates(
            self.framework, self._subject, dtype, on_gpu, self.protocol, budget_s, most_bytes, within_s is not None
        )

    def canary(self, request: wire.TimeCanary) -> wire.CallTime:
        if self.canary_call is None:
            self.canary_call = calibration.make_canary(self.framework, self._subject)
        return wire.CallTime(calibration.time_canary(self.canary_call, self.protocol))

    def prepare(self, request: wire.Prepare) -> wire.Prepared:
        self._let_go()
        framework, dtype, sizes = self.framework, request.dtype, request.shape
        framework.check_dtype(dtype)
        problem: Operator = registry.load("operator", request.operator, request.file)(**request.params)
        gate = gate_for(framework, problem, sizes, dtype, request.limits, self.protocol.seed, request.check_seed)
        case = gate.draw()
        weights = SimpleNamespace(**{name: framework.array(host, dtype) for name, host in case.weights.items()})
        call = build(framework, problem, request.variant, weights)
        gate.hold(call)
        if problem.brings_modules:
            call = framework.adopt(call, dtype)
        if self.mode == "compiled":
            call = compiled(framework, call)

        subject = self._subject(call, self._input_sets(case, dtype))
        if not problem.updates_inputs:  # else its result is an input, into which all calls write the same
            subject.keep = self._copy
        first_call_ns = blocks.first_call(subject)
        errors = gate.first(subject.run_with, subject.last, case)
        # A first job still makes its library load things that stay, the compiler above all.
        blocks.settle_collector(set_aside=not self.has_prepared)
        self.has_prepared = True
        started = subject.clock()
        warmth = blocks.warm_up(subject, self.protocol)
        queued_calls = blocks.calls_for_throughput(subject, warmth.call_ns, self.protocol)  # warms the queue up, too
        warmup_ns = subject.clock() - started
        subject.call_ns = warmth.call_ns
        subject.calls_per_sample = blocks.calls_for_sample(warmth.call_ns, self.tick_ns)
        prepared = self.prepared = Ready(
            subject,
            problem,
            sizes,
            dtype,
            gate,
            latency_calls=blocks.calls_for_block(warmth.call_ns, self.protocol, subject.calls_per_sample),
            throughput_calls=queued_calls,
        )
        return wire.Prepared(
            first_call_ns=first_call_ns,
            warmup_ns=warmup_ns,
            errors=errors,
            flops=None if (flops := problem.flops(sizes)) is None else _finite("flops", flops),
            bytes_moved=_finite("bytes_moved", problem.bytes_moved(sizes, dtype)),
            calls_per_block=prepared.latency_calls,
            throughput_calls=prepared.throughput_calls,
            calls_per_sample=subject.calls_per_sample,
            warnings=[
                *([] if warmth.steady else [f"not steady after {self.protocol.warmup_cap_s:g} s of warm-up"]),
                *problem.caveats(),
                *framework.caveats(),
            ],
            compiled_with=dict(framework.compiled_with) if self.mode == "compiled" else {},
        )

    def latency(self, request: wire.TimeLatency) -> wire.LatencyBlock:
        prepared = self._ready()
        with self._noting_compilations():
            samples = blocks.latency_block(prepared.subject, prepared.latency_calls, self.protocol)
        stamps: list[list[int]] = getattr(prepared.subject.call, "stamps", [])  # of all calls so far
        taken = stamps[-len(samples) :]
        stamps.clear()
        return wire.LatencyBlock(samples, taken)

    def throughput(self, request: wire.TimeThroughput) -> wire.ThroughputBlock:
        prepared = self._ready()
        with self._noting_compilations():
            parts_ns = blocks.throughput_block(prepared.subject, prepared.throughput_calls, self.protocol)
        return wire.ThroughputBlock(parts_ns)

    @contextmanager
    def _noting_compilations(self) -> Iterator[None]:
        """Notes whether the library compiles anything in a block. Between blocks it may, for the canary, say."""
        before = self.framework.compilations()
        yield
        self._ready().recompiled |= self.framework.compilations() != before

    def finish(self, request: wire.Finish) -> wire.Finished:
        prepared, call_ns = self._ready(), request.call_ns
        subject, framework = prepared.subject, self.framework
        errors = prepared.gate.again(subject.last)
        warnings = ["recompiled while it was timed"] if prepared.recompiled else []
        device_ns = [
            timing
            for _ in range(DEVICE_TIMINGS)
            if (timing := framework.device_ns(subject.call, subject.inputs[0], prepared.throughput_calls)) is not None
        ]
        subject.last = None
        framework.reset_peak()
        subject.run()
        peak_bytes = framework.peak_bytes()  # before the checks, whose other inputs a call with state of its own keeps
        if request.thorough and framework.unverified is None:
            queued = prepared.throughput_calls, subject.call_ns
            found, doubts = honesty.check(framework, subject, prepared.gate, call_ns, *queued)
            errors = errors.worst(found)
            warnings += doubts
        grown: float | None = None
        if request.thorough and self.protocol.growth:
            grown, doubts = growth.check(framework, subject.run, self.protocol.growth, subject.clock)
            warnings += doubts
        problem, shape, dtype = prepared.problem, prepared.shape, prepared.dtype
        work = ((problem.flops(shape) or 0.0) * problem.computes_in_dtype, problem.bytes_moved(shape, dtype))
        again, suspicions = self.rate_check.check(dtype, *work, call_ns, request.roofs, request.busy)
        warnings += suspicions
        warnings += getattr(subject.call, "caveats", list)()
        subject.last = None
        return wire.Finished(
            errors=errors,
            divergence=prepared.gate.divergence,
            peak_kind=self.description.peak_kind,
            device_ns=block_statistic(device_ns) if device_ns else None,
            peak_bytes=peak_bytes,
            peaks=again,
            warnings=warnings,
            growth=grown,
            tokens=getattr(subject.call, "tokens_per_call", None),
        )

    def work(self, request: wire.Work) -> wire.Worked:
        prepared = self._ready()
        calls = 0
        until = time.monotonic() + request.seconds
        with blocks.collector_off():
            while time.monotonic() < until:
                blocks.throughput_calls(prepared.subject, prepared.throughput_calls)
                calls += prepared.throughput_calls
        return wire.Worked(calls)

    def memory(self, request: wire.AskMemory) -> wire.FreeMemory:
        return wire.FreeMemory(self.framework.free_bytes(), self.framework.working_set_bytes())

    def release(self, request: wire.Release) -> wire.Done:
        self._let_go()
        return wire.Done()

    def _let_go(self) -> None:
        self.prepared = None
        self.framework.clear()

    def _input_sets(self, case: correctness.Case, dtype: str) -> list[list[Any]]:
        """The inputs on the device: once, or for a cold cache as often as needed to overflow the last-level cache."""
        count = 1
        if self.protocol.cold_cache:
            one = sum(host.size for host in case.inputs.values()) * ITEM_BYTES[dtype]
            count = max(2, -(-COLD_FACTOR * self.protocol.cold_cache_bytes // one))
        return [[self.framework.array(host, dtype) for host in case.inputs.values()] for _ in range(count)]

    def _subject(
        self, call: Callable[..., Any], inputs: list[list[Any]], wait: Callable[..., Any] | None = None
    ) -> blocks.Subject:
        return blocks.Subject(
            call,
            inputs,
            wait=wait or self.framework.wait,
            submit=self.framework.submit,
            clock=time.perf_counter_ns,
            on_gpu=self.description.device == "gpu",
            compilations=self.framework.compilations,
        )

    def _ready(self) -> Ready:
        if self.prepared is None:
            raise RuntimeError("nothing is prepared")
        return self.prepared

    def _copy(self, out: Any) -> Any:
        """An output's arrays, copied; one that holds anything else as it is, for the gate to refuse."""
        try:
            leaves = self.framework.leaves(out)
        except TypeError:
            return out
        if not all(map(self.framework.stored_whole, leaves)):
            raise correctness.Mismatch("an output has less memory than values, so that some were not written")
        return [self.framework.copy(leaf) for leaf in leaves]


def _pin(cpus: list[int]) -> None:
    """Keeps this process on some processors. Raises Unsupported where the system cannot, or has no such processor."""
    if not hasattr(os, "sched_setaffinity"):
        raise Unsupported("protocol.cpus needs Linux; other systems do not let a program choose its processors.")
    try:
        os.sched_setaffinity(0, cpus)
    except (OSError, ValueError):
        # By getattr, since mypy does not see this function for macOS.
        usable = ",".join(map(str, sorted(getattr(os, "sched_getaffinity")(0))))  # noqa: B009
        raise Unsupported(
            f"protocol.cpus={cpus} names processors that are not here; this process may use {usable}."
        ) from None


def answer(worker: Worker, request: wire.Request[Any]) -> Any:
    """Carries a request out and turns whatever goes wrong into an answer: a worker outlives its jobs' failures."""
    try:
        return getattr(worker, request.do)(request)
    except ConfigError as error:  # of a user's operator: it says all, and a traceback would bury it
        return wire.Refused("failed", str(error))
    except Unsupported as error:
        return wire.Refused("unsupported", str(error))
    except ServerFailed as error:
        return wire.Refused(error.status, str(error))
    except correctness.Mismatch as error:
        return wire.Refused("mismatch", str(error), error.errors)
    except Exception as error:
        return wire.Refused(failures.status_of(error), "".join(traceback.format_exception(error)))


def _finite(name: str, value: float) -> float:
    """An operator's own count of its work. Raises ValueError where it is no finite number of 0 or more."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} is {value}; an operator's work is a finite number, 0 or more")
    return float(value)


def serve(worker: Worker) -> None:
    """Answers requests over the file descriptors that the command line names, until they are closed."""
    channel = Channel(int(sys.argv[1]), int(sys.argv[2]))
    known = {request.do: request for request in worker.requests}
    try:
        while True:
            channel.send_answer(answer(worker, channel.read_request(known)))
    except Closed:
        return
