"""Two machines and three versions in one report: what changed, by how much, and how machines and versions compare."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from report_site import Visit

from mtbench.plain import to_json
from mtbench.report import build, history, tables
from mtbench.report.arms import styles
from mtbench.results.record import write
from record_builder import MACHINE, START, Grid, record, with_blocks, write_grid
from written_report import charts as specs

VERSIONS = ("0.30.0", "0.31.0", "0.32.0")
FACTORS = {"0.30.0": 1.0, "0.31.0": 1.0, "0.32.0": 0.7}
CHIPS = {"aaaaaaaaaa": ("Apple M3 Pro", 1.0), "bbbbbbbbbb": ("Apple M4 Max", 0.6)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mlx became faster with 0.32.0 on both machines; numpy, of one version, stayed as it was."""
    found = tmp_path_factory.mktemp("multirun")
    for machine, (chip, speed) in CHIPS.items():
        for number, version in enumerate(VERSIONS):
            for arm, center in (("mlx", 1e5 * FACTORS[version]), ("numpy", 4e5)):
                for seq_len in (64, 128):
                    ns = center * speed * seq_len / 64
                    noise = [
                        [ns * (1 + 0.002 * ((number + round_ + restart) % 3)) for round_ in range(4)]
                        for restart in range(3)
                    ]
                    one = record(
                        arm,
                        seq_len=seq_len,
                        machine_id=machine,
                        machine=to_json(MACHINE | {"chip": chip, "gpus": []}),
                        sweep_id=f"{machine} {version}",
                        finished_at=START + timedelta(days=30 * number),
                        **({"library_version": version} if arm == "mlx" else {}),
                    )
                    write(with_blocks(one, noise), found / machine / version / f"{arm}{seq_len}")
    return found


@pytest.fixture(scope="module")
def site(folder: Path) -> Path:
    build([folder], folder.parent / "history-report")
    return folder.parent / "history-report"


def told(folder: Path) -> history.History:
    read = tables.load([folder])
    return history.of(read, styles(read.charted))


def test_each_machine_has_its_steps_with_what_changed(folder: Path) -> None:
    found = told(folder)
    assert [one.name for one in found.machines] == ["Apple M3 Pro", "Apple M4 Max"]
    for one in found.machines:
        assert len(one.series) == 4  # two contenders in two cells
        assert {(row["contender"], row["cell"]) for row in one.changes} == {
            ("mlx · cpu", "softmax, batch 1, sequence 64, float32"),
            ("mlx · cpu", "softmax, batch 1, sequence 128, float32"),
        }
        for row in one.changes:
            assert row["ratio"] == pytest.approx(0.7, rel=0.01)
            assert row["changed"] == "version 0.31.0 → 0.32.0"
            assert row["before"].startswith("0.31.0, 2026-03-31: ")


def test_which_machine_compares_each_contender_with_itself(folder: Path) -> None:
    (choice,) = told(folder).which_machine
    assert choice.columns == ["Apple M3 Pro, cpu", "Apple M4 Max, cpu"]
    assert len(choice.rows) == 4
    for row in choice.rows:
        first, second = (row["told"][column] for column in choice.columns)
        assert (first["ratio"], second["verdict"]) == ("", "descriptive")
        assert second["ratio"].startswith("0.600x [")


def test_which_version_has_all_versions_of_one_machine(folder: Path) -> None:
    first, second = told(folder).which_version
    assert (first.heading, second.heading) == ("mlx, Apple M3 Pro", "mlx, Apple M4 Max")
    assert first.columns == list(VERSIONS)
    for row in first.rows:
        ratios = [row["told"][version]["ratio"] for version in VERSIONS]
        assert ratios[0] == ""
        assert ratios[1].startswith(("1.00", "0.99"))
        assert ratios[2].startswith("0.7")


def test_a_report_of_one_session_has_no_history(tmp_path: Path) -> None:
    write_grid(tmp_path / "in", Grid(("softmax",)))
    build([tmp_path / "in"], tmp_path / "out")
    assert not (tmp_path / "out" / "history.html").exists()
    assert "history.html" not in (tmp_path / "out" / "index.html").read_text()


def test_the_page_has_the_table_the_charts_and_the_method(site: Path) -> None:
    text = (site / "history.html").read_text()
    assert "L1 Potts functional" in text
    assert "version 0.31.0 → 0.32.0" in text
    assert 'href="history.html"' in (site / "index.html").read_text()
    charts = list(specs(site / "history.html").values())
    assert [chart["title"]["text"] for chart in charts] == ["softmax", "softmax"]
    points = charts[0]["datasets"]["points"]
    assert len(points) == 12
    assert sorted(one["step"] for one in points if one["step"]) == ["0.700x", "0.700x"]


def test_the_charts_are_valid_vega_lite(site: Path) -> None:
    import altair as alt

    for one in specs(site / "history.html").values():
        alt.Chart.from_dict(one, validate=True)


def test_it_is_drawn_in_a_browser(visit: Visit, site: Path) -> None:
    visit.open((site / "history.html").as_uri())
    drawn: Any = visit.page.locator(".chart svg.marks")
    assert drawn.count() == 2
    assert visit.page.get_by_text("0.700x").count() >= 2
    assert visit.complaints == []
    assert [url for url in visit.requests if not url.startswith("file://")] == []
