"""The program as a user runs it: real Hydra, real workers, in a process of its own."""

import copy
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra

from hearing import hear_signals
from mtbench.launch.app import main
from mtbench.results import record as records

USER = Path(__file__).parents[1] / "bench" / "user"
BRIEF = [
    "protocol=quick",
    "protocol.restarts=1",
    "protocol.looks=[3]",
    "protocol.warmup_cap_s=0.5",
    "protocol.block_ms=2",
]


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mtbench", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )


def read(folder: Path) -> pl.DataFrame:
    frame, problems = records.read(records.find([folder]))
    assert problems == []
    return frame


def test_a_sweep_leaves_a_record_for_each_job_beside_hydras_own_files(tmp_path):
    result = run(
        "operator=softmax", "framework=torch,mlx,numpy", "shape.seq_len=4,8", "sweep=none", *BRIEF, "-m", cwd=tmp_path
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    frame = read(tmp_path / "multirun")
    assert frame.height == 6
    assert frame["status"].to_list() == ["ok"] * 6
    assert frame["sweep_id"].n_unique() == 1
    assert frame["cell_id"].n_unique() == 2
    for path in map(Path, frame["path"]):
        assert {file.name for file in (path.parent / ".hydra").iterdir()} == {
            "config.yaml",
            "hydra.yaml",
            "overrides.yaml",
        }
        sweep, operator, _, dtype, shape = path.parts[-6:-1]
        assert (operator, dtype) == ("softmax", "float32")
        assert shape.startswith(("b1_s4-", "b1_s8-"))
        assert (tmp_path / "multirun" / sweep / "multirun.yaml").exists()
    for arm in ("torch", "mlx", "numpy"):
        assert arm in result.stdout


def test_one_combination_takes_the_same_path_without_m(tmp_path):
    result = run(
        "run", "operator=softmax", "framework=numpy", "shape.seq_len=4", *BRIEF, "hydra.run.dir=here", "report=true",
        cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert f"The report is {tmp_path / 'here/report/index.html'}\n" in result.stdout
    assert (tmp_path / "here/report/index.html").is_file()
    (row,) = read(tmp_path).to_dicts()
    assert row["path"] == str(tmp_path / "here" / "record.parquet")
    assert row["status"] == "ok"
    assert json.loads(row["params"])["embed_dim"] > 0


def test_a_users_folder_adds_an_operator_and_a_framework_by_a_python_file_and_a_yaml_each(tmp_path):
    result = run(
        "--config-dir", str(USER), "operator=misbehaving", "framework=plain,numpy", "sweep=none", *BRIEF,
        "hydra.sweep.dir=out", "-m", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    frame = read(tmp_path / "out").sort("framework")
    assert frame.select("operator", "framework", "status").rows() == [
        ("misbehaving", "numpy", "ok"),
        ("misbehaving", "plain", "ok"),
    ]


def test_the_exit_code_tells_failed_from_unsupported(tmp_path):
    sweep = ["--config-dir", str(USER), "operator=misbehaving", "framework=numpy", "sweep=none", *BRIEF]
    failed = run(*sweep, "operator.params.how=well,raises", "hydra.sweep.dir=a", "-m", cwd=tmp_path)
    assert failed.returncode == 1
    assert "ZeroDivisionError" in failed.stdout
    assert sorted(read(tmp_path / "a")["status"]) == ["failed", "ok"]
    unsupported = run(*sweep, "device=cpu,gpu", "hydra.sweep.dir=b", "-m", cwd=tmp_path)
    assert unsupported.returncode == 0, unsupported.stdout
    assert sorted(read(tmp_path / "b")["status"]) == ["ok", "unsupported"]


@contextmanager
def sweep_that_hangs(folder: Path, *before: str, code: int, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A sweep of which one cell has been measured and the next one never will. What is done to it here must end it, with its
    records kept and no worker left behind."""
    command = [*before, sys.executable, "-m", "mtbench", "--config-dir", str(USER), "operator=misbehaving"]
    sweep = [
        "framework=numpy",
        "operator.params.how=well,hangs,raises",
        "sweep=none",
        *BRIEF,
        "hydra.sweep.dir=out",
        "-m",
    ]
    process = subprocess.Popen(
        [*command, *sweep], cwd=folder, start_new_session=True, preexec_fn=hear_signals, **options
    )
    workers: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 240
        while not list((folder / "out").rglob("record.parquet")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        workers = psutil.Process(process.pid).children(recursive=True)
        assert workers
        yield process
        assert process.wait(timeout=240) == code
        found = read(folder / "out")
        reasons = found["reason"].to_list()
        assert sorted(found["status"]) == ["interrupted", "interrupted", "ok"], reasons
        assert psutil.wait_procs(workers, timeout=240)[1] == []
    finally:
        process.kill()
        process.communicate()
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_each_way_to_end_a_sweep_keeps_its_records_and_shows_them(tmp_path, number, code):
    with sweep_that_hangs(tmp_path, code=code, stdout=subprocess.PIPE) as process:
        for _ in range(5):  # however often
            process.send_signal(number)
            time.sleep(0.02)
        assert process.stdout is not None
        assert b"interrupted" in process.stdout.read()


def test_a_closed_terminal_ends_a_sweep(tmp_path):
    """Its window is closed: the system hangs up, and all that is written to it from then on is an error."""
    ours, terminal = pty.openpty()
    closing = threading.Event()

    def look() -> None:  # else what is drawn would fill the terminal, and the sweep wait for us
        while not closing.wait(0.05):
            if select.select([ours], [], [], 0)[0]:
                os.read(ours, 65536)

    window = threading.Thread(target=look)
    window.start()
    own = "import fcntl, os, sys, termios; fcntl.ioctl(1, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    environment = {**os.environ, "TERM": "xterm-256color"}
    try:
        with sweep_that_hangs(tmp_path, sys.executable, "-c", own, code=129, **streams, env=environment):
            closing.set()
            window.join()
            os.close(terminal)
            os.close(ours)
    finally:
        closing.set()


def test_nohup_lets_a_sweep_go_on(tmp_path):
    with sweep_that_hangs(tmp_path, "nohup", code=143, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("operator=sofmax", "No operator 'sofmax'. Did you mean 'softmax'?"),
        ("operator=softmax,sofmax -m", "No operator 'sofmax'. Did you mean 'softmax'?"),
        ("shape.batch_size=0", "shape.batch_size=0"),
        ("softmax", "did you mean operator=softmax?"),
        ("reprot", "No command 'reprot'. Did you mean 'report'?"),
        ("hydra.sweep.dir=/dev/null/x -m", "hydra.sweep.dir=/dev/null/x cannot be made (Not a directory)"),
    ],
)
def test_a_mistake_gets_one_clear_line_and_leaves_nothing_behind(tmp_path, arguments, says):
    result = run(*arguments.split(), cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("mtbench: ")
    assert result.stderr.count("\n") == 1
    assert says in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("framework=torhc", "No framework 'torhc'. Did you mean 'torch'?"),
        ("dtype=float23 -m", "No dtype 'float23'. Did you mean 'float32'?"),
        ("+experiment=quik -m", "No experiment 'quik'. Did you mean 'quick'?"),
        ("experiment=quick -m", "write +experiment=name"),
        ("shape.sequence_len=64", "Did you mean 'shape.seq_len'?"),
        ("operator=mha operator.params.num_head=4", "Did you mean 'operator.params.num_heads'?"),
        ("frmework=torch", "Did you mean 'framework'?"),
        ("shape.batch_size=1,0 -m", "shape.batch_size=0"),
        ("shape.seq_len=many", "shape.seq_len=many does not fit"),
        ("operator=mha operator.params.num_heads=7", "num_heads=7"),
        ("operator=mha operator.variant=stok", "Did you mean 'stock'?"),
        ("matmul_precision=tf23", "Did you mean 'tf32'?"),
        ("sweep=default,none -m", "only one can run"),
        ("protocol=quick,default -m", "share one protocol"),
        ("protocol.restarts=0", "protocol.restarts=0"),
        ("framework=torch,mlx protocol.baseline=mlxx -m", "Did you mean 'mlx'?"),
        ("operator=softmax -m dtype=float16", "put it last"),
        ("nothing_of_the_kind", "write key=value"),
        ("--operator mha", "There is no option --operator; settings are written key=value"),
        ("protocol.epochs=3", "protocol.epochs was renamed; write protocol.restarts"),
        ("shape.seq_len=", "shape.seq_len= does not fit"),
        ("protocol.cold_cache=maybe", "protocol.cold_cache=maybe does not fit"),
        ("operator=null", "operator=null chooses nothing"),
        ("dtype=16", "dtype=16 chooses nothing; known: bfloat16"),
        ("operator.params=[]", "operator.params=[] does not fit"),
        ("operator.tolerance=[x]", "does not fit"),
        ("shape.batch_size=range(1,5,0)", "range() arg 3 must not be zero"),
        ("hydra.sweep.dir=~/x", "needs quotes for Hydra"),
        ("hydra.mode=x", "hydra.mode=x does not fit"),
        ("~hydra.launcher._target_ -m", "would remove settings that mtbench needs"),
        ("hydra.sweeper.grids=1 -m", "a list of such mappings"),
        ("hydra.sweep.subdir=x operator=softmax,mha", "gives two jobs the same folder"),
        ("-m --cfg job", "--cfg shows one combination"),
        ("--resolve", "--resolve goes with --cfg"),
        ("--experimental-rerun x", "There is no option --experimental-rerun"),
        ("operator=mha,sdpa operator.params.num_headz=3", "Did you mean 'operator.params.num_heads'?"),
        ("contenders=[framework,shape.seq_len]", "shape.seq_len cannot compete"),
        ("contenders=[framework,dtyp]", "Did you mean 'dtype'?"),
        ("+timeout=5", "No setting 'timeout'."),
        ("+timeout=5 -m", "No setting 'timeout'."),
        ("+protocol.restart=3", "No setting 'protocol.restart'. Did you mean 'protocol.restarts'?"),
        ("device=cuda", "No device 'cuda'. Did you mean 'gpu'?"),
        ("hydra.run.dir=/dev/null/x", "hydra.run.dir=/dev/null/x cannot be made (Not a directory)"),
        ("--config-dir nowhere operator=softmax", "not found"),
    ],
)
def test_each_mistake_gets_such_a_line(tmp_path, monkeypatch, capfd, arguments, says):
    """In this process, where a start takes a quarter of the time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mtbench"])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    GlobalHydra.instance().clear()
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    said = capfd.readouterr().err
    assert ended.value.code == 2
    assert said.startswith("mtbench: ")
    assert said.count("\n") == 1
    assert says in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("source", "says"),
    [("x = (\n", r"line 1: '\(' was never closed"), ("\nimport nowhere_to_be_found\n", "line 2: ModuleNotFoundError")],
)
def test_an_operator_file_that_cannot_be_loaded_is_named_with_its_line(tmp_path, source, says):
    (tmp_path / "mine" / "operator").mkdir(parents=True)
    (tmp_path / "mine" / "operator" / "own.yaml").write_text("name: own\nvariant: native\nparams: {}\n")
    (tmp_path / "mine" / "operator" / "own.py").write_text(source)
    result = run("--config-dir", "mine", "operator=own", cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert re.fullmatch(rf"mtbench: .*own\.py, {says}.*\n", result.stderr)


def test_several_values_are_a_sweep_without_m_and_parameters_apply_where_they_exist(tmp_path):
    result = run(
        "operator=softmax,mha", "framework=numpy", "operator.params.num_heads=3", "operator.params.embed_dim=6",
        "sweep=none", "shape.seq_len=4", *BRIEF, "hydra.sweep.dir=out", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    params = {row["operator"]: json.loads(row["params"]) for row in read(tmp_path / "out").to_dicts()}
    assert params["mha"]["num_heads"] == 3
    assert "num_heads" not in params["softmax"]
    assert params["softmax"]["embed_dim"] == params["mha"]["embed_dim"] == 6


def test_dtypes_are_contenders_of_each_other_where_it_is_said(tmp_path):
    result = run(
        "operator=softmax", "framework=torch", "dtype=float32,bfloat16", "contenders=[framework,dtype]", "sweep=none",
        "shape.seq_len=4", *BRIEF, "hydra.sweep.dir=out", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    frame = read(tmp_path / "out").sort("dtype")
    assert frame.select("dtype", "arm", "status").rows() == [
        ("bfloat16", "torch-bfloat16", "ok"),
        ("float32", "torch-float32", "ok"),
    ]
    assert frame["cell_id"].n_unique() == 1
    assert frame["paired"].to_list() == [True, True]
    assert frame["contenders"].to_list() == [["framework", "dtype"]] * 2
    assert (tmp_path / "out" / "plan.json").exists()


def test_yaml_that_cannot_be_read_is_named_with_its_line(tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "broken.yaml").write_text("a: 1\nx: [\n")
    result = run("--config-dir", "mine", "+experiment=broken", "-m", cwd=tmp_path)
    assert result.returncode == 2
    assert re.fullmatch(r"mtbench: .*broken\.yaml, line 3, is not valid YAML: .*\n", result.stderr)


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["operator=sofmax"], ["operator=softmax", "--cfg", "job"]])
def test_the_controller_starts_without_any_framework_or_numpy(tmp_path, arguments):
    program = (
        "import runpy, sys\n"
        f"sys.argv = ['mtbench', *{arguments!r}]\n"
        "try:\n"
        "    runpy.run_module('mtbench', run_name='__main__')\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'torch', 'mlx', 'mlx.core', 'polars', 'scipy.stats', 'altair', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    if arguments[0] in ("--help", "list"):
        for name in ("softmax", "torch_compiled", "bfloat16", "quick"):
            assert name in result.stdout


def test_hydra_copies_a_schema_that_it_takes_from_its_store_and_not_the_store(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mtbench"])
    GlobalHydra.instance().clear()
    with pytest.raises(SystemExit):
        main(["--help"])
    store = ConfigStore.instance()
    assert copy.deepcopy(store) is store
    store.load("schema.yaml").node.operator.variant = "stock"
    assert store.load("schema.yaml").node.operator.variant == "native"


# Python 3.14's argparse. Before an option is added, its help is expanded by the parser's formatter, which looks for a % in
# it; what goes wrong with that is a ValueError. Put into older Pythons, so that the tests there find what 3.14 refuses.
ARGPARSE_3_14 = """
import argparse
if not hasattr(argparse.ArgumentParser, "_check_help"):
    def check(parser, action):
        if action.help and hasattr(parser, "_get_formatter"):
            try:
                "%" in action.help and parser._get_formatter()._expand_help(action)
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError("badly formed help string") from error

    def add_argument(parser, *names, **options):
        action = before(parser, *names, **options)
        parser._check_help(action)
        return action

    before = argparse._ActionsContainer.add_argument
    argparse._ActionsContainer._check_help, argparse._ActionsContainer.add_argument = check, add_argument
"""


def run_on_3_14(program: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ARGPARSE_3_14 + program]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--help"], "operator="),
        (["operator=softmax", "framework=numpy", "--cfg", "job"], "name: softmax"),
        (["operator=softmax", "framework=numpy", "shape.seq_len=4", *BRIEF, "-m"], "softmax"),
    ],
    ids=["help", "configuration", "sweep"],
)
def test_hydra_starts_on_python_3_14(tmp_path, arguments, says):
    result = run_on_3_14(f"import sys; from mtbench.launch.app import main; main({arguments!r})", tmp_path)
    assert result.returncode == 0, result.stderr
    assert says in result.stdout


def test_hydra_still_needs_help_on_python_3_14(tmp_path):
    """Once this fails, Hydra is mended: `_accept_hydras_help` can go, and with it these tests."""
    result = run_on_3_14("from hydra._internal.utils import get_args_parser; get_args_parser()", tmp_path)
    assert result.stderr.endswith("ValueError: badly formed help string\n")


def test_the_controller_imports_no_framework_while_it_measures(tmp_path):
    program = (
        "import sys\n"
        "from mtbench.launch.app import main\n"
        f"sys.argv = ['mtbench', 'operator=softmax', 'framework=mlx', 'shape.seq_len=4', *{BRIEF!r}]\n"
        "main(sys.argv[1:])\n"
        "assert not {'torch', 'mlx', 'mlx.core'} & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    assert read(tmp_path)["status"].to_list() == ["ok"]
