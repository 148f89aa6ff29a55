"""How a library is set up, from what a user writes to the record."""

import json

import pytest

from mtbench import api
from mtbench.errors import ConfigError
from mtbench.launch.compose import plan_of


def arms(*arguments: str) -> list[str]:
    return [each.arm.name for each in plan_of(["sweep=none", *arguments]).jobs]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["framework=torch_graphs"], ["torch_compiled-reduce-overhead"]),
        (
            ["framework=torch_compiled", "framework.compile.mode=default,max-autotune-no-cudagraphs"],
            ["torch_compiled-default", "torch_compiled-max-autotune-no-cudagraphs"],
        ),
        (
            ["framework=torch_graphs,torch_compiled", "framework.compile.mode=max-autotune"],
            ["torch_compiled-max-autotune"],
        ),
        (
            [
                "framework=torch_compiled",
                "framework.compile.options.triton.cudagraphs=true",
                "framework.compile.dynamic=true",
            ],
            ["torch_compiled-dynamic=true-triton.cudagraphs=true"],
        ),
        (
            ["operator=sdpa", "framework=torch,mlx_compiled", "operator.variant=glob(*,exclude=portable)"],
            [
                "torch",
                "torch-array_mask",
                "torch-grouped_rows",
                "torch-products",
                "torch-repeated_heads",
                "mlx_compiled",
            ],
        ),
        (["operator=sdpa", "framework=torch", "operator.variant=native,products"], ["torch", "torch-products"]),
        (
            ["operator=sdpa", "framework=jax", "operator.variant=glob(*,exclude=portable)"],
            ["jax", "jax-cudnn", "jax-products"],
        ),
        (["framework=numpy", "framework.threads=1,2"], ["numpy-threads=1", "numpy-threads=2"]),
        (["framework=numpy", "framework.env.A=1,x"], ["numpy-A=1", "numpy-A=x"]),
        (
            ["framework=mlx", "framework.settings.cache_limit_bytes=0,4096"],
            [f"mlx-cache_limit_bytes={n}" for n in (0, 4096)],
        ),
        (["framework=torch", "device=gpu:0,gpu:1,cpu"], ["torch-gpu0", "torch-gpu1", "torch-cpu"]),
    ],
)
def test_settings_are_axes(arguments: list[str], names: list[str]) -> None:
    assert arms(*arguments) == names


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["framework=torch", "framework.compile.mode=default"], "needs a compiled framework; choose torch_compiled"),
        (["framework=torch_graphs", "framework.compile.options.max_autotune=true"], "exclude each other"),
        (["framework=torch", "framework.threads=0"], "framework.threads=0 is not valid"),
        (["framework=torch", "framework.threads=many"], "framework.threads=many does not fit"),
        (["framework=torch", "framework.compile.speed=high"], "framework.compile.speed"),
        (["framework=torch", "operator.variant=glob(*)"], "choose both"),
        (["device=gpu:x"], "device 'gpu:x'"),
        (["device=cpu:1"], "device 'cpu:1'"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(arguments: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        arms(*arguments)


def test_the_worker_is_set_up_so_and_the_record_says_it(tmp_path) -> None:
    asked = [
        "framework.env.MTBENCH_SPEC=a/b",
        "framework.threads=1",
        "framework=numpy,torch",
        "operator.params.embed_dim=8",
    ]
    protocol = {"restarts": 1, "looks": [3], "warmup_cap_s": 0.3, "block_ms": 1}
    made = api.measure(operator="softmax", protocol=protocol, folder=tmp_path, device="cpu", overrides=asked)
    numpy, torch = sorted(made.rows, key=lambda row: row.framework)
    assert [numpy.status, torch.status] == ["ok", "ok"], (numpy.reason, torch.reason)
    assert torch.threads == 1
    assert torch.setup is not None
    assert torch.setup.startswith("threads=1 MTBENCH_SPEC=")
    assert json.loads(numpy.asked_settings) == {"env": {"MTBENCH_SPEC": "a/b"}, "threads": 1}
    assert numpy.compiled_with == "{}"


def test_a_worker_has_the_arms_variables_in_its_environment(tmp_path) -> None:
    (tmp_path / "operator").mkdir()
    (tmp_path / "operator" / "told.yaml").write_text("name: told\n")
    (tmp_path / "operator" / "told.py").write_text(TOLD)
    protocol = {"restarts": 1, "looks": [3], "warmup_cap_s": 0.3, "block_ms": 1}
    made = api.measure(
        operator="told",
        framework="numpy",
        protocol=protocol,
        folder=tmp_path / "out",
        config_dir=tmp_path,
        overrides=["framework.threads=3", "framework.env.OMP_NUM_THREADS=2"],
    )
    (row,) = made.rows
    assert row.warnings[0] == "2 3"


TOLD = """
import os
from dataclasses import dataclass

from mtbench.operators.softmax import Softmax


@dataclass(frozen=True)
class Told(Softmax):
    embed_dim: int = 8

    def caveats(self):
        return [f"{os.environ['OMP_NUM_THREADS']} {os.environ['OPENBLAS_NUM_THREADS']}"]
"""
