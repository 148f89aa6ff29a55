"""Wrong parameters, and combinations that a stock module cannot do, are refused with a line that says why."""

from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf
from operator_cases import OPERATORS, build, draw

from mtbench import paths
from mtbench.catalogue import registry
from mtbench.errors import ConfigError, Unsupported
from mtbench.launch import config
from mtbench.operators.base import Operator, Shape


def refusal(name: str, params: dict[str, Any], shape: Shape | None = None) -> str:
    with pytest.raises(ConfigError) as refused:
        registry.load("operator", name).from_params(params).check(shape or Shape(1, 1))
    message = str(refused.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "params", "says"),
    [
        (
            "mha",
            {"embed_dim": 768, "num_heads": 7},
            "embed_dim=768 cannot be split into num_heads=7 equal heads; num_heads=6 or 8",
        ),
        ("sdpa", {"num_heads": 769}, "num_heads=384 or 768 would do"),
        ("transformer_encoder_layer", {"num_heads": 5}, "num_heads=5"),
        ("transformer_decoder_layer", {"num_heads": 5}, "num_heads=5"),
        ("mha", {"num_heads": 0}, "operator.params.num_heads=0 does not fit; it must be a whole number, 1 or more."),
        ("mha", {"num_heads": "abc"}, "num_heads='abc'"),
        ("mha", {"num_heads": 2.5}, "num_heads=2.5"),
        ("mha", {"num_heads": True}, "num_heads=true"),
        ("mha", {"num_heads": None}, "num_heads=null"),
        ("mha", {"head_dim": -1}, "head_dim=-1 does not fit; it must be null or a whole number, 1 or more."),
        ("mha", {"causal": 3}, "causal=3 does not fit; it must be true or false."),
        ("mha", {"causal": "yes"}, "causal='yes'"),
        ("layer_norm", {"eps": 0}, "eps=0 does not fit; it must be a number above 0."),
        ("layer_norm", {"eps": float("nan")}, "eps=nan"),
        ("layer_norm", {"eps": "small"}, "eps='small'"),
        ("transformer_encoder_layer", {"activation": "gleu"}, "No activation 'gleu'. Did you mean 'gelu'?"),
        ("mha", {"num_head": 8}, "No parameter 'num_head'. Did you mean 'num_heads'?"),
    ],
)
def test_a_bad_parameter_is_named(name: str, params: dict[str, Any], says: str) -> None:
    assert says in refusal(name, params)


@pytest.mark.parametrize("name", OPERATORS)
def test_no_parameter_takes_what_is_not_its_kind(name: str) -> None:
    for parameter in fields(registry.load("operator", name)):
        for value in (["list"], {"a": 1}, "nonsense"):
            assert parameter.name in refusal(name, {parameter.name: value})


def test_whole_numbers_will_do_for_numbers() -> None:
    assert registry.load("operator", "layer_norm").from_params({"eps": 1}).eps == 1


@pytest.mark.parametrize("name", ["sdpa", "mha"])
def test_a_causal_query_without_any_key_is_refused(name: str) -> None:
    assert "kv_len=3" in refusal(name, {"causal": True}, Shape(1, 5, 3))
    registry.load("operator", name).from_params({"causal": True}).check(Shape(1, 5, 5))
    registry.load("operator", name).from_params({"causal": False}).check(Shape(1, 5, 3))


@pytest.mark.parametrize("name", ["softmax", "layer_norm", "linear", "transformer_encoder_layer"])
def test_a_key_length_that_would_do_nothing_is_refused(name: str) -> None:
    assert "key length" in refusal(name, {}, Shape(1, 5, 5))


@pytest.mark.parametrize("name", OPERATORS)
def test_the_yaml_lists_every_parameter_at_its_default(name: str) -> None:
    config.register()
    operator_class: type[Operator] = registry.load("operator", name)
    file = OmegaConf.load(paths.conf() / "operator" / f"{name}.yaml")
    written = OmegaConf.to_container(OmegaConf.create({"operator": file, "model": {"name": None}}), resolve=True)[
        "operator"
    ]
    assert written["params"] == {field.name: field.default for field in fields(operator_class)}
    assert (written["name"], written["variant"]) == (name, "native")


def build_stock(name: str, library: str, **params: Any) -> Any:
    problem = registry.load("operator", name).from_params({"embed_dim": 32, "num_heads": 4} | params)
    _, weights = draw(problem, Shape(1, 1))
    return build(problem, library, "stock", weights, "float32")


LAYERS = ["transformer_encoder_layer", "transformer_decoder_layer"]


@pytest.mark.parametrize("name", LAYERS)
def test_mlx_stock_layers_say_what_they_cannot_do(name: str) -> None:
    with pytest.raises(Unsupported, match="no bias in its attention"):
        build_stock(name, "mlx", bias=True)
    with pytest.raises(Unsupported, match="takes no eps"):
        build_stock(name, "mlx", bias=False, eps=1e-3)
    with pytest.raises(Unsupported, match="no head_dim"):
        build_stock(name, "mlx", bias=False, head_dim=12)
    assert build_stock(name, "mlx", bias=False)


@pytest.mark.parametrize("name", [*LAYERS, "mha"])
def test_torch_stock_modules_say_what_they_cannot_do(name: str) -> None:
    with pytest.raises(Unsupported, match="no head_dim"):
        build_stock(name, "torch", head_dim=12)
    assert build_stock(name, "torch", head_dim=8)


def test_torch_stock_refuses_its_inexact_gelu_on_cuda_alone() -> None:
    class OnCuda:
        is_cuda = True

    layer = registry.load("operator", "transformer_encoder_layer")
    problem = layer.from_params({"embed_dim": 32, "num_heads": 4, "activation": "gelu"})
    assert build_stock("transformer_encoder_layer", "torch", activation="gelu")
    with pytest.raises(Unsupported, match="tanh"):
        problem.torch_stock(SimpleNamespace(**{"linear1.weight": OnCuda()}))


def test_an_operator_without_a_variant_says_so_by_its_name() -> None:
    with pytest.raises(KeyError, match="stock"):
        registry.load("operator", "softmax")().form("torch", "stock")
