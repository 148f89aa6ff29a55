"""What all tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

DEVICE = "MTBENCH_TEST_DEVICE"
"""The variable by which `--device` reaches tests/operators/operator_cases.py, in every process of pytest-xdist."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device", choices=("cpu", "gpu"), default="cpu", help="where operators run: gpu is MPS, Metal or CUDA"
    )


def pytest_configure(config: pytest.Config) -> None:
    os.environ[DEVICE] = config.getoption("--device")


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tests' cache folder, so that no sweep of a test leaves its peak rates to the user's next sweep, or takes them."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder
