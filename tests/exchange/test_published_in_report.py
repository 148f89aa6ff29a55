"""An imported file beside our own records in one report: hollow, named with its source, and in no comparison."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from published_files import DATE, HARDWARE, LAYERS, LLAMA_ROWS, SETTINGS

from mtbench.exchange.imports import import_files
from mtbench.exchange.presets import language_model
from mtbench.plain import to_json
from mtbench.report import build, tables
from mtbench.results.record import write
from record_builder import Grid, record, with_blocks, with_limit, write_grid
from written_report import charts

MHA = {"bias": True, "causal": True, "embed_dim": 768, "head_dim": None, "num_heads": 8}


def specs(page: Path) -> Iterator[dict[str, Any]]:
    yield from charts(page).values()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our own sweep of one cell that the ancestor's file has, too; llama-bench's file; a server of ours that is unverified."""
    folder = tmp_path_factory.mktemp("multirun")
    write_grid(
        folder / "ours",
        Grid(("mha",), ("torch", "mlx"), ("float32",), (64,), (512,), (MHA,)),
    )
    _, params = language_model("Qwen3-0.6B", phase="decode")
    server = record(
        "torch",
        operator="causal_lm",
        framework="llama.cpp",
        arm="llama.cpp",
        model="qwen3_0_6b",
        params=to_json(params),
        seq_len=1,
        kv_len=512,
        status="unverified",
    )
    write(with_limit(with_blocks(server, [[8e6, 8.1e6]] * 3), 1.2e9, 1.2e9, 4e12, 2e11), folder / "server")
    files = folder / "files" / HARDWARE / DATE
    files.mkdir(parents=True)
    (files / "benchmark_results.csv").write_text(LAYERS)
    (files / "settings.json").write_text(SETTINGS)
    (folder / "files" / "llama.json").write_text(json.dumps(LLAMA_ROWS))
    import_files([folder / "files"], folder / "imported")
    build([folder], folder.parent / "report")
    return folder


@pytest.fixture(scope="module")
def site(source: Path) -> Path:
    return source.parent / "report"


def test_published_figures_are_hollow_points_beside_ours(site: Path) -> None:
    (time,) = (
        one
        for one in specs(site / "mha.html")
        if "Latency" in one["title"].get("subtitle", "") and "points" in one["datasets"]
    )
    points = time["datasets"]["points"]
    assert {(one["label"], one["hollow"]) for one in points} == {
        ("mlx", False),
        ("torch", False),
        ("torch · published by mlx_transformers_benchmark, Apple M4 Pro · unverified", True),
        ("mlx · published by mlx_transformers_benchmark, Apple M4 Pro · unverified", True),
        ("mlx_compiled · published by mlx_transformers_benchmark, Apple M4 Pro · unverified", True),
    }
    assert {one["seq_len"] for one in points} == {512}
    marks = [layer["mark"] for layer in time["spec"]["layer"] if layer["mark"]["type"] == "point"]
    assert [mark["filled"] for mark in marks] == [True, False]
    assert "Hollow: without a checked answer." in time["title"]["subtitle"]


def test_they_are_in_no_comparison_and_no_choice_of_one(site: Path) -> None:
    for page in site.glob("*.html"):
        for one in specs(page):
            cells = one["datasets"].get("cells", [])
            assert not [cell for cell in cells if "unverified" in str(cell)], page.name
        assert "unverified</option>" not in page.read_text().partition('<select aria-label="Status">')[0], page.name


def test_a_roofline_shows_an_unverified_job_hollow_and_ranks_it_nowhere(site: Path) -> None:
    drawn = [one for one in specs(site / "roofline.html") if "points" in one["datasets"]]
    hollow = {point["label"] for one in drawn for point in one["datasets"]["points"] if point["hollow"]}
    assert hollow == {"llama.cpp · unverified"}
    bars = [one for one in specs(site / "roofline.html") if "points" not in one["datasets"]]
    assert "llama.cpp" not in str(bars)


def test_the_pages_say_what_was_not_checked(site: Path) -> None:
    index = (site / "index.html").read_text()
    assert "but for the unverified ones, which are drawn hollow" in index
    assert "a speed without a checked answer, drawn hollow" in index
    assert "not measured by mtbench: no answer was checked" in index


def test_a_speed_of_ours_and_a_published_one_are_never_of_one_contender(source: Path) -> None:
    read = tables.load([source])
    kinds = read.records.group_by("label").agg(pl.col("status").is_in(["ok"]).n_unique().alias("kinds"))
    assert kinds["kinds"].to_list() == [1] * kinds.height
    assert read.drawn.height > read.charted.height
