"""`mtbench which`: the experiment of that name, fitted to this machine's libraries and to the minutes that there are.

Its plan is composed as every sweep's, and measured by the same engine. What is fitted: the libraries are those that answer
here, the prompt's length is the device's, and parts are left out, least important first, until the estimate fits.
"""

import json
import math
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import yaml

from mtbench import paths
from mtbench.catalogue import capability, registry
from mtbench.catalogue.capability import Capability
from mtbench.errors import ConfigError, unknown
from mtbench.launch import estimate
from mtbench.launch.app import EXIT_FAILED, EXIT_INTERRUPTED
from mtbench.launch.compose import plan_of
from mtbench.launch.estimate import WHOLE
from mtbench.launch.opening import built
from mtbench.plan.jobs import Job, Plan
from mtbench.plan.jobs import job as make_job
from mtbench.results.axes import CONTENDERS
from mtbench.results.format import plural, span

LIBRARIES = ("torch", "mlx", "llama_cpp", "jax")
"""Those that someone chooses between; NumPy runs no language model."""

PROMPT = {"cpu": 32, "gpu": 512}
"""Tokens of a prompt: on a CPU a long one takes seconds for each call."""

MODEL = "smollm2_135m"

RESTARTS = (10, 5, 3)
"""As many as fit, and never fewer than give an interval of their own."""


@dataclass(frozen=True)
class Choice:
    """What will be measured: a plan, its estimated seconds, and what was left out for want of time, in words, with the
    seconds that all of it would take. `slowdown` is that of a busy machine."""

    plan: Plan
    seconds: float
    left_out: list[str]
    all_seconds: float
    libraries: list[str]
    slowdown: float

    def lines(self) -> Iterator[str]:
        """What is about to be measured, in words."""
        jobs = self.plan.jobs
        dtypes = list(dict.fromkeys(job.task.dtype for job in jobs))
        yield f"Found here: {'; '.join(self.libraries)}."
        yield f"Will measure {_and(list(dict.fromkeys(_part(job) for job in jobs)))} of {jobs[0].task.model} in {_and(dtypes)},"
        arms = list(dict.fromkeys(job.arm.name for job in jobs))
        cells, restarts = len(self.plan.by_cell()), self.plan.protocol.restarts
        yield f"by {', '.join(arms)}: {cells} {plural(cells, 'cell')}, {restarts} restarts, about {span(self.seconds)}."
        if self.slowdown >= estimate.BUSY:
            yield f"The machine is busy: it takes about {self.slowdown:.1f} times as long."
        stop = self.plan.protocol.stop_after
        if stop is not None and stop < self.seconds:
            yield f"It stops after {span(stop)}, so fewer answers will be sure."
        if self.left_out:
            minutes = math.ceil(self.all_seconds / 60)
            yield f"Left out for lack of time: {'; '.join(self.left_out)}. --minutes {minutes} measures all of it."


def model_of(settings: Sequence[str]) -> str:
    """The model that `model=...` names. Raises ConfigError for any other setting."""
    model = MODEL
    for setting in settings:
        key, _, value = setting.partition("=")
        if key != "model" or not value:
            raise ConfigError(
                f"'{setting}' is not a setting of which; write model=NAME, or model=PATH of a config.json."
            )
        model = value
    return model


def choose(model: str, minutes: float, device: str = "auto") -> Choice:
    """What `mtbench which` measures of a model in so many minutes. Raises ConfigError as `everything` does, or where there is
    no time at all."""
    if not 0 < minutes < math.inf:  # nor is nan
        raise ConfigError(f"--minutes {minutes:g} is not valid; give a number above 0, such as 5.")
    whole, libraries = everything(model, device)
    return fitted(whole, libraries, minutes * 60, estimate.busy())


def everything(
    model: str, device: str = "auto", ask: Callable[..., list[Capability]] = capability.ask
) -> tuple[Plan, list[str]]:
    """The plan of all that could be measured here of a model, a preset's name or the path of a `config.json`, and the libraries
    in words. `ask` says what each library can do.

    Raises ConfigError where there is no such model or device, or no library answers here.
    """
    if device not in ("auto", "cpu", "gpu"):
        raise ConfigError(unknown("device", device, ("auto", "cpu", "gpu")))
    preset = None if _is_file(model) else _preset(model)
    with tempfile.TemporaryDirectory() as folder:
        name, own = (preset, None) if preset is not None else _own_model(Path(model), Path(folder))
        found = ask(LIBRARIES, capability.DEVICES if device == "auto" else (device,))
        able = [one for one in found if one.unsupported is None]
        if not able:
            said = "; ".join(f"{one.library} on {one.device}: {one.unsupported}" for one in found)
            raise ConfigError(f"No library can run a model here ({said}).")
        best = {one.library: one for one in sorted(able, key=lambda one: one.device == "gpu")}  # where each would run
        return _plan(str(name), device, list(best.values()), own), [_said(one) for one in best.values()]


def fitted(whole: Plan, libraries: list[str], seconds: float, slowdown: float = 1.0) -> Choice:
    """What of a plan fits into so many seconds, where all takes `slowdown` times as long. Dtypes compete where there is time
    for all: their workers are twice as many. The first dtype of the plan is the one that matters most."""
    time = seconds / slowdown
    competing = _competing(whole)
    if estimate.seconds(competing) <= time:
        plan, left = competing, list[str]()
    else:
        tiers = list(_tiers(whole, whole.jobs[0].task.dtype).items())
        left = []
        while len(tiers) > 1 and estimate.seconds(_of(whole, tiers)) > time:
            left.append(tiers.pop()[0])
        plan = _of(whole, tiers)
    plan = _with_restarts(plan, time)
    taken, in_all = slowdown * estimate.seconds(plan), slowdown * estimate.seconds(whole)
    stopping = replace(plan, protocol=replace(plan.protocol, stop_after=seconds))
    return Choice(stopping, taken, left[::-1], in_all, libraries, slowdown)


def _competing(plan: Plan) -> Plan:
    """The plan with its dtypes as contenders."""
    axes = [*CONTENDERS, "dtype"]
    again = (
        make_job(each.task, each.arm, each.tolerance, axes, norm_tolerance=each.norm_tolerance) for each in plan.jobs
    )
    return replace(plan, jobs=tuple(again))


def _plan(model: str, device: str, able: Sequence[Capability], own: Path | None) -> Plan:
    """The plan of the experiment with these libraries, without the jobs that a library cannot run."""
    dtypes = [each for each in ("bfloat16", "float32", "float16") if all(each in one.able for one in able)] or [
        "float32"
    ]
    if all(one.device == "cpu" for one in able):
        dtypes = [each for each in dtypes if each != "float16"]  # which CPUs compute in float32
    frameworks = [name for one in able for name in _frameworks(one)]
    prompt = PROMPT["gpu" if any(one.device == "gpu" for one in able) else "cpu"]
    arguments = ["+experiment=which", f"model={model}", f"device={device}", f"shape.seq_len=1,{prompt}"]
    arguments += [f"framework={','.join(frameworks)}", f"dtype={','.join(dtypes)}"]
    plan = plan_of([*arguments, f"protocol.restarts={RESTARTS[-1]}"], own)
    return replace(plan, jobs=tuple(job for job in plan.jobs if _has_form(job)))


def _frameworks(one: Capability) -> list[str]:
    """The modes of a library: those that have a YAML, and CUDA graphs where there is CUDA."""
    cuda = one.description is not None and one.description.device_kind == "cuda"
    files = sorted((paths.conf() / "framework").glob(f"{one.library}*.yaml"))
    return [file.stem for file in files if cuda or not file.stem.endswith("_graphs")]


def _has_form(job: Job) -> bool:
    """Whether the library has a way to run it."""
    operator = registry.load("operator", job.task.operator)
    framework = registry.load("framework", job.arm.framework)
    return hasattr(operator, job.arm.framework) or not (operator.own_forms_only or framework.own_forms_only)


def _tiers(plan: Plan, dtype: str) -> dict[str, list[Job]]:
    """The jobs in groups, the most important first."""
    tiers: dict[str, list[Job]] = {}
    names = ["the whole model", "one layer", "the whole model, compiled"]
    for main in (True, False):
        for number, name in enumerate(names):
            jobs = [each for each in plan.jobs if (each.task.dtype == dtype) is main and _rank(each) == number]
            if jobs:
                other = _and(list(dict.fromkeys(each.task.dtype for each in jobs)))
                tiers[name if main else f"{name} in {other}"] = jobs
    return tiers


def _rank(job: Job) -> int:
    if job.task.operator != WHOLE:
        return 1
    return 2 if estimate.compiles_for_minutes(job) else 0


def _of(plan: Plan, tiers: Sequence[tuple[str, list[Job]]]) -> Plan:
    wanted = {job.id for _, jobs in tiers for job in jobs}
    return replace(plan, jobs=tuple(job for job in plan.jobs if job.id in wanted))


def _with_restarts(plan: Plan, seconds: float) -> Plan:
    """The plan with as many restarts as fit, each as long as before."""
    visit_s = plan.protocol.visit_budget_s
    for restarts in RESTARTS:
        more = replace(plan, protocol=replace(plan.protocol, restarts=restarts, cell_budget_s=visit_s * restarts))
        if estimate.seconds(more) <= seconds:
            return more
    return plan


def _part(job: Job) -> str:
    shape = job.task.shape
    keys = 0 if shape.kv_len is None else shape.kv_len - (0 if job.task.operator == WHOLE else 1)
    what = "one token behind" if shape.seq_len == 1 else "a prompt of"
    layer = "" if job.task.operator == WHOLE else " (one layer)"
    return f"{what} {keys if shape.seq_len == 1 else shape.seq_len}{layer}"


def _said(one: Capability) -> str:
    facts = one.description
    assert facts is not None
    kind = (
        facts.device_kind
        if facts.device_name in (None, facts.device_kind)
        else f"{facts.device_kind}, {facts.device_name}"
    )
    return f"{one.library} {facts.version} ({kind})"


def _is_file(model: str) -> bool:
    return model.endswith(".json") or Path(model).is_file()


def _preset(model: str) -> str:
    known = sorted(path.stem for path in (paths.conf() / "model").glob("*.yaml") if path.stem != "none")
    if model not in known:
        raise ConfigError(f"{unknown('model', model, known)} Or give the path of a config.json.")
    return model


def _own_model(file: Path, folder: Path) -> tuple[str, Path]:
    """A user's `config.json` as a preset in a folder of its own. Raises ConfigError where it cannot be read."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read as a model's config.json ({error}).") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{file} is not a model's config.json: it must hold settings by name.")
    stem = file.absolute().parent.name if file.name == "config.json" else file.stem
    name = re.sub(r"\W+", "_", stem, flags=re.ASCII).strip("_").lower() or "own"
    (folder / "model").mkdir()
    preset = {"name": name, "source": file.name, "config": config}
    (folder / "model" / f"own_{name}.yaml").write_text(yaml.safe_dump(preset), encoding="utf-8")
    return f"own_{name}", folder


def measure(choice: Choice, folder: Path | None = None) -> tuple[Path | None, int]:
    """Measures what was chosen, in a terminal, and builds its report beside the records; returns the report's first page,
    None where nothing was timed, and an exit code. That the time was up is no failure."""
    from mtbench.console.terminal import Terminal
    from mtbench.engines import local

    folder = folder or Path("multirun") / f"{datetime.now():%Y-%m-%d_%H-%M-%S}-which"
    started = time.monotonic()
    outcome = local.run(choice.plan, folder, Terminal())
    timed = any(record.status == "ok" for record in outcome.records)
    by_user = outcome.interrupted and time.monotonic() - started < (choice.plan.protocol.stop_after or math.inf)
    code = EXIT_INTERRUPTED if by_user else 0 if timed and not outcome.unwritten else EXIT_FAILED
    return (built(folder, pictures=False) if timed else None), code


def _and(names: Sequence[str]) -> str:
    return " and ".join([*([", ".join(names[:-1])] if len(names) > 1 else []), names[-1]])
