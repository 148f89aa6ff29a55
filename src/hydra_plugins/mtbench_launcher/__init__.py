"""mtbench's place in Hydra: a sweeper that knows unions of grids, and a launcher that measures jobs side by side.

Hydra loads what stands here at each start of any Hydra program, so it is kept thin; the work is in mtbench.launch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class GridSweeper(Sweeper):
    """Expands `params`, `grids` and the command line into jobs; see mtbench.launch.expand."""

    def __init__(self, params: Mapping[str, Any] | None = None, grids: Sequence[Mapping[str, Any]] = ()) -> None:
        self.params = params or {}
        self.grids = grids

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config
        self.loader = hydra_context.config_loader
        self.cells: Launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )

    def sweep(self, arguments: list[str]) -> Any:
        from mtbench.launch.expand import expand

        jobs = expand(self.loader, self.params, self.grids, arguments)
        return self.cells.launch(jobs, initial_job_idx=0)


class CellLauncher(Launcher):
    """Composes all jobs of a sweep before the first one starts, and hands them over together, so that the arms of a
    cell can be measured interleaved. Hydra's own launchers run one job after the other."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.loader = hydra_context.config_loader
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from mtbench.launch.app import run_sweep

        run_sweep(self.config, self.loader, job_overrides)
        return []
