"""Every command in README and documentation: executed here as far as a test can, or named below with the reason why not.

Commands that measure are composed to a plan of one job, and each value of each axis is looked for, so that a misspelt name,
axis or experiment shows; other tests measure, and expand sweeps.
Commands that read records run on a small sweep of records that never ran.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtbench import __main__
from mtbench.exchange import share
from mtbench.launch import commands
from mtbench.launch.compose import plan_of
from mtbench.results.private import Private
from record_builder import Grid, write_grid

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "measurements/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]

PROGRAMS = ("python", "python3", "mtbench", "just", "pip", "uv", "zensical", "git", ".ci/run", ".venv/bin/", "source ")
"""How the lines of an indented block begin that are commands; the lines of a fenced block of a shell all are."""

NOT_RUN = {
    r"\.venv/bin/just |^just |^\.ci/run": "recipes of the justfile: tests/test_just_test.py, and continuous integration",
    r"^pip |^\.venv/bin/pip |^uv |-m venv|^CMAKE_ARGS": "installs packages",
    r"^source |^git |^export ": "of the shell",
    r"^zensical ": "builds the documentation, as .ci/run does",
    r"mtbench(\.\w+)* selftest|mtbench\.selftest\.simulation": "minutes; its parts are in tests/selftest/",
    r"mtbench doctor|mtbench list --support": "asks each library for what it can do; tests/machine/, tests/catalogue/",
    r"mtbench resume": "needs a sweep that ran: tests/launch/test_resume.py",
    r"mtbench which": "measures: tests/launch/",
    r"glob\(": "hundreds of jobs; tests/launch/test_expand.py",
    r"framework\.python=|framework\.requirement=": "needs another interpreter, or makes an environment: tests/bench/",
    r"tests/pictures\.py": "needs a browser, and somebody who looks; tests/test_pictures.py",
    r"tests/fastest\.py": "measures each form on a machine; tests/operators/test_alternatives.py",
    r"operator=relu2": "needs the two files of the example",
    r"checkpoint=FOLDER|=DIR|=NAME|\bDIR\b|<\w+>": "names a place of the reader's",
    r"llama-bench|llama\.cpp/": "another program",
    r"^slurm|^ray |sbatch|engine=|mtbench status": "needs a cluster: tests/engines/",
    r"mtbench completion": "of the shell: tests/launch/test_completion.py",
    r"^mtbench (help|version|run)\b|^mtbench$": "tests/launch/test_commands.py",
    r"^eval ": "of the shell",
}
"""Commands, by a pattern, that are not executed here, each with the reason."""


def documented(page: Path) -> Iterator[str]:
    """The commands of a page, joined over continued lines, without comments."""
    text = page.read_text().replace("\\\n", " ")
    fenced = re.findall(r"^```(?:bash|sh|shell|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    plain = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    indented = [line.strip() for line in plain.splitlines() if line.startswith("    ")]
    lines = [line for block in fenced for line in block.splitlines() if line.strip()]
    lines += [line for line in indented if line.startswith(PROGRAMS)]
    for line in lines:
        for part in re.split(r"\s+&&\s+", line.removeprefix("$ ")):
            words = shlex.split(part, comments=True)
            if words:
                yield shlex.join(words)


ALL = sorted({command for page in PAGES for command in documented(page)})
RUN = [command for command in ALL if not any(re.search(pattern, command) for pattern in NOT_RUN)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands speak of: two sweeps, shared measurements, figures of others, built documentation, a user's YAML."""
    place = tmp_path_factory.mktemp("documented")
    arms = ("torch", "torch_compiled", "mlx")
    for sweep in "AB":
        write_grid(
            place / "multirun" / sweep, Grid(("softmax",), arms, batch_sizes=(1,), seq_lens=(64,)), sweep_id=sweep
        )
    for package in share.prepare([place / "multirun"], place / "measurements", Private("/nowhere", ())):
        share.write(package)
    (place / "results.json").write_text((ROOT / "tests/exchange/published/llama_bench.json").read_text())
    (place / "build/docs").mkdir(parents=True)
    (place / "build/docs/index.html").write_text("<title>documentation</title>")
    (place / "mine/experiment").mkdir(parents=True)
    (yaml,) = re.findall(
        r"```yaml\n(# @package _global_\n# how many heads.*?)```", (ROOT / "docs/sweeps.md").read_text(), re.DOTALL
    )
    (place / "mine/experiment/heads.yaml").write_text(yaml)
    return place


def test_commands_are_found() -> None:
    assert len(ALL) > 30
    assert len(RUN) > 15


@pytest.mark.parametrize("command", RUN)
def test_a_documented_command_does_what_it_says(
    folder: Path, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "mtbench"] or words[0] == "mtbench", (
        f"run it here, or name it in NOT_RUN: {command}"
    )
    arguments = words[3 if words[0] == "python" else 1 :]
    if arguments and arguments[0] in __main__.COMMANDS:
        _command(folder, arguments)
        return
    config = None
    if "--config-dir" in arguments:
        place = arguments.index("--config-dir")
        config = folder / arguments[place + 1]
        del arguments[place : place + 2]
    asked = [word for word in arguments if word not in ("-m", "...", "--dry-run")]
    (job,) = plan_of(_one_job(asked, config), config).jobs
    assert job.task.operator


def _one_job(arguments: list[str], config: Path | None) -> list[str]:
    """The first value of each axis, after all of them were looked for. An experiment's own axes are left to other tests."""
    conf = [ROOT / "conf", *([] if config is None else [config])]
    found = {"sweep": "none"}
    for argument in arguments:
        name, _, value = argument.partition("=")
        group, values = name.lstrip("+"), [value] if value.startswith("[") else value.split(",")
        if "." not in group and (ROOT / "conf" / group).is_dir() and group != "device":
            for one in values:
                assert any((folder / group / f"{one}.yaml").is_file() for folder in conf), f"no {group} {one}"
        told = next((one for one in values if one != "null"), None)  # null is what stands there anyhow
        if group not in ("experiment", "sweep") and told is not None:
            found[name] = told
    usual = (
        "causal_lm" if "model" in found and any(name.startswith("operator.params.") for name in found) else "softmax"
    )
    return [f"{name}={value}" for name, value in ({"operator": usual} | found).items()]


def _command(folder: Path, arguments: list[str]) -> None:
    """Runs a command beside measuring; a gate that fails with 1 has done its work."""
    spread = [
        str(path.relative_to(folder)) for word in arguments for path in ([*folder.glob(word)] if "*" in word else [])
    ]
    words = [word for word in arguments if "*" not in word]
    if arguments[0] == "share" and "--check" not in words:
        words.append("--yes")
    if arguments[0] == "import":
        words = [word for word in words if word != "measurements/"]  # another project's folder of that name
    code = None
    try:
        commands.app([words[0], *spread, *words[1:]], standalone_mode=False)
    except SystemExit as ended:
        code = ended.code
    assert code in (None, 0, 1)


def test_each_page_is_in_the_navigation() -> None:
    named = set(re.findall(r'"(\w+\.md)"', (ROOT / "zensical.toml").read_text()))
    assert named == {path.name for path in (ROOT / "docs").glob("*.md")}


def test_the_documentation_of_python_has_all_its_names() -> None:
    import mtbench

    told = set(re.findall(r"^::: mtbench\.api\.(\w+)$", (ROOT / "docs/api.md").read_text(), re.MULTILINE))
    assert told == set(mtbench.__all__) - {"__version__"}


def test_a_command_that_is_wrong_is_found(tmp_path: Path) -> None:
    """The test above can fail."""
    page = tmp_path / "page.md"
    text = "Text:\n\n    python -m mtbench operator=softmaks \\\n        framework=torch  # why\n\n```json\npython -m x\n```\n"
    page.write_text(text)
    (command,) = documented(page)
    assert command == "python -m mtbench operator=softmaks framework=torch"
    with pytest.raises(AssertionError, match="no operator softmaks"):
        _one_job(shlex.split(command)[3:], None)
