"""Energy per call on a counter and a clock of its own."""

import pytest

from mtbench.bench.controller.energy import Energy, Meter
from mtbench.bench.controller.job_state import JobState
from mtbench.machine.energy import Reader
from mtbench.machine.nvidia import Ordinal
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
        return Meter(3.0, lambda device, gpu: Counter(self), lambda: self.now, self.pass_time)


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
    meter = Meter(3.0, lambda device, gpu: "no counter in a virtual machine")
    meter.prepare("cpu")
    assert meter.measure("cpu", lambda seconds: pytest.fail("worked for nothing")) == "no counter in a virtual machine"


def test_work_that_failed_has_no_energy():
    world = World()
    meter = world.meter()
    meter.prepare("gpu")
    assert meter.measure("gpu", lambda seconds: None) is None


def test_each_gpu_has_a_counter_of_its_own() -> None:
    world, opened = World(), []

    def open_reader(device: str, gpu: Ordinal) -> Counter:
        opened.append((device, gpu))
        return Counter(world)

    meter = Meter(3.0, open_reader, lambda: world.now, world.pass_time)
    task = Task("softmax", (("embed_dim", 8),), "float32", Shape(1, 4))
    for number in (None, 0, 1, 1):
        state = JobState(job(task, Arm("torch", device="gpu", device_index=number), 1e-5))
        meter.prepare("gpu", state.gpu)
    assert opened == [("gpu", Ordinal(0)), ("gpu", Ordinal(1))]
    found = meter.measure("gpu", world.work, Ordinal(1))
    assert isinstance(found, Energy)
    assert found.joule == pytest.approx(2.0)
