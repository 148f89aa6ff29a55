"""From a sweep's overrides to its plan: each job is composed and checked, before anything is measured or written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mtbench import paths
from mtbench.engines.settings import EngineSettings
from mtbench.engines.settings import check as check_engine
from mtbench.errors import ConfigError
from mtbench.launch import config as configuration
from mtbench.launch.earlier import check, informed
from mtbench.launch.expand import expand, quoted
from mtbench.launch.explanations import explain
from mtbench.launch.families import Composed, Composer
from mtbench.launch.hydra_files import HydraFiles
from mtbench.launch.usage_errors import for_hydra
from mtbench.plan.jobs import Job, Plan, plan
from mtbench.plan.protocol import Protocol

Announce = Callable[[int, int], None]
"""Told how many jobs of how many are composed, or written."""


@dataclass(frozen=True)
class Sweep:
    """A plan, the engine that is to run it, and what each of its jobs was made of. `report`: its report is to be built when it
    has ended. `dry_run`: it is not to be measured. `earlier`: folders and files of earlier sweeps that its intervals use."""

    plan: Plan
    engine: EngineSettings
    composed: Sequence[Composed]
    report: bool = False
    dry_run: bool = False
    earlier: tuple[str, ...] = ()

    def write_hydra_files(self, folder: Path, subfolder: str, announce: Announce) -> None:
        """Writes what Hydra's own launchers write for each job. Raises OSError."""
        files = HydraFiles(subfolder)
        for number, (job, composed) in enumerate(zip(self.plan.jobs, self.composed, strict=True)):
            files.write(composed, folder / job.folder)
            announce(number + 1, len(self.plan.jobs))


def compose(
    config: DictConfig,
    loader: ConfigLoader,
    job_overrides: Sequence[Sequence[str]],
    announce: Announce = lambda done, of: None,
) -> Sweep:
    """The plan of a sweep from the overrides of each job. Raises ConfigError where a job cannot be measured."""
    composer = Composer(config, loader)
    made_of: dict[str, Composed] = {}
    jobs: list[Job] = []
    protocol: Protocol | None = None
    engine: EngineSettings | None = None
    report = dry_run = False
    earlier: tuple[str, ...] = ()
    for number, overrides in enumerate(job_overrides):
        family = composer.compose(number, overrides)
        composed = family.typed()
        if composed.protocol != (protocol := protocol or composed.protocol):
            raise ConfigError(
                "All jobs of a sweep must share one protocol to be comparable; run one sweep per protocol."
            )
        if composed.engine != (engine := engine or composed.engine):
            raise ConfigError("All jobs of a sweep must use one engine; write lists in brackets: engine.gpus=[0,1].")
        report, dry_run, earlier = composed.report, composed.dry_run, tuple(composed.earlier)
        job = configuration.job_of(composed, family.user_folders)
        made_of.setdefault(job.id, family.composed())
        jobs.append(
            job if family.has_usual_folder else replace(job, folder=Path(str(family.config.hydra.sweep.subdir)))
        )
        announce(number + 1, len(job_overrides))
    made = plan(jobs, protocol or Protocol())
    _check_folders(made.jobs)
    check(earlier)
    of_jobs = [made_of[job.id] for job in made.jobs]
    return Sweep(made, check_engine(engine or EngineSettings()), of_jobs, report, dry_run, earlier)


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
            sweeper = OmegaConf.to_container(config.hydra.sweeper)
            assert isinstance(sweeper, dict)
            axes, grids = sweeper["params"] or {}, sweeper["grids"] or []
            sweep = compose(config, loader, expand(loader, axes, grids, [*asked, *searched]))
            return informed(sweep.plan, sweep.earlier)
    except ConfigError:
        raise
    except Exception as error:
        usage_error = explain(error)
        if usage_error is None:
            raise
        raise ConfigError(usage_error) from error


def _check_folders(jobs: Sequence[Job]) -> None:
    """Raises ConfigError where two records would go into one file."""
    taken: dict[Path, Job] = {}
    for job in jobs:
        other = taken.setdefault(job.folder, job)
        if other is not job:
            raise ConfigError(
                f"hydra.sweep.subdir={job.folder} gives two jobs the same folder, and one record would replace the other; "
                "leave it out."
            )
