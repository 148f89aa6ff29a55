"""From a sweep's overrides to its plan: each job is composed and checked, before anything is measured or written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from mtbench import paths
from mtbench.engines.settings import EngineSettings
from mtbench.errors import ConfigError
from mtbench.launch import config as configuration
from mtbench.launch.expand import expand, quoted
from mtbench.launch.usage_errors import explain, for_hydra
from mtbench.plan.jobs import Job, Plan, plan
from mtbench.plan.protocol import Protocol

USUAL_SUBDIR = "${mtbench.folder:}"


@dataclass(frozen=True)
class Sweep:
    """A plan, the engine that is to run it, and the configuration of each of its jobs."""

    plan: Plan
    engine: EngineSettings
    configs: Mapping[str, DictConfig]


def compose(config: DictConfig, loader: ConfigLoader, job_overrides: Sequence[Sequence[str]]) -> Sweep:
    """The plan of a sweep from the overrides of each job. Raises ConfigError where a job cannot be measured."""
    configs: dict[str, DictConfig] = {}
    jobs: list[Job] = []
    protocols: list[Protocol] = []
    engines: list[EngineSettings] = []
    for number, overrides in enumerate(job_overrides):
        job_config = loader.load_sweep_config(config, list(overrides))
        with open_dict(job_config):
            job_config.hydra.job.id = str(number)
            job_config.hydra.job.num = number
        protocols.append(configuration.protocol_from(job_config))
        if protocols[-1] != protocols[0]:
            raise ConfigError(
                "All jobs of a sweep must share one protocol to be comparable; run one sweep per protocol."
            )
        engines.append(configuration.engine_from(job_config))
        if engines[-1] != engines[0]:
            raise ConfigError("All jobs of a sweep run by one engine; write lists in brackets: engine.gpus=[0,1].")
        job = configuration.job_from(job_config, configuration.user_folders(job_config.hydra))
        configs.setdefault(job.id, job_config)
        jobs.append(_placed(job, job_config))
    made = plan(jobs, protocols[0])
    _check_folders(made.jobs)
    sweep_folder = Path(str(config.hydra.sweep.dir)).absolute()
    for job in made.jobs:
        with open_dict(configs[job.id]):
            configs[job.id].hydra.runtime.output_dir = str(sweep_folder / job.folder)
    return Sweep(made, engines[0], configs)


def plan_of(arguments: Sequence[str], folder: Path | None = None) -> Plan:
    """The plan that command-line arguments ask for, without a command line; `folder` is one of YAML of the user's own.

    Raises ConfigError, also for what Hydra cannot make a configuration of.
    """
    configuration.register()
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"There is no folder {folder}.")
    given = [quoted(argument) for argument in arguments]
    searched = [] if folder is None else [f"hydra.searchpath=['file://{folder.resolve()}']"]
    try:
        asked = [
            argument for argument in for_hydra([*given, "-m"], [] if folder is None else [folder]) if argument != "-m"
        ]
        with initialize_config_dir(str(paths.conf()), job_name="mtbench", version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            config = loader.load_configuration("config", [*asked, *searched], RunMode.MULTIRUN)
            params = OmegaConf.to_container(config.hydra.sweeper.params or OmegaConf.create({}))
            grids = OmegaConf.to_container(config.hydra.sweeper.grids or OmegaConf.create([]))
            assert isinstance(params, dict)
            axes = {str(name): values for name, values in params.items()}
            assert isinstance(grids, list)
            return compose(config, loader, expand(loader, axes, grids, [*asked, *searched])).plan
    except ConfigError:
        raise
    except Exception as error:
        usage_error = explain(error)
        if usage_error is None:
            raise
        raise ConfigError(usage_error) from error


def _placed(job: Job, config: DictConfig) -> Job:
    """The job with the folder that the user gave it, where that is another than its own."""
    given = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    assert isinstance(given, dict)
    usual = given["subdir"] == USUAL_SUBDIR
    return job if usual else replace(job, folder=Path(str(config.hydra.sweep.subdir)))


def _check_folders(jobs: Sequence[Job]) -> None:
    """Raises ConfigError where two records would go into one file."""
    taken: dict[Path, Job] = {}
    for job in jobs:
        other = taken.setdefault(job.folder, job)
        if other is not job:
            raise ConfigError(
                f"hydra.sweep.subdir={job.folder} is the same for two jobs, whose records would overwrite each other; "
                "leave it out."
            )
