"""What contenders are called in a report."""

from pathlib import Path

import polars as pl

from mtbench.report import arms
from mtbench.results import record as records
from record_builder import record


def test_how_a_library_was_set_up_is_in_the_label(tmp_path: Path) -> None:
    graphs = {"arm": "torch_compiled-reduce-overhead", "setup": "reduce-overhead"}
    records.write(record("torch_compiled", arm="torch_compiled"), tmp_path / "a")
    records.write(record("torch_compiled", **graphs), tmp_path / "b")
    frame, _ = records.read(records.find([tmp_path]))
    labelled = arms.labelled(frame.with_columns(contender=pl.lit("")))
    assert labelled["label"].to_list() == ["torch_compiled", "torch_compiled-reduce-overhead"]
    styles = arms.styles(labelled)
    assert len({style.colour for style in styles.values()}) == 2


def test_gpus_that_measured_the_same_have_a_label_each(tmp_path: Path) -> None:
    gpus = [record("torch", device="gpu", device_index=index) for index in (0, 1)]
    others = [record("torch", device="gpu", device_index=0, seq_len=128), record("torch")]
    for number, one in enumerate([*gpus, *others]):
        records.write(one, tmp_path / str(number))
    frame, _ = records.read(records.find([tmp_path]))
    named = arms.labelled(frame.with_columns(contender=pl.lit("")))["label"].to_list()
    assert named == ["torch (gpu 0)", "torch (gpu 1)", "torch (gpu 0)", "torch (cpu)"]


def test_gpus_that_shared_a_sweep_are_one_contender(tmp_path: Path) -> None:
    for index in (0, 1):
        one = record("torch", device="gpu", device_index=index, seq_len=64 * (index + 1))
        records.write(one, tmp_path / str(index))
    frame, _ = records.read(records.find([tmp_path]))
    assert arms.labelled(frame.with_columns(contender=pl.lit("")))["label"].to_list() == ["torch", "torch"]
