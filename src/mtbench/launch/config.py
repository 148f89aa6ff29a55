"""From configuration to jobs: what only we can check.

The YAML is in conf/. Hydra composes it and checks it against the schema; `job_from` turns one composed configuration into a job
or raises ConfigError.
"""

import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from mtbench import paths
from mtbench.catalogue import probe, registry
from mtbench.engines.settings import EngineSettings
from mtbench.engines.settings import check as check_engine
from mtbench.errors import ConfigError, unknown
from mtbench.frameworks import _address
from mtbench.frameworks.base import CompileSettings, Framework
from mtbench.launch.schema import Config, FrameworkConfig, typed
from mtbench.operators.base import Operator, Shape
from mtbench.plan.accuracy import Limits
from mtbench.plan.jobs import Arm, Job, Task, job
from mtbench.results import format, private

DEVICES = ("auto", "cpu", "gpu")
DTYPES = ("float32", "float16", "bfloat16")
MODES = ("eager", "compiled")
PRECISIONS = ("highest", "tf32")

OF_THE_MODEL = "${mtbench.model"
"""How interpolations begin that depend on the chosen model alone: those of the resolvers `mtbench.model` and
`mtbench.model_config`."""


def register() -> None:
    """Makes the schema and the resolvers known to Hydra; safe to call again."""
    ConfigStore.instance().store(name="schema", node=Config)
    OmegaConf.register_new_resolver("mtbench.folder", _folder_resolver, replace=True)
    OmegaConf.register_new_resolver("mtbench.model", _model_resolver, replace=True)
    OmegaConf.register_new_resolver("mtbench.model_config", _model_config_resolver, replace=True)


def _folder_resolver(*, _root_: DictConfig) -> str:
    """${mtbench.folder:}: where a job's record goes, below its sweep."""
    return str(_job(typed(_root_), user_folders(_root_.hydra)).folder)


def _model_resolver(dimension: str, default: Any, *, _root_: DictConfig) -> Any:
    """${mtbench.model:embed_dim,768}: the chosen model's dimension, or what holds where none is chosen."""
    if _root_.model.name is None:
        return default
    from mtbench.language_models.dimensions import dimension as of_model

    return of_model(dimension, _model_config(_root_))


def _model_config_resolver(*, _root_: DictConfig) -> str | None:
    """${mtbench.model_config:}: the chosen model's whole configuration as JSON, or null."""
    return None if _root_.model.name is None else format.value(_model_config(_root_))


def _model_config(root: DictConfig) -> dict[str, Any]:
    config = OmegaConf.to_container(root.model.config, resolve=True)
    assert isinstance(config, dict)
    return {str(name): value for name, value in config.items()}


def job_from(config: DictConfig, user: Sequence[Path]) -> Job:
    """The job that a composed configuration describes; its record will go into its usual folder.

    `user` are the folders of YAML that the user added, where Python files may stand too. Raises ConfigError where the job
    cannot be measured, whatever the machine.
    """
    check_settings(config)
    return job_of(typed(config), user)


def job_of(config: Config, user: Sequence[Path]) -> Job:
    """The same of a configuration whose settings are known to be ours. Raises ConfigError."""
    made = _job(config, user)
    made.task.problem.check(made.task.shape)
    made.task.problem.check_library(made.arm.framework)
    return made


def engine_from(config: DictConfig) -> EngineSettings:
    """What runs the sweep. Raises ConfigError."""
    settings = OmegaConf.to_object(config.engine)
    assert isinstance(settings, EngineSettings)
    return check_engine(settings)


def _job(config: Config, user: Sequence[Path]) -> Job:
    operator, dtype = config.operator, config.dtype
    device, device_index = _device(config.device.name)
    _one_of("dtype.name", dtype.name, DTYPES)
    _one_of("framework.mode", config.framework.mode, MODES)
    _one_of("matmul_precision", config.matmul_precision, PRECISIONS)
    if config.framework.python is not None and config.framework.requirement is not None:
        raise ConfigError(
            "framework.python and framework.requirement exclude each other: "
            "mtbench installs nothing into an existing environment."
        )
    operator_file = _user_file(user, "operator", operator.name)
    framework_file = _user_file(user, "framework", config.framework.name)
    for group, name, own_file in (
        ("operator", operator.name, operator_file),
        ("framework", config.framework.name, framework_file),
    ):
        if own_file is None:
            _check_named(user, group, name, name in registry.names(group))
    if framework_file is None and config.framework.name not in registry.names("framework"):
        raise ConfigError(unknown("framework", config.framework.name, registry.names("framework")))
    operator_class: type[Operator] = registry.load("operator", operator.name, operator_file)
    if operator.variant not in registry.OF_ALL:  # the others are known when all operators are loaded, which takes 0.3 s
        known = registry.known_variants(operator_class, config.framework.name, framework_file)
        _one_of("operator.variant", operator.variant, known)
    shape = Shape(config.shape.batch_size, config.shape.seq_len, config.shape.kv_len)
    if operator_file is not None:
        sizes = (shape.batch_size, shape.seq_len, shape.kv_len)
        probe.try_task(operator_file, format.value(operator.params), sizes, dtype.name)
    params = operator_class.written_out(operator.params)
    operator_class.from_params(params)
    task = Task(
        operator=operator.name,
        params=_sorted(params),
        dtype=dtype.name,
        shape=shape,
        operator_file=operator_file,
        model=config.model.name,
    )
    arm = Arm(
        framework=config.framework.name,
        mode=config.framework.mode,
        variant=operator.variant,
        device=device,
        device_index=device_index,
        matmul_precision=config.matmul_precision,
        framework_file=framework_file,
        python=_interpreter(config.framework.python),
        requirement=_requirement(config.framework.requirement),
        compile=_compile(config.framework),
        threads=_threads(config.framework.threads),
        env=_env(config.framework.env),
        own=_own(config.framework, framework_file),
    )
    limits = limits_of(config)
    return job(task, arm, limits.row, tuple(config.contenders), norm_tolerance=limits.norm)


def _device(name: str) -> tuple[str, int | None]:
    """`gpu:1` as a device and its number."""
    numbered = re.fullmatch(r"gpu:(\d+)", name)
    if numbered is None:
        _one_of("device", name, (*DEVICES, "gpu:NUMBER"))
        return name, None
    return "gpu", int(numbered.group(1))


def _compile(framework: FrameworkConfig) -> CompileSettings:
    """The compiler's settings. Raises ConfigError for a setting that the arm does not use."""
    told = framework.compile
    options = tuple(sorted(_dotted(told.options)))
    made = CompileSettings(told.mode, told.fullgraph, told.backend, told.dynamic, options)
    if made.given and framework.mode != "compiled":
        name = next(iter(made.given))
        raise ConfigError(f"framework.compile.{name} needs a compiled framework; choose {framework.name}_compiled.")
    if made.mode is not None and made.options:
        raise ConfigError("framework.compile.mode and .options exclude each other: a mode is a set of options.")
    return made


def _dotted(values: Mapping[str, Any], branch: str = "") -> Iterator[tuple[str, Any]]:
    """Options by their full names, such as `triton.cudagraphs`, which Hydra splits into two levels."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{branch}{name}.")
        else:
            yield f"{branch}{name}", value


def _env(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Raises ConfigError for a secret, which plans, folders and records would show."""
    for name in values:
        if private.SECRET_NAMES.search(name):
            raise ConfigError(
                f"framework.env.{name} would be written into records; set {name} in the shell instead: workers inherit it."
            )
    return tuple((name, _text(value)) for name, value in _sorted(values))


def _own(framework: FrameworkConfig, file: str | None) -> tuple[tuple[str, Any], ...]:
    """The settings that this library alone has. Raises ConfigError for a server's where it is none, and where one lacks."""
    chosen: type[Framework] = registry.load("framework", framework.name, file)
    of_a_server = {name: value for name in ("url", "model") if (value := getattr(framework, name)) is not None}
    for name in of_a_server:
        if name not in chosen.own_settings:
            raise ConfigError(
                f"framework.{name} is a setting of a server, and {framework.name} is no server; leave it out."
            )
    given = {**framework.settings, **of_a_server}
    for name, example in chosen.needs.items():
        if given.get(name) is None:
            raise ConfigError(f"framework={framework.name} needs framework.{name}, such as framework.{name}={example}.")
    if "url" in of_a_server:
        _address.parse(str(framework.url))
    return _sorted(given)


def _threads(threads: int | None) -> int | None:
    if threads is not None and threads < 1:
        raise ConfigError(f"framework.threads={threads} is not valid; give 1 or more.")
    return threads


def _sorted(values: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted((str(name), value) for name, value in values.items()))


def _text(value: Any) -> str:
    """The value of an environment variable, written as in a shell."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_settings(config: DictConfig, schema: Any = Config, branch: str = "") -> None:
    """Raises ConfigError for a setting that nothing reads: Hydra lets `+name=value` add any."""
    known = {each.name: each.type for each in fields(schema)}
    for key in map(str, config):
        if branch + key == "hydra":
            continue
        if key not in known:
            raise ConfigError(unknown("setting", branch + key, [branch + name for name in known]))
        if is_dataclass(known[key]):
            check_settings(config[key], known[key], f"{branch}{key}.")


def _interpreter(python: str | None) -> str | None:
    """An interpreter's absolute path. Links are kept: that of an environment is one, and finds it by its own place."""
    if python is None:
        return None
    found = shutil.which(Path(python).expanduser())
    if found is None:
        raise ConfigError(f"framework.python={python}: there is no such program.")
    return str(Path(found).absolute())


def _requirement(text: str | None) -> str | None:
    """A requirement in its normal form, so that two spellings of it are one arm."""
    if text is None:
        return None
    from packaging.requirements import InvalidRequirement, Requirement

    if private.NAMED_ADDRESS.search(text):
        raise ConfigError(
            "framework.requirement: the address holds a user name or a password, which the sweep's files would keep; put it "
            "into ~/.netrc, where pip looks for it."
        )
    try:
        return str(Requirement(text))
    except InvalidRequirement as error:
        said = str(error).splitlines()[0]
        raise ConfigError(f"framework.requirement={text}: {said}; write it as for pip, such as mlx==0.31.0.") from None


def limits_of(config: Config) -> Limits:
    """What an answer may be off. An operator's exception from the dtype's tolerance is one from its norm's, too."""
    rows: Mapping[str, float] = config.operator.tolerance
    norms: Mapping[str, float] = config.operator.norm_tolerance
    dtype = config.dtype
    tf32 = dtype.tf32_tolerance if config.matmul_precision == "tf32" else None
    name = dtype.name if tf32 is None else "tf32"
    general = dtype.tolerance if tf32 is None else tf32
    general_norm = general if tf32 is not None or dtype.norm_tolerance is None else dtype.norm_tolerance
    for told, limit in {f"tolerance of {name}": general, f"norm's of {name}": general_norm, **rows, **norms}.items():
        if not 0 <= limit < math.inf:
            raise ConfigError(f"A tolerance of {limit} ({told}) is not valid; give a finite number, 0 or more.")
    row = rows.get(name, general)
    return Limits(float(norms.get(name, rows.get(name, general_norm))), float(row))


def user_folders(hydra_config: DictConfig | HydraConf) -> list[Path]:
    """The folders of YAML that the user added (`--config-dir`, `hydra.searchpath`), nearest first."""
    sources = hydra_config.runtime.config_sources
    folders = [Path(source.path).resolve() for source in sources if source.schema == "file" and source.path]
    return [folder for folder in folders if folder != paths.conf().resolve()]


def _user_file(folders: Sequence[Path], group: str, name: str) -> str | None:
    """A Python file of that name beside the user's own YAML."""
    if not re.fullmatch(r"[\w.+-]+", name):  # a path would lead out of these folders, and the record out of the sweep's
        raise ConfigError(f"{group}.name={name} is not a valid name; use letters, digits and . + - _")
    files = (path / group / f"{name}.py" for path in folders)
    found = next((str(file) for file in files if file.is_file()), None)
    if found is not None:
        probe.of(found, group)
    return found


def _check_named(folders: Sequence[Path], group: str, name: str, ours: bool) -> None:
    """Raises ConfigError where a user's YAML gives a name that no Python file beside it has: one that nobody has, or one of
    `ours`, which would be measured in place of the file that is called like the YAML."""
    for folder in folders:
        for file in sorted((folder / group).glob("*.yaml")):
            own = file.with_suffix(".py")
            if ours and not own.is_file():  # settings of its own for what is ours
                continue
            if re.search(rf"^name: *{re.escape(name)} *(#.*)?$", file.read_text(errors="replace"), re.MULTILINE):
                instead = f", so that {own.name} would never run; write name: {file.stem}" if ours else ""
                raise ConfigError(
                    f"{file} has name: {name}, and there is no {name}.py beside it{instead}; "
                    "the name must be that of the Python file."
                )


def _one_of(key: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(unknown(key, value, known))
