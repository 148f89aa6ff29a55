"""The page of the measured limits: its numbers, what it leaves out, and how it is drawn."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
from report_site import Report, Visit

from mtbench.report import build, roofline, tables
from mtbench.results.record import Record, write
from record_builder import Grid, record, with_limit, with_samples, write_grid
from written_report import charts as specs


def timed(arm: str = "torch", ns: float = 100.0, **values: Any) -> Record:
    """A record that took `ns` per queued call."""
    return with_samples(record(arm, **values), [[[int(ns)] * 5] * 8], [[ns] * 8])


def grounds(folder: Path, *records: Record) -> list[roofline.Ground]:
    for number, one in enumerate(records):
        write(one, folder / str(number))
    return roofline.grounds(tables.load([folder]).charted)


def test_a_point_is_a_record_by_its_intensity_and_what_it_achieved(tmp_path: Path) -> None:
    """1000 FLOP and 100 bytes in 100 ns: 10 GFLOP/s at 10 FLOP per byte; 50 ns for the FLOPs, 10 for the bytes."""
    one = with_limit(timed(seq_len=32), 1000, 100, 2e10, 1e10)
    two = with_limit(timed(seq_len=64), 100, 1000, 2e10, 2e10)
    (ground,) = grounds(tmp_path, one, two)
    first, second = ground.points.sort("intensity", descending=True).to_dicts()
    assert (first["intensity"], first["flops_per_s"]) == (pytest.approx(10), pytest.approx(1e10))
    assert first["limit_fraction"] == pytest.approx(0.5)
    assert first["limit"] == "50 % of that of compute"
    assert first["work"] == "10.0 GFLOP/s, 1.00 GB/s"
    assert first["shape"] == "batch 1, sequence 32, float32"
    assert second["limit"] == "50 % of that of memory"
    assert second["per_call"] == "100 ns; at the limit 50.0 ns"


def test_each_device_dtype_and_precision_has_roofs_of_its_own(tmp_path: Path) -> None:
    chosen: list[dict[str, Any]] = [
        {}, {"dtype": "bfloat16"}, {"device": "gpu"}, {"device": "gpu", "matmul_precision": "tf32"},
    ]  # fmt: skip
    found = grounds(
        tmp_path, *(with_limit(timed(**one), 1000, 100, 1e10 * (n + 2), 1e10) for n, one in enumerate(chosen))
    )
    roofs = {ground.heading: ground.roofs.flops_per_s for ground in found if ground.roofs}
    assert roofs == {"cpu, float32": 2e10, "cpu, bfloat16": 3e10, "gpu, float32": 4e10, "gpu, float32, TF32": 5e10}
    assert len({ground.stem for ground in found}) == 4


def test_each_gpu_of_a_host_has_roofs_of_its_own(tmp_path: Path) -> None:
    one, two = (
        with_limit(timed(device="gpu", device_index=index, seq_len=32 + index), 1000, 100, rate, 1e10)
        for index, rate in ((0, 2e10), (1, 4e10))
    )
    found = grounds(tmp_path, one, two)
    assert {ground.heading: ground.roofs.flops_per_s for ground in found if ground.roofs} == {
        "gpu 0, float32": 2e10,
        "gpu 1, float32": 4e10,
    }


def test_memory_has_the_roof_of_the_largest_calls_and_the_highest_one(tmp_path: Path) -> None:
    cells = ((1 << 16, 3e10), (1 << 20, 9e10), (1 << 30, 2e10))
    found = grounds(
        tmp_path,
        *(with_limit(timed(seq_len=n + 1), 1e6, moved, 1e12, rate) for n, (moved, rate) in enumerate(cells)),
    )
    assert found[0].roofs == roofline.Roofs(1e12, [(2e10, 1 << 30), (9e10, 1 << 20)])


def test_alike_memory_roofs_are_one(tmp_path: Path) -> None:
    cells = ((1 << 20, 2.1e10), (1 << 30, 2e10))
    found = grounds(
        tmp_path,
        *(with_limit(timed(seq_len=n + 1), 1e6, moved, 1e12, rate) for n, (moved, rate) in enumerate(cells)),
    )
    assert found[0].roofs == roofline.Roofs(1e12, [(2e10, 1 << 30)])


def test_the_bars_are_medians_over_cells_and_the_nearest_operator_comes_first(tmp_path: Path) -> None:
    def one(operator: str, arm: str, seq_len: int, ns: float) -> Record:
        return with_limit(timed(arm, ns, operator=operator, seq_len=seq_len), 1000, 100, 1e10, 1e10)  # 100 ns at best

    (ground,) = grounds(
        tmp_path,
        *(one("softmax", "torch", seq_len, ns) for seq_len, ns in ((1, 1000), (2, 500), (4, 125))),
        one("softmax", "mlx", 1, 10_000),
        one("linear", "mlx", 1, 125),
        one("linear", "torch", 1, 100_000),
    )
    rows = [(row["operator"], row["label"], round(row["fraction"], 6)) for row in ground.bars.to_dicts()]
    assert rows == [
        ("linear", "mlx", 0.8), ("linear", "torch", 0.001), ("softmax", "mlx", 0.01), ("softmax", "torch", 0.2),
    ]  # fmt: skip
    last = ground.bars.to_dicts()[-1]
    assert (last["text"], last["range"], last["cells"]) == ("20 %", "10 % to 80 %", "3")


def test_what_computes_nothing_has_a_bar_and_no_point(tmp_path: Path) -> None:
    (ground,) = grounds(tmp_path / "in", with_limit(timed(), 0, 100, None, 2e9))
    assert len(ground.points) == 0
    assert ground.roofs is None
    assert ground.bars["fraction"].to_list() == [pytest.approx(0.5)]
    assert ground.bars["bound"].to_list() == ["memory"]
    build([tmp_path / "in"], tmp_path / "out")
    assert list(specs(tmp_path / "out" / "roofline.html")) == ["roofline-1-distance"]


@pytest.mark.parametrize("status", ["ok", "unsupported"])
def test_records_without_peaks_are_left_out_and_the_page_says_why(tmp_path: Path, status: str) -> None:
    one = with_limit(timed(), 1000, 100, None, None) if status == "ok" else record(status=status, reason="not here")
    write(one, tmp_path / "in")
    build([tmp_path / "in"], tmp_path / "out")
    page = (tmp_path / "out" / "roofline.html").read_text()
    assert "No record here has a distance from the limit" in page
    assert specs(tmp_path / "out" / "roofline.html") == {}


def test_an_operator_named_like_the_page_does_not_replace_it(tmp_path: Path) -> None:
    write(timed(operator="roofline"), tmp_path / "in")
    build([tmp_path / "in"], tmp_path / "out")
    assert "<h1>Distance from the limit</h1>" in (tmp_path / "out" / "roofline.html").read_text()
    assert "<h1>roofline</h1>" in (tmp_path / "out" / "roofline_.html").read_text()


def test_the_page_lists_every_operator_and_contender_with_its_limit_and_is_linked(report: Report) -> None:
    page = (report.folder / "roofline.html").read_text()
    pairs = {(one.operator, one.arm, one.dtype) for one in report.records if one.status == "ok"}
    assert page.count("<tr><td><a href=") == len(pairs)
    assert 'href="roofline.html"' in (report.folder / "index.html").read_text()
    charts = specs(report.folder / "roofline.html")
    assert list(charts) == ["roofline-1", "roofline-1-distance", "roofline-2", "roofline-2-distance"]
    for name in ("roofline-1", "roofline-2"):
        roofs = charts[name]["datasets"]["roofs"]
        assert len(roofs) == 2
        for roof in roofs[:1]:  # bytes/s: from the edge to the ridge, along which FLOP/s are proportional to intensity
            assert roof["y"] / roof["x"] == pytest.approx(2e12)
            assert roof["y2"] / roof["x2"] == pytest.approx(2e12)
        assert roofs[1]["y"] == roofs[1]["y2"] == 4e14
        assert [label["text"] for label in charts[name]["datasets"]["names"]] == [
            "2.00 TB/s at 9.54 MiB",
            "400 TFLOP/s",
        ]


def test_the_roofs_and_points_are_drawn_and_a_name_runs_along_its_roof(report: Report, visit: Visit) -> None:
    visit.open(report.url("roofline.html"))
    figure = visit.page.query_selector("#roofline-1").query_selector("xpath=..")
    points = len(specs(report.folder / "roofline.html")["roofline-1"]["datasets"]["points"])
    assert figure.evaluate("f => f.querySelectorAll('.mark-symbol.role-mark > path').length") == points
    (sloped, _) = figure.evaluate(
        """f => [...f.querySelectorAll('.mark-rule.role-mark > line')].map(line => {
            const box = line.getBoundingClientRect();
            return [box.width, box.height];
        })"""
    )
    turned = figure.evaluate(
        "f => [...f.querySelectorAll('.mark-text.role-mark text')].map(t => t.getAttribute('transform'))"
    )
    (angle,) = (float(part) for part in re.findall(r"rotate\((-?[\d.]+)\)", " ".join(turned)))
    assert -angle == pytest.approx(math.degrees(math.atan2(sloped[1], sloped[0])), abs=1)
    assert figure.query_selector("[aria-label^='Roofline, cpu, ']") is not None
    assert visit.complaints == []


def test_hovering_over_a_point_tells_operator_shape_arm_and_distance(tmp_path: Path, visit: Visit) -> None:
    write(with_limit(timed(), 1000, 100, 2e10, 1e10), tmp_path / "in")
    build([tmp_path / "in"], tmp_path / "out")
    visit.open((tmp_path / "out" / "roofline.html").as_uri())
    visit.page.hover("#roofline-1 .mark-symbol.role-mark > path", force=True)
    tooltip = visit.page.wait_for_selector("#vg-tooltip-element.visible").inner_text()
    for words in (
        "softmax",
        "embed_dim 768",
        "batch 1, sequence 64, float32",
        "torch",
        "10.0 GFLOP/s",
        "50 % of that of",
    ):
        assert words in tooltip


def test_a_grid_of_many_arms_has_a_dot_for_each(tmp_path: Path, visit: Visit) -> None:
    write_grid(tmp_path / "in", Grid(dtypes=("float32",)))
    build([tmp_path / "in"], tmp_path / "out")
    visit.open((tmp_path / "out" / "roofline.html").as_uri())
    figure = visit.page.query_selector("#roofline-1-distance").query_selector("xpath=..")
    assert figure.evaluate("f => f.querySelectorAll('.mark-symbol.role-mark > path').length") == 2 * 5
    assert figure.evaluate("f => f.clientHeight") < 300  # a line for an operator, however many contenders
    visit.page.locator(".jobs th", has_text="% of limit").locator("button").click()
    shares = visit.page.eval_on_selector_all(".jobs tbody tr", "rows => rows.map(r => Number(r.cells[2].dataset.sort))")
    assert shares == sorted(shares)


def test_every_chart_of_a_report_names_its_machine(tmp_path: Path) -> None:
    write(with_limit(timed(seq_len=32), 1000, 100, 2e10, 1e10), tmp_path / "in" / "1")
    write(with_limit(timed("mlx", seq_len=32), 1000, 100, 2e10, 1e10), tmp_path / "in" / "2")
    build([tmp_path / "in"], tmp_path / "out")
    pages = sorted((tmp_path / "out").glob("*.html"))
    pages = [page for page in pages if page.name != "job.html"]  # that of a job says where in its table
    said = {(page.name, name): str(spec["title"]) for page in pages for name, spec in specs(page).items()}
    assert {page for page, _ in said} == {"index.html", "roofline.html", "softmax.html"}
    assert [place for place, title in said.items() if "On Apple M3 Pro, " not in title] == []
