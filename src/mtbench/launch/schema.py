"""The schema of one job's configuration, which Hydra checks against, and a composed configuration as typed data."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from mtbench.engines.settings import EngineSettings
from mtbench.plan.protocol import Protocol
from mtbench.results.axes import CONTENDERS

if TYPE_CHECKING:
    from omegaconf import DictConfig

MISSING: Any = "???"  # OmegaConf's mark for a value that must be given


@dataclass
class OperatorConfig:
    """`tolerance` holds exceptions from the dtype's tolerance, by dtype (or `tf32`), with the reason in the YAML, and
    `norm_tolerance` from its `norm_tolerance`."""

    name: str = MISSING
    variant: str = "native"
    params: dict[str, Any] = field(default_factory=dict)
    tolerance: dict[str, float] = field(default_factory=dict)
    norm_tolerance: dict[str, float] = field(default_factory=dict)


@dataclass
class ModelConfig:
    """A language model whose layers' shapes the operators take; `config` is its published config.json."""

    name: str | None = None
    source: str | None = None
    config: dict[str, Any] = field(default_factory=dict)


@dataclass
class CompileConfig:
    """How the library's compiler is run, named as the arguments of torch.compile."""

    mode: str | None = None
    fullgraph: bool | None = None
    backend: str | None = None
    dynamic: bool | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class FrameworkConfig:
    """`python` is another interpreter to run under, and `requirement` a version of a package (PEP 508, `mlx==0.31.0`)
    for which an environment is made; at most one of them. `threads` are the library's on the CPU, `env` environment variables
    of its worker, and `settings` what this library alone has. `url` and `model` say which server is asked for which model."""

    name: str = MISSING
    mode: str = "eager"
    python: str | None = None
    requirement: str | None = None
    compile: CompileConfig = field(default_factory=CompileConfig)
    threads: int | None = None
    env: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    url: str | None = None
    model: str | None = None


@dataclass
class DeviceConfig:
    """auto, cpu, gpu, or a GPU by number: gpu:1."""

    name: str = "auto"


@dataclass
class DtypeConfig:
    """`tolerance` bounds the error of every row, and three times it that of every element; `norm_tolerance` bounds
    ||out - ref|| / ||ref||. `tf32_tolerance` takes the place of both where products are in TF32."""

    name: str = MISSING
    tolerance: float = MISSING
    norm_tolerance: float | None = None
    tf32_tolerance: float | None = None


@dataclass
class ShapeConfig:
    batch_size: int = 1
    seq_len: int = 128
    kv_len: int | None = None


@dataclass
class Config:
    """One job, as configured. `earlier`, `report` and `dry_run` are of the whole sweep."""

    model: ModelConfig = field(default_factory=ModelConfig)
    operator: OperatorConfig = field(default_factory=OperatorConfig)
    framework: FrameworkConfig = field(default_factory=FrameworkConfig)
    device: DeviceConfig = field(default_factory=DeviceConfig)
    dtype: DtypeConfig = field(default_factory=DtypeConfig)
    shape: ShapeConfig = field(default_factory=ShapeConfig)
    protocol: Protocol = field(default_factory=Protocol)
    engine: EngineSettings = field(default_factory=EngineSettings)
    matmul_precision: str = "highest"
    contenders: list[str] = field(default_factory=lambda: list(CONTENDERS))
    earlier: list[str] = field(default_factory=list)
    report: bool = False
    dry_run: bool = False


SECTIONS = tuple(each.name for each in fields(Config))


def typed(config: "DictConfig", kept: Mapping[str, Any] | None = None) -> Config:
    """A composed configuration as typed data, with every interpolation resolved. `kept` are sections that are known already:
    each access to an OmegaConf node takes 20 µs, and each interpolation 1 ms."""
    known = kept or {}
    return Config(**{name: known[name] if name in known else section(config, name) for name in SECTIONS})


def section(config: "DictConfig", name: str) -> Any:
    """One part of a composed configuration as typed data."""
    from omegaconf import DictConfig, ListConfig, OmegaConf  # here, so that the names of all settings are known at once

    value = config[name]
    return OmegaConf.to_object(value) if isinstance(value, DictConfig | ListConfig) else value
