"""The Hydra application: a configuration in, records out. One combination and a sweep take the same path."""

import argparse
import contextlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from mtbench import interrupts, paths
from mtbench.console.lines import tell
from mtbench.engines.claim import claimed
from mtbench.engines.settings import EngineSettings
from mtbench.errors import ConfigError
from mtbench.launch import config as configuration
from mtbench.launch.compose import compose
from mtbench.launch.earlier import check, informed
from mtbench.launch.expand import quoted
from mtbench.launch.explanations import explain
from mtbench.launch.refusing import refuse
from mtbench.launch.schema import typed
from mtbench.launch.usage_errors import for_hydra
from mtbench.plan.jobs import Plan, plan

if TYPE_CHECKING:
    from mtbench.engines.resume import Rest

HELP = {"--help", "-h"}

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


def main(arguments: Sequence[str]) -> None:
    """Runs the Hydra application on command-line arguments. Exits with a code where not all went well."""
    configuration.register()
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise what it would otherwise print at length
    try:
        sys.argv[1:] = for_hydra([quoted(argument) for argument in arguments])  # where Hydra reads them
        _accept_hydras_help()
        _keep_hydras_store()
        application = hydra.main(version_base="1.3", config_path=str(paths.conf()), config_name="config")
        if HELP.isdisjoint(arguments):
            application(run_one)()
        else:
            said = io.StringIO()
            try:
                with contextlib.redirect_stdout(said):
                    application(run_one)()
            finally:
                tell(said.getvalue())
    except Exception as error:
        usage_error = None if wants_traceback else explain(error)
        if usage_error is None:
            raise
        refuse(None, usage_error)
    finally:
        if not wants_traceback:
            del os.environ["HYDRA_FULL_ERROR"]  # a later process of this one's would print at length


def _accept_hydras_help() -> None:
    """From Python 3.14 on, argparse expands each help text when an option is added. Hydra 1.3 gives one that is no string, so
    every start would end there (facebookresearch/hydra#3121); a test says when a release of Hydra needs this no longer."""
    check = "_check_help"
    if hasattr(argparse.ArgumentParser, check):
        setattr(argparse.ArgumentParser, check, lambda parser, action: None)


def _keep_hydras_store() -> None:
    """Hydra 1.3 copies its store of schemas each time it composes, and each time it lists a group: a hundred times for --help,
    which took most of its time. The store copies what it gives out, so a copy of the store may be the store itself."""
    copying = "__deepcopy__"
    setattr(ConfigStore, copying, lambda store, memo: store)


class Guard(Callback):
    """Checks a single combination before Hydra makes its folder; a sweep's jobs are checked in `run_sweep`."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            job = configuration.job_from(config, configuration.user_folders(config.hydra))
            engine, folder = configuration.engine_from(config), Path(str(config.hydra.run.dir))
            if config.dry_run:
                one = plan([replace(job, folder=Path())], typed(config).protocol)
                _say(_rest(one, folder, typed(config).earlier), folder, engine)
                raise SystemExit(0)
            check(typed(config).earlier)
            _make("hydra.run.dir", folder)
        except Exception as error:  # Hydra turns a callback's exceptions into warnings, so it must not see one
            usage_error = explain(error)
            if usage_error is None:
                traceback.print_exception(error)
                raise SystemExit(EXIT_FAILED) from error
            refuse(None, usage_error)


def run_one(config: DictConfig) -> None:
    """Measures one combination; Hydra has made its folder."""
    hydra_config = HydraConfig.get()
    job = configuration.job_from(config, configuration.user_folders(hydra_config))
    one = plan([replace(job, folder=Path())], typed(config).protocol)
    folder = Path(hydra_config.runtime.output_dir)
    with claimed(folder):
        rest = _rest(one, folder, typed(config).earlier)
        run_rest(rest, folder, configuration.engine_from(config), report=config.report)


def run_sweep(config: DictConfig, loader: ConfigLoader, job_overrides: Sequence[Sequence[str]]) -> None:
    """Measures a sweep. All jobs are composed and checked before anything is written.

    Raises ConfigError where a job cannot be measured, and SystemExit where not all went well.
    """
    folder = Path(str(config.hydra.sweep.dir))
    from mtbench.console.composing import Composing

    interrupts.check()  # a library that was being imported may have kept a signal to itself
    with Composing("composing jobs") as told:
        sweep = compose(config, loader, job_overrides, told)
    interrupts.check()
    if sweep.dry_run:
        _say(_rest(sweep.plan, folder, sweep.earlier), folder, sweep.engine)
        return
    _make("hydra.sweep.dir", folder)
    with claimed(folder):
        rest = _rest(sweep.plan, folder, sweep.earlier)
        try:
            paths.write_atomically(folder / "multirun.yaml", OmegaConf.to_yaml(config))  # whatever stands in its place
            with Composing("writing their configurations") as told:
                sweep.write_hydra_files(folder, str(config.hydra.output_subdir), told)
        except OSError as error:
            raise ConfigError(f"hydra.sweep.dir={folder} cannot be written ({error.strerror}).") from error
        run_rest(rest, folder, sweep.engine, sweep.report)


def _say(rest: "Rest", folder: Path, engine: EngineSettings) -> None:
    """What would be measured."""
    from mtbench.console.lines import say
    from mtbench.launch import estimate, preview

    say(preview.lines(rest, folder, engine, estimate.busy()))


def _make(setting: str, folder: Path) -> None:
    """Makes a folder for records. Raises ConfigError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{setting}={folder} cannot be made ({error.strerror}); name another folder.") from error


def _rest(plan: Plan, folder: Path, earlier: Sequence[str]) -> "Rest":
    """What is left to be measured of a plan: all of it, unless the folder holds the same sweep, which is said. What `earlier`
    sweeps say is told and added to a plan that is new; one that goes on keeps what it has."""
    from mtbench.engines import resume
    from mtbench.engines.run import rest_of

    rest = resume.continued(plan, folder, rest_of)
    if rest is None:
        plan = informed(plan, earlier, print)
        return resume.Rest(plan, plan.protocol, plan.jobs)
    print(
        f"{folder} holds this sweep: {rest}. mtbench continues it; to measure anew, delete it or name another folder."
    )
    return rest


def run_rest(rest: "Rest", folder: Path, engine: EngineSettings, report: bool = False) -> None:
    """Measures what is left of a sweep, in a terminal, and builds its report where that is asked for and it was not
    interrupted. Exits with a code where not all went well."""
    from mtbench.console.terminal import Terminal
    from mtbench.engines import local
    from mtbench.engines.run import run
    from mtbench.results.record import MEASURED

    nothing = local.Outcome(rest.begun.kept, interrupted=False)
    outcome = run(rest, folder, engine, Terminal()) if rest.jobs else nothing
    if outcome.interrupted:
        raise SystemExit(EXIT_INTERRUPTED)
    if outcome.detached:
        return
    if report and outcome.records:
        from mtbench.launch.opening import built

        print(f"The report is {built(folder)}")
    if (
        outcome.unwritten
        or outcome.unfinished
        or any(record.status not in (*MEASURED, "unsupported") for record in outcome.records)
    ):
        raise SystemExit(EXIT_FAILED)
