"""The wire: whole messages, whatever the pipe does to them."""

import os
import threading
import time

import pytest

from mtbench.bench.wire import Channel, Closed, TimedOut


@pytest.fixture
def ends():
    a_reads, b_writes = os.pipe()
    b_reads, a_writes = os.pipe()
    return Channel(a_reads, a_writes), Channel(b_reads, b_writes)


def test_messages_arrive_whole_and_in_order_though_larger_than_the_pipe(ends):
    here, there = ends
    large = {"samples": list(range(100_000))}
    sender = threading.Thread(target=lambda: (here.send(large), here.send({"second": "line\nbreak"})))
    sender.start()
    assert there.receive(10) == large
    assert there.receive(10) == {"second": "line\nbreak"}
    sender.join()


def test_a_silent_partner_times_out_and_may_speak_later(ends):
    here, there = ends
    with pytest.raises(TimedOut):
        there.receive(0.01)
    here.send({"late": True})
    assert there.receive(1) == {"late": True}


def test_a_closed_partner_is_noticed_by_both_directions(ends):
    here, there = ends
    there.close()
    with pytest.raises(Closed):
        here.receive(1)
    with pytest.raises(Closed):
        here.send({})


def test_values_that_json_lacks_become_null(ends):
    here, there = ends
    here.send({"error": float("inf"), "nested": [float("nan"), 1.5]})
    assert there.receive(1) == {"error": None, "nested": [None, 1.5]}


def test_waiting_burns_no_processor_time(ends):
    _, there = ends
    before = time.thread_time()
    with pytest.raises(TimedOut):
        there.receive(0.3)
    assert time.thread_time() - before < 0.05
