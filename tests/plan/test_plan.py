"""A plan is data: it survives JSON; and what competes in it is a setting."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from mtbench.catalogue import registry
from mtbench.errors import ConfigError
from mtbench.frameworks.base import CompileSettings
from mtbench.operators.base import Shape
from mtbench.plan.jobs import Arm, Job, Plan, Task, job, plan
from mtbench.plan.protocol import Protocol

OPERATORS = registry.names("operator")
FRAMEWORKS = registry.names("framework")

LLAMA = {
    "model_type": "llama", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
    "vocab_size": 8, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
}  # fmt: skip


def softmax(
    dtype: str = "float32", arm: Arm | None = None, contenders: tuple[str, ...] = ("framework",), **params: Any
) -> Job:
    given = {"embed_dim": 8} | params
    return job(Task("softmax", tuple(sorted(given.items())), dtype, Shape(1, 4)), arm or Arm("numpy"), 1e-5, contenders)


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_plan_of_any_operator_framework_and_variant_survives_json(operator: str) -> None:
    cls = registry.load("operator", operator)
    variants = {"native", "portable"} | {one for framework in FRAMEWORKS for one in cls.variants(framework)}
    defaults = tuple(sorted((each.name, each.default) for each in fields(cls)))
    if operator == "causal_lm":
        defaults = (("config", json.dumps(LLAMA)), ("phase", "decode"))
    jobs = [
        job(Task(operator, defaults, dtype, Shape(2, 8)), Arm(framework, mode, variant), 1e-5)
        for framework in FRAMEWORKS
        for mode in ("eager", "compiled")
        for variant in sorted(variants)
        for dtype in ("float32", "bfloat16")
    ]
    made = plan(jobs, Protocol(restarts=3, cpus=[1]))
    again = Plan.from_json(made.to_json())
    assert again == made
    assert [each.id for each in again.jobs] == [each.id for each in made.jobs]
    assert [[each.id for each in cell] for cell in again.by_cell()] == [
        [each.id for each in cell] for cell in made.by_cell()
    ]


def test_what_a_user_may_give_survives_json_too() -> None:
    task = Task("mine", (("axes", (1, 2)), ("none", None), ("scale", 0.5)), "float16", Shape(1, 2, 3), "a/mine.py", "m")
    arm = Arm("torch", framework_file="f.py", python="/usr/bin/python3", requirement="torch==2.13.0")
    made = Plan((Job(task, arm, 1e-2, Path("a/b")),), Protocol())
    assert Plan.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"jobs": 1, "protocol": {}}', '{"jobs": [{"task": {}}], "protocol": {}}', "no json"]
)
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"Plan|Expecting"):
        Plan.from_json(text)


def test_identities_stay_what_they_are() -> None:
    """Folders are named by them, and kept records found again."""
    one = job(Task("softmax", (("embed_dim", 768),), "float32", Shape(1, 64)), Arm("numpy"), 1e-5)
    assert one.folder == Path("softmax/numpy/float32/b1_s64-2127310c9b")


def test_by_default_libraries_compete_and_all_else_is_equal() -> None:
    default = ("framework", "operator.variant", "device", "matmul_precision")
    arms = [
        Arm("numpy"),
        Arm("torch"),
        Arm("torch", "compiled"),
        Arm("torch", variant="portable"),
        Arm("mlx", device="gpu"),
    ]
    made = plan([softmax(dtype, arm, default) for arm in arms for dtype in ("float32", "float16")], Protocol())
    assert [len(cell) for cell in made.by_cell()] == [5, 5]
    assert [arm.name for arm in made.arms] == ["numpy", "torch", "torch_compiled", "torch-portable", "mlx-gpu"]


def test_dtypes_compete_where_it_is_said() -> None:
    contenders = ("framework", "dtype")
    jobs = [softmax(dtype, Arm(name), contenders) for name in ("torch", "mlx") for dtype in ("float32", "bfloat16")]
    (cell,) = plan(jobs, Protocol()).by_cell()
    assert [one.arm.name for one in cell] == ["torch-float32", "torch-bfloat16", "mlx-float32", "mlx-bfloat16"]
    assert str(cell[0].cell) == "softmax b1_s4 embed_dim=8"
    assert {one.id for one in cell} == {replace(one, contenders=("framework",)).id for one in cell}


def test_what_does_not_compete_makes_cells_of_its_own() -> None:
    jobs = [softmax(arm=Arm("torch", device=device), contenders=("framework", "dtype")) for device in ("cpu", "gpu")]
    cells = plan(jobs, Protocol()).by_cell()
    assert [str(cell[0].cell) for cell in cells] == ["softmax b1_s4 cpu embed_dim=8", "softmax b1_s4 gpu embed_dim=8"]
    by_dtype = [softmax(dtype, Arm(name), ("dtype",)) for name in ("torch", "mlx") for dtype in ("float32", "float16")]
    cells = plan(by_dtype, Protocol()).by_cell()
    assert [[one.arm.name for one in cell] for cell in cells] == [
        ["torch-float32", "torch-float16"],
        ["mlx-float32", "mlx-float16"],
    ]


def test_parameters_compete_by_name() -> None:
    jobs = [softmax(contenders=("framework", "operator.params.embed_dim"), embed_dim=size) for size in (8, 16)]
    (cell,) = plan(jobs, Protocol()).by_cell()
    assert [one.arm.name for one in cell] == ["numpy-embed_dim=8", "numpy-embed_dim=16"]


def linear(operator: str, **params: Any) -> Job:
    task = Task(operator, tuple(sorted(params.items())), "float32", Shape(1, 4))
    return job(task, Arm("mlx"), 1e-5, ("framework", "operator"))


def test_operators_compete_with_the_parameters_that_both_have_held_equal() -> None:
    jobs = [linear("linear", embed_dim=64, bias=False)]
    jobs += [linear("quantized_linear", embed_dim=64, bits=bits) for bits in (4, 8)]
    jobs += [linear("linear", embed_dim=128, bias=False)]
    cells = plan(jobs, Protocol()).by_cell()
    assert [[one.arm.name for one in cell] for cell in cells] == [
        ["mlx-linear", "mlx-quantized_linear-bits=4", "mlx-quantized_linear-bits=8"],
        ["mlx-linear"],
    ]
    assert all(one.folder == one.usual_folder for cell in cells for one in cell)


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        (("shape.seq_len",), "cannot compete"),
        (("protocol",), "cannot compete"),
        (("model",), "cannot compete"),
        (("dtyp",), "Did you mean 'dtype'"),
        (("framework", "framework"), "each once"),
        ((), "at least one"),
    ],
)
def test_an_axis_that_cannot_compete_is_refused_in_one_line(axes: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        softmax(contenders=axes)
    assert "\n" not in str(refused.value)


def test_a_parameter_that_no_job_has_cannot_compete() -> None:
    with pytest.raises(ConfigError, match="No parameter for contenders 'bits'"):
        plan([softmax(contenders=("operator.params.bits",))], Protocol())


def test_jobs_of_one_plan_share_their_contenders() -> None:
    with pytest.raises(ConfigError, match="one list of contenders"):
        plan([softmax(), softmax("float16", contenders=("dtype",))], Protocol())


def test_plain_values_only() -> None:
    assert json.loads(plan([softmax()], Protocol()).to_json())["jobs"][0]["task"]["shape"]["kv_len"] is None


def test_how_a_library_is_set_up_is_part_of_the_arm_of_its_name_and_of_the_plan() -> None:
    graphs = CompileSettings(mode="reduce-overhead", fullgraph=True)
    options = CompileSettings(options=(("triton.cudagraphs", True),))
    arms = [
        Arm("torch", "compiled"),
        Arm("torch", "compiled", compile=graphs),
        Arm("torch", "compiled", compile=options),
        Arm("torch", threads=4),
        Arm("torch", env=(("OMP_NUM_THREADS", "1"), ("SOME_FOLDER", "/home/jane/a"))),
        Arm("torch", device="gpu", device_index=1),
        Arm("mlx", own=(("cache_limit_bytes", 0),)),
    ]
    made = plan([softmax(arm=arm, contenders=("framework", "device")) for arm in arms], Protocol())
    assert [arm.name for arm in made.arms] == [
        "torch_compiled",
        "torch_compiled-reduce-overhead-fullgraph=true",
        "torch_compiled-triton.cudagraphs=true",
        "torch-threads=4",
        "torch-OMP_NUM_THREADS=1-SOME_FOLDER=51c7a4",
        "torch-gpu1",
        "mlx-cache_limit_bytes=0",
    ]
    assert len(made.by_cell()) == 1
    assert len({each.id for each in made.jobs}) == len(arms)
    assert Plan.from_json(made.to_json()) == made


def test_a_set_up_that_does_not_compete_makes_cells_of_its_own() -> None:
    jobs = [softmax(arm=Arm("torch", threads=threads), contenders=("dtype",)) for threads in (1, 2)]
    assert [str(each.cell) for each in jobs] == [f"softmax b1_s4 torch threads={n} embed_dim=8" for n in (1, 2)]
