"""The machine over time, as its sweeps saw it: heat, temperatures, clocks and the GPU's load after each visit to a cell."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from mtbench.report.charts._spec import Spec, channel, fit, with_rows
from mtbench.report.views import MachineView

OF = MachineView
ORDER = 1

Reading = Mapping[str, Any]

LEVELS = ("nominal", "moderate", "heavy", "trapping", "sleeping")
"""Of heat, as macOS names them; from "heavy" on, a machine slows down."""

SLOWED = LEVELS.index("heavy")
WIDTH, HEIGHT = 900, 90


@dataclass(frozen=True)
class Series:
    """One line: the panel that it is in, its name, the fields of a reading that hold it, the first that is there counting,
    and what one of its units is in that field."""

    panel: str
    name: str
    fields: tuple[str, ...]
    unit: float = 1.0


HEAT, DEGREES, CLOCK, LOAD, POWER, WAITING = "heat", "°C", "GHz", "load, %", "W", "waiting, %"
PANELS = (HEAT, DEGREES, CLOCK, LOAD, POWER, WAITING)
SERIES = (
    Series(DEGREES, "processor", ("cpu_temperature_celsius",)),
    Series(DEGREES, "GPU", ("gpu_temperature_celsius", "gpu.temperature_celsius")),
    Series(CLOCK, "processor", ("cpu_clock_hz",), 1e9),
    Series(CLOCK, "GPU", ("gpu_clock_hz", "gpu.clock_hz"), 1e9),
    Series(LOAD, "GPU", ("gpu_load",), 0.01),
    Series(POWER, "GPU", ("gpu.power_watt",)),
    Series(WAITING, "for a processor", ("cpu_pressure",), 0.01),
)


def heat_rows(records: pl.DataFrame) -> pl.DataFrame:
    """One row for each value that a machine told: machine, at, panel, series, value, and what was measured before.

    `records` has conditions, started_at, machine_name, machine_id, operator, dtype, batch_size and seq_len. The arms of a cell
    share a reading, which counts once. A reading of an older record has no time of its own: the first has that of the record.
    """
    found: dict[tuple[str, str, str, str], dict[str, Any]] = {}
    told = ("conditions", "started_at", "machine_name", "machine_id", "operator", "dtype", "batch_size", "seq_len")
    alike = ("conditions", "started_at", "machine_id")
    for record in records.select(told).unique(alike, keep="first", maintain_order=True).iter_rows(named=True):
        after = f"{record['operator']} {record['dtype']} b{record['batch_size']} s{record['seq_len']}"
        for number, reading in enumerate(json.loads(record["conditions"])):
            at = reading.get("taken_at") or (_text(record["started_at"]) if number == 0 else None)
            if not isinstance(at, str):
                continue
            for panel, series, value in values(reading):
                row = {
                    "machine": record["machine_name"],
                    "at": at,
                    "panel": panel,
                    "series": series,
                    "value": value,
                    "after": after,
                }
                found.setdefault((record["machine_id"], at, panel, series), row)
    texts = dict.fromkeys(("machine", "at", "panel", "series"), pl.String)
    schema = {**texts, "value": pl.Float64, "after": pl.String}
    return pl.DataFrame(list(found.values()), schema=schema).sort("machine", "at")


def draw(view: MachineView) -> tuple[str, Spec] | None:
    """A line for each thing that the machine tells, over time, a panel for each unit; None where there is nothing to show."""
    rows = heat_rows(view.records)
    panels = [panel for panel in PANELS if panel in set(rows["panel"])]
    if not panels:
        return None
    subtitle = f"Heat over time, after each visit to a cell, as the system reports it. {view.where}"
    spec = {
        "title": {"text": "Heat", "subtitle": subtitle},
        "data": {"name": "heat"},
        "spacing": 8,
        "usermeta": fit(200, WIDTH, 170),
        "vconcat": [_panel(panel, panel == panels[-1]) for panel in panels],
    }
    return view.name, with_rows(spec, "heat", rows)


def _panel(panel: str, last: bool) -> Spec:
    y = channel("value", "quantitative", title=panel, scale={"zero": panel in (LOAD, POWER, WAITING)})
    if panel == HEAT:
        names = "[" + ", ".join(f"'{level}'" for level in LEVELS) + "][datum.value]"
        y |= {
            "scale": {"domain": [0, len(LEVELS) - 1]},
            "axis": {"values": list(range(len(LEVELS))), "labelExpr": names},
        }
    x = channel("at", "temporal", title="time" if last else None, axis={"labels": last})
    tooltip = [
        channel("at", "temporal", format="%Y-%m-%d %H:%M:%S"),
        channel("series", "nominal"),
        channel("value", "quantitative"),
        channel("after", "nominal"),
    ]
    return {
        "transform": [{"filter": f"datum.panel === '{panel}'"}],
        "mark": {"type": "line", "interpolate": "step-after" if panel == HEAT else "linear", "point": True},
        "encoding": {"x": x, "y": y, "color": channel("series", "nominal", title=None), "tooltip": tooltip},
        "width": WIDTH,
        "height": HEIGHT,
    }


def values(reading: Reading) -> Iterator[tuple[str, str, float]]:
    """What a reading tells: panel, series and value."""
    level = _level(reading)
    if level is not None:
        yield HEAT, "machine", float(level)
    for series in SERIES:
        value = next((told for name in series.fields if (told := _field(reading, name)) is not None), None)
        if isinstance(value, (int, float)):
            yield series.panel, series.name, float(value) / series.unit


def _field(reading: Reading, name: str) -> Any:
    for part in name.split("."):
        reading = reading.get(part) or {} if isinstance(reading, Mapping) else {}
    return None if isinstance(reading, Mapping) else reading


def _level(reading: Reading) -> int | None:
    """The level of heat, or None where the system says nothing of it."""
    state = {"nominal": 0, "fair": 1, "serious": 2, "critical": 3}.get(str(reading.get("thermal_state")))
    pressure = reading.get("thermal_pressure")
    reasons = _field(reading, "gpu.throttle_reasons")
    told = [
        state,
        LEVELS.index(pressure) if isinstance(pressure, str) and pressure in LEVELS else None,
        None if reading.get("cpu_throttled") is None else SLOWED * bool(reading["cpu_throttled"]),
        None
        if not isinstance(reasons, list)
        else SLOWED * any(str(reason).startswith("thermal") for reason in reasons),
    ]
    return max((level for level in told if level is not None), default=None)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")
