"""The worker: one process, one arm. It sets its library up, builds what it is told to, and times blocks when asked.

Started as `python -m mtbench.bench.worker READ_FD WRITE_FD`. Each request is a message {"do": name, ...}, answered by
one message: {"ok": true, ...}, or {"ok": false, "status": ..., "reason": ...} with a status of mtbench.record. It ends
when its input closes. It imports NumPy and one framework, and none of the controller's libraries.
"""

import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from types import SimpleNamespace
from typing import Any

from mtbench import registry
from mtbench.bench import blocks, verify
from mtbench.bench.protocol import Protocol
from mtbench.bench.wire import Channel, Closed, Message
from mtbench.errors import Unsupported
from mtbench.frameworks.base import Description, Framework, Settings
from mtbench.operators.base import Operator, Shape

FLOOR_CALLS = 200


@dataclass
class Prepared:
    """One job, built, checked and warm."""

    subject: blocks.Subject
    expected: verify.Expected
    batch_size: int
    tolerance: float
    latency_calls: int
    throughput_calls: int
    compilations: int | None


class Worker:
    """Answers requests; each public method is one, its arguments the message's fields, its result the answer's."""

    def __init__(self) -> None:
        self.framework: Framework
        self.description: Description
        self.mode: str
        self.protocol: Protocol
        self.prepared: Prepared | None = None

    def start(
        self, framework: str, file: str | None, mode: str, settings: dict[str, str], protocol: dict[str, Any]
    ) -> Message:
        """Sets the library up; answers with its description."""
        self.framework = registry.load("framework", framework, file)(Settings(**settings))
        self.mode = mode
        self.protocol = Protocol(**protocol)
        self.description = self.framework.describe()
        return {"description": asdict(self.description)}

    def floor(self) -> Message:
        """Times the library's cheapest call. Apart from `start`, since workers start side by side."""
        null = self._subject(self.framework.null(), [])
        with blocks.collector_off():
            blocks.latency_calls(null, FLOOR_CALLS // 4)
            return {"floor_ns": median(blocks.latency_calls(null, FLOOR_CALLS))}

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
        case = verify.draw(problem, sizes, dtype, self.protocol.seed)
        weights = SimpleNamespace(**{name: framework.array(host, dtype) for name, host in case.weights.items()})
        inputs = [framework.array(host, dtype) for host in case.inputs.values()]
        call = build(framework, problem, variant, weights)
        if self.mode == "compiled":
            call = framework.compile(call)

        subject = self._subject(call, inputs)
        first_call_ns = blocks.first_call(subject)
        expected = verify.expect(problem, sizes, case)
        error = verify.check(self._host(subject.last), expected, sizes.batch_size, tolerance)
        warmth = blocks.warm_up(subject, self.protocol)
        self.prepared = Prepared(
            subject,
            expected,
            sizes.batch_size,
            tolerance,
            latency_calls=blocks.calls_for_block(warmth.call_ns, self.protocol),
            throughput_calls=blocks.calls_for_throughput(subject, warmth.call_ns, self.protocol),
            compilations=framework.compilations(),
        )
        return {
            "first_call_ns": first_call_ns,
            "verify_error": error,
            "flops": problem.flops(sizes),
            "bytes_moved": problem.bytes_moved(sizes, dtype),
            "calls_per_block": self.prepared.latency_calls,
            "throughput_calls": self.prepared.throughput_calls,
            "warnings": [] if warmth.steady else [f"not steady after {self.protocol.warmup_cap_s:g} s of warm-up"],
        }

    def latency(self) -> Message:
        """One block in latency mode."""
        prepared = self._ready()
        samples = blocks.latency_block(prepared.subject, prepared.latency_calls, self.protocol)
        return {"samples_ns": samples, "median_ns": median(samples)}

    def throughput(self) -> Message:
        """One block in throughput mode."""
        prepared = self._ready()
        return {"call_ns": blocks.throughput_block(prepared.subject, prepared.throughput_calls, self.protocol)}

    def finish(self) -> Message:
        """Checks the output of the last timed call, and measures the memory peak of one more, untimed."""
        prepared = self._ready()
        subject = prepared.subject
        error = verify.check(self._host(subject.last), prepared.expected, prepared.batch_size, prepared.tolerance)
        warnings = []
        if self.framework.compilations() != prepared.compilations:
            warnings.append("recompiled while it was timed")
        subject.last = None
        self.framework.reset_peak()
        subject.wait(subject.call(*subject.inputs))
        return {
            "verify_error": error,
            "peak_bytes": self.framework.peak_bytes(),
            "peak_kind": self.description.peak_kind,
            "warnings": warnings,
        }

    def release(self) -> Message:
        """Lets go of the prepared job, and of what the library cached for it."""
        self.prepared = None
        self.framework.clear()
        return {}

    def _subject(self, call: Callable[..., Any], inputs: list[Any]) -> blocks.Subject:
        return blocks.Subject(
            call,
            inputs,
            wait=self.framework.wait,
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
            raise verify.Mismatch(str(error)) from error


def build(framework: Framework, problem: Operator, variant: str, weights: SimpleNamespace) -> Callable[..., Any]:
    """The function to time: the operator's form in this library, or its portable definition where it has none."""
    try:
        form = problem.form(framework.library, variant)
    except KeyError:
        raise Unsupported(f"{type(problem).__name__} has no variant '{variant}' in {framework.library}.") from None
    return partial(problem.portable, framework.xp, weights) if form is None else form(weights)


def answer(worker: Worker, request: Message) -> Message:
    """Carries a request out and turns whatever goes wrong into an answer: a worker outlives its jobs' failures."""
    try:
        return {"ok": True, **getattr(worker, request.pop("do"))(**request)}
    except Unsupported as error:
        return {"ok": False, "status": "unsupported", "reason": str(error)}
    except verify.Mismatch as error:
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


def main() -> None:
    channel = Channel(int(sys.argv[1]), int(sys.argv[2]))
    worker = Worker()
    try:
        while True:
            channel.send(answer(worker, channel.receive()))
    except Closed:
        return


if __name__ == "__main__":
    main()
