"""Facts about the tree that must stay true: who may import what, that names, pins, recipes and files agree."""

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mtbench import __main__
from mtbench.bench.controller import environments
from mtbench.catalogue import registry

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "mtbench"
SOURCES = sorted((ROOT / "src").rglob("*.py"))
LONGEST_FILE = 350  # a longer one has been two rooms so far
BENCH = "mtbench.bench"
PROSE = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")]


@dataclass(frozen=True)
class Import:
    """One import: who, what, and whether it happens when the module is loaded rather than when a function runs."""

    file: str  # relative to src/
    module: str
    at_load: bool
    line: int

    def __str__(self) -> str:
        return f"src/{self.file}:{self.line} imports {self.module}"


def imports_of(source: str, file: str) -> Iterator[Import]:
    """The imports in a source file; those for type checkers alone are left out."""

    def visit(node: ast.AST, at_load: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            return
        if isinstance(node, ast.Import):
            yield from (Import(file, alias.name, at_load, node.lineno) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"src/{file}:{node.lineno}: imports are absolute here"
            yield Import(file, node.module or "", at_load, node.lineno)
            yield from (Import(file, f"{node.module}.{alias.name}", at_load, node.lineno) for alias in node.names)
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, at_load and not is_function)

    yield from visit(ast.parse(source), True)


ALL_IMPORTS = [
    found for path in SOURCES for found in imports_of(path.read_text(), path.relative_to(ROOT / "src").as_posix())
]


def is_of(found: Import, package: str) -> bool:
    return found.module == package or found.module.startswith(f"{package}.")


def offenders(package: str, *allowed: str, at_load_only: bool = False) -> list[str]:
    """Imports of a package by files other than the allowed ones; what ends in / is a folder."""
    return [
        str(found)
        for found in ALL_IMPORTS
        if is_of(found, package)
        and (found.at_load or not at_load_only)
        and not any(found.file == name or (name.endswith("/") and found.file.startswith(name)) for name in allowed)
    ]


@pytest.mark.parametrize("depth", [2, 9], ids=["folders", "files"])
def test_nothing_imports_in_a_circle(depth: int) -> None:
    files = {".".join(path.relative_to(ROOT / "src").with_suffix("").parts): path for path in SOURCES}
    files = {name.removesuffix(".__init__"): path.relative_to(ROOT / "src") for name, path in files.items()}
    # Of `from mtbench import paths`, what is taken is the module, and nothing of the package.
    packages = {(found.file, found.line, found.module.rpartition(".")[0]) for found in ALL_IMPORTS}
    graph: dict[str, set[str]] = {}
    for found in ALL_IMPORTS:
        name = found.module if found.module in files else found.module.rpartition(".")[0]
        if name in files and (found.file, found.line, found.module) not in packages:
            one, other = ("/".join(path.parts[:depth]) for path in (Path(found.file), files[name]))
            graph.setdefault(one, set()).update({other} - {one})
    TopologicalSorter(graph).prepare()  # raises CycleError, which names those in it


def test_no_operator_chooses_its_form_by_a_size() -> None:
    # where one way ends and another begins was found on some machine, and lies elsewhere on the next: a variant has a name
    files = [path for path in (ROOT / "src/mtbench/operators").glob("*.py") if path.name != "base.py"]
    chosen = [
        f"{path.name}:{one.lineno}" for path in files for one in ast.walk(ast.parse(path.read_text())) if by_size(one)
    ]
    assert chosen == []


def by_size(node: ast.AST) -> bool:
    """Whether something is found larger or smaller than a number, or than a constant of a module; what is drawn is no size."""
    if not isinstance(node, ast.Compare) or not any(isinstance(op, ORDERED) for op in node.ops):
        return False
    sides = [node.left, *node.comparators]
    drawn = any(isinstance(each, ast.Attribute) and each.attr == "random" for side in sides for each in ast.walk(side))
    return not drawn and any(
        (isinstance(side, ast.Name) and side.id.isupper())
        or (isinstance(side, ast.Constant) and isinstance(side.value, int) and side.value >= FEW)
        for side in sides
    )


ORDERED = (ast.Lt, ast.Gt, ast.LtE, ast.GtE)

FEW = 4
"""Below it a number counts axes or inputs."""


LAUNCH = ("mtbench/launch/", "hydra_plugins/")


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("polars", ["mtbench/results/", "mtbench/report/", "mtbench/exchange/"]),
        ("altair", ["mtbench/api/", "mtbench/report/"]),
        ("vl_convert", ["mtbench/report/"]),
        ("jinja2", ["mtbench/report/", "mtbench/site/"]),
        (
            "torch",
            [
                "mtbench/frameworks/torch.py",
                "mtbench/language_models/torch.py",
                "mtbench/operators/",
                "mtbench/selftest/",
            ],
        ),
        ("mlx", ["mtbench/frameworks/mlx.py", "mtbench/language_models/mlx.py", "mtbench/operators/"]),
        ("transformers", ["mtbench/language_models/torch.py"]),
        ("torchao", ["mtbench/language_models/torch.py"]),
        ("mlx_lm", ["mtbench/language_models/mlx.py"]),
        ("jax", ["mtbench/frameworks/jax.py", "mtbench/frameworks/_jax_forms.py"]),
        ("llama_cpp", ["mtbench/frameworks/llama_cpp.py", "mtbench/language_models/llama_cpp.py"]),
        ("gguf", ["mtbench/language_models/gguf.py"]),
        ("array_api_compat", ["mtbench/frameworks/"]),
        ("typer", ["mtbench/launch/commands.py", "mtbench/launch/exchange_commands.py"]),
        (
            "rich",
            [
                "mtbench/api/",
                "mtbench/console/",
                "mtbench/machine/console.py",
                "mtbench/launch/commands.py",
                "mtbench/compare/",
                "mtbench/selftest/",
            ],
        ),
        ("hydra", LAUNCH),
        ("omegaconf", LAUNCH),
        ("pynvml", ["mtbench/machine/"]),
        ("mtbench.bench.worker", ["mtbench/bench/worker/", "mtbench/selftest/rivals.py"]),
        (
            "mtbench.bench.controller",
            ["mtbench/bench/controller/", "mtbench/engines/", "mtbench/selftest/"],
        ),
        ("mtbench.exchange", ["mtbench/launch/exchange_commands.py", "mtbench/exchange/", "mtbench/site/"]),
        (
            "mtbench.report",
            [
                "mtbench/api/",
                "mtbench/launch/commands.py",
                "mtbench/launch/exchange_commands.py",
                "mtbench/launch/opening.py",
                "mtbench/report/",
                "mtbench/site/",
            ],
        ),
        ("mtbench.site", ["mtbench/launch/exchange_commands.py"]),
        ("mtbench.launch", ["mtbench/__main__.py", "mtbench/api/", "mtbench/launch/", "hydra_plugins/"]),
    ],
)
def test_a_package_is_imported_where_it_belongs(package: str, allowed: list[str]) -> None:
    assert offenders(package, *allowed) == []


@pytest.mark.parametrize(
    "package", ["torch", "mlx", "transformers", "mlx_lm", "jax", "llama_cpp", "gguf", "scipy", "array_api_compat"]
)
def test_heavy_packages_are_imported_when_needed(package: str) -> None:
    """The controller reads these modules too, and must start fast and work where a library is missing or broken."""
    assert offenders(package, at_load_only=True) == []


@pytest.mark.parametrize("package", ["polars", "altair"])
def test_tables_and_charts_are_imported_when_needed(package: str) -> None:
    assert offenders(package, "mtbench/report/", at_load_only=True) == []
    assert offenders("mtbench.report", "mtbench/report/", "mtbench/site/", at_load_only=True) == []


@pytest.mark.parametrize(
    ("folder", "strangers"),
    [
        ("mtbench/operators/", ["mtbench.frameworks", "mtbench.bench", "mtbench.report", "mtbench.machine"]),
        (
            "mtbench/language_models/",
            ["mtbench.operators", "mtbench.frameworks", "mtbench.bench", "mtbench.report", "mtbench.machine"],
        ),
        (
            "mtbench/frameworks/",
            ["mtbench.language_models", "mtbench.operators", "mtbench.bench", "mtbench.report", "mtbench.machine"],
        ),
        ("mtbench/report/", ["mtbench.bench", "mtbench.frameworks", "mtbench.operators", "mtbench.console"]),
        (
            "mtbench/exchange/",
            [
                f"mtbench.{name}"
                for name in ("api", "bench", "compare", "console", "frameworks", "launch", "operators", "report")
            ],
        ),
        ("mtbench/machine/", ["mtbench.bench", "mtbench.operators", "mtbench.report", "mtbench.results.record"]),
        ("mtbench/bench/", ["mtbench.launch", "mtbench.console", "mtbench.report"]),
        ("mtbench/bench/worker/", ["mtbench.bench.controller"]),
        ("mtbench/bench/controller/", ["mtbench.bench.worker"]),
    ],
)
def test_arrows_between_parts_run_one_way(folder: str, strangers: list[str]) -> None:
    found = [
        str(found)
        for found in ALL_IMPORTS
        if found.file.startswith(folder) and any(is_of(found, name) for name in strangers)
    ]
    assert found == []


def test_imports_are_found_wherever_they_stand() -> None:
    source = (
        "import torch.nn\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import polars\n"
        "try:\n    import altair as alt\nexcept ImportError: ...\n"
        "class A:\n    import mlx\n    def f(self):\n        from scipy import stats\n"
    )
    found = {(one.module, one.at_load) for one in imports_of(source, "a.py")}
    assert {("torch.nn", True), ("altair", True), ("mlx", True), ("scipy", False), ("scipy.stats", False)} <= found
    assert ("polars", True) not in found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT / "src").as_posix())
def test_a_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_short_enough_to_be_read_in_one_go(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.name)
def test_nothing_is_put_in_the_place_of_what_measures(path: Path) -> None:
    """Tests give arguments instead. A pretended system is not of ours: `monkeypatch.setattr(conditions.os, ...)`."""
    tree = ast.parse(path.read_text())
    ours = {found.module.rpartition(".")[2] for found in imports_of(path.read_text(), path.name) if is_of(found, BENCH)}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    patched = [ast.unparse(node.args[0]) for node in calls if ast.unparse(node.func) == "monkeypatch.setattr"]
    assert [what for what in patched if what in ours or what.strip("'").startswith(BENCH)] == []


def test_no_module_is_named_for_odds_and_ends() -> None:
    assert [path for path in SOURCES if re.search(r"(util|helper|manager|misc|common)s?\.py$", path.name)] == []


def text_files() -> list[Path]:
    folders = ("src", "conf", "tests", "docs", "tools", ".ci", ".github")
    suffixes = {".py", ".yaml", ".yml", ".md", ".toml", ".txt", ".html", ".css", ".js", ".j2", ".jinja", ""}
    below = [path for folder in folders for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts]
    found = [path for path in [*ROOT.iterdir(), *below] if path.is_file() and path.suffix in suffixes]
    return [path for path in found if path.name != ".git"]  # a file in a further work tree, with the path of the first


def test_no_file_names_a_package_host_or_a_path_of_somebodys_machine() -> None:
    forbidden = re.compile(
        r"pypi\.org|pythonhosted|download\.pytorch|pypi\.nvidia|--(?:extra-)?index-url|--find-links"
        r"|(?<![\w.])/(?:root|work)/\w"
    )
    found = {
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in text_files()
        if path != Path(__file__)
        for match in forbidden.finditer(path.read_text(errors="replace"))
    }
    assert found == set()


# versions


def project() -> dict[str, object]:
    found: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def test_the_pythons_that_suit_are_the_same_everywhere() -> None:
    oldest, newest = 11, 14
    assert project()["requires-python"] == f">=3.{oldest},<3.{newest + 1}"
    classifiers = project()["classifiers"]
    assert isinstance(classifiers, list)
    named = [int(found[1]) for line in classifiers if (found := re.search(r"Python :: 3\.(\d+)$", line))]
    assert named == list(range(oldest, newest + 1))
    assert f"Python 3.{oldest} to 3.{newest}" in PROSE[0].read_text()
    assert f"Python 3.{oldest} to 3.{newest}" in (ROOT / "constraints.txt").read_text()
    script = (ROOT / ".ci/can_install").read_text()
    assert re.findall(r"^(?:oldest|newest)=(\d+)", script, re.MULTILINE) == [str(oldest), str(newest)]
    assert environments.OLDEST_PYTHON[1] == oldest


def pins(system: str, python: str = "3.11") -> dict[str, str]:
    """The versions in constraints.txt for a system (sys.platform) and a Python."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    found = [Requirement(line) for line in lines if line]
    assert all(re.fullmatch(r"==[A-Za-z0-9.]+", str(pin.specifier)) for pin in found), "one exact version a line"
    environment = {"sys_platform": system, "python_version": python}
    here = [pin for pin in found if pin.marker is None or pin.marker.evaluate(environment)]
    pinned = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in here}
    assert len(pinned) == len(here), "a package is pinned twice"
    return pinned


def requirements() -> list[Requirement]:
    metadata = project()
    dependencies, extras = metadata["dependencies"], metadata["optional-dependencies"]
    assert isinstance(dependencies, list)
    assert isinstance(extras, dict)
    return [Requirement(line) for line in [*dependencies, *(line for lines in extras.values() for line in lines)]]


@pytest.mark.parametrize("system", ["linux", "darwin"])
@pytest.mark.parametrize("python", ["3.11", "3.14"])
def test_every_requirement_is_pinned_within_its_range(system: str, python: str) -> None:
    pinned = pins(system, python)
    environment = {
        "sys_platform": system,
        "platform_system": {"linux": "Linux", "darwin": "Darwin"}[system],
        "python_version": python,
    }
    wrong = [
        str(requirement)
        for requirement in requirements()
        if requirement.marker is None or requirement.marker.evaluate(environment)
        if (name := canonicalize_name(requirement.name)) not in pinned
        or not requirement.specifier.contains(pinned[name])
    ]
    assert wrong == []


def test_mlx_and_its_backends_are_of_one_version() -> None:
    pinned = pins("linux")
    assert {pinned[name] for name in ("mlx", "mlx-cpu", "mlx-cuda-13", "mlx-metal")} == {pinned["mlx"]}


# names that must agree


def test_each_operator_is_one_python_file_and_one_yaml_file() -> None:
    assert {path.stem for path in (ROOT / "conf/operator").glob("*.yaml")} == set(registry.names("operator"))


def test_each_framework_has_a_yaml_file() -> None:
    named = {yaml.safe_load(path.read_text())["name"] for path in (ROOT / "conf/framework").glob("*.yaml")}
    assert named == set(registry.names("framework"))


def recipes() -> dict[str, str]:
    """The public recipes of the justfile with their documentation."""
    text = (ROOT / "justfile").read_text()
    found = re.findall(r"^((?:#.*\n)*)((?:\[private\]\n)?)([a-z-]+)(?: [^:\n]*)?:(?!=).*$", text, re.MULTILINE)
    return {name: comment.strip("# \n") for comment, private, name in found if not private}


def test_there_are_a_dozen_documented_recipes_at_most() -> None:
    found = recipes()
    assert {"setup", "quick", "test"} <= set(found)
    assert len(found) <= 12
    assert [name for name, documentation in found.items() if not documentation] == []


def test_recipes_name_commands_that_exist() -> None:
    words = set(re.findall(r"-m mtbench ([a-z]+)(?: |$)", (ROOT / "justfile").read_text(), re.MULTILINE))
    assert words
    assert words <= set(__main__.COMMANDS)


@pytest.mark.parametrize("path", [*PROSE, ROOT / ".ci/run", ROOT / ".github/workflows/ci.yml"], ids=lambda p: p.name)
def test_recipes_that_are_spoken_of_exist(path: Path) -> None:
    named = set(re.findall(r"(?:^|[`/ ])just ([a-z]+)(?=[`$ \n])", path.read_text(), re.MULTILINE))
    assert named <= set(recipes())
    assert named, "the pattern has lost touch with the text"


def test_the_readme_gives_one_command_to_measure_and_one_to_test() -> None:
    start = "python3 -m venv .venv && .venv/bin/pip install -q rust-just && .venv/bin/just "
    lines = [line.strip() for line in PROSE[0].read_text().splitlines()]
    assert [line.removeprefix(start) for line in lines if line.startswith(start)] == ["quick", "test"]


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_paths_that_are_spoken_of_exist(path: Path) -> None:
    named = re.findall(r"`((?:src|conf|tests|docs)/[\w/.-]+)`", path.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_test_modules_have_names_of_their_own() -> None:
    """Without packages in tests/, pytest needs it."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))
