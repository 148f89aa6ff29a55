"""Two machines, three versions, a file of the ancestor's and one of llama-bench: one report, and one site."""

import re
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote

import polars as pl
import pytest
import yaml

from mtbench.errors import ConfigError
from mtbench.exchange import package, share
from mtbench.exchange.imports import import_files
from mtbench.launch import commands
from mtbench.plain import to_json
from mtbench.report import build as build_report
from mtbench.results.merging import merge
from mtbench.results.private import Private
from mtbench.results.record import FILE_NAME, write
from mtbench.site import build
from record_builder import MACHINE, START, record, with_blocks

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "tests" / "exchange" / "published"
HERE = Private("/home/ada", ("ada",))
VERSIONS = {"0.30.0": 1.0, "0.31.0": 1.0, "0.32.0": 0.7}
CHIPS = {"aaaaaaaaaa": ("Apple M3 Pro", 1.0), "bbbbbbbbbb": ("Apple M4 Max", 0.6)}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """measurements/ with a shared file of each machine, one that is torn, and figures that others published."""
    folder = tmp_path_factory.mktemp("all")
    for machine, (chip, speed) in CHIPS.items():
        for number, (version, factor) in enumerate(VERSIONS.items()):
            for arm, center in (("mlx", 1e5 * factor), ("torch", 1.3e5)):
                noise = [[center * speed * (1 + 0.002 * ((one + two) % 3)) for one in range(6)] for two in range(3)]
                one = record(
                    arm,
                    operator="mha",
                    batch_size=64,
                    seq_len=512,
                    params=to_json({"bias": True, "causal": True, "embed_dim": 768, "head_dim": None, "num_heads": 8}),
                    machine_id=machine,
                    machine=to_json(MACHINE | {"chip": chip, "gpus": [{"name": f"{chip} GPU", "cores": 18}]}),
                    sweep_id=f"{machine} {version}",
                    finished_at=START + timedelta(days=30 * number),
                    **({"library_version": version} if arm == "mlx" else {}),
                )
                write(with_blocks(one, noise), folder / "multirun" / machine / version / arm)
    for one in share.prepare([folder / "multirun"], folder / "measurements", HERE):
        share.write(one)
    good = next((folder / "measurements").rglob("*.parquet"))
    (good.parent / "2026-01-01-0123456789.parquet").write_bytes(good.read_bytes()[:500])
    write(record("mlx", warnings=["not steady: /home/ada/run.log"]), folder / "measurements" / "own")
    import_files([PUBLISHED / "layers.csv", PUBLISHED / "llama_bench.json"], folder / "imported")
    merge([folder / "imported"], folder / "measurements" / "published" / FILE_NAME)  # of two machines in one file
    return folder


@pytest.fixture(scope="module")
def site(sources: Path) -> Path:
    docs = sources / "docs"
    docs.mkdir()
    (docs / "index.html").write_text("<title>docs</title>")
    return build([sources / "measurements"], sources / "site", docs).parent


def test_one_report_has_them_all(sources: Path) -> None:
    build_report([sources / "multirun", sources / "measurements" / "published"], sources / "report")
    text = (sources / "report" / "mha.html").read_text()
    for told in (
        "Apple M3 Pro",
        "Apple M4 Max",
        "0.30.0",
        "0.31.0",
        "0.32.0",
        "published by mlx_transformers_benchmark",
    ):
        assert told in text, told
    assert "published by llama-bench" in (sources / "report" / "causal_lm.html").read_text()
    history = (sources / "report" / "history.html").read_text()
    assert "version 0.31.0 → 0.32.0" in history
    assert "Which machine" in history


def test_the_site_has_a_page_for_each_chip_and_one_across(site: Path) -> None:
    index = (site / "index.html").read_text()
    pages = re.findall(r'<h3><a href="(chips/[^"]+)">([^<]+)</a></h3>', index)
    assert [name for _, name in pages][:2] == ["Apple M3 Pro", "Apple M4 Max"]
    assert len(pages) == 4  # and the machines of the two published files
    for page, _ in pages:
        assert (site / page).is_file()
    m3 = (site / pages[0][0]).with_name("mha.html").read_text()
    assert "Apple M4 Max" not in m3
    assert "version 0.31.0 → 0.32.0" in (site / pages[0][0]).with_name("history.html").read_text()
    across = (site / "across" / "mha.html").read_text()
    assert "Apple M3 Pro" in across
    assert "Apple M4 Max" in across
    assert "9 figures of mlx_transformers_benchmark, unverified" in index
    assert "6 jobs, verified" in index
    assert "mlx" in re.sub(r"<[^>]+>", "", index.partition("Apple M3 Pro</a>")[2].partition("<dl>")[0])  # its headline


def test_two_machines_of_one_chip_have_names_of_their_own(tmp_path: Path) -> None:
    for machine in CHIPS:
        measured = with_blocks(record("mlx", machine_id=machine, sweep_id=machine), [[1e5, 1.001e5] * 4] * 5)
        write(measured, tmp_path / "multirun" / machine)
    for one in share.prepare([tmp_path / "multirun"], tmp_path / "measurements", HERE):
        share.write(one)
    index = build([tmp_path / "measurements"], tmp_path / "site").read_text()
    named = re.findall(r'<h3><a href="chips/[^"]+">([^<]+)</a></h3>', index)
    assert named == ["Apple M3 Pro (aaaaaa)", "Apple M3 Pro (bbbbbb)"]


def test_a_file_of_several_machines_is_parted(site: Path) -> None:
    sources = [set(pl.read_csv(file)["source"].drop_nulls()) for file in (site / "chips").glob("*/results.csv")]
    assert sorted(map(len, sources)) == [0, 0, 1, 1]
    assert set.union(*sources) == {"mlx_transformers_benchmark", "llama-bench"}


def test_a_machine_cannot_name_a_folder_elsewhere(tmp_path: Path) -> None:
    for name in ("..", "/", "../../elsewhere", "a/b", ""):
        folder = tmp_path / package.folder_name({"chip": name}, name)
        assert folder.parent.resolve() == tmp_path.resolve()
        assert folder.resolve() != tmp_path.resolve()
    assert package.folder_name({"chip": "M4"}, "a/b") != package.folder_name({"chip": "M4"}, "a_b")


def test_what_is_refused_is_left_out_and_named(site: Path) -> None:
    assert "2026-01-01-0123456789.parquet: left out, torn or no Parquet file" in (site / "index.html").read_text()


def test_a_record_that_was_not_shared_is_not_published(site: Path) -> None:
    assert "own/record.parquet: left out, it was not packed by `mtbench share`" in (site / "index.html").read_text()
    for file in site.rglob("*"):
        assert not file.is_file() or b"ada/run.log" not in file.read_bytes(), file


def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    broken = []
    for page in site.rglob("*.html"):
        for link in re.findall(r'(?:href|src)="([^"#]+)', page.read_text()):
            if (
                not link.startswith(("http", "data:"))
                and "{{" not in link
                and not (page.parent / unquote(link)).exists()
            ):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert broken == []


def test_no_page_tells_where_it_was_built(site: Path, sources: Path) -> None:
    told = [str(sources), str(sources.parent), str(Path.home() / "")]
    for file in site.rglob("*"):
        if file.suffix in (".html", ".js", ".csv") and file.name != "vega.js":
            text = file.read_text()
            assert not [one for one in told if len(one) > 2 and one in text], file


def test_without_measurements_it_says_how_to_share(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    text = build([tmp_path / "empty"], tmp_path / "site").read_text()
    assert "Nobody has shared measurements yet" in text
    assert "across" not in text


def test_it_is_built_again_in_its_place(site: Path, sources: Path) -> None:
    (site / "CNAME").write_text("example.org")
    build([sources / "measurements" / "published"], site)
    assert (site / "CNAME").read_text() == "example.org"
    assert len(list((site / "chips").iterdir())) == 2
    assert not (site / "docs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nowhere"], "There is no folder nowhere"), (["empty", "--docs", "empty"], "empty is no built documentation")],
)
def test_a_wrong_request_gets_one_line(
    tmp_path: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as ended:
        commands.app(["site", *arguments], standalone_mode=False)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    with pytest.raises(ConfigError):
        build([tmp_path / "nowhere"], tmp_path / "out")


def test_the_workflow_publishes_what_this_command_builds() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/pages.yml").read_text())
    steps = workflow["jobs"]["build"]["steps"]
    (command,) = [step["run"].split() for step in steps if "mtbench site" in step.get("run", "")]
    (upload,) = [step for step in steps if "upload-pages-artifact" in step.get("uses", "")]
    assert command[command.index("--out") + 1] == upload["with"]["path"]
    assert (ROOT / command[command.index("site") + 1]).is_dir()
    assert workflow["jobs"]["deploy"]["permissions"] == {"pages": "write", "id-token": "write"}
