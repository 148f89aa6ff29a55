"""The wire: whole and typed messages, whatever the pipe and whoever else writes into it do."""

import os
import threading
import time

import pytest

from mtbench.bench.channel import Channel, Closed, Garbled, TimedOut
from mtbench.bench.rates import Rates, Roofs
from mtbench.bench.wire import (
    Finish,
    Finished,
    LatencyBlock,
    Prepare,
    Refused,
    Release,
    ThroughputBlock,
    TimeLatency,
    TimeThroughput,
)
from mtbench.operators.base import Shape
from mtbench.plan.accuracy import Errors, Limits

PREPARE = Prepare(
    "mha", None, {"num_heads": 4, "causal": True}, "native", "float32", Shape(1, 8), Limits(1e-5, 1e-5), 7
)
FINISH = Finish(thorough=True, call_ns=1.5, roofs=Roofs(1e9))
KNOWN = {request.do: request for request in (Prepare, Finish, TimeLatency, TimeThroughput, Release)}


@pytest.fixture
def pipes():
    """Two channels, and the descriptor by which a stranger can write to the first."""
    a_reads, b_writes = os.pipe()
    b_reads, a_writes = os.pipe()
    return Channel(a_reads, a_writes), Channel(b_reads, b_writes), b_writes


@pytest.fixture
def ends(pipes):
    return pipes[:2]


def test_requests_arrive_as_they_were_sent(ends):
    here, there = ends
    for request in (PREPARE, FINISH, TimeLatency()):
        here.ask(request)
        assert there.read_request(KNOWN) == request


def test_answers_arrive_whole_and_in_order_though_larger_than_the_pipe(ends):
    here, there = ends
    large = LatencyBlock(list(range(100_000)))
    sender = threading.Thread(target=lambda: (here.send_answer(large), here.send_answer(ThroughputBlock([2.5]))))
    sender.start()
    assert there.read_answer(TimeLatency(), 10) == large
    assert there.read_answer(TimeThroughput(), 10) == ThroughputBlock([2.5])
    sender.join()


def test_a_refusal_comes_in_place_of_any_answer(ends):
    here, there = ends
    refused = Refused("mismatch", "wrong\nby far", Errors(0.5, 1.0, 2.0))
    here.send_answer(refused)
    assert there.read_answer(FINISH, 10) == refused


def test_nested_answers_and_what_json_lacks_survive(ends):
    here, there = ends
    answer = Finished(Errors(1e-7), "memory", device_ns=float("inf"), peaks=Rates(1e12, {64: 1.0}), warnings=["µ"])
    here.send_answer(answer)
    assert there.read_answer(FINISH, 10) == Finished(
        Errors(1e-7), "memory", peaks=Rates(1e12, {64: 1.0}), warnings=["µ"]
    )


@pytest.mark.parametrize(
    "line",
    [
        b"hello from a library\n",
        b"[1, 2]\n",
        b"{}\n",
        b'{"answer": {}}\n',
        b'{"answer": {"parts_ns": "fast"}}\n',
        b'{"answer": {"parts_ns": [1.0], "call_s": 2}}\n',
        b'{"answer": null}\n',
        b'{"refused": {"status": 3, "reason": "x"}}\n',
        b"[" * 100_000 + b"\n",
        b"\xff\xfe\n",
        b'{"answer": {"parts_ns": []}}\n',
        b'{"answer": {"parts_ns": [-1.0]}}\n',
        b'{"answer": {"parts_ns": [NaN]}}\n',
        b'{"answer": {"parts_ns": [1e999]}}\n',
        b'{"answer": {"parts_ns": [1e30]}}\n',
        b'{"answer": {"parts_ns": [1' + b"0" * 30 + b"]}}\n",
        b'{"refused": {"status": "ok", "reason": "x"}}\n',
    ],
)
def test_what_is_no_answer_is_garbled(pipes, line):
    here, _, stranger = pipes
    writer = threading.Thread(target=os.write, args=(stranger, line))
    writer.start()
    with pytest.raises(Garbled):
        here.read_answer(TimeThroughput(), 10)
    writer.join()


def test_a_lone_surrogate_arrives_as_text_that_can_be_written(ends):
    here, there = ends
    here.send_answer(Refused("failed", "no such file: \ud800 and 😀"))
    assert there.read_answer(FINISH, 10) == Refused("failed", "no such file: \\ud800 and 😀")


def test_a_flood_without_an_end_is_timed_out(pipes):
    here, _, stranger = pipes
    stop = threading.Event()

    def flood():
        while not stop.is_set():
            os.write(stranger, b"x" * 1024)

    writer = threading.Thread(target=flood, daemon=True)
    writer.start()
    with pytest.raises(TimedOut):
        here.read_answer(TimeThroughput(), 0.2)
    stop.set()


def test_a_silent_partner_times_out_and_may_speak_later(ends):
    here, there = ends
    with pytest.raises(TimedOut):
        there.read_answer(TimeThroughput(), 0.01)
    here.send_answer(ThroughputBlock([1.0]))
    assert there.read_answer(TimeThroughput(), 1) == ThroughputBlock([1.0])


def test_a_closed_partner_is_noticed_by_both_directions(ends):
    here, there = ends
    there.close()
    with pytest.raises(Closed):
        here.read_answer(TimeThroughput(), 1)
    with pytest.raises(Closed):
        here.ask(TimeThroughput())


def test_waiting_burns_no_processor_time(ends):
    _, there = ends
    before = time.thread_time()
    with pytest.raises(TimedOut):
        there.read_answer(TimeThroughput(), 0.3)
    assert time.thread_time() - before < 0.05
