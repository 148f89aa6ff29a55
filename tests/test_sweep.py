"""Axes into jobs."""

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path

from mtbench import paths
from mtbench.errors import ConfigError
from mtbench.sweep import expand


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


def test_glob_names_every_option_of_a_group(loader):
    jobs = expand(loader, {}, [], ["dtype=glob(*)"])
    assert jobs == [["dtype=bfloat16"], ["dtype=float16"], ["dtype=float32"]]


@pytest.mark.parametrize("axis", ["sweep=none,default", "+experiment=quick,ancestor"])
def test_what_brings_axes_of_its_own_is_no_axis(loader, axis):
    with pytest.raises(ConfigError, match="only one can run"):
        expand(loader, {}, [], [axis])
