"""Energy per call on a counter and a clock of its own."""

from types import SimpleNamespace

import pytest

from mtbench.bench.controller.energy import Energy, Meter
from mtbench.bench.controller.job_state import JobState
from mtbench.bench.controller.sweep import Controller
from mtbench.machine.energy import Reader
from mtbench.operators.base import Shape
from mtbench.plan.jobs import Arm, Task, job


class Counter(Reader):
    covers = "a battery in a test"

    def __init__(self, world: "World") -> None:
        self.world = world

    def read_joule(self) -> float:
        return self.world.joule


class World:
    """10 W idle; each call adds 2 J and takes 0.1 s."""

    def __init__(self) -> None:
        self.now = self.joule = 0.0

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.joule += 10 * seconds

    def work(self, seconds: float) -> int:
        calls = round(seconds / 0.1)
        self.pass_time(seconds)
        self.joule += 2 * calls
        return calls

    def meter(self) -> Meter:
        return Meter(3.0, lambda device: Counter(self), lambda: self.now, self.pass_time)


def test_the_idle_power_is_taken_off():
    world = World()
    meter = world.meter()
    meter.prepare("gpu")
    energy = meter.measure("gpu", world.work)
    assert isinstance(energy, Energy)
    assert energy.joule == pytest.approx(2.0)
    assert energy.idle_watt == pytest.approx(10.0)
    assert energy.covers == "a battery in a test"


def test_idle_is_measured_once_a_device():
    world = World()
    meter = world.meter()
    meter.prepare("gpu")
    meter.prepare("gpu")
    assert world.now == 3.0


def test_without_a_counter_the_reason_is_passed_on_and_no_time_is_spent():
    meter = Meter(3.0, lambda device: "no counter in a virtual machine")
    meter.prepare("cpu")
    assert meter.measure("cpu", lambda seconds: pytest.fail("worked for nothing")) == "no counter in a virtual machine"


def test_work_that_failed_has_no_energy():
    world = World()
    meter = world.meter()
    meter.prepare("gpu")
    assert meter.measure("gpu", lambda seconds: None) is None


def test_another_gpu_than_the_first_has_no_counter_that_is_read() -> None:
    task = Task("softmax", (("embed_dim", 8),), "float32", Shape(1, 4))
    state = JobState(job(task, Arm("torch", device="gpu", device_index=1), 1e-5))
    Controller._measure_energy(SimpleNamespace(), state)  # type: ignore[arg-type]
    assert state.energy == "the counter that is read is the first GPU's, and not that of gpu:1"
