"""The file of a record: older versions, columns that say what they are, and their documentation."""

import random
from pathlib import Path

import polars as pl
import pytest

from mtbench.plain import to_json
from mtbench.results import columns, record
from mtbench.results.axes import CONTENDERS
from mtbench.results.record import Record, read, write
from record_builder import START, measured

DOCUMENTED = Path(__file__).parents[2] / "docs" / "columns.md"


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    one = measured("torch", random.Random(0), contenders=["framework", "dtype"])
    frame, problems = read([write(one, tmp_path)])
    assert problems == []
    row = frame.drop("path").row(0, named=True)
    assert Record(**row) == one
    assert row["schema_version"] == record.SCHEMA_VERSION == 2


def test_a_record_of_version_1_gets_todays_names(tmp_path: Path) -> None:
    """Version 1 said epochs, in two columns and in the protocol, and knew no contenders."""
    one = measured("torch", random.Random(0), restarts=4, protocol=to_json({"epochs": 4, "target": 0.01}))
    path = write(one, tmp_path / "old")
    frame = pl.read_parquet(path).rename({"restarts": "epochs", "restart_spread": "epoch_spread"})
    frame.drop("contenders").with_columns(schema_version=pl.lit(1)).write_parquet(path)
    new = write(measured("mlx", random.Random(1), contenders=["framework"]), tmp_path / "new")
    found, problems = read([path, new])
    assert problems == []
    old = found.row(0, named=True)
    assert (old["restarts"], old["restart_spread"]) == (4, one.restart_spread)
    assert old["protocol"] == '{"restarts": 4, "target": 0.01}'
    assert old["contenders"] == list(CONTENDERS)
    assert found["contenders"].to_list()[1] == ["framework"]
    assert "epochs" not in found.columns


def test_every_column_says_what_it_is() -> None:
    told = list(columns.columns(Record))
    assert [one.name for one in told if not (one.title and one.meaning and one.group)] == []
    known = {*columns.UNITS, "JSON", ""}
    assert {one.unit for one in told} <= known
    endings = {
        "_ns": "ns",
        "_bytes": "bytes",
        "_per_s": None,
        "_joule": "joule",
        "_watt": "watt",
        "_fraction": "fraction",
    }
    for one in told:
        for ending, unit in endings.items():
            if one.name.endswith(ending):
                assert one.unit == (unit or one.unit), one.name
                assert one.unit, one.name


def test_the_documentation_has_every_column_as_it_is_declared() -> None:
    command = "from mtbench.results import columns, record; print(columns.markdown(record.Record), end='')"
    written = DOCUMENTED.read_text() if DOCUMENTED.exists() else ""
    assert written == columns.markdown(Record), f'write it anew: python -c "{command}" > docs/columns.md'


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("latency_ns", 41_230.0, "41.2 µs"),
        ("peak_bytes", 38654705664, "36.0 GiB"),
        ("limit_fraction", 0.43, "43 %"),
        ("energy_joule", 0.0123, "12.3 mJ"),
        ("verify_error", 3.1e-7, "3.1e-07"),
        ("paired", False, "no"),
        ("warnings", ["hot", "drifted"], "hot\ndrifted"),
        ("kv_len", None, "–"),
        ("rounds", 0, "0"),
        ("started_at", START, "2026-03-01 12:00:00+00:00"),
    ],
)
def test_a_value_is_shown_by_its_columns_unit(name: str, value: object, text: str) -> None:
    found = {one.name: one for one in columns.columns(Record)}
    assert found[name].shown(value) == text
