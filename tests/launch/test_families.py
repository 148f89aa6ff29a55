"""Jobs composed by families: the configuration that Hydra itself would make of each."""

import random

import pytest
import yaml
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict

from mtbench import paths
from mtbench.errors import ConfigError
from mtbench.launch import config as configuration
from mtbench.launch import hydra_files
from mtbench.launch.compose import plan_of
from mtbench.launch.expand import expand
from mtbench.launch.families import Composer
from mtbench.launch.schema import typed

EXPERIMENTS = sorted(path.stem for path in (paths.conf() / "experiment").glob("*.yaml"))
SHOWN = 3  # jobs of each sweep, of which Hydra takes 0.15 s to compose one


@pytest.fixture
def loader():
    configuration.register()
    with initialize_config_dir(str(paths.conf()), job_name="mtbench", version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def composed(loader, asked):
    """The sweep's own configuration, and the overrides of its jobs."""
    config = loader.load_configuration("config", asked, RunMode.MULTIRUN)
    params = OmegaConf.to_container(config.hydra.sweeper.params or OmegaConf.create({}))
    grids = OmegaConf.to_container(config.hydra.sweeper.grids or OmegaConf.create([]))
    return config, expand(loader, params, grids, [one for one in asked if not one.startswith("hydra.")])


def same(ours, hydras, number):
    hydras.hydra.job.id, hydras.hydra.job.num = str(number), number
    assert OmegaConf.to_yaml(ours) == OmegaConf.to_yaml(hydras)
    assert typed(ours) == typed(hydras)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_jobs_of_every_experiment_are_composed_as_hydra_does(loader, name):
    config, jobs = composed(loader, [f"+experiment={name}"])
    composer = Composer(config, loader)
    for number, job in enumerate(jobs):
        composer.compose(number, job)
    for number in random.Random(name).sample(range(len(jobs)), min(SHOWN, len(jobs))):
        family = composer.compose(number, jobs[number])
        hydras = loader.load_sweep_config(config, jobs[number])
        same(family.config, hydras, number)
        assert configuration.job_of(family.typed(), []) == configuration.job_from(hydras, [])


@pytest.mark.parametrize(
    "asked",
    [
        ["operator=mha", "operator.params.num_heads=2,4", "shape.seq_len=8,16", "sweep=none"],
        ["operator=mha", "operator.params.embed_dim=choice(128,256)", "model=none,smollm2_135m", "sweep=none"],
        ["operator=softmax", "shape.seq_len=4,8", "shape.batch_size=2,${shape.seq_len}", "sweep=none"],
        ["operator=softmax", "framework=torch_compiled,numpy", "framework.threads=1,2", "contenders=[framework]"],
        ["operator=softmax", "shape.seq_len=4,8", "++framework.env.A=1", "matmul_precision=highest,tf32"],
        ["operator=softmax", "shape.seq_len=4,8", "hydra.sweep.subdir=${hydra.job.override_dirname}/${hydra.job.num}"],
        ["operator=softmax", "shape.kv_len=null,'7',8", "protocol.target=0.1,1e-05", "framework.requirement=mlx"],
    ],
)
def test_settings_of_every_kind_are_composed_as_hydra_does(loader, tmp_path, asked):
    config, jobs = composed(loader, asked)
    composer = Composer(config, loader)
    files = hydra_files.HydraFiles(".hydra")
    kept = [composer.compose(number, job).composed() for number, job in enumerate(jobs)]
    for number, job in list(enumerate(jobs))[:SHOWN]:  # each made of another
        family = composer.compose(number, job)
        hydras = loader.load_sweep_config(config, job)
        same(family.config, hydras, number)
        assert family.typed() == typed(hydras)
        assert str(family.config.hydra.sweep.subdir) == str(hydras.hydra.sweep.subdir)
        with open_dict(hydras.hydra.runtime):
            hydras.hydra.runtime.output_dir = str(tmp_path)
        files.write(kept[number], tmp_path)
        read = {name: OmegaConf.load(tmp_path / ".hydra" / f"{name}.yaml") for name in ("config", "hydra")}
        as_given = OmegaConf.to_container(OmegaConf.create(OmegaConf.to_yaml(hydras)), resolve=False)
        written = {
            key: value for file in read.values() for key, value in OmegaConf.to_container(file, resolve=False).items()
        }
        assert written == as_given  # as given: ${now:...} is another second later
        assert yaml.safe_load((tmp_path / ".hydra" / "overrides.yaml").read_text()) == list(hydras.hydra.overrides.task)


def test_a_value_that_does_not_fit_is_told_of_as_hydra_does():
    with pytest.raises(ConfigError, match=r"shape\.seq_len=x does not fit"):
        plan_of(["operator=softmax", "shape.seq_len=4,x", "sweep=none"])
