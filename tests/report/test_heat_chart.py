"""Heat over time: every quantity that a machine tells, each reading once, and nothing where it tells nothing."""

import json
from datetime import UTC, datetime

import altair
import polars as pl
import pytest

from mtbench.machine import nvidia, watch
from mtbench.report.charts import Chart, heat
from mtbench.report.views import MachineView

MAC = {
    "taken_at": "2026-03-01T12:00:00+00:00", "thermal_pressure": "heavy", "thermal_state": "fair", "gpu_load": 0.97,
    "gpu_clock_hz": 1.2e9, "cpu_pressure": 0.25, "cpu_temperature_celsius": 92.5, "gpu_temperature_celsius": 88.0,
}  # fmt: skip
H100 = {
    "taken_at": "2026-03-01T12:00:05+00:00", "gpu_load": 1.0, "cpu_throttled": False,
    "gpu": {"clock_hz": 1.98e9, "temperature_celsius": 61.0, "power_watt": 474.0, "throttle_reasons": ["power cap"]},
}  # fmt: skip


def frame(*records: dict) -> pl.DataFrame:
    defaults = {
        "conditions": [], "started_at": datetime(2026, 3, 1, 11, tzinfo=UTC), "machine_name": "Apple M4", "machine_id": "m1",
        "operator": "mha", "dtype": "bfloat16", "batch_size": 1, "seq_len": 128,
    }  # fmt: skip
    rows = []
    for record in records:
        row = defaults | record
        row["conditions"] = json.dumps(row["conditions"])
        rows.append(row)
    return pl.DataFrame(rows)


def values(records: pl.DataFrame) -> dict[tuple[str, str], list[float]]:
    found: dict[tuple[str, str], list[float]] = {}
    for row in heat.heat_rows(records).iter_rows(named=True):
        found.setdefault((row["panel"], row["series"]), []).append(row["value"])
    return found


def test_a_mac_shows_heat_degrees_clock_and_load():
    assert values(frame({"conditions": [MAC]})) == {
        (heat.HEAT, "machine"): [2.0],
        (heat.DEGREES, "processor"): [92.5],
        (heat.DEGREES, "GPU"): [88.0],
        (heat.CLOCK, "GPU"): [1.2],
        (heat.LOAD, "GPU"): [97.0],
        (heat.WAITING, "for a processor"): [25.0],
    }


def test_an_nvidia_gpu_has_its_own_fields():
    found = values(frame({"conditions": [H100], "chip": "EPYC"}))
    assert found[heat.CLOCK, "GPU"] == [1.98]
    assert found[heat.POWER, "GPU"] == [474.0]
    assert found[heat.HEAT, "machine"] == [0.0]  # a power cap is no heat
    hot = H100 | {"gpu": H100["gpu"] | {"throttle_reasons": ["thermal, by software"]}}
    assert values(frame({"conditions": [hot]}))[heat.HEAT, "machine"] == [2.0]


def test_arms_of_a_cell_share_a_reading_which_counts_once():
    later = MAC | {"taken_at": "2026-03-01T12:01:00+00:00", "thermal_pressure": "nominal", "thermal_state": "nominal"}
    both = [MAC, later]
    found = values(frame({"conditions": both}, {"conditions": both}))
    assert found[heat.HEAT, "machine"] == [2.0, 0.0]


def test_an_older_records_first_reading_has_the_records_time():
    old = {name: value for name, value in MAC.items() if name != "taken_at"}
    rows = heat.heat_rows(frame({"conditions": [old, old]}))
    assert set(rows["at"]) == {"2026-03-01T11:00:00+00:00"}


def drawn(records: pl.DataFrame) -> dict | None:
    made = heat.draw(MachineView("machine-1", records, "On a Mac."))
    return None if made is None else Chart(made[0], "heat", None, made[1]).spec


def test_the_chart_has_a_panel_for_each_unit_and_holds_its_rows():
    spec = drawn(frame({"conditions": [MAC, H100]}))
    assert [panel["encoding"]["y"]["title"] for panel in spec["vconcat"]] == list(heat.PANELS)
    assert spec["title"]["subtitle"].endswith("On a Mac.")
    one = drawn(frame({"conditions": [MAC]}))
    assert {row["machine"] for row in one["datasets"]["heat"]} == {"Apple M4"}
    assert heat.POWER not in [panel["encoding"]["y"]["title"] for panel in one["vconcat"]]
    altair.VConcatChart.from_dict(one)  # held to the language's schema


def test_a_machine_that_tells_nothing_has_no_chart():
    assert drawn(frame({"conditions": [{"load": 0.1, "power_source": "mains"}]})) is None
    assert drawn(frame({})) is None


@pytest.mark.parametrize("series", heat.SERIES, ids=lambda series: f"{series.panel} {series.name}")
def test_the_fields_are_those_of_a_reading(series):
    for name in series.fields:
        first, _, second = name.partition(".")
        assert first in watch.Reading.__dataclass_fields__
        assert not second or second in nvidia.GpuReading.__dataclass_fields__


def test_levels_are_the_watchs():
    assert heat.LEVELS == watch.HEAT
