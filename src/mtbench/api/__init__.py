"""The Python API: measure, read and compare from a program or a notebook, by the same path as the command line.

results = mtbench.measure(operator="mha", framework=["torch", "mlx"], dtype="bfloat16", shape={"seq_len": [128, 512]})
results                              # the table, with verdicts
results.records                      # a Polars frame, one row per job
results.report("reports")            # the pages
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtbench.errors import ConfigError, unknown

if TYPE_CHECKING:
    import altair as alt
    import polars as pl

    from mtbench.compare import Table
    from mtbench.plan.jobs import Plan
    from mtbench.plan.progress import Progress
    from mtbench.results.answers import Answers
    from mtbench.results.record import Record
    from mtbench.results.verdicts import Comparison

Values = Any
"""One value, or a list or tuple of them, which is an axis of the sweep."""

HTML_WIDTH = 120  # columns of the table in a notebook


@dataclass(frozen=True)
class Best:
    """The fastest contender of one cell. `over` compares it with the next one, None where there is none: its ratio is the
    next one's time over the best one's, so above 1."""

    cell: str
    arm: str
    ns: float
    runner_up: str | None
    over: "Comparison | None"


@dataclass(frozen=True)
class Results:
    """What was measured, in one or several folders. Its repr is the table that ends a sweep; notebooks show it as HTML."""

    folders: tuple[Path, ...]
    interrupted: bool = False

    @cached_property
    def records(self) -> "pl.DataFrame":
        """All records as a Polars frame, one row per job; `path` is the record's file. docs/columns.md explains each column."""
        from mtbench.results import record

        return record.read(record.find(self.folders))[0]

    @cached_property
    def rows(self) -> "list[Record]":
        """All records as typed objects, in the order in which they were first measured."""
        from mtbench.results import record

        return record.of_rows(self.records.sort("started_at", nulls_last=True, maintain_order=True))

    def compare(self, a: "str | Results", b: "str | Results", metric: str = "latency") -> "Table":
        """Compares B with A, cell by cell. Each is the name of an arm in these results, or other `Results`.

        A ratio is B's time over A's. Arms of one sweep get verdicts; all other ratios are descriptive. `metric` is `latency`,
        `throughput` or `device`. Raises ConfigError if the two have no cell in common, or if there is no such arm.
        """
        from mtbench.compare import compare_sides, sides

        one, other = (
            sides.of(self.folders, side, side, metric)
            if isinstance(side, str)
            else sides.of(side.folders, ", ".join(map(str, side.folders)), None, metric)
            for side in (a, b)
        )
        return compare_sides(one, other, metric)

    def best(self, metric: str = "latency") -> list[Best]:
        """The fastest contender of each cell, with its time in ns and its comparison with the next one.

        `over` is the next one's time over its own; it is None if there is no next one. All verdicts are corrected together
        (Holm).
        """
        from mtbench.results import cells, comparison

        found: list[tuple[str, Record, Record | None, float]] = []
        for held, cell in cells.by_cell(self.rows):
            timed = [(getattr(one, f"{metric}_ns"), one) for one in cell if one.status == "ok"]
            ordered = sorted(((ns, one) for ns, one in timed if ns is not None), key=lambda each: each[0])
            if ordered:
                (ns, first), *others = ordered
                found.append((held.title(), first, others[0][1] if others else None, ns))
        compared = [
            None if runner_up is None else comparison.between(first, runner_up, metric)
            for _, first, runner_up, _ in found
        ]
        judged = iter(comparison.judged([("best", one) for one in compared if one is not None]))
        return [
            Best(cell, first.arm, ns, None if next_one is None else next_one.arm, None if one is None else next(judged))
            for (cell, first, next_one, ns), one in zip(found, compared, strict=True)
        ]

    def answers(self, metric: str = "latency") -> "Answers":
        """Who is fastest in each regime, operator and dtype, by how much, how sure; what pays; what limits it; what
        would settle it. Its str is the sentences that end a sweep and open the report.

        With `metric="throughput"` all of it is about queued calls; else it tells where these have another winner. Raises
        ConfigError for any other metric.
        """
        from mtbench.results import answers
        from mtbench.results.answers.contests import of_records
        from mtbench.results.samples import COLUMNS

        sweeps = {one.sweep_id for one in self.rows}
        folders = {sweep: str(self.folders[0]) for sweep in sweeps} if len(self.folders) == len(sweeps) == 1 else {}
        if metric not in COLUMNS:
            raise ConfigError(unknown("metric", metric, COLUMNS))
        beside = of_records(self.rows, "throughput") if metric == "latency" else []
        return answers.answers(of_records(self.rows, metric), folders, beside)

    def chart(self, kind: str = "time", metric: str = "latency", operator: str | None = None) -> "alt.TopLevelMixin":
        """A chart of the report as an Altair chart. `kind` is `forest`, `time`, `ratio`, `roofline`, `distance` or `heat`.

        Returns the first chart of this kind, or the first of `operator` if given. Raises ConfigError if there is none.
        """
        import altair as alt

        from mtbench.report.contents import contents
        from mtbench.report.tables import load

        made = contents(load(self.folders)).charts
        fitting = [
            one
            for one in made
            if one.kind == kind
            and (one.metric is None or one.metric.name == metric)
            and (operator is None or one.name.startswith(operator))
        ]
        if not fitting:
            raise ConfigError(unknown("chart", kind, {one.kind for one in made}))
        return alt.Chart.from_dict(fitting[0].spec)

    def report(self, out: str | Path = "reports") -> Path:
        """Writes the report into a folder and returns the path of index.html. Raises ConfigError if it cannot be written."""
        from mtbench.report import build

        return build(list(self.folders), Path(out), pictures=True)

    def __repr__(self) -> str:
        return self._table(width=100)

    def _repr_html_(self) -> str:
        from rich.console import Console

        console = Console(file=io.StringIO(), record=True, width=HTML_WIDTH, force_jupyter=False)
        console.print(self._drawn(HTML_WIDTH))
        return console.export_html(inline_styles=True, code_format="<pre style='line-height:1.3'>{code}</pre>")

    def _table(self, width: int) -> str:
        from rich.console import Console

        console = Console(file=io.StringIO(), width=width, no_color=True)
        console.print(self._drawn(width))
        file = console.file
        assert isinstance(file, io.StringIO)
        return file.getvalue().rstrip()

    def _drawn(self, width: int) -> Any:
        from rich.console import Group

        from mtbench.console.table import problems, results

        if not self.rows:
            return "No records."
        return Group(results(self.rows, width), *problems(self.rows))


def make_plan(
    *,
    operator: Values = None,
    framework: Values = None,
    dtype: Values = None,
    shape: Mapping[str, Values] | None = None,
    protocol: str | Mapping[str, Any] | None = None,
    params: Mapping[str, Values] | None = None,
    model: Values = None,
    device: Values = None,
    variant: Values = None,
    matmul_precision: Values = None,
    contenders: Sequence[str] | None = None,
    experiment: str | None = None,
    sweep: str | None = None,
    earlier: Sequence[str | Path] | None = None,
    config_dir: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> "Plan":
    """The plan that `measure` would run for the same arguments. Raises ConfigError for a usage error."""
    from mtbench.launch.arguments import arguments, flat
    from mtbench.launch.compose import plan_of

    groups = {"operator": operator, "framework": framework, "dtype": dtype, "model": model, "device": device}
    groups |= {"sweep": sweep or (None if experiment else "none")}
    settings: dict[str, Any] = {
        "operator.variant": variant,
        "matmul_precision": matmul_precision,
        "contenders": contenders,
        "earlier": None if earlier is None else [str(one) for one in earlier],
    }
    if isinstance(protocol, str):
        groups["protocol"] = protocol
    else:
        settings |= flat("protocol", protocol or {})
    stated = {
        name: "null" if value is None else value for name, value in (params or {}).items()
    }  # None is a value of some
    settings |= flat("shape", shape or {}) | flat("operator.params", stated)
    given = arguments(groups, settings)
    given += [] if experiment is None else [f"+experiment={experiment}"]
    return plan_of([*given, *overrides], None if config_dir is None else Path(config_dir))


def measure(
    *,
    folder: str | Path | None = None,
    progress: "Progress | None" = None,
    engine: str | Mapping[str, Any] = "local",
    **asked: Any,
) -> Results:
    """Measures a sweep, as `python -m mtbench ... -m` does from a terminal.

    Each of these is one value or a list; the product of all lists is measured: `operator`, `framework`, `dtype`, `model`,
    `device`, `variant`, `matmul_precision`, each value of `shape` (`batch_size`, `seq_len`, `kv_len`), and each value of
    `params` (parameters of the operator). The others:

    - `protocol`: the name of a preset, or settings by name.
    - `contenders`: the axes that compete.
    - `experiment`, `sweep`: names of files in conf/.
    - `earlier`: folders or merged files of earlier sweeps on this machine, whose spread between restarts intervals use.
    - `config_dir`: a folder with YAML of your own.
    - `overrides`: any other settings, written as on the command line.
    - `folder`: where records go; by default a new folder below multirun/.
    - `progress`: told what happens, such as `mtbench.console.terminal.Terminal()`.
    - `engine`: what runs the sweep: `local`, `slurm` or `ray`, or settings such as `{"name": "local", "gpus": "all"}`.

    Raises ConfigError for a usage error, before anything is measured.
    """
    return run(make_plan(**asked), folder, progress, engine)


def run(
    plan: "Plan",
    folder: str | Path | None = None,
    progress: "Progress | None" = None,
    engine: str | Mapping[str, Any] = "local",
) -> Results:
    """Measures a plan, on this machine or by the engine given. Ctrl-C ends it, and what was measured is kept.

    Raises ConfigError if the engine cannot run it.
    """
    from mtbench.engines import run as engines
    from mtbench.engines.resume import Rest
    from mtbench.engines.settings import of_data
    from mtbench.plan.progress import Progress

    settings = of_data(engine)
    where = (
        Path(folder) if folder is not None else Path("multirun") / f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{plan.id[:4]}"
    )
    outcome = engines.run(Rest(plan, plan.protocol, plan.jobs), where, settings, progress or Progress())
    return Results((where,), outcome.interrupted)


def read(*folders: str | Path) -> Results:
    """The results in these folders and all folders below. Raises ConfigError if a folder does not exist."""
    for folder in folders:
        if not Path(folder).is_dir():
            raise ConfigError(f"There is no folder {folder}. Give the folder of a sweep, or multirun for all of them.")
    return Results(tuple(Path(folder) for folder in folders))


def time(
    contenders: Mapping[str, str],
    inputs: Mapping[str, Sequence[int]],
    *,
    framework: str | Mapping[str, str] = "torch",
    weights: Mapping[str, Sequence[int]] | None = None,
    dtype: str = "float32",
    device: str = "auto",
    tolerance: float | None = None,
    protocol: str | Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    progress: "Progress | None" = None,
) -> Results:
    """Times functions or modules of your own against each other, interleaved and checked.

    - `contenders`: by name, `file.py:function` or `package.module:function`. Each function is called once, in a process of its
      own. If it takes an argument, it gets the weights as a namespace. It returns what is timed: a function, a
      `torch.nn.Module` or an `mlx.nn.Module`, which is then called with the inputs in their order.
    - `inputs`, `weights`: shapes by name; axis 0 of an input is the batch. Both are random, and equal for all contenders.
    - `framework`: the library of all contenders (`torch`, `torch_compiled`, `torch_graphs`, `mlx`, `mlx_compiled`, `numpy`,
      `jax`, ...), or a mapping with the library of each.
    - `tolerance`: the largest relative error; by default twice that of the dtype.

    There is no reference, so all answers are checked against that of the first contender; the records say so.

    Raises ConfigError for a usage error.
    """
    from mtbench.api.own_functions import plan_of

    if not contenders or not inputs:
        raise ConfigError("time needs at least one contender and one input.")
    libraries = dict.fromkeys(contenders, framework) if isinstance(framework, str) else dict(framework)
    for name in contenders:
        if name not in libraries:
            raise ConfigError(f"framework has no library for the contender '{name}'; add it.")
    usual = {
        one: make_plan(operator="softmax", framework=one, dtype=dtype, device=device, protocol=protocol)
        for one in sorted(set(libraries.values()))
    }
    return run(plan_of(contenders, inputs, weights or {}, libraries, usual, tolerance), folder, progress)
