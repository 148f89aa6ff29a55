"""Heat and sleep in a sweep: rests and waits on a clock of their own, an end that keeps what there is, honest records."""

import json
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from mtbench.bench.controller.conditions import joined, warnings_of
from mtbench.bench.controller.cooling import Cooling, TooHot
from mtbench.engines.local import Host
from mtbench.machine import nvidia
from mtbench.machine.nvidia import Ordinal
from mtbench.machine.watch import Reading
from mtbench.plan.progress import Progress
from mtbench.plan.protocol import Protocol

GENTLE = Path(__file__).parents[2] / "conf" / "protocol" / "gentle.yaml"
COOL = Reading(thermal_pressure="nominal")
HEAVY = Reading(thermal_pressure="heavy")
TRAPPING = Reading(thermal_pressure="trapping")


class Machine:
    """A machine that gives these readings in turn, the last one again and again, and probes that fail."""

    def __init__(self, *readings: Reading, not_read: list[str] | None = None) -> None:
        self.readings = list(readings)
        self.not_read = not_read or []
        self.samples = 0

    def sample_with(self, gpus: Sequence[Ordinal]) -> list[Reading]:
        self.samples += 1
        self.gpus = gpus
        return [self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]] * len(gpus)

    def identity_of(self, gpu: Ordinal) -> None: ...

    def sample(self) -> Reading:
        """How busy it is, which is asked beside the visits' readings and not each time: it takes none of those."""
        return self.readings[0]


class Told(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, message):
        self.lines.append(message)

    def note(self, message):
        self.lines.append(message)


class World:
    """A cooling on a clock that only its rests move."""

    def __init__(self, machine: Machine, **settings) -> None:
        self.now, self.rests, self.told = 0.0, [], Told()
        protocol = Protocol(**{"cooldown_cap_s": 120, **settings})
        self.cooling = Cooling(protocol, machine, self.told, self.rest, lambda: self.now)

    def rest(self, seconds):
        self.rests.append(seconds)
        self.now += seconds


def test_a_rest_follows_each_visit_but_the_last():
    world = World(Machine(COOL), cooldown_fraction=0.5)
    for _ in range(3):
        world.cooling.before_visit()
        world.cooling.seen([COOL])
        world.cooling.visited(10.0)
    assert world.rests == [5.0, 5.0]
    assert world.told.lines == []


@pytest.mark.parametrize(("hot_samples", "waits"), [(0, 1), (3, 4), (10**6, 24)])
def test_after_a_thermal_flag_the_sweep_waits_until_it_is_gone_or_the_cap_is_reached(hot_samples, waits):
    world = World(Machine(COOL, *[HEAVY] * min(hot_samples, 50), HEAVY if hot_samples > 50 else COOL))
    world.cooling.before_visit()
    world.cooling.seen([HEAVY])
    world.cooling.before_visit()
    assert len(world.told.lines) == waits
    assert "cool down" in world.told.lines[0]
    assert world.now == 5.0 * waits


def test_a_machine_that_is_hot_already_is_waited_for_before_the_first_visit():
    world = World(Machine(HEAVY, HEAVY, COOL))
    world.cooling.before_visit()
    assert world.rests == [5.0, 5.0]


@pytest.mark.parametrize(("limit", "ends"), [(None, False), ("heavy", True), ("trapping", False)])
def test_the_sweep_ends_at_its_limit(limit, ends):
    world = World(Machine(COOL), stop_when_hot=limit)
    if ends:
        with pytest.raises(TooHot):
            world.cooling.seen([HEAVY])
        assert f"stop_when_hot={limit}" in world.told.lines[-1]
    else:
        world.cooling.seen([HEAVY])


def test_a_machine_that_gets_hotter_while_it_is_waited_for_ends_the_sweep():
    world = World(Machine(HEAVY, HEAVY, TRAPPING), stop_when_hot="trapping")
    with pytest.raises(TooHot):
        world.cooling.before_visit()


def test_the_gentle_preset_rests_as_long_as_it_works_waits_and_stops():
    gentle = Protocol(
        **{name: value for name, value in yaml.safe_load(GENTLE.read_text()).items() if name != "defaults"}
    )
    assert gentle.cooldown_fraction == 1
    assert gentle.cooldown_cap_s > Protocol().cooldown_cap_s
    assert gentle.stop_when_hot == "trapping"


def hot_gpu() -> Reading:
    return Reading(gpu=nvidia.GpuReading(1e9, 2e9, 1e9, 90.0, 300.0, ("thermal, by software", "power cap")))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (COOL, COOL, []),
        (COOL, HEAVY, ["measured under thermal pressure 'heavy'"]),
        (HEAVY, HEAVY, ["measured under thermal pressure 'heavy'"]),
        (HEAVY, COOL, ["measured under thermal pressure 'heavy'"]),
        (COOL, Reading(thermal_state="serious"), ["measured under thermal state 'serious'"]),
        (COOL, Reading(thermal_state="fair", thermal_pressure="moderate"), []),
        (COOL, Reading(cpu_throttled=True), ["measured while heat slowed a processor down"]),
        (COOL, hot_gpu(), ["measured while the GPU's clocks were held back: thermal, by software"]),
        (COOL, Reading(low_power_mode=True), ["measured in low-power mode"]),
        (COOL, Reading(memory_pressure="critical"), ["measured under memory pressure 'critical'"]),
        (
            Reading(power_source="mains"),
            Reading(power_source="battery"),
            ["the power source changed: from mains to battery"],
        ),
        (COOL, Reading(swapped_bytes=1 << 30), ["swapped while it was measured: 1.00 GiB"]),
        (COOL, Reading(swapped_bytes=4096), []),
        (COOL, Reading(slept_s=94.2), ["the machine slept while it was measured: 94 s"]),
        (Reading(slept_s=94.2), Reading(slept_s=0.0), []),
    ],
)
def test_a_visit_says_what_happened_to_the_machine(before, after, said):
    assert warnings_of(before, after) == said


def test_a_later_visit_says_it_once_and_newly():
    old = ["swapped while it was measured: 1.00 GiB", "measured in low-power mode"]
    new = joined(old, ["swapped while it was measured: 2.00 GiB", "measured in low-power mode"])
    assert new == ["swapped while it was measured: 2.00 GiB", "measured in low-power mode"]


def test_a_record_measured_under_heat_says_so(misbehaving, brief, control, tmp_path):
    job = misbehaving("well")
    brief.cooldown_cap_s = 0
    controller = control([job], brief, Progress(), watch=Machine(HEAVY))
    (record,), _ = controller.run(tmp_path)
    assert record.status == "ok"
    assert "measured under thermal pressure 'heavy'" in record.warnings
    assert json.loads(record.conditions)[0]["thermal_pressure"] == "heavy"


def test_a_visit_in_which_the_machine_slept_is_measured_again_once(misbehaving, brief, control, tmp_path):
    job, told = misbehaving("well"), Told()
    rounds = []
    told.round_finished = lambda number, of, medians: rounds.append(number)
    machine = Machine(COOL, COOL, Reading(slept_s=60.0), Reading(slept_s=0.0))  # first visit, before, after, again
    (record,), _ = control([job], brief, told, watch=machine).run(tmp_path)
    assert rounds == [1, 2, 3, 1, 2, 3]
    assert record.rounds == 3  # those of the second time alone
    assert not any("slept" in warning for warning in record.warnings)
    assert any("slept for 60 s" in line for line in told.lines)

    machine = Machine(COOL, COOL, Reading(slept_s=60.0), Reading(slept_s=30.0))
    (record,), _ = control([job], brief, told, watch=machine).run(tmp_path)
    assert "the machine slept while it was measured: 30 s" in record.warnings


def test_a_sweep_that_gets_too_hot_keeps_what_it_has(misbehaving, brief, control, tmp_path):
    brief.stop_when_hot = "trapping"
    jobs = [misbehaving("well", seq_len=size) for size in (4, 8, 16)]
    machine = Machine(COOL, COOL, COOL, COOL, TRAPPING, COOL)  # the second visit ends too hot
    results, interrupted = control(jobs, brief, Progress(), watch=machine).run(tmp_path)
    assert interrupted
    assert [record.status for record in results] == ["ok", "ok", "interrupted"]
    assert "measured under thermal pressure 'trapping'" in results[1].warnings


def test_what_the_machine_does_not_tell_is_said_once(misbehaving, brief, control, tmp_path):
    brief.restarts = 2
    jobs = [misbehaving("well", seq_len=size) for size in (4, 8)]
    told = Told()
    machine = Machine(COOL, not_read=["power_mode: TimeoutExpired"])
    control(jobs, brief, told, watch=machine).run(tmp_path)
    assert [line for line in told.lines if "power_mode" in line] == [
        "could not read this machine's power_mode: TimeoutExpired"
    ]


def test_a_sweep_keeps_a_mac_awake(misbehaving, brief, measure):
    held = []

    @contextmanager
    def kept_awake():
        held.append("held")
        yield "this Mac may fall asleep"
        held.append("given back")

    class Seen(Told):
        def round_finished(self, number, of, medians):
            held.append("round")

    told = Seen()
    measure([misbehaving("well")], brief, told, Host(kept_awake=kept_awake))
    assert held == ["held", "round", "round", "round", "given back"]
    assert "this Mac may fall asleep" in told.lines
