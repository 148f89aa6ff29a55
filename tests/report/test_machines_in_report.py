"""Two machines, three versions and a published figure in one report: each machine is a panel with verdicts of its own."""

from html import unescape
from pathlib import Path

import pytest
from report_site import Visit

from mtbench.plain import to_json
from mtbench.report import build, tables
from mtbench.report.charts._spec import ticks
from mtbench.report.contents import Contents, contents
from mtbench.results.machines import machine_name
from mtbench.results.record import write
from record_builder import MACHINE, record, with_blocks

CHIP = "Intel(R) Xeon(R) Processor"
CPU, H200 = f"{CHIP} @ 2.50GHz", f"{CHIP} with NVIDIA H200"
NINE = ("2.9.0", "2.10.0", "2.11.0", "2.12.0", "2.13.0", "2.14.0", "2.15.0")
OPERATORS = ("softmax", "layer_norm", "linear", "sdpa", "gelu", "silu", "relu", "rms_norm", "mha")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("machines")

    def measured(place: str, arm: str, ns: float, **values: object) -> None:
        write(with_blocks(record(arm, **values), [[ns, 1.001 * ns] * 4] * 5), folder / place)

    here = {"machine": to_json(MACHINE | {"chip": CPU, "gpus": []}), "machine_id": "cpu"}
    for version in NINE:
        for arm, ns in (("torch", 1e5), ("mlx", 9e5)):
            versions = {"library_version": version} if arm == "torch" else {}
            measured(f"{version}/{arm}", arm, ns, **here, sweep_id=version, **versions)
    there = {"machine": to_json(MACHINE | {"chip": CHIP, "gpus": [{"name": "NVIDIA H200"}]}), "machine_id": "h200"}
    there |= {"device": "gpu", "device_kind": "cuda", "device_name": "NVIDIA H200", "sweep_id": "gpu"}
    for arm, ns in (("torch-gpu", 1e4), ("mlx-gpu", 3e4)):
        measured(f"gpu/{arm}", arm, ns, **there)
    for operator in OPERATORS[1:]:
        measured(f"more/{operator}", "torch", 1e5, operator=operator, **here)
    others = {"source": "a_tool_with_a_long_name", "status": "unverified", "machine_id": "else", "seq_len": 512}
    measured("published", "mlx", 5e5, **others)
    build([folder], folder.parent / "of-machines")
    return folder


@pytest.fixture(scope="module")
def shown(source: Path) -> Contents:
    return contents(tables.load([source]))


@pytest.fixture(scope="module")
def site(source: Path) -> Path:
    return source.parent / "of-machines"


def test_a_machine_is_named_with_the_gpu_that_it_has() -> None:
    h200 = {"name": "NVIDIA H200"}
    for machine, name in (
        ({"chip": "EPYC", "gpus": [h200]}, "EPYC with NVIDIA H200"),
        ({"chip": "EPYC", "gpus": [h200] * 8}, "EPYC with 8 x NVIDIA H200"),
        ({"chip": "EPYC", "gpus": [h200, {"name": "L4"}]}, "EPYC with NVIDIA H200 and L4"),
        ({"chip": "Apple M4", "gpus": [{"name": "Apple M4"}]}, "Apple M4"),
        ({"chip": "Apple M4"}, "Apple M4"),
        ({}, "machine 012345"),
    ):
        assert machine_name(to_json(machine), "0123456789") == name


@pytest.mark.parametrize("times", [[39.7e6, 42.4e6, 47.4e6], [8.32e6, 8.4e6, 8.51e6], [1e5, 1e5], [3e3, 4e9]])
def test_an_axis_of_times_has_round_numbers_however_short_it_is(times: list[float]) -> None:
    found = ticks(times)
    assert 3 <= len(found) <= 12
    assert all(float(f"{one:.3g}") == one for one in found)
    assert min(times) / 1.12 <= found[0] < found[-1] <= max(times) * 1.12


def test_headline_place_and_panels_tell_two_machines_of_one_chip_apart(shown: Contents, site: Path) -> None:
    text = unescape((site / "softmax.html").read_text())
    assert f"On {CPU}, cpu; {H200}, cuda." in text
    assert f"<h2>{CPU}</h2>" in text
    assert f"<h2>{H200}</h2>" in text
    assert any(line.startswith(f"{H200}, ") for line in shown.answers.headline)


def test_machines_of_one_chip_are_told_apart_by_their_identities_everywhere(tmp_path: Path) -> None:
    for number, machine_id in enumerate(("aaaaaaaaaa", "bbbbbbbbbb")):
        for arm, ns in (("torch", 1e5), ("mlx", 2e5 + number)):
            values = {"machine_id": machine_id, "sweep_id": machine_id, "limit_fraction": 0.5}
            write(with_blocks(record(arm, **values), [[ns, 1.001 * ns] * 4] * 5), tmp_path / "in" / machine_id / arm)
    names = ["Apple M3 Pro (aaaaaa)", "Apple M3 Pro (bbbbbb)"]
    build([tmp_path / "in"], tmp_path / "out")
    shown = contents(tables.load([tmp_path / "in"]))
    assert [line.partition(",")[0] for line in shown.answers.headline] == names
    assert [chart.spec["title"]["text"].partition(":")[0] for chart in shown.front] == names
    assert [panel.machine for panel in shown.operators[0].panels] == names
    assert [ground.heading.partition(",")[0] for ground in shown.limits] == names
    index = unescape((tmp_path / "out/index.html").read_text())
    assert "On Apple M3 Pro (aaaaaa), cpu; Apple M3 Pro (bbbbbb), cpu." in index
    assert "Apple M3 Pro, plain" not in index
    assert "machine_name" not in (tmp_path / "out/results.csv").read_text().partition("\n")[0].split(",")


def test_each_machine_has_a_chart_of_its_own_on_the_first_page(shown: Contents) -> None:
    titles = {one.name: one.spec["title"]["text"] for one in shown.charts if one.name.startswith("forest")}
    assert titles == {
        "forest-1": f"{CPU}: how many times as fast as torch?",
        "forest-2": f"{H200}: how many times as fast as torch?",
    }


def test_each_panel_compares_what_its_machine_measured(shown: Contents, site: Path, visit: Visit) -> None:
    (page,) = (one for one in shown.operators if one.name == "softmax")
    baselines = [panel.sections[0].matrices[0].baseline for panel in page.panels]
    assert [str(one).partition(" ")[0] for one in baselines] == ["mlx", "mlx-gpu"]
    visit.open((site / "softmax.html").as_uri())
    shown_there = visit.page.locator(".contests:visible .baseline").all_inner_texts()
    assert shown_there == baselines
    assert visit.page.locator("td.verdict.faster:visible").count() > 1
    assert visit.page.locator(".empty:visible").count() == 0
    captions = visit.page.locator("figure[data-kind=ratio]:visible figcaption b").all_inner_texts()
    assert ["-gpu" in caption for caption in captions] == [False, True]
    visit.page.select_option("#arm_a", "torch (2.10.0)")  # which the other machine has not measured
    assert visit.page.locator(".contests:visible .baseline").all_inner_texts() == ["torch (2.10.0)", "mlx-gpu"]
    assert visit.complaints == []


def test_versions_stand_in_their_order(shown: Contents) -> None:
    (page,) = (one for one in shown.operators if one.name == "softmax")
    labels = [label for label in page.panels[0].sections[0].matrices[0].labels if label.startswith("torch (")]
    assert labels == [f"torch ({version})" for version in NINE]


def test_a_cell_that_only_others_published_is_no_row_of_verdicts(shown: Contents) -> None:
    (page,) = (one for one in shown.operators if one.name == "softmax")
    for panel in page.panels:
        assert {line.seq_len for one in panel.sections[0].matrices for line in one.lines} == {64}


def test_on_paper_no_name_is_broken_into_letters(site: Path, visit: Visit) -> None:
    visit.page.emulate_media(media="print")
    visit.page.set_viewport_size({"width": 718, "height": 1000})
    visit.open((site / "index.html").as_uri())
    heights = visit.page.evaluate(
        "[...document.querySelectorAll('.matrix tbody :is(th, td:not(.number)), .matrix thead th:first-child')]"
        ".map(cell => { const range = document.createRange(); range.selectNodeContents(cell);"
        " return new Set([...range.getClientRects()].map(box => box.top)).size; })"
    )
    assert heights
    assert set(heights) == {1}
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 718


@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_the_menu_of_operators_opens_within_the_window(site: Path, visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 700})
    visit.open((site / "index.html").as_uri())
    visit.page.click(".menu summary")
    box = visit.page.locator(".menu-list").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
