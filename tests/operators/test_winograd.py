"""The tolerance of conv2d in half precision: what Winograd's rounding in MLX on Metal needs, simulated, and not much more."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from mtbench.reference import round_to

CONV2D = Path(__file__).parents[2] / "conf" / "operator" / "conv2d.yaml"
DTYPES = Path(__file__).parents[2] / "conf" / "dtype"

# F(6x6, 3x3) at the points 0, 1, -1, 2, -2, 1/2, -1/2 and infinity: Lavin and Gray 2015, https://arxiv.org/abs/1509.09308.
POINTS = (1, -1, 2, -2, 0.5, -0.5)
OUT = np.array(
    [[1 if power == 0 else 0, *(p**power for p in POINTS), 1 if power == 5 else 0] for power in range(6)], float
)
FILTER = np.array(
    [
        [1, 0, 0],
        *(
            [
                np.array([1, p, p * p]) * scale
                for p, scale in zip(POINTS, [-2 / 9] * 2 + [1 / 90] * 2 + [32 / 45] * 2, strict=True)
            ]
        ),
        [0, 0, 1],
    ]
)
INPUT = np.array(
    [
        [1, 0, -21 / 4, 0, 21 / 4, 0, -1, 0],
        [0, 1, 1, -17 / 4, -17 / 4, 1, 1, 0],
        [0, -1, 1, 17 / 4, -17 / 4, -1, 1, 0],
        [0, 1 / 2, 1 / 4, -5 / 2, -5 / 4, 2, 1, 0],
        [0, -1 / 2, 1 / 4, 5 / 2, -5 / 4, -2, 1, 0],
        [0, 2, 4, -5 / 2, -5, 1 / 2, 1, 0],
        [0, -2, 4, 5 / 2, -5, -1 / 2, 1, 0],
        [0, -1, 0, 21 / 4, 0, -21 / 4, 0, 1],
    ]
)


def winograd_error(dtype: str, channels: int = 128, tiles: int = 4) -> float:
    """The relative error of tiles of 6x6 outputs, where what is transformed is stored in a dtype."""
    rng = np.random.default_rng(0)

    def stored(values: np.ndarray) -> np.ndarray:
        return round_to(values, dtype)

    x = stored(rng.standard_normal((tiles, channels, 8, 8)))
    w = stored(rng.standard_normal((channels, channels, 3, 3)) / (9 * channels) ** 0.5)
    there = stored(np.einsum("ab,tcbd,ed->tcae", INPUT, x, INPUT))
    filters = stored(np.einsum("ab,ocbd,ed->ocae", FILTER, w, FILTER))
    products = stored(np.einsum("tcae,ocae->toae", there, filters))
    out = np.einsum("ab,tobd,ed->toae", OUT, products, OUT)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
    expected = np.einsum("tcyxij,ocij->toyx", windows, w)
    return float(np.linalg.norm(out - expected) / np.linalg.norm(expected))


def test_the_simulation_is_a_convolution() -> None:
    assert winograd_error("float64") < 1e-12


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_conv2d_has_the_tolerance_that_winograd_needs(dtype: str) -> None:
    error = winograd_error(dtype)
    usual = yaml.safe_load((DTYPES / f"{dtype}.yaml").read_text())["tolerance"]
    exception = yaml.safe_load(CONV2D.read_text())["tolerance"][dtype]
    assert usual < error < exception
    assert exception < 4 * error


def test_float32_needs_no_exception() -> None:
    assert winograd_error("float32") < yaml.safe_load((DTYPES / "float32.yaml").read_text())["tolerance"]
    assert "float32" not in yaml.safe_load(CONV2D.read_text())["tolerance"]
