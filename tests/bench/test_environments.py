"""Arms under other interpreters: what they are called, found or made, and that a worker there uses nothing of ours."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest
from hydra import compose, initialize_config_dir
from packaging.requirements import Requirement

from mtbench import paths
from mtbench.bench.controller import environments
from mtbench.bench.controller.process import Died, Process
from mtbench.engines import local
from mtbench.errors import ConfigError, Unsupported
from mtbench.launch import config as configuration
from mtbench.machine import nvidia
from mtbench.operators.base import Shape
from mtbench.plan.jobs import Arm, Job, Task, plan
from mtbench.plan.jobs import job as make_job
from mtbench.plan.progress import Progress
from mtbench.plan.protocol import Protocol
from mtbench.results.private import without_addresses, without_home
from mtbench.results.record import Record

ROOT = Path(__file__).resolve().parents[2]
USER = Path(__file__).parent / "user"


@pytest.mark.parametrize(
    ("arm", "name"),
    [
        (Arm("mlx"), "mlx"),
        (Arm("mlx", requirement="mlx==0.31.0"), "mlx-0.31.0"),
        (Arm("mlx", "compiled", device="cpu", requirement="mlx==0.31.0"), "mlx_compiled-cpu-0.31.0"),
        (Arm("mlx", requirement="numpy==2.1.0"), "mlx-numpy-2.1.0"),
    ],
)
def test_an_arm_is_named_by_the_version_that_was_asked_for(arm, name):
    assert arm.name == name


def test_arms_that_differ_are_named_apart_and_a_name_tells_of_no_person():
    arms = [Arm("mlx", requirement=r) for r in ("mlx<0.31", "mlx>0.31", "mlx[cpu]==0.31", "mlx @ file:///home/jane/a")]
    arms += [Arm("mlx", python=path) for path in ("/home/jane/a/bin/python", "/home/jane/b/bin/python")]
    names = {arm.name for arm in arms}
    assert len(names) == len(arms)
    assert not any(character in name for name in names for character in "/<>=[]@: ")
    assert not any("jane" in name for name in names)


def job_of(*overrides: str) -> Job:
    configuration.register()
    with initialize_config_dir(str(paths.conf()), version_base="1.3"):
        return configuration.job_from(compose("config", list(overrides)), [])


def test_a_requirement_and_an_interpreter_belong_to_the_arm_and_not_to_the_cell(tmp_path, monkeypatch):
    program = tmp_path / "python"
    program.symlink_to(sys.executable)
    monkeypatch.setenv("HOME", str(tmp_path))
    jobs = [
        job_of("framework=numpy"),
        job_of("framework=numpy", "framework.requirement='numpy==2.1.0'"),
        job_of("framework=numpy", "framework.requirement='numpy==2.2.0'"),
        job_of("framework=numpy", "framework.python='~/python'"),
    ]
    assert len({job.cell.id for job in jobs}) == 1
    assert len({job.id for job in jobs}) == len({job.folder for job in jobs}) == 4
    assert jobs[3].arm.python == str(program)  # the link itself: what it is part of is known by where it stands


def test_a_requirement_in_two_spellings_is_one_arm():
    spellings = ("mlx==0.31.0", "mlx == 0.31.0")
    one, other = (job_of("framework=mlx", f"framework.requirement='{text}'") for text in spellings)
    assert one.id == other.id


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["framework.python=/nowhere/python"], "framework.python=/nowhere/python: there is no such program"),
        (["framework.python=/"], "no such program"),
        (["framework.requirement='mlx=0.31'"], "framework.requirement=mlx=0.31: .*such as mlx==0.31.0"),
        (["framework.requirement=''"], "framework.requirement="),
        ([f"framework.python='{sys.executable}'", "framework.requirement=mlx"], "exclude each other"),
    ],
)
def test_what_cannot_be_is_a_mistake_of_the_user(overrides, says):
    with pytest.raises(ConfigError, match=says):
        job_of("framework=mlx", *overrides)


# environments, made by a pretended pip


class Pip:
    """Stands for environments.printed_by: makes the interpreter that venv would, and remembers what was asked."""

    def __init__(self, offers: str = "", fails: str | None = None) -> None:
        self.commands: list[list[str]] = []
        self.offers = offers
        self.fails = fails

    def __call__(self, command, failure):
        self.commands.append(list(command))
        if "venv" in command:
            folder = Path(command[-1])
            (folder / "bin").mkdir(parents=True)  # fails where the folder is there already
            (folder / "bin" / "python").symlink_to(sys.executable)
        if "install" in command and self.fails:
            raise Unsupported(f"{failure}: {self.fails}")
        return self.offers

    @property
    def made(self) -> int:
        return sum("venv" in command for command in self.commands)

    @property
    def installed(self) -> list[str]:
        flags = ("--no-input", "--disable-pip-version-check")
        installs = [c[c.index("install") + 1 :] for c in self.commands if "install" in c]
        return [word for install in installs for word in install if word not in flags]


@pytest.fixture
def pip(monkeypatch, tmp_path) -> Pip:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(nvidia, "gpus", list)
    return Pip()


def find(requirement: str, run: environments.Run) -> tuple[str, list[str]]:
    told: list[str] = []
    python = environments.interpreter(Arm("numpy", requirement=requirement), told.append, run)
    assert python is not None
    return python, told


def test_an_environment_is_made_once_and_its_place_is_told(pip, tmp_path):
    python, told = find("einops==0.8.0", pip)
    assert Path(python).is_relative_to(tmp_path / "cache" / "mtbench" / "environments")
    assert pip.installed == ["einops==0.8.0", *environments.NEEDS]
    again, told_again = find("einops==0.8.0", pip)
    assert again == python
    assert pip.made == 1
    for lines in (told, told_again):
        assert len(lines) == 1
        assert str(Path(python).parents[1]) in lines[0]
        assert "numpy-einops-0.8.0" in lines[0]
    other, _ = find("einops==0.7.0", pip)
    assert other != python
    assert pip.made == 2


def test_an_environment_that_is_incomplete_or_has_lost_its_interpreter_is_made_anew(pip):
    folder = Path(find("einops==0.8.0", pip)[0]).parents[1]
    (folder / environments.COMPLETE).unlink()
    (folder / "left over").touch()
    find("einops==0.8.0", pip)
    assert pip.made == 2
    assert not (folder / "left over").exists()
    (folder / "bin" / "python").unlink()
    (folder / "bin" / "python").symlink_to(folder / "gone")
    find("einops==0.8.0", pip)
    assert pip.made == 3


def test_what_pip_says_is_the_reason_and_nothing_half_made_stays(pip, tmp_path):
    pip.fails = "No matching distribution found for einops==99"
    with pytest.raises(Unsupported, match="einops==99 cannot be installed here: No matching distribution"):
        find("einops==99", pip)
    folder = tmp_path / "cache" / "mtbench" / "environments"
    assert [entry for entry in folder.iterdir() if entry.is_dir()] == []


def test_two_that_want_the_same_environment_make_it_once(pip):
    at_work = threading.Event()

    def slow(command, failure):
        at_work.set()
        time.sleep(0.05)
        return pip(command, failure)

    other = threading.Thread(target=find, args=["einops==0.8.0", slow])
    other.start()
    at_work.wait()
    _, told = find("einops==0.8.0", slow)
    other.join()
    assert pip.made == 1
    assert "installing" not in told[0]


def test_the_cache_is_where_the_system_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert environments.cache_folder() == tmp_path / ".cache" / "mtbench" / "environments"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert environments.cache_folder() == tmp_path / "Library" / "Caches" / "mtbench" / "environments"


@pytest.mark.parametrize(
    ("asked", "driver", "offers", "adds"),
    [
        ("mlx==0.31.0", None, "cpu cuda cuda12 cuda13 dev", "mlx[cpu]==0.31.0"),
        ("mlx==0.31.0", "580.95.05", "cpu cuda cuda12 cuda13 dev", "mlx[cuda13]==0.31.0"),
        ("mlx==0.31.0", "550.54.15", "cpu cuda cuda12 cuda13 dev", "mlx[cuda12]==0.31.0"),
        ("mlx==0.30.0", "580.95.05", "cpu cuda dev", "mlx[cuda]==0.30.0"),
        ("mlx==0.20.0", None, "dev", None),
        ("mlx[cuda12]==0.31.0", None, "cpu cuda cuda12 cuda13 dev", None),
        ("numpy==2.1.0", "580.95.05", "cpu", None),
    ],
)
def test_on_linux_mlx_gets_the_backend_that_fits_the_machine(pip, monkeypatch, asked, driver, offers, adds):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(nvidia, "gpus", lambda: [{"name": "a card", "driver": driver}] if driver else [])
    pip.offers = offers
    find(asked, pip)
    assert pip.installed == [asked, *environments.NEEDS, *([adds] if adds else [])]


def test_on_macos_mlx_brings_its_backend_itself(pip, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    find("mlx==0.31.0", pip)
    assert pip.installed == ["mlx==0.31.0", *environments.NEEDS]


def test_what_a_worker_needs_is_what_mtbench_depends_on():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(environments.NEEDS) <= set(project["dependencies"])


def test_of_a_failed_command_the_errors_are_told_and_no_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    program = "import pathlib; print('noise'); print('ERROR: not in', pathlib.Path.home()); print('more'); exit(1)"
    with pytest.raises(Unsupported) as raised:
        environments.printed_by([sys.executable, "-c", program], "It failed")
    assert str(raised.value) == "It failed: not in ~"
    with pytest.raises(Unsupported, match="It failed: alas"):
        environments.printed_by([sys.executable, "-c", "print('alas'); exit(1)"], "It failed")


def test_what_pip_says_of_an_address_is_told_without_it():
    requirement = "mlx @ https://packages.example.org:1/a/mlx-0.31.0-py3-none-any.whl?token=abc"
    said = f"{requirement} cannot be installed here: HTTPSConnectionPool(host='packages.example.org', port=1)"
    told = without_addresses(said, requirement)
    assert told == "mlx @ (an address) cannot be installed here: HTTPSConnectionPool(host='(an address)', port=1)"
    assert without_addresses("mlx==0.31.0: no such version", "mlx==0.31.0") == "mlx==0.31.0: no such version"


def test_a_home_that_is_the_root_or_behind_a_link_is_told_apart(monkeypatch, tmp_path):
    real, link = tmp_path / "real" / "jane", tmp_path / "home"
    real.mkdir(parents=True)
    link.symlink_to(real)
    monkeypatch.setenv("HOME", str(link))
    assert without_home(f"{link}/a {real}/b {real}x") == f"~/a ~/b {real}x"
    monkeypatch.setenv("HOME", "/")
    assert without_home("/opt/a") == "/opt/a"


def test_an_interrupt_while_installing_leaves_no_process_behind():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which is ignored in the background of a shell
    import polars  # noqa: F401  (makes Ctrl-C fail to interrupt a blocking read, in this process, for good)

    child = f"import time; time.sleep(600)  # {os.getpid()}"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"

    def interrupt() -> None:
        _wait_until(lambda: _sleeping(child) != [])
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        environments.printed_by([sys.executable, "-c", program], "It failed")
    _wait_until(lambda: _sleeping(child) == [])
    assert _sleeping(child) == []


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)


def _sleeping(program: str) -> list[int]:
    running = psutil.process_iter(["cmdline", "status"])
    return [p.pid for p in running if p.info["cmdline"] and p.info["cmdline"][-1] == program]


# interpreters that exist


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("exit 3", "does not start"),
        ("echo surprise", "does not start"),
        ("echo '[[3, 9, 6], {}]'", "is Python 3.9.6; a worker needs 3.11"),
        ("""echo '[[3, 12, 1], {"scipy": "1.13", "array-api-compat": "2.0"}]'""", "pip install 'numpy>=2'$"),
        ("""echo '[[3, 12, 1], {"scipy": "1.2", "array-api-compat": "2.0", "numpy": "2.0"}]'""", "'scipy>=1.13'$"),
    ],
)
def test_an_interpreter_that_cannot_run_a_worker_is_refused_with_the_reason(tmp_path, program, says):
    python = tmp_path / "jane"
    python.write_text(f"#!/bin/sh\n{program}\n")
    python.chmod(0o755)
    with pytest.raises(Unsupported, match=says) as raised:
        environments.interpreter(Arm("numpy", python=str(python)), print)
    assert "jane" not in str(raised.value)


def test_a_fresh_environment_lacks_what_ours_has(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    arm = Arm("numpy", python=str(tmp_path / "venv" / "bin" / "python"))
    with pytest.raises(Unsupported, match=r"array-api-compat.* 'numpy>=2' 'scipy"):
        environments.interpreter(arm, print)


def test_an_interpreter_that_vanished_costs_its_own_jobs():
    with pytest.raises(Died, match="No such file"):
        Process(python="/nowhere/python")


# measured


class Notes(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


def brief() -> Protocol:
    return Protocol(restarts=2, looks=[3], cell_budget_s=5, block_ms=1, warmup_s=0.01, warmup_cap_s=0.3, timeout_s=60)


def measured(folder: Path, *arms: Arm, progress: Progress | None = None) -> Sequence[Record]:
    task = Task("misbehaving", (("how", "well"),), "float32", Shape(2, 8), str(USER / "operator" / "misbehaving.py"))
    return local.run(plan([make_job(task, arm, 1e-5) for arm in arms], brief()), folder, progress).records


def test_another_interpreter_is_an_arm_like_any_other(tmp_path):
    notes = Notes()
    records = measured(tmp_path, Arm("numpy"), Arm("numpy", python=sys.executable), progress=notes)
    assert [record.status for record in records] == ["ok", "ok"], [record.reason for record in records]
    ours, other = records
    assert (ours.cell_id, ours.sweep_id) == (other.cell_id, other.sweep_id)
    assert ours.job_id != other.job_id
    assert ours.arm != other.arm
    assert other.python_version == ".".join(map(str, sys.version_info[:3]))
    told = [line for line in notes.lines if line.startswith(other.arm)]
    assert told == [f"{other.arm} is Python {other.python_version} at {sys.executable}"]  # once, not per restart


def test_an_arm_that_cannot_be_installed_is_unsupported_and_the_others_go_on(tmp_path, pip):
    pip.fails = "No matching distribution found for numpy==99"
    records = measured(tmp_path, Arm("numpy", requirement="numpy==99"), Arm("numpy"))
    assert [record.status for record in records] == ["unsupported", "ok"]
    assert "No matching distribution" in records[0].reason
    assert records[0].requirement == "numpy==99"


FRAMEWORK = '''
"""Plain NumPy that says which version of a tiny library it found."""

import importlib.util
import os
import sys
from dataclasses import replace

import numpy

spec = importlib.util.spec_from_file_location("plain_base", {plain!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)


class Tiny(module.Plain):
    def describe(self):
        import tiny_library

        details = {{"numpy": numpy.__file__, "path": os.pathsep.join(sys.path)}}
        return replace(super().describe(), version=tiny_library.VERSION, details=details)
'''


def wheel(folder: Path, version: str) -> Path:
    """A wheel of a library that knows its version and no more."""
    info = f"tiny_library-{version}.dist-info"
    files = {
        "tiny_library.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tiny-library\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    path = folder / f"tiny_library-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_a_version_that_pip_installs_is_measured_against_the_one_that_we_have(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ours = tmp_path / "ours"
    ours.mkdir()
    (ours / "tiny_library.py").write_text("VERSION = '1.0'\n")
    monkeypatch.setenv("PYTHONPATH", str(ours))
    framework = tmp_path / "tiny.py"
    framework.write_text(FRAMEWORK.format(plain=str(USER / "framework" / "plain.py")))
    new = Arm("tiny", framework_file=str(framework), requirement=f"tiny-library @ {wheel(tmp_path, '2.0').as_uri()}")
    records = measured(tmp_path, Arm("tiny", framework_file=str(framework)), new)
    assert [record.status for record in records] == ["ok", "ok"], [record.reason for record in records]
    assert [record.library_version for record in records] == ["1.0", "2.0"]
    assert [record.requirement for record in records] == [None, "tiny-library"]
    found = json.loads(records[1].library_details)
    environment = next((tmp_path / "cache" / "mtbench" / "environments").glob("tiny-library-*/"))
    assert Path(found["numpy"]).is_relative_to(environment)
    assert not {str(ours), str(ROOT / "src"), str(Path(pytest.__file__).parents[1])} & set(
        found["path"].split(os.pathsep)
    )


def test_ctrl_c_in_pip_is_one_where_macos_refuses_to_signal_a_group_of_zombies(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(process: object, timeout: float | None = None) -> None:
        raise KeyboardInterrupt

    def refused(group: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(environments.subprocess.Popen, "communicate", interrupted)
    monkeypatch.setattr(environments.os, "killpg", refused)
    with pytest.raises(KeyboardInterrupt):
        environments.printed_by([sys.executable, "-c", ""], "")


def test_what_an_environment_gets_beside_a_package_is_what_the_extra_has() -> None:
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for package, beside in environments.BESIDE.items():
        (extra,) = [found for found in extras.values() if any(Requirement(each).name == package for each in found)]
        assert {Requirement(each) for each in extra} == {
            *map(Requirement, beside),
            *(Requirement(each) for each in extra if Requirement(each).name == package),
        }
