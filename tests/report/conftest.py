"""A real browser for the pages, and one report of everything that can go into one."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_site import Report, Visit

from mtbench.plain import to_json
from mtbench.report import build
from mtbench.results.record import write
from record_builder import Grid, record, write_grid

HOSTILE = """Traceback (most recent call last):
  File "x.py", line 3, in f
RuntimeError: </script><script>window.broken = 1</script><img src=x onerror="window.broken = 2"> {{ 7 * 7 }} & "quotes\""""

READINGS = [
    {"taken_at": f"2026-03-01T12:00:0{second}+00:00", "cpu_temperature_celsius": 60.0 + second, "cpu_pressure": 0.02}
    for second in range(3)
]

CAUSAL = {"embed_dim": 768, "num_heads": 8, "causal": True}
PLAIN = CAUSAL | {"causal": False}


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Two sweeps, four operators, every kind of ending, hostile texts, and a file that is no record."""
    source = tmp_path_factory.mktemp("multirun")
    records = write_grid(source / "first", Grid(operators=("mha",), params=(PLAIN, CAUSAL), seq_lens=(64, 128)))
    records += write_grid(source / "first", Grid(operators=("softmax",), batch_sizes=(1,)))
    records += write_grid(
        source / "second",
        Grid(operators=("sdpa",), arms=("torch", "mlx"), dtypes=("float32",)),
        sweep_id="second",
        conditions=to_json(READINGS),
    )
    mha = {"operator": "mha", "params": to_json(PLAIN)}
    endings = [
        record("mlx", **mha, dtype="float16", status="mismatch", reason="relative error 0.31 exceeds 0.005"),
        record(
            "numpy", **mha, dtype="float16", status="unsupported", reason="NumPy has no bfloat16 <here>", device="auto"
        ),
        record("torch", **mha, dtype="float16", status="failed", reason=HOSTILE, warnings=[HOSTILE]),
        record(
            "mlx_compiled", **mha, dtype="float16", status="crashed", reason="the worker died of signal 9 (SIGKILL)"
        ),
        record("torch", operator="linear", status="failed", reason="nothing of this operator worked"),
    ]
    for number, one in enumerate(endings):
        write(one, source / "first" / f"ending-{number}")
    (source / "first" / "cut").mkdir()
    (source / "first" / "cut" / "record.parquet").write_bytes(b"PAR1 and then the disk was full")
    folder = tmp_path_factory.mktemp("site") / "reports"
    build([source], folder)
    return Report(folder, records + endings, source)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium-like browser. Where there is none, the test is skipped, or fails under CI."""
    named = os.environ.get("MTBENCH_CHROMIUM")
    on_path = [shutil.which(name) for name in ("chromium", "google-chrome", "chromium-browser")]
    mac = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
    for candidate in (named, *on_path, mac):
        if candidate and Path(candidate).exists():
            return candidate
    reason = "No Chromium found: install chromium or Google Chrome, or set MTBENCH_CHROMIUM to its path."
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Any]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    quiet = ("background-networking", "component-update", "sync", "gpu", "quic")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(
            executable_path=chromium,
            headless=True,
            args=["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in quiet)],
        )
        yield found
        found.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Visit]:
    """A fresh light page. Whatever is not a local file is refused and remembered."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
    found = Visit(page)

    def route(requested: Any) -> None:
        found.requests.append(requested.request.url)
        if requested.request.url.startswith("file://"):
            requested.continue_()
        else:
            requested.abort()

    page.route("**/*", route)
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.on("console", lambda message: found.complaints.append(message.text))
    yield found
    page.close()
