"""The wheel, installed and used from a folder that has nothing to do with the repository."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import polars as pl
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--wheel-dir", folder, ROOT], check=True, timeout=120)
    (built,) = folder.glob("mtbench-*.whl")
    return built


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts folder of an environment with the wheel, which sees this one's packages but not the repository.

    A folder named in a .pth file is searched, but its own .pth files, such as that of an editable install, are not read.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    paths = {"base": str(folder), "platbase": str(folder)}
    site_packages = Path(sysconfig.get_path("purelib", "venv", paths))
    (site_packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    scripts = Path(sysconfig.get_path("scripts", "venv", paths))
    pip = [sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--ignore-installed", wheel], check=True, timeout=120)
    return scripts


def run(command: list[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=180, check=False)


def test_the_wheel_holds_all_that_is_in_src_and_conf(wheel: Path) -> None:
    def files(folder: Path, prefix: str) -> set[str]:
        return {
            prefix + path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
        }

    wanted = files(ROOT / "src", "") | files(ROOT / "conf", "mtbench/conf/")
    assert {"mtbench/conf/config.yaml", "mtbench/py.typed", "hydra_plugins/mtbench_launcher/__init__.py"} <= wanted
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == wanted


def test_the_wheel_is_what_runs_there(scripts: Path, tmp_path: Path) -> None:
    program = (
        "import mtbench, hydra_plugins.mtbench_launcher as launcher; from mtbench import paths;"
        "print(mtbench.__file__, launcher.__file__, paths.conf(), sep='\\n')"
    )
    result = run([scripts / "python", "-c", program], tmp_path)
    places = [Path(line) for line in result.stdout.splitlines()]
    assert len(places) == 3, result.stderr
    assert [place for place in places if not place.is_relative_to(scripts.parent)] == []


def test_help_is_given_anywhere(scripts: Path, tmp_path: Path) -> None:
    result = run([scripts / "python", "-m", "mtbench", "--help"], tmp_path)
    assert result.returncode == 0, result.stderr
    assert "operator=" in result.stdout
    assert list(tmp_path.iterdir()) == []


SHORT = [
    "protocol=quick",
    "protocol.restarts=1",
    "protocol.warmup_s=0.01",
    "shape.seq_len=8",
    "operator.params.embed_dim=16",
]


def test_one_operator_is_measured_anywhere_and_reported(scripts: Path, tmp_path: Path) -> None:
    result = run([scripts / "mtbench", "operator=softmax", "framework=numpy", *SHORT], tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    (file,) = tmp_path.rglob("record.parquet")
    assert pl.read_parquet(file).select("status", "operator", "framework").row(0) == ("ok", "softmax", "numpy")
    assert file.is_relative_to(tmp_path / "multirun")
    result = run([scripts / "mtbench", "report"], tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "reports" / "index.html").exists()


def test_a_folder_of_the_users_adds_to_the_packaged_configuration(scripts: Path, tmp_path: Path) -> None:
    experiment = tmp_path / "mine" / "experiment" / "tiny.yaml"
    experiment.parent.mkdir(parents=True)
    experiment.write_text(
        "# @package _global_\n"
        "defaults:\n  - override /protocol: quick\n  - override /sweep: none\n"
        'hydra:\n  sweeper:\n    params:\n      framework: "numpy"\n      shape.seq_len: "8,16"\n'
    )
    arguments = ["--config-dir", "mine", "+experiment=tiny", *(word for word in SHORT if "seq_len" not in word)]
    result = run([scripts / "mtbench", *arguments, "-m"], tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(list((tmp_path / "multirun").rglob("record.parquet"))) == 2
