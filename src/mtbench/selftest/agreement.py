"""Sets mtbench's own timings beside those of others, block by block in random order, in one worker process."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from typing import Any

from mtbench.bench.controller.process import Died, Process
from mtbench.bench.protocol import Protocol, round_order
from mtbench.bench.wire import Message
from mtbench.errors import Unsupported
from mtbench.frameworks.base import Description
from mtbench.operators.base import Shape
from mtbench.results.stats import compare_paired
from mtbench.results.verdicts import Comparison
from mtbench.selftest.trials import Broken

TIMEOUT_S = 120.0
TOLERANCE = 1e-5

SOFTMAX: dict[str, Any] = {"operator": "softmax", "params": {}, "tolerance": TOLERANCE}
SOFTMAX_SHAPES = {"cpu": Shape(1, 32), "gpu": Shape(8, 512)}
"""On a CPU less than torch spreads over threads: whether two threads run at once is the system's affair, not a timer's."""

LINEAR: dict[str, Any] = {"operator": "linear", "params": {"embed_dim": 2048}, "tolerance": TOLERANCE}
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

    def ask(self, do: str, **fields: Any) -> Message:
        """Raises Unsupported and Broken."""
        return _answered(self.process.ask(TIMEOUT_S, do, **fields), do)

    def prepare(self, subject: dict[str, Any], shape: Shape) -> None:
        self.ask("prepare", file=None, variant="native", dtype="float32", shape=asdict(shape), **subject)

    def compare(self, ours: tuple[str, str], theirs: str, rounds: int) -> tuple[Comparison, float]:
        """Their time over ours, and the median of ours in nanoseconds; `ours` is a request and the answer's field."""
        from statistics import median

        own: list[float] = []
        others: list[float] = []
        for number in range(1, rounds + 1):
            for who in round_order(["ours", "theirs"], 0, theirs, 0, number):
                if who == "ours":
                    own.append(self.ask(ours[0])[ours[1]])
                else:
                    others.append(self.ask(theirs)["call_ns"])
        return compare_paired(own, others), median(own)


LOOP = (("latency", "median_ns"), "loop")
TIMER = (("throughput", "call_ns"), "timer")
DO_BENCH = (("device_time", "call_ns"), "do_bench")


def beside_softmax(device: str, rounds: int) -> dict[str, tuple[Comparison, float]]:
    """A plain loop against latency blocks, and torch's Timer against throughput blocks. Raises Unsupported and Broken."""
    with _worker(device, Protocol(warmup_gpu_s=0.5, keep_warm_ms=5.0)) as worker:
        worker.prepare(SOFTMAX, SOFTMAX_SHAPES[worker.description.device])
        return {"loop": worker.compare(*LOOP, rounds), "timer": worker.compare(*TIMER, rounds)}


def beside_do_bench(device: str, rounds: int) -> tuple[Comparison, float]:
    """Triton's do_bench against mtbench's device time. Raises Unsupported and Broken."""
    with _worker(device, Protocol(warmup_gpu_s=0.5, block_ms=10.0)) as worker:
        if worker.description.device_kind != "cuda":
            raise Unsupported(
                f"do_bench times CUDA's devices, and torch runs on {worker.description.device_kind} here."
            )
        worker.prepare(LINEAR, LINEAR_SHAPE)
        return worker.compare(*DO_BENCH, rounds)


@contextmanager
def _worker(device: str, protocol: Protocol) -> Iterator[Beside]:
    process = Process(module="mtbench.selftest.rivals")
    try:
        settings = {"device": device, "matmul_precision": "highest"}
        start = {
            "framework": "torch",
            "file": None,
            "mode": "eager",
            "settings": settings,
            "protocol": asdict(protocol),
        }
        answer = _answered(process.ask(TIMEOUT_S, "start", **start), "start")
        described = {field.name: answer["description"][field.name] for field in fields(Description)}
        yield Beside(process, Description(**described))
    except Died as death:
        raise Broken(str(death)) from death
    finally:
        process.end()


def _answered(answer: Message, do: str) -> Message:
    if not answer["ok"] and answer["status"] == "unsupported":
        raise Unsupported(answer["reason"])
    if not answer["ok"]:
        raise Broken(f"{do}: {answer['status']}: {answer['reason'].strip().splitlines()[-1]}")
    return answer
