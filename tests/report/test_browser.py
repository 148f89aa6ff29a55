"""The pages in a real browser: drawn, quiet, offline, and doing what their controls say."""

import json
import re
from typing import Any

import pytest
from report_site import Report, Visit

from mtbench.report import build
from mtbench.results import format, samples
from record_builder import Grid, write_grid

PAGES = ("index.html", "roofline.html", "mha.html", "sdpa.html", "softmax.html", "linear.html", "job.html#126")

KINDS = dict.fromkeys(("time", "roofline", "distance", "samples", "machine", "heat", "forest"), "symbol")


def marks(figure: Any, kind: str) -> int:
    """How many marks of a kind a chart has drawn: symbols, lines, rectangles, areas, text."""
    return int(figure.evaluate(f"f => f.querySelectorAll('.marks .mark-{kind}.role-mark > path').length"))


def texts(figure: Any) -> list[str]:
    """The words drawn as marks, not those of axes."""
    return list(
        figure.evaluate("f => [...f.querySelectorAll('.marks .mark-text.role-mark text')].map(t => t.textContent)")
    )


@pytest.mark.parametrize("name", PAGES)
def test_each_page_draws_its_charts_without_a_complaint_or_a_request_to_anywhere(
    report: Report, visit: Visit, name: str
) -> None:
    visit.open(report.url(name))
    figures = visit.page.query_selector_all(".chart:not([hidden])")
    assert bool(figures) == (name != "linear.html")  # of linear nothing was measured
    for figure in figures:
        kind = KINDS.get(figure.get_attribute("data-kind"), "rect")
        assert marks(figure, kind) > 0, figure.query_selector(".drawing").get_attribute("id")
    outside = [url for url in visit.requests if not url.startswith((report.folder.as_uri(), "data:"))]
    assert outside == []
    assert visit.complaints == []


def test_a_time_chart_has_a_point_a_line_and_a_band_for_every_arm_dtype_and_batch(report: Report, visit: Visit) -> None:
    visit.open(report.url("mha.html"))
    figure = visit.page.query_selector("#mha-1-latency-time").query_selector("xpath=..")
    assert marks(figure, "symbol") == 5 * 2 * 2 * 2  # arms, dtypes, batches, lengths
    assert marks(figure, "line") == marks(figure, "area") == 5 * 2 * 2
    words = figure.inner_text()
    for word in ("batch 1", "batch 8", "float32", "bfloat16", "sequence length", "median latency per call", "M3 Pro"):
        assert word in words


def test_throughput_takes_the_place_of_latency_when_it_is_chosen(report: Report, visit: Visit) -> None:
    visit.open(report.url("softmax.html"))
    visit.page.check("input[value=throughput]", force=True)
    visit.settle()
    assert visit.page.is_hidden("#softmax-1-latency-time")
    figure = visit.page.query_selector("#softmax-1-throughput-time").query_selector("xpath=..")
    assert marks(figure, "symbol") == 5 * 2 * 3
    assert "median time per queued call" in figure.inner_text()
    assert visit.complaints == []


def test_choosing_another_pair_changes_the_heatmap_and_exchanging_them_inverts_it(report: Report, visit: Visit) -> None:
    visit.open(report.url("softmax.html"))
    figure = visit.page.query_selector("#softmax-1-latency-ratio").query_selector("xpath=..")
    before = texts(figure)
    visit.page.select_option("#arm_a", "torch")
    visit.page.select_option("#arm_b", "numpy")
    visit.page.wait_for_function(
        "document.querySelector('[data-kind=ratio] figcaption').textContent.includes('time of torch')"
    )
    visit.settle()
    slower = texts(figure)
    assert slower != before
    assert len(slower) == 2 * 2 * 3
    assert slower.count("slower") == 2 * 3
    visit.page.click("#swap")
    visit.page.wait_for_function(
        "document.querySelector('[data-kind=ratio] figcaption').textContent.includes('time of numpy')"
    )
    faster = texts(figure)
    assert faster.count("faster") == 2 * 3
    assert float(faster[0].rstrip("x")) == pytest.approx(1 / float(slower[0].rstrip("x")), rel=0.01)


def test_a_page_offers_its_own_arms(report: Report, visit: Visit) -> None:
    visit.open(report.url("sdpa.html"))  # measured on two of the five arms
    assert visit.page.locator("#arm_a option").all_inner_texts() == ["mlx", "torch"]
    assert visit.page.is_visible("#sdpa-1-latency-ratio")


def test_a_pair_without_a_common_cell_says_so_in_place_of_an_empty_chart(report: Report, visit: Visit) -> None:
    visit.open(report.url("sdpa.html"))
    visit.page.select_option("#arm_b", visit.page.input_value("#arm_a"))
    visit.page.wait_for_selector(".chart[data-kind=ratio] .empty:not([hidden])")
    visit.page.wait_for_function("document.querySelector('#sdpa-1-latency-ratio').hidden")
    assert visit.page.is_visible("#sdpa-1-latency-time")


def test_the_index_opens_with_the_answer_and_leads_to_the_operators(report: Report, visit: Visit) -> None:
    visit.open(report.url("index.html"))
    assert visit.page.inner_text("h1").endswith((").", "."))
    about = visit.page.locator(".answer .about").first.inner_text()
    assert visit.page.inner_text("h1").startswith(about)
    visit.page.locator(".matrix td a").first.click()
    assert visit.page.url.endswith(("mha.html", "sdpa.html", "softmax.html"))
    assert visit.complaints == []


def test_the_table_filters_by_words_and_status_and_sorts_by_number(report: Report, visit: Visit) -> None:
    visit.open(report.url("index.html#jobs"))
    total = len(report.records)
    assert visit.page.inner_text(".filters output") == f"{total} of {total} jobs"
    visit.page.select_option(".filters select", "mismatch")
    visit.page.wait_for_function("document.querySelectorAll('.jobs tbody tr').length === 1")
    visit.page.select_option(".filters select", "")
    visit.page.fill(".filters input", "SOFTMAX numpy")
    wanted = sum(one.operator == "softmax" and one.framework == "numpy" for one in report.records)
    visit.page.wait_for_function(f"document.querySelector('.filters output').textContent.startsWith('{wanted} of')")
    assert visit.page.locator(".jobs tbody tr:visible").count() == wanted
    visit.page.fill(".filters input", "")
    visit.page.wait_for_function(f"document.querySelector('.filters output').textContent.startsWith('{total} of')")
    header = visit.page.locator(".jobs th", has_text="latency").locator("button")
    for direction in (1, -1):
        header.click()
        cells = visit.page.eval_on_selector_all(".jobs tbody tr", "rows => rows.map(r => r.cells[7].dataset.sort)")
        measured = [float(cell) for cell in cells if cell]
        assert measured == sorted(measured, reverse=direction < 0)
        assert cells[: len(measured)] == [cell for cell in cells if cell]  # what has no speed comes last either way


def test_dark_follows_the_system_and_the_switch_in_page_and_chart_alike(report: Report, visit: Visit) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    label = "document.querySelector('.chart:not([hidden]) .role-axis-title text').getAttribute('fill')"
    visit.open(report.url("softmax.html"))
    light = visit.page.evaluate(background), visit.page.evaluate(label)
    visit.page.emulate_media(color_scheme="dark")
    visit.page.wait_for_function(
        "[...document.querySelectorAll('.chart:not([hidden])')].every(f => f.dataset.drawn === 'dark')"
    )
    dark = visit.page.evaluate(background), visit.page.evaluate(label)
    assert luminance(light[0]) > 200 > 60 > luminance(dark[0])
    assert luminance(light[1]) < 60 < 200 < luminance(dark[1])
    visit.page.select_option("#arm_b", "numpy")
    visit.page.click("#theme")
    visit.page.wait_for_function(
        "[...document.querySelectorAll('.chart:not([hidden])')].every(f => f.dataset.drawn === 'light')"
    )
    visit.settle()
    assert (visit.page.evaluate(background), visit.page.evaluate(label)) == light
    assert "Time of numpy" in visit.page.inner_text("[data-kind=ratio] figcaption")  # the choice outlives the drawing
    assert visit.complaints == []


def test_hostile_texts_are_shown_and_do_nothing(report: Report, visit: Visit) -> None:
    for name in ("index.html#jobs", "mha.html"):
        visit.open(report.url(name))
        assert visit.page.evaluate("window.broken") is None
        assert visit.page.locator("img").count() == 0
        visit.page.evaluate("document.querySelector('#jobs').open = true")  # which is folded on the first page
        visit.page.fill(".filters input", "onerror")
        visit.page.wait_for_function(
            "[...document.querySelectorAll('.jobs tbody tr')].every(r => !r.offsetParent || r.textContent.includes('{{'))"
        )
        row = visit.page.locator(".jobs tbody tr:visible").first
        assert "<script>window.broken = 1</script>" in row.text_content()
        assert "{{ 7 * 7 }}" in row.text_content()
        assert visit.complaints == []


def test_a_report_with_one_arm_and_one_point_is_still_drawn(tmp_path: Any, visit: Visit) -> None:
    write_grid(
        tmp_path / "in",
        Grid(operators=("softmax",), arms=("torch",), dtypes=("float32",), batch_sizes=(1,), seq_lens=(64,)),
    )
    build([tmp_path / "in"], tmp_path / "out")
    visit.open((tmp_path / "out" / "softmax.html").as_uri())
    (figure,) = visit.page.query_selector_all(".chart:not([hidden])")
    assert marks(figure, "symbol") == 1
    assert visit.page.locator("select#arm_a").count() == 0
    assert visit.complaints == []


def luminance(colour: str) -> float:
    """Of `rgb(1, 2, 3)` or `#010203`, roughly: the mean of its channels, 0 to 255."""
    digits = colour.lstrip("#")
    channels = (
        [int(digits[i : i + 2], 16) for i in (0, 2, 4)]
        if colour.startswith("#")
        else json.loads("[" + colour[colour.index("(") + 1 : -1] + "]")
    )
    return sum(channels[:3]) / 3


def test_a_row_leads_to_everything_that_was_recorded_of_its_job(report: Report, visit: Visit) -> None:
    visit.open(report.url("softmax.html"))
    row = visit.page.query_selector(".jobs tbody tr")
    label = row.query_selector(".arm").inner_text().strip()
    row.query_selector(".arm a").click()
    visit.page.wait_for_function(f"document.querySelector('#job')?.textContent.includes('softmax, {label}')")
    visit.settle()
    assert (
        visit.page.locator("#job-samples .mark-symbol.role-mark > path").count() == 2 * 3 * 8
    )  # metrics, restarts, rounds
    assert visit.page.inner_text("#job-samples").count("restart 3") == 2
    told = visit.page.eval_on_selector_all(
        ".columns tbody tr", "rows => rows.map(r => [r.cells[3].textContent, r.cells[1].textContent])"
    )
    values = dict(told)
    assert values["operator"] == "softmax"
    (one,) = (one for one in report.records if (one.job_id, one.sweep_id) == (values["job_id"], values["sweep_id"]))
    for metric, column in samples.COLUMNS.items():
        restarts: dict[int, list[float]] = {}
        for (restart, _), ns in sorted(samples.blocks(one, metric).items()):
            restarts.setdefault(restart, []).append(ns)
        told = [f"restart {restart + 1}, blocks: {format.durations(ns)}" for restart, ns in restarts.items()]
        expected, found = (re.split(r"([\d.]+)", text) for text in ("\n".join(told), values[column]))
        assert found[::2] == expected[::2]
        assert [len(number.partition(".")[2]) for number in found] == [
            len(number.partition(".")[2]) for number in expected
        ]
        # The page rounds again what is rounded to five digits already.
        assert list(map(float, found[1::2])) == pytest.approx(list(map(float, expected[1::2])), rel=0.011)
    assert values["params"] == '{\n "embed_dim": 768\n}'
    assert all(value for value in values.values())
    assert [url for url in visit.requests if not url.startswith((report.folder.as_uri(), "data:"))] == []
    assert visit.complaints == []


def test_no_page_breaks_a_rule_of_accessibility_in_either_theme(report: Report, visit: Visit) -> None:
    """Those of WCAG 2.2, levels A and AA, that axe can check."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    rules = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
    for name in (*PAGES, "support.html"):
        visit.page.goto("about:blank")  # a hash alone would load nothing anew
        for scheme in ("light", "dark"):
            visit.page.emulate_media(color_scheme=scheme)
            visit.open(report.url(name))
            found = axe.run(visit.page, options=rules).response["violations"]
            assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found] == [], (name, scheme)


def test_the_matrix_of_verdicts_follows_the_baseline_and_tells_its_interval(report: Report, visit: Visit) -> None:
    visit.open(report.url("softmax.html"))
    matrix = visit.page.locator(".contests:visible")
    assert matrix.locator("tbody tr").count() == 2 * 3  # dtypes, lengths
    visit.page.select_option("#arm_a", "torch")
    cell = matrix.locator("tbody td[data-b=numpy]").first
    assert cell.locator(".ratio").inner_text().endswith("x slower")
    assert "slower" in cell.get_attribute("class")
    assert matrix.locator("tbody td[data-b=torch] .ratio").first.inner_text() == "baseline"
    cell.locator(".ratio").hover()
    words = visit.page.inner_text("#tip")
    assert "numpy: " in words
    assert "paired blocks" in words
    visit.page.mouse.move(0, 0)
    assert visit.page.is_hidden("#tip")


def test_words_come_by_touch_on_the_number_itself(report: Report, browser: Any) -> None:
    context = browser.new_context(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(report.url("softmax.html"))
    page.wait_for_function("!('busy' in document.documentElement.dataset)")
    page.locator(".contests:visible td[data-b=numpy] .time").first.tap()
    assert "numpy: " in page.inner_text("#tip")
    page.locator("#softmax-1-latency-ratio .mark-text.role-mark text").first.tap()
    assert "paired blocks" in page.wait_for_selector("#vg-tooltip-element.visible").inner_text()
    for name in PAGES:
        page.goto(report.url(name))
        page.wait_for_function("!('busy' in document.documentElement.dataset)")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
    context.close()


def test_what_is_chosen_is_in_the_address_and_outlives_a_reload(report: Report, visit: Visit) -> None:
    visit.open(report.url("softmax.html"))
    visit.page.check("input[value=throughput]", force=True)
    visit.page.select_option("#arm_a", "numpy")
    visit.page.fill(".filters input", "torch_compiled")  # the name that the terminal gives it
    visit.page.locator(".jobs th", has_text="latency").locator("button").click()
    visit.page.select_option(".filters select", "ok")
    visit.page.wait_for_function("location.hash.includes('torch_compiled') && location.hash.includes('status=ok')")
    visit.page.reload()
    visit.settle()
    assert visit.page.is_checked("input[value=throughput]")
    assert visit.page.input_value("#arm_a") == "numpy"
    wanted = sum(one.operator == "softmax" and one.arm == "torch_compiled" for one in report.records)
    assert visit.page.locator(".jobs tbody tr").count() == wanted > 0
    assert visit.page.get_attribute(".jobs th:has-text('latency')", "aria-sort") == "ascending"
    assert visit.page.is_visible("#softmax-1-throughput-time")


def test_charts_and_tables_can_be_taken_along(report: Report, visit: Visit) -> None:
    visit.open(report.url("softmax.html"))
    figure = visit.page.locator("figure[data-kind=time]:visible")
    for kind, head in (("SVG", b"<svg"), ("PNG", b"\x89PNG"), ("CSV", b"label,")):
        with visit.page.expect_download() as download:
            figure.get_by_role("button", name=kind).click()
        content = download.value.path().read_bytes()
        assert content.startswith(head), kind
    assert content.count(b"\n") == 1 + 5 * 2 * 3
    visit.page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    visit.page.locator(".contests:visible").get_by_role("button", name="Copy").click()
    lines = visit.page.evaluate("window.copied").splitlines()
    assert lines[0].startswith("| cell | ")
    assert lines[1].count("---") == lines[0].count("|") - 1
    assert len(lines) == 2 + 2 * 3


def test_nothing_is_cut_on_paper(report: Report, visit: Visit) -> None:
    visit.page.emulate_media(media="print", color_scheme="dark")
    visit.page.set_viewport_size({"width": 718, "height": 1000})  # A4 with usual margins
    for name in ("mha.html", "roofline.html"):
        visit.open(report.url(name))
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 718, name
        assert visit.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        hidden = visit.page.evaluate(
            "[...document.querySelectorAll('.scroll, .drawing')].filter(e => e.scrollHeight > e.clientHeight + 1).length"
        )
        assert hidden == 0, name


def test_without_javascript_the_matrix_the_reasons_and_the_pictures_are_there(tmp_path: Any, browser: Any) -> None:
    write_grid(tmp_path / "in", Grid(operators=("softmax",), arms=("torch", "mlx"), seq_lens=(64, 128)))
    build([tmp_path / "in"], tmp_path / "out", pictures=True)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "out" / "softmax.html").as_uri())
    assert page.locator(".contests:visible").count() == 2  # latency and throughput
    assert page.locator(".jobs tbody tr").count() == 2 * 2 * 2 * 2
    pictures = page.locator(".chart:visible img")
    assert pictures.count() == 2  # time and ratio
    assert all(picture.bounding_box()["height"] > 100 for picture in pictures.all())
    assert page.locator("#theme:visible, .controls:visible, .filters:visible").count() == 0
    context.close()


def test_many_jobs_are_read_when_they_are_asked_for(tmp_path: Any, visit: Visit) -> None:
    grid = Grid(operators=("mha", "softmax"), seq_lens=tuple(range(1, 26)), batch_sizes=(1,))
    write_grid(tmp_path / "in", grid)
    build([tmp_path / "in"], tmp_path / "out")
    visit.open((tmp_path / "out" / "index.html").as_uri() + "#jobs")
    assert visit.page.inner_text(".filters output") == "500 of 500 jobs"
    assert visit.page.locator(".jobs tbody tr").count() == 200
    assert not [url for url in visit.requests if "rows-" in url]
    visit.page.fill(".filters input", "softmax mlx_compiled")
    visit.page.wait_for_function("document.querySelector('.filters output').textContent.startsWith('50 of')")
    assert visit.page.locator(".jobs tbody tr").count() == 50
    visit.page.fill(".filters input", "")
    visit.page.wait_for_function("document.querySelector('.filters output').textContent.startsWith('500 of')")
    visit.page.locator(".more button").click()
    visit.page.wait_for_function("document.querySelectorAll('.jobs tbody tr').length === 500")
    assert visit.complaints == []
