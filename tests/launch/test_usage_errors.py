"""Mistakes that are found before anything is composed, and what Hydra raises of others, each in one line."""

import pytest

from mtbench.errors import ConfigError
from mtbench.launch.compose import plan_of
from mtbench.launch.usage_errors import check_arguments

SMALL = ["operator=softmax", "framework=numpy", "shape.seq_len=4", "sweep=none"]


@pytest.mark.parametrize("value", ["3.5", "null", "true", "[1]", "[]", ""])
@pytest.mark.parametrize("group", ["hydra/launcher", "hydra/sweeper", "hydra/job_logging", "hydra/launcher@somewhere"])
def test_a_group_of_hydras_takes_a_name(group, value):
    with pytest.raises(ConfigError, match="chooses nothing") as raised:
        check_arguments([f"{group}={value}"])
    assert "\n" not in str(raised.value)


def test_a_models_file_is_a_parameter_of_a_sweep():
    with pytest.raises(ConfigError, match=r"give the file as operator\.params\.config=/a/config\.json"):
        check_arguments(["operator=causal_lm", "model=/a/config.json"])


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("num_heads=3", r"operator\.params\.num_heads needs an operator that has it; add operator=gqa or operator="),
        ("num_head=3", r"No parameter of an operator 'num_head'\. Did you mean 'num_heads'\?"),
    ],
)
def test_a_parameter_needs_an_operator_that_has_it(parameter, expected):
    with pytest.raises(ConfigError, match=expected):
        check_arguments([f"operator.params.{parameter}"])
    assert check_arguments(["+experiment=quick", f"operator.params.{parameter}"])  # which brings operators


def test_the_operator_that_holds_where_none_is_chosen_may_have_the_parameter():
    assert check_arguments(["operator.params.embed_dim=64"])


@pytest.mark.parametrize("argument", ["hydra/launcher=basic", "hydra/callbacks=[a,b]", "hydra/job_logging=none"])
def test_names_are_left_to_hydra(argument):
    assert check_arguments([argument])


@pytest.mark.parametrize("key", ["hydra.run.dir", "hydra.sweep.dir"])
def test_a_folder_without_a_name_is_not_the_one_that_we_are_in(key):
    with pytest.raises(ConfigError, match="names no folder"):
        check_arguments([f"{key}="])
    assert check_arguments([f"{key}=."])


@pytest.mark.parametrize("value", ["inf", "nan", "-1"])
@pytest.mark.parametrize("setting", ["dtype.tolerance", "dtype.norm_tolerance"])
def test_a_tolerance_is_a_finite_number(setting, value):
    with pytest.raises(ConfigError, match="give a finite number, 0 or more"):
        plan_of([*SMALL, f"{setting}={value}"])


def test_a_defaults_list_that_cannot_be_is_told_in_a_line(tmp_path):
    (tmp_path / "experiment").mkdir()
    lines = ["# @package _global_", "defaults:", "  - override /dtype: 3.5"]
    (tmp_path / "experiment" / "odd.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="Supported: string or list") as raised:
        plan_of([*SMALL[:2], "+experiment=odd"], tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "requirement",
    ["mlx @ https://alice:hunter2@127.0.0.1:1/mlx.whl", "mlx @ git+https://hunter2@example.org/mlx.git"],
)
def test_an_address_with_a_password_is_refused_and_not_repeated(requirement):
    with pytest.raises(ConfigError, match=r"~/\.netrc") as raised:
        plan_of([*SMALL, f"framework.requirement={requirement}"])
    assert "hunter2" not in str(raised.value)


def test_an_address_by_ssh_names_nobody():
    (job,) = plan_of([*SMALL, "framework.requirement=mlx @ git+ssh://git@example.org/mlx.git"]).jobs
    assert str(job.arm.requirement).endswith("git+ssh://git@example.org/mlx.git")
