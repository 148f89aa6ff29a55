"""Axes into jobs."""

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from mtbench import paths
from mtbench.errors import ConfigError
from mtbench.launch.compose import plan_of
from mtbench.launch.expand import expand, quoted


@pytest.fixture
def loader():
    return ConfigLoaderImpl(create_config_search_path(str(paths.conf())))


def test_the_command_line_replaces_an_axis_of_the_yaml(loader):
    jobs = expand(loader, {"shape.seq_len": "64,128", "dtype": "float32"}, [], ["shape.seq_len=8,16", "operator=mha"])
    assert [sorted(job) for job in jobs] == [
        ["dtype=float32", "operator=mha", "shape.seq_len=8"],
        ["dtype=float32", "operator=mha", "shape.seq_len=16"],
    ]


def test_grids_are_united_and_a_job_named_twice_is_one(loader):
    grids = [{"operator": "a,b"}, {"operator": "b"}, {"operator": "c", "operator.params.num_heads": "1,8"}]
    jobs = expand(loader, {"dtype": "float16"}, grids, [])
    assert jobs == [
        ["dtype=float16", "operator=a"],
        ["dtype=float16", "operator=b"],
        ["dtype=float16", "operator=c", "operator.params.num_heads=1"],
        ["dtype=float16", "operator=c", "operator.params.num_heads=8"],
    ]


def test_the_command_line_selects_within_grids(loader):
    grids = [{"operator": "a,b"}, {"operator": "b,c", "operator.params.num_heads": "1,8"}]
    jobs = expand(loader, {}, grids, ["operator=c"])
    assert [sorted(job) for job in jobs] == [
        ["operator.params.num_heads=1", "operator=c"],
        ["operator.params.num_heads=8", "operator=c"],
    ]
    with pytest.raises(ConfigError, match="operator=d"):
        expand(loader, {}, grids, ["operator=d"])


def test_an_axis_may_be_a_list_in_yaml_but_a_setting_that_is_a_list_is_one_value(loader):
    given = {"operator": OmegaConf.create(["mha", "gelu"]), "shape.seq_len": [4, 8], "protocol.looks": [3, 6]}
    jobs = expand(loader, given, [], [])
    assert [(job[0], job[1]) for job in jobs] == [
        ("operator=mha", "shape.seq_len=4"),
        ("operator=mha", "shape.seq_len=8"),
        ("operator=gelu", "shape.seq_len=4"),
        ("operator=gelu", "shape.seq_len=8"),
    ]
    assert {job[2] for job in jobs} == {"protocol.looks=[3,6]"}


def test_null_and_a_text_in_quotes_alone_are_a_parameters_values():
    config = (
        '{"model_type": "llama", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, '
        '"vocab_size": 8, "rms_norm_eps": 1e-06}'
    )
    asked = ["operator=causal_lm", "operator.params.weight_dtype=null", f"operator.params.config='{config}'"]
    (job,) = plan_of([*asked, "framework=numpy", "dtype=bfloat16", "sweep=none"]).jobs
    assert (job.task.problem.weight_dtype, job.task.problem.config) == (None, config)


def test_glob_names_every_option_of_a_group(loader):
    jobs = expand(loader, {}, [], ["dtype=glob(*)"])
    assert jobs == [["dtype=bfloat16"], ["dtype=float16"], ["dtype=float32"]]


@pytest.mark.parametrize("axis", ["sweep=none,default", "+experiment=quick,ancestor"])
def test_what_brings_axes_of_its_own_is_no_axis(loader, axis):
    with pytest.raises(ConfigError, match="only one can run"):
        expand(loader, {}, [], [axis])


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("framework.requirement=mlx==0.31.0", ["mlx==0.31.0"]),
        ("framework.requirement=mlx==0.31.0,mlx==0.32.4", ["mlx==0.31.0", "mlx==0.32.4"]),
        ("framework.requirement=null, mlx==0.31.0", [None, "mlx==0.31.0"]),
        ("framework.requirement=mlx>=0.30,<0.31,mlx~=0.31.0", ["mlx>=0.30,<0.31", "mlx~=0.31.0"]),
        ("framework.requirement=mlx[cpu,dev]==0.31.0,null", ["mlx[cpu,dev]==0.31.0", None]),
        ("framework.requirement='mlx==0.31.0',\"mlx<0.31\"", ["mlx==0.31.0", "mlx<0.31"]),
        ("framework.requirement=mlx; python_version<'4'", ["mlx; python_version<'4'"]),
        ("framework.requirement=choice('mlx<1','mlx>=1')", ["mlx<1", "mlx>=1"]),
        ("framework.requirement=mlx @ file:///a b/mlx.whl", ["mlx @ file:///a b/mlx.whl"]),
        ("framework.python=~/a/bin/python,/b c/python3", ["~/a/bin/python", "/b c/python3"]),
        ("framework=torch,mlx", ["torch", "mlx"]),
    ],
)
def test_requirements_and_paths_are_written_as_for_pip_and_the_shell(argument, values):
    override = OverridesParser.create().parse_override(quoted(argument))
    parsed = override.value()
    found = list(parsed.list) if override.is_sweep_override() else [parsed]
    assert [None if value is None else str(getattr(value, "text", value)) for value in found] == values


def test_versions_are_an_axis_in_yaml_and_on_the_command_line(loader):
    jobs = expand(loader, {"framework.requirement": "null,mlx==0.31.0"}, [], [])
    assert jobs == [["framework.requirement=null"], ["framework.requirement='mlx==0.31.0'"]]
    assert expand(loader, {}, [], [quoted("framework.requirement=mlx==0.30.0")]) == [
        ["framework.requirement='mlx==0.30.0'"]
    ]


@pytest.mark.parametrize(
    ("argument", "added"),
    [
        ("framework.env.OMP_NUM_THREADS=1,2", "++framework.env.OMP_NUM_THREADS=1,2"),
        ("framework.settings.cache_limit_bytes=0", "++framework.settings.cache_limit_bytes=0"),
        ("framework.compile.options.max_autotune=true", "++framework.compile.options.max_autotune=true"),
        ("framework.compile.mode=default", "framework.compile.mode=default"),
        ("device=gpu:0,gpu:1", "device.name=gpu:0,gpu:1"),
        ("device=gpu", "device=gpu"),
    ],
)
def test_names_of_the_users_own_are_added_and_a_gpus_number_is_a_name(argument, added):
    assert quoted(argument) == added


def test_a_librarys_own_setting_goes_to_those_that_have_it(loader):
    asked = [
        "framework=torch,mlx,llama_cpp",
        "++framework.settings.blas=lib.so",
        "++framework.settings.ubatch_size=1,2",
    ]
    assert expand(loader, {}, [], asked) == [
        ["framework=torch"],
        ["framework=mlx", "++framework.settings.blas=lib.so"],
        ["framework=llama_cpp", "++framework.settings.ubatch_size=1"],
        ["framework=llama_cpp", "++framework.settings.ubatch_size=2"],
    ]
    assert expand(loader, {}, [], ["framework=torch", "++framework.settings.blas=lib.so"]) == [
        ["framework=torch", "++framework.settings.blas=lib.so"]  # which is refused when it is composed
    ]


def test_a_compilers_settings_are_left_out_where_another_framework_of_the_sweep_takes_them(loader):
    asked = ["framework=torch,torch_compiled,mlx_compiled", "framework.compile.mode=default,reduce-overhead"]
    assert expand(loader, {}, [], asked) == [
        ["framework=torch"],
        ["framework=torch_compiled", "framework.compile.mode=default"],
        ["framework=torch_compiled", "framework.compile.mode=reduce-overhead"],
        ["framework=mlx_compiled"],
    ]
    assert expand(loader, {}, [], ["framework=torch", "framework.compile.mode=default"]) == [
        ["framework=torch", "framework.compile.mode=default"]  # which is refused when it is composed
    ]
