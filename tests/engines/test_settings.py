"""What runs a sweep, as it is chosen on the command line and in YAML."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from mtbench.engines.settings import NAMES, OF, EngineSettings, changed, check, of_data
from mtbench.errors import ConfigError
from mtbench.launch.compose import plan_of

CONF = Path(__file__).parents[2] / "conf" / "engine"


def test_each_engine_has_a_yaml_file_with_the_settings_that_it_reads():
    names = {each.name for each in fields(EngineSettings)}
    assert {path.stem for path in CONF.glob("*.yaml")} == set(NAMES)
    for name in NAMES:
        there = yaml.safe_load((CONF / f"{name}.yaml").read_text())
        assert check(EngineSettings(**there)).name == name
        assert set(there) == {each for each in names if name in OF.get(each, NAMES)}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (EngineSettings("lokal"), "Did you mean 'local'"),
        (EngineSettings("local", wait=False), "engine.wait is a setting of engine=slurm only"),
        (EngineSettings("slurm", gpus="all"), "engine.gpus is a setting of engine=local and ray only"),
        (EngineSettings("local", shards=0), "engine.shards=0 must be more than 0"),
        (EngineSettings("local", gpus="two"), "such as [0,1]"),
        (EngineSettings("local", gpus=[0, 0]), "such as [0,1]"),
        (EngineSettings("local", gpus=[True]), "such as [0,1]"),
        (EngineSettings("local", gpus="all", shards=2), "exclude each other"),
        (EngineSettings("ray", gpus=[0]), "valid: all"),
        (EngineSettings("ray", each="gpu"), "valid: machine"),
        (EngineSettings("ray", each="machine", shards=3), "exclude each other"),
        (EngineSettings("ray", each="machine", gpus="all"), "exclude each other"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, says):
    with pytest.raises(ConfigError) as error:
        check(settings)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_single_number_is_a_list_of_one():
    assert check(EngineSettings("local", gpus=1)).gpus == [1]


def test_settings_from_python_are_those_of_the_command_line():
    given = {"name": "slurm", "shards": 4, "options": {"slurm_partition": "gpu"}}
    written = ["engine=slurm", "engine.shards=4", "engine.options={slurm_partition: gpu}"]
    assert of_data(given) == changed(EngineSettings(), written)
    assert of_data("local") == of_data({}) == EngineSettings()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("slurn", "Did you mean 'slurm'"),
        ({"shard": 2}, "Did you mean 'engine.shards'"),
        ({"shards": "two"}, "engine.shards=two does not fit: it is an integer."),
        ({"wait": False}, "engine.wait is a setting of engine=slurm only"),
    ],
)
def test_wrong_settings_from_python_are_refused_in_a_line(given, says):
    with pytest.raises(ConfigError) as error:
        of_data(given)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_sweep_that_goes_on_may_take_another_engine():
    slurm = changed(EngineSettings(), ["engine=slurm", "engine.shards=4", "engine.options={slurm_partition: gpu}"])
    assert (slurm.name, slurm.shards, slurm.shard_minutes) == ("slurm", 4, 60)
    assert slurm.options == {"slurm_partition": "gpu"}
    assert changed(slurm, []) == slurm
    assert changed(slurm, ["engine=local"]) == EngineSettings()
    assert changed(EngineSettings(), ["engine.gpus=[0,1]"]).gpus == [0, 1]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("engine=slrum", "Did you mean 'slurm'"),
        ("engine.shard=4", "Did you mean 'engine.shards'"),
        ("engine.shards=many", "it is an integer"),
        ("engine.shards=[", "it is an integer"),
        ("engine.wait=null", "it is true or false"),
    ],
)
def test_what_cannot_be_changed_is_said(given, says):
    with pytest.raises(ConfigError) as error:
        changed(EngineSettings(), [given])
    assert says in str(error.value)


def test_a_list_without_brackets_would_be_a_sweep_over_engines():
    with pytest.raises(ConfigError, match="write lists in brackets"):
        plan_of(["operator=softmax", "framework=numpy", "sweep=none", "engine.gpus=0,1"])
