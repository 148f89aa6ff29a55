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
