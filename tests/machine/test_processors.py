"""Processors dealt out to parts of a sweep: whole cores, equally many, near memory together."""

import os
import sys

import pytest

from mtbench.machine.processors import cores, dealt, usable


@pytest.fixture
def server(tmp_path):
    """Two sockets of two cores with two threads each, numbered as Linux numbers them: threads last."""
    for number in range(8):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{number}"
        (folder / "topology").mkdir(parents=True)
        (folder / "topology/thread_siblings_list").write_text(f"{number % 4},{number % 4 + 4}\n")
        (folder / f"node{number % 2}").mkdir()  # sockets take turns in the numbering
    return tmp_path


def test_threads_of_one_core_and_cores_of_one_socket_stay_together(server):
    found = cores(range(8), server)
    assert found == [(0, 4), (2, 6), (1, 5), (3, 7)]
    assert dealt(found, 2) == [(0, 2, 4, 6), (1, 3, 5, 7)]


def test_processors_that_may_not_be_used_are_left_out(server):
    assert cores({0, 1, 2, 4}, server) == [(0, 4), (2,), (1,)]


def test_no_part_has_more_than_another(tmp_path):
    assert dealt(cores(range(5), tmp_path), 2) == [(0, 1), (2, 3)]


def test_fewer_cores_than_parts_leave_nothing_to_deal(server):
    assert dealt(cores({0, 4}, server), 2) == [(), ()]


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_all_processors_of_this_machine_are_in_one_core_each():
    flat = [cpu for core in cores(usable()) for cpu in core]
    assert sorted(flat) == sorted(os.sched_getaffinity(0))
