"""The first page: its sentences are the engine's, its colours are proved, its cells lead on, its chart says what is sure."""

import re
from collections.abc import Sequence
from html import unescape
from pathlib import Path

import polars as pl
import pytest

from mtbench.api import read
from mtbench.plain import to_json
from mtbench.report import build, front, tables
from mtbench.report.contents import contents
from mtbench.results.record import Record, write
from mtbench.results.soundness import NEEDED
from record_builder import record, with_blocks

GQA = {"operator": "gqa", "params": to_json({"embed_dim": 576, "causal": True}), "model": "smollm2_135m"}
DECODE, PREFILL = GQA | {"seq_len": 1, "kv_len": 513}, GQA | {"seq_len": 256}


def opposite() -> list[Record]:
    """Decode for MLX, prefill for torch; in a shape of softmax one round, which proves nothing; numpy beside both."""
    found = []
    for of, arms in (
        (DECODE, {"mlx": 70e3, "mlx_compiled": 64e3, "torch": 100e3}),
        (PREFILL, {"mlx": 900e3, "mlx_compiled": 860e3, "torch": 110e3}),
    ):
        found += [with_blocks(record(arm, **of), [[ns, 1.001 * ns] * 4] * 5) for arm, ns in arms.items()]
    return found + [with_blocks(record(arm), [[ns]]) for arm, ns in (("mlx", 1e5), ("torch", 45e5), ("numpy", 9e5))]


def written(folder: Path, records: Sequence[Record]) -> Path:
    for number, one in enumerate(records):
        write(one, folder / one.operator / one.arm / one.dtype / f"{number}")
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("front")
    source = written(folder / "sweep", opposite())
    index = build([source], folder / "out", "svg")
    return source, unescape(index.read_text())


def test_the_page_opens_with_the_sentences_that_end_a_sweep(page: tuple[Path, str]) -> None:
    source, text = page
    found = read(source).answers()
    assert f'<h1 class="headline">{found.headline[0]}</h1>' in text
    for line in found.headline[1:]:
        assert f'<p class="headline">{line}</p>' in text
    for one in found.answers:
        assert one.question == "limit" or one.text in text
    assert "mean" not in text[: text.index("How to read")]


def test_colour_stands_only_where_a_verdict_proves_it(page: tuple[Path, str]) -> None:
    rows = re.findall(r'<tr><th scope="row">(.*?)</tr>', page[1], re.DOTALL)
    by_subject = {re.match(r"[^<]*", row)[0] + re.search(r"seq \d+", row)[0]: row for row in rows}  # type: ignore[index]
    proved = {name: re.findall(r"proved-(\w+)", row) for name, row in by_subject.items()}
    assert proved == {
        "gqa of smollm2_135mseq 1": ["worse", "best", "worse"],
        "gqa of smollm2_135mseq 256": ["worse", "worse", "best"],
        "softmaxseq 64": [],
    }
    assert "<b>64.0 µs</b></a> <small>best</small>" in by_subject["gqa of smollm2_135mseq 1"]
    assert "45x slower" in by_subject["softmaxseq 64"]
    assert all('href="gqa.html"' in row or 'href="softmax.html"' in row for row in rows)


def test_at_most_three_caveats_stand_there_with_their_remedies(page: tuple[Path, str]) -> None:
    section = page[1].partition("What limits these answers")[2].partition("</section>")[0]
    shown = section.partition("<details>")[0]
    assert "fewer than 3 restarts" in shown
    assert "<code>python -m mtbench resume sweep protocol.restarts=5</code>" in shown
    assert shown.count("Remedy:") <= 3


def test_the_chart_has_each_library_against_one_and_is_hollow_where_nothing_is_proved(page: tuple[Path, str]) -> None:
    made = {one.name: one for one in contents(tables.load([page[0]])).charts}
    rows = made["forest"].spec["datasets"]["duels"]
    assert [(row["library"], round(row["speed"], 2), row["sure"]) for row in rows] == [
        ("mlx", 1.56, "sure"),
        ("mlx", 0.13, "sure"),
        ("mlx", 45.0, "likely: only 1 round"),
    ]
    assert rows[0]["said"].startswith("mlx_compiled is 1.6x [1.6, 1.6] faster than torch")
    assert (page[0].parent / "out" / "charts" / "forest.svg").read_text().startswith("<svg")


def test_a_matrix_says_open_where_rounds_and_medians_disagree_who_is_faster(tmp_path: Path) -> None:
    times = {"mlx": (10e3, 20e3, 40e3), "torch": (21e3, 15e3, 30e3)}
    records = [with_blocks(record(arm), [[ns] * 4 for ns in restarts]) for arm, restarts in times.items()]
    ((table,), _) = front.matrix(front.answered(tables.load([written(tmp_path, records)])), {})
    (row,) = table["rows"]
    assert {arm: one["factor"] for arm, one in row["cells"].items()} == {"mlx": "best", "torch": "open"}


def test_numpy_is_in_no_first_pair_and_two_machines_are_in_none(tmp_path: Path) -> None:
    elsewhere = {"machine_id": "other", "machine": to_json({"chip": "AMD EPYC"}), "sweep_id": "there"}
    here = [
        with_blocks(record(arm), [[ns, ns] * 4] * 5) for arm, ns in (("mlx", 1e5), ("numpy", 1.01e5), ("torch", 9e5))
    ]
    there = [with_blocks(record("torch", **elsewhere), [[1.001e5, 1e5] * 4] * 5)]
    shown = contents(tables.load([written(tmp_path / "in", [*here, *there])]))
    assert shown.pair is not None
    assert all("EPYC" not in label for label in shown.pair)
    assert {label.partition(" ")[0] for label in shown.pair} == {"mlx", "torch"}
    assert [line.partition(":")[0] for line in shown.answers.headline] == [
        "Apple M3 Pro, plain shapes, softmax, float32",
        "AMD EPYC, plain shapes, softmax, float32",
        "numpy does not compete; its times are shown for comparison.",
    ]


def test_a_report_without_a_checked_time_says_so(tmp_path: Path) -> None:
    folder = written(tmp_path / "in", [record("torch", status="unverified", source="llama-bench")])
    assert "Nothing was measured and verified." in build([folder], tmp_path / "out").read_text()


def test_equally_fast_libraries_have_no_best(tmp_path: Path) -> None:
    """That two are equal is sure, and proves neither to be the best."""
    equal = [with_blocks(record(arm), [[1e5, 1.0001e5] * 4] * 5) for arm in ("mlx", "torch")]
    (table,), _ = front.matrix(contents(tables.load([written(tmp_path / "in", equal)])).answers, {})
    assert [cell["proved"] for row in table["rows"] for cell in row["cells"].values()] == ["", ""]


def test_records_that_lack_most_columns_are_answered(tmp_path: Path) -> None:
    """Another program's have what is needed and a time, and no more."""
    latency = {f"latency_{name}" for name in ("ns", "low_ns", "high_ns", "samples_ns")}
    known = {*NEEDED, *latency, "schema_version", "confidence"}
    for number, (arm, ns) in enumerate((("mlx", 1e5), ("torch", 1.01e5))):
        file = write(with_blocks(record(arm), [[ns, 1.05 * ns] * 4] * 2), tmp_path / str(number))
        whole = pl.read_parquet(file)
        whole.select(name for name in whole.columns if name in known).write_parquet(file)
    shown = contents(tables.load([tmp_path]))
    assert "open between" in shown.answers.headline[0]
    assert len(shown.answers.settle) == 1
