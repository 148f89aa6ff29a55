"""Sleep: caffeinate's command, clocks of which one goes on, and nothing that could end a sweep."""

import os
import subprocess
import sys
import time

import pytest

from mtbench.machine import sleep


class Started:
    """Stands in for Popen and notes what is done with it."""

    def __init__(self, done: list[object], command: list[str]) -> None:
        self.done = done
        done.append(command)

    def terminate(self) -> None:
        self.done.append("terminate")

    def wait(self, timeout: float) -> None:
        self.done.append("wait")


def test_a_mac_is_kept_awake_for_as_long_as_it_measures(monkeypatch):
    done = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: Started(done, command))

    def measure():
        with sleep.kept_awake("darwin") as reason:
            assert reason is None
            assert done == [["/usr/bin/caffeinate", "-i", "-m", "-w", str(os.getpid())]]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure()
    assert done[1:] == ["terminate", "wait"]


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("something was started"))
    with sleep.kept_awake("linux") as reason:
        assert reason is None


def test_a_missing_caffeinate_is_told_and_ends_nothing(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(subprocess, "Popen", missing)
    with sleep.kept_awake("darwin") as reason:
        assert "may fall asleep" in reason


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="these have a pair of clocks")
def test_the_clocks_of_this_system_are_a_pair(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: pytest.fail("the wall clock may be set"))
    going, standing = sleep.clocks()
    ahead = [going() - standing() for _ in range(3)]
    assert max(ahead) - min(ahead) < 0.5  # nobody sleeps meanwhile
    assert min(ahead) > -0.5


def test_macos_has_clocks_of_its_own(monkeypatch):
    asked = []
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    monkeypatch.setattr(time, "CLOCK_MONOTONIC_RAW", 4, raising=False)
    monkeypatch.setattr(time, "CLOCK_UPTIME_RAW", 8, raising=False)
    monkeypatch.setattr(time, "clock_gettime", lambda clock: (asked.append(clock), 0.0)[1])
    for clock in sleep.clocks():
        clock()
    assert asked == [4, 8]


def test_without_a_pair_the_wall_clock_serves(monkeypatch):
    for name in ("CLOCK_BOOTTIME", "CLOCK_UPTIME_RAW"):
        monkeypatch.delattr(time, name, raising=False)
    assert sleep.clocks() == (time.time, time.monotonic)
