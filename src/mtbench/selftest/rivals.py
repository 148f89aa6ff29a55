"""A worker that can also time its call as others do: with a plain loop, with torch's Timer, with Triton's do_bench.

Started as `python -m mtbench.selftest.rivals READ_FD WRITE_FD`. All else is the worker's own: what it prepares, checks and
warms up, and the blocks that the rivals are held against, of the same call in the same process.
"""

import sys
import time
from importlib import import_module
from statistics import median
from typing import TYPE_CHECKING, Any, cast

from mtbench.bench.wire import REQUESTS, CallTime
from mtbench.bench.worker import blocks, lifeline
from mtbench.bench.worker.worker import Worker, serve
from mtbench.errors import Unsupported
from mtbench.selftest import rival_requests

if TYPE_CHECKING:
    from mtbench.frameworks.torch import Torch

DO_BENCH_MS = {"warmup": 10, "rep": 50}


class Rivals(Worker):
    """A worker of torch whose prepared call, if it is softmax, can also be timed by a loop of its own."""

    requests = (*REQUESTS, *rival_requests.REQUESTS)

    def loop(self, request: rival_requests.TimeLoop) -> CallTime:
        """The median of a block of softmax, timed by the loop that anyone would write."""
        prepared = self._ready()
        torch, kind = self._torch.torch, self._torch.kind
        (x,) = prepared.subject.inputs[0]
        synchronize = {"cpu": lambda: None, "cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}[kind]
        with blocks.collector_off():
            blocks.keep_warm(prepared.subject, self.protocol)
            return CallTime(median(softmax_loop(torch, x, prepared.latency_calls, synchronize)))

    def timer(self, request: rival_requests.TimeByTimer) -> CallTime:
        """The time per call by torch.utils.benchmark.Timer, on all threads, as many calls as a throughput block has."""
        from torch.utils.benchmark import Timer

        prepared = self._ready()
        names = {"call": prepared.subject.call, "inputs": prepared.subject.inputs[0]}
        timer = Timer("call(*inputs)", globals=names, num_threads=self._torch.torch.get_num_threads())
        with blocks.collector_off():
            blocks.keep_warm(prepared.subject, self.protocol)
            return CallTime(timer.timeit(prepared.throughput_calls).mean * 1e9)

    def do_bench(self, request: rival_requests.TimeByDoBench) -> CallTime:
        """The median device time by triton.testing.do_bench. Raises Unsupported where there is none."""
        try:
            do_bench = import_module("triton.testing").do_bench  # not a dependency: torch brings it where there is CUDA
        except ModuleNotFoundError as error:
            if error.name != "triton":
                raise
            raise Unsupported("Triton is not installed.") from None
        subject = self._ready().subject
        with blocks.collector_off():
            median_ms = do_bench(lambda: subject.call(*subject.inputs[0]), return_mode="median", **DO_BENCH_MS)
        return CallTime(median_ms * 1e6)

    def device_time(self, request: rival_requests.TimeDevice) -> CallTime:
        """The device time as every record has it. Raises Unsupported where there is none."""
        prepared = self._ready()
        subject = prepared.subject
        device_ns = self.framework.device_ns(subject.call, subject.inputs[0], prepared.throughput_calls)
        if device_ns is None:
            raise Unsupported("torch has no device clock here that can be trusted.")
        return CallTime(device_ns)

    @property
    def _torch(self) -> "Torch":
        return cast("Torch", self.framework)


def softmax_loop(torch: Any, x: Any, calls: int, synchronize: Any) -> list[int]:
    """Nanoseconds of each call, with nothing of mtbench in between. Results are freed between the calls, as mtbench does:
    within them, it is 2 % of a call of 10 µs."""
    softmax = torch.nn.functional.softmax
    samples = []
    for _ in range(calls):
        start = time.perf_counter_ns()
        out = softmax(x, dim=-1)
        synchronize()
        samples.append(time.perf_counter_ns() - start)
        del out
    return samples


if __name__ == "__main__":
    lifeline.hold(int(sys.argv[1]))
    serve(Rivals())
