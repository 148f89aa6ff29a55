"""Sets mtbench's own timings beside those of others, block by block in random order, in one worker process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any, TypeVar

from mtbench.bench.controller.process import Died, Process
from mtbench.bench.controller.rounds import round_order
from mtbench.bench.wire import CallTime, Prepare, Refused, Request, Start, TimeLatency, TimeThroughput
from mtbench.errors import Unsupported
from mtbench.frameworks.base import Description, Settings
from mtbench.operators.base import Shape
from mtbench.plan.accuracy import Limits
from mtbench.plan.protocol import Protocol
from mtbench.results.samples import block_statistic
from mtbench.results.stats import compare_paired
from mtbench.results.verdicts import Comparison
from mtbench.selftest.rival_requests import TimeByDoBench, TimeByTimer, TimeDevice, TimeLoop
from mtbench.selftest.trials import Broken

A = TypeVar("A")

TIMEOUT_S = 120.0
TOLERANCE = 1e-5

SOFTMAX: tuple[str, dict[str, Any]] = ("softmax", {})
SOFTMAX_SHAPES = {"cpu": Shape(1, 32), "gpu": Shape(8, 512)}
"""On a CPU less than torch spreads over threads: whether two threads run at once is the system's affair, not a timer's."""

LINEAR: tuple[str, dict[str, Any]] = ("linear", {"embed_dim": 2048})
LINEAR_SHAPE = Shape(4, 1024)
"""In float32 half a millisecond of arithmetic on a large GPU. do_bench empties the cache before each call and mtbench does
not, which a call that is bound by memory would show."""


def describe(device: str) -> Description:
    """What torch is here, as its worker says. Raises Unsupported where it is not possible here, and Broken."""
    with _worker(device, Protocol()) as worker:
        return worker.description


class Beside:
    """A worker of torch, asked for mtbench's blocks and for a rival's in turn."""

    def __init__(self, process: Process, description: Description) -> None:
        self.process = process
        self.description = description

    def ask(self, request: Request[A]) -> A:
        """Raises Unsupported and Broken."""
        answer = self.process.ask(request, TIMEOUT_S)
        return _answered(answer, request.do)

    def prepare(self, subject: tuple[str, dict[str, Any]], shape: Shape) -> None:
        operator, params = subject
        self.ask(Prepare(operator, None, params, "native", "float32", shape, Limits(TOLERANCE, TOLERANCE)))

    def compare(
        self, ours: Callable[["Beside"], float], theirs: Request[CallTime], rounds: int
    ) -> tuple[Comparison, float]:
        """Their time over ours, and the median of ours in nanoseconds."""
        own: list[float] = []
        others: list[float] = []
        for number in range(1, rounds + 1):
            for who in round_order(["ours", "theirs"], 0, theirs.do, 0, number):
                if who == "ours":
                    own.append(ours(self))
                else:
                    others.append(self.ask(theirs).call_ns)
        return compare_paired(own, others), median(own)


def _latency(worker: Beside) -> float:
    return block_statistic(worker.ask(TimeLatency()).samples_ns)


def _throughput(worker: Beside) -> float:
    return worker.ask(TimeThroughput()).call_ns


def _device(worker: Beside) -> float:
    return worker.ask(TimeDevice()).call_ns


def beside_softmax(device: str, rounds: int) -> dict[str, tuple[Comparison, float]]:
    """A plain loop against latency blocks, and torch's Timer against throughput blocks. Raises Unsupported and Broken."""
    with _worker(device, Protocol(warmup_gpu_s=0.5, keep_warm_ms=5.0)) as worker:
        worker.prepare(SOFTMAX, SOFTMAX_SHAPES[worker.description.device])
        return {
            "loop": worker.compare(_latency, TimeLoop(), rounds),
            "timer": worker.compare(_throughput, TimeByTimer(), rounds),
        }


def beside_do_bench(device: str, rounds: int) -> tuple[Comparison, float]:
    """Triton's do_bench against mtbench's device time. Raises Unsupported and Broken."""
    with _worker(device, Protocol(warmup_gpu_s=0.5, block_ms=10.0)) as worker:
        if worker.description.device_kind != "cuda":
            raise Unsupported(
                f"do_bench times CUDA's devices, and torch runs on {worker.description.device_kind} here."
            )
        worker.prepare(LINEAR, LINEAR_SHAPE)
        return worker.compare(_device, TimeByDoBench(), rounds)


@contextmanager
def _worker(device: str, protocol: Protocol) -> Iterator[Beside]:
    process = Process(module="mtbench.selftest.rivals")
    try:
        request = Start("torch", None, "eager", Settings(device=device), protocol)
        answer = process.ask(request, TIMEOUT_S)
        started = _answered(answer, "start")
        yield Beside(process, started.description)
    except Died as death:
        raise Broken(str(death)) from death
    finally:
        process.end()


def _answered(answer: A | Refused, do: str) -> A:
    if not isinstance(answer, Refused):
        return answer
    if answer.status == "unsupported":
        raise Unsupported(answer.reason)
    raise Broken(f"{do}: {answer.status}: {answer.reason.strip().splitlines()[-1]}")
