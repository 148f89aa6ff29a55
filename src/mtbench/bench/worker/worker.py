"""The worker: one process, one arm. It sets its library up, builds what it is told to, and times blocks when asked.

Started as `python -m mtbench.bench.worker READ_FD WRITE_FD`. Each request is a message {"do": name, ...}, answered by
one message: {"ok": true, ...}, or {"ok": false, "status": ..., "reason": ...} with a status of mtbench.results.record. It ends
when its input closes. It imports NumPy and one framework, and none of the controller's libraries.
"""

import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import median
from types import SimpleNamespace
from typing import Any

from mtbench import registry
from mtbench.bench.protocol import Protocol
from mtbench.bench.rates import Rates
from mtbench.bench.wire import Channel, Closed, Message
from mtbench.bench.worker import blocks, calibration, correctness, integrity
from mtbench.errors import Unsupported
from mtbench.frameworks.base import Description, Framework, Settings
from mtbench.operators.base import ITEM_BYTES, Operator, Shape

FLOOR_CALLS = 200

DEVICE_TIMINGS = 5

COLD_FACTOR = 3
"""Cold inputs together exceed the last-level cache this many times, so that none survives until its next turn."""

PEAK_BUDGET_S, PEAK_GPU_BUDGET_S = 1.0, 5.0
"""Time for the best product, and again for moving data. On a GPU every block comes after untimed calls."""

PEAK_SECOND_FACTOR = 2.0
"""So much longer where a result seems to exceed the peaks, and they are measured again."""


@dataclass
class Prepared:
    """One job, built, checked and warm."""

    subject: blocks.Subject
    problem: Operator
    shape: Shape
    dtype: str
    expected: correctness.Expected
    tolerance: float
    call_ns: float
    latency_calls: int
    throughput_calls: int
    recompiled: bool = False


class Worker:
    """Answers requests; each public method is one, its arguments the message's fields, its result the answer's."""

    def __init__(self) -> None:
        self.framework: Framework
        self.description: Description
        self.mode: str
        self.protocol: Protocol
        self.prepared: Prepared | None = None
        self.canary_call: blocks.Subject | None = None
        self.has_prepared = False
        self.rate_check = integrity.RateCheck(lambda dtype: Rates.from_json(self.peaks(dtype, PEAK_SECOND_FACTOR)))

    def start(
        self, framework: str, file: str | None, mode: str, settings: dict[str, str], protocol: dict[str, Any]
    ) -> Message:
        """Sets the library up; answers with its description."""
        self.mode = mode
        self.protocol = Protocol(**protocol)
        if self.protocol.cpus:
            _pin(self.protocol.cpus)  # before the library makes its threads
        self.framework = registry.load("framework", framework, file)(Settings(**settings))
        self.description = self.framework.describe()
        blocks.settle_collector(set_aside=True)
        return {"description": {**asdict(self.description), "python_version": platform.python_version()}}

    def floor(self) -> Message:
        """Times the library's cheapest call. Apart from `start`, since workers start side by side."""
        null = self._subject(self.framework.null(), [[]])
        with blocks.collector_off():
            blocks.latency_calls(null, FLOOR_CALLS // 4)
            return {"floor_ns": median(blocks.latency_calls(null, FLOOR_CALLS))}

    def peaks(self, dtype: str, factor: float = 1.0) -> Message:
        """The best rates that matrix products and moving data reach here with a dtype."""
        self.framework.check_dtype(dtype)
        on_gpu = self.description.device == "gpu"
        budget_s = factor * (PEAK_GPU_BUDGET_S if on_gpu else PEAK_BUDGET_S)
        rates = calibration.peak_rates(self.framework, self._subject, dtype, on_gpu, self.protocol, budget_s)
        return rates.to_json()

    def canary(self) -> Message:
        """Times a fixed product: what it does over a sweep, the machine did, and no operator."""
        if self.canary_call is None:
            self.canary_call = calibration.make_canary(self.framework, self._subject)
        return {"call_ns": calibration.time_canary(self.canary_call, self.protocol)}

    def prepare(
        self,
        operator: str,
        file: str | None,
        params: dict[str, Any],
        variant: str,
        dtype: str,
        shape: dict[str, Any],
        tolerance: float,
    ) -> Message:
        """Builds a job, times its first call, checks its answer, warms it up and sizes its blocks."""
        self.release()
        framework = self.framework
        framework.check_dtype(dtype)
        problem: Operator = registry.load("operator", operator, file)(**params)
        sizes = Shape(**shape)
        case = correctness.draw(problem, sizes, dtype, self.protocol.seed)
        weights = SimpleNamespace(**{name: framework.array(host, dtype) for name, host in case.weights.items()})
        call = build(framework, problem, variant, weights)
        if self.mode == "compiled":
            call = compiled(framework, call)

        subject = self._subject(call, self._input_sets(case, dtype))
        first_call_ns = blocks.first_call(subject)
        expected = correctness.expect(problem, sizes, case)
        error = correctness.check(self._host(subject.last), expected, sizes.batch_size, tolerance)
        # A first job still makes its library load things that stay, the compiler above all.
        blocks.settle_collector(set_aside=not self.has_prepared)
        self.has_prepared = True
        started = subject.clock()
        warmth = blocks.warm_up(subject, self.protocol)
        queued_calls = blocks.calls_for_throughput(subject, warmth.call_ns, self.protocol)  # warms the queue up, too
        warmup_ns = subject.clock() - started
        prepared = self.prepared = Prepared(
            subject,
            problem,
            sizes,
            dtype,
            expected,
            tolerance,
            warmth.call_ns,
            latency_calls=blocks.calls_for_block(warmth.call_ns, self.protocol),
            throughput_calls=queued_calls,
        )
        return {
            "first_call_ns": first_call_ns,
            "warmup_ns": warmup_ns,
            "verify_error": error,
            "flops": problem.flops(sizes),
            "bytes_moved": problem.bytes_moved(sizes, dtype),
            "calls_per_block": prepared.latency_calls,
            "throughput_calls": prepared.throughput_calls,
            "warnings": [] if warmth.steady else [f"not steady after {self.protocol.warmup_cap_s:g} s of warm-up"],
        }

    def latency(self) -> Message:
        """One block in latency mode."""
        prepared = self._ready()
        with self._noting_compilations():
            samples = blocks.latency_block(prepared.subject, prepared.latency_calls, self.protocol)
        return {"samples_ns": samples, "median_ns": median(samples)}

    def throughput(self) -> Message:
        """One block in throughput mode."""
        prepared = self._ready()
        with self._noting_compilations():
            call_ns = blocks.throughput_block(prepared.subject, prepared.throughput_calls, self.protocol)
        return {"call_ns": call_ns}

    @contextmanager
    def _noting_compilations(self) -> Iterator[None]:
        """Notes whether the library compiles anything: in a block, since the canary beside it may well be compiled."""
        before = self.framework.compilations()
        yield
        self._ready().recompiled |= self.framework.compilations() != before

    def finish(self, thorough: bool, call_ns: float, peaks: dict[str, float | None]) -> Message:
        """Checks that the timed calls were honest, and measures device time and the memory peak, untimed.

        `thorough` adds the checks that need not be repeated in a later life of the worker; `call_ns` is the shortest
        median that was measured, and `peaks` the rates that it must not exceed; `peaks` of the answer are those of this
        library where they were measured again, else None.
        """
        prepared = self._ready()
        subject, framework = prepared.subject, self.framework
        error = self._check(subject.last, prepared.expected)
        warnings = []
        if prepared.recompiled:
            warnings.append("recompiled while it was timed")
        device_ns = [
            timing
            for _ in range(DEVICE_TIMINGS)
            if (timing := framework.device_ns(subject.call, subject.inputs[0], prepared.throughput_calls)) is not None
        ]
        subject.last = None
        framework.reset_peak()
        subject.run()
        peak_bytes = framework.peak_bytes()  # before the checks, whose other inputs a call with state of its own keeps
        if thorough:
            warnings += integrity.check_complete(framework, subject, call_ns)
            if not prepared.problem.updates_inputs:
                integrity.check_fresh(framework, subject)
            warnings += integrity.check_linear(subject, prepared.throughput_calls, prepared.call_ns)
            error = max(error, self._check_other_inputs(prepared))
        problem, shape, dtype = prepared.problem, prepared.shape, prepared.dtype
        work = (problem.flops(shape), problem.bytes_moved(shape, dtype))
        again, suspicions = self.rate_check.check(dtype, *work, call_ns, peaks)
        warnings += suspicions
        subject.last = None
        return {
            "verify_error": error,
            "device_ns": median(device_ns) if device_ns else None,
            "peak_bytes": peak_bytes,
            "peak_kind": self.description.peak_kind,
            "peaks": None if again is None else again.to_json(),
            "warnings": warnings,
        }

    def _check_other_inputs(self, prepared: Prepared) -> float:
        """The error on inputs that the call has not seen; an answer that was kept from before is wrong here."""
        problem, shape, dtype = prepared.problem, prepared.shape, prepared.dtype
        case = correctness.draw(problem, shape, dtype, self.protocol.seed, inputs_seed=self.protocol.seed + 1)
        inputs = [self.framework.array(host, dtype) for host in case.inputs.values()]
        out = prepared.subject.call(*inputs)
        prepared.subject.wait(out)
        try:
            return self._check(out, correctness.expect(problem, shape, case))
        except correctness.Mismatch as error:
            raise correctness.Mismatch(f"on other inputs than those it was timed with: {error}", error.error) from error

    def _check(self, out: Any, expected: correctness.Expected) -> float:
        prepared = self._ready()
        return correctness.check(self._host(out), expected, prepared.shape.batch_size, prepared.tolerance)

    def work(self, seconds: float) -> Message:
        """Runs the call for so long, untimed, for the energy pass; answers with the number of calls."""
        prepared = self._ready()
        calls = 0
        until = time.monotonic() + seconds
        with blocks.collector_off():
            while time.monotonic() < until:
                blocks.throughput_calls(prepared.subject, prepared.throughput_calls)
                calls += prepared.throughput_calls
        return {"calls": calls}

    def memory(self) -> Message:
        """The memory that the device has free, in bytes, where the library says."""
        return {"free_bytes": self.framework.free_bytes()}

    def release(self) -> Message:
        """Lets go of the prepared job, and of what the library cached for it."""
        self.prepared = None
        self.framework.clear()
        return {}

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

    def _ready(self) -> Prepared:
        if self.prepared is None:
            raise RuntimeError("nothing is prepared")
        return self.prepared

    def _host(self, out: Any) -> list[Any]:
        try:
            return [self.framework.host(leaf) for leaf in self.framework.leaves(out)]
        except TypeError as error:
            raise correctness.Mismatch(str(error)) from error


def build(framework: Framework, problem: Operator, variant: str, weights: SimpleNamespace) -> Callable[..., Any]:
    """The function to time: the operator's form in this library, or its portable definition where it has none.

    The native form is the operator's own, else the framework's; a definition composed of others takes theirs.
    """
    try:
        form = problem.form(framework.library, variant)
    except KeyError:
        known = ", ".join(("native", "portable", *problem.variants(framework.library)))
        raise Unsupported(
            f"{type(problem).__name__} has no variant '{variant}' in {framework.library}; it has {known}."
        ) from None
    if form is not None:
        return form(weights)
    if variant == "portable" or not framework.forms:
        return problem.definition(framework.xp, weights)
    own = framework.forms.get(problem.key())
    if own is not None:
        return own(problem, weights)
    return problem.definition(SimpleNamespace(**vars(framework.xp), forms=framework.forms), weights)


def compiled(framework: Framework, call: Callable[..., Any]) -> Callable[..., Any]:
    """The call through the library's compiler. One with state of its own says itself which part of it is to be compiled."""
    own = getattr(call, "compiled", None)
    return framework.compile(call) if own is None else own(framework.compile)


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


def answer(worker: Worker, request: Message) -> Message:
    """Carries a request out and turns whatever goes wrong into an answer: a worker outlives its jobs' failures."""
    try:
        return {"ok": True, **getattr(worker, request.pop("do"))(**request)}
    except Unsupported as error:
        return {"ok": False, "status": "unsupported", "reason": str(error)}
    except correctness.Mismatch as error:
        return {"ok": False, "status": "mismatch", "reason": str(error), "verify_error": error.error}
    except Exception as error:
        status = "oom" if _out_of_memory(error) else "failed"
        return {"ok": False, "status": status, "reason": "".join(traceback.format_exception(error))}


def _out_of_memory(error: Exception) -> bool:
    """Whether an allocation failed, in any library's words: torch raises OutOfMemoryError on CUDA and a RuntimeError on
    the CPU and MPS, MLX a RuntimeError from its allocator."""
    text = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or any(
        words in text for words in ("out of memory", "outofmemory", "unable to allocate", "not enough memory")
    )


def serve(worker: Worker) -> None:
    """Answers requests over the file descriptors that the command line names, until they are closed."""
    channel = Channel(int(sys.argv[1]), int(sys.argv[2]))
    try:
        while True:
            channel.send(answer(worker, channel.receive()))
    except Closed:
        return
