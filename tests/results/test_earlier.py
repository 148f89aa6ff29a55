"""What earlier sweeps say of the spread between restarts, by sweeps whose spread is known."""

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtbench.errors import ConfigError
from mtbench.results.earlier import learnt
from mtbench.results.inference import variance_between
from mtbench.results.merging import merge
from mtbench.results.moderated import learn
from mtbench.results.prior import HIGHEST_DF, RATIO, Prior, columns_of, of_row
from mtbench.results.record import Record, write
from record_builder import record, with_blocks

SPREAD = 0.02
RESTARTS = 4


def job(number: int, arm: str, sweep: str, **values: Any) -> Record:
    """A job whose restarts differ by SPREAD; its blocks within one are all alike."""
    rng = random.Random(f"{number} {arm} {sweep}")
    blocks = [[1e6 * math.exp(rng.gauss(0, SPREAD))] * 3 for _ in range(RESTARTS)]
    return with_blocks(record(arm, seq_len=number, sweep_id=sweep, **values), blocks)


def sweeps(count: int = 2, cells: int = 12, **values: Any) -> list[Record]:
    return [
        job(number, arm, f"sweep {sweep}", **values)
        for sweep in range(count)
        for number in range(1, cells + 1)
        for arm in ("torch", "mlx")
    ]


def written(folder: Path, records: list[Record]) -> Path:
    for number, one in enumerate(records):
        write(one, folder / f"{number}")
    return folder


def logs(one: Record, of: str = "latency_samples_ns") -> list[list[float]]:
    samples = [[np.median(block) for block in rounds] for rounds in getattr(one, of)]
    return np.log(samples).tolist()


def test_what_is_learnt_is_what_the_variances_of_known_sweeps_come_to(tmp_path: Path) -> None:
    records = sweeps()
    found = learnt([written(tmp_path, records)])
    (one,) = found.useful
    assert (one.jobs, one.pairs, one.sweeps, found.left_out, found.problems) == (48, 24, 2, {}, [])
    both = ("latency_samples_ns", "throughput_samples_ns")
    times = [variance_between(logs(each, of)) for each in records for of in both]
    pairs = [(records[number], records[number + 1]) for number in range(0, len(records), 2)]
    ratios = [variance_between((np.array(logs(b, of)) - logs(a, of)).tolist()) for a, b in pairs for of in both]
    sweeps_df = 2 * (RESTARTS - 1)
    for prior, variances, spread in ((one.time, times, SPREAD), (one.ratio, ratios, SPREAD * 2**0.5)):
        expected = learn([each for each in variances if each], sweeps_df)
        assert prior is not None
        assert expected is not None
        assert (prior.variance, prior.df) == pytest.approx((expected.variance, expected.df))
        assert prior.variance**0.5 == pytest.approx(spread, rel=0.25)
        assert 2 < prior.df <= HIGHEST_DF
    (line,) = found.lines(one.machine_id)
    assert line.startswith("Intervals use the spread of 48 jobs of 2 earlier sweeps (cpu): restarts differ by ")


def test_no_prior_is_worth_more_than_the_restarts_of_all_earlier_sweeps_together(tmp_path: Path) -> None:
    (one,) = learnt([written(tmp_path, sweeps(1))]).useful
    assert one.time is not None
    assert one.time.df <= RESTARTS - 1 + 1e-6


def test_what_cannot_tell_is_left_out_with_the_reason(tmp_path: Path) -> None:
    alien = [replace(one, machine_id="other") for one in sweeps()]
    busy = [job(number, "torch", "b", warnings=["contended: load 9"]) for number in range(1, 4)]
    drifted = [job(number, "torch", "b", warnings=["drifted: the canary changed by +5.0 %"]) for number in range(4, 6)]
    old = [job(number, "torch", "o", library_version="1.0") for number in range(1, 5)]
    wrong = [replace(job(1, "torch", "w"), status="mismatch", reason="wrong", latency_ns=None)]
    once = [with_blocks(record("torch", sweep_id="once"), [[1e6] * 3])]
    sound = sweeps()
    for number, one in enumerate(old):
        one.finished_at = sound[0].finished_at.replace(year=2000 + number)
    (alone,) = learnt([written(tmp_path / "a", sound)]).useful
    found = learnt([written(tmp_path / "b", [*sound, *alien, *busy, *drifted, *old, *wrong, *once])])
    assert [one for one in found.useful if one.machine_id == alone.machine_id] == [alone]
    assert {one.machine_id for one in found.useful} == {sound[0].machine_id, "other"}
    assert found.left_out == {
        "measured on a busy, hot or drifting machine": 5,
        "without a checked time": 1,
        "of a single restart": 1,
        "of an older version of their library": 4,
    }
    assert next(found.lines("nowhere")).startswith("Earlier records left out: ")
    assert list(found.lines("nowhere"))[-1] == (
        "The earlier sweeps say nothing of this machine, only of 2 others. Intervals do not use them."
    )


def test_a_record_gets_only_what_is_known_of_its_machine_device_and_library(tmp_path: Path) -> None:
    found = learnt([written(tmp_path, sweeps())]).useful
    mine = job(1, "torch", "today")
    columns = columns_of(found, vars(mine))
    informed = vars(replace(mine, **columns))
    assert len(columns) == 4
    for prior, kept in ((found[0].time, of_row(informed)), (found[0].ratio, of_row(informed, RATIO))):
        assert prior is not None
        assert kept is not None
        assert (kept.variance, kept.df) == (pytest.approx(prior.variance), prior.df)
    for change in (
        {"machine_id": "other"},
        {"device": "gpu"},
        {"library_version": "9.9"},
        {"device_kind": "cuda"},
        {"requirement": "torch==9.9"},
        {"warnings": ["contended: load 9"]},
    ):
        assert columns_of(found, vars(replace(mine, **change))) == {}, change


def test_too_few_jobs_are_said_to_be_too_few(tmp_path: Path) -> None:
    found = learnt([written(tmp_path, sweeps(1, cells=3))])
    assert found.useful == ()
    assert list(found.lines(found.of[0].machine_id)) == [
        "6 jobs of 1 earlier sweep (cpu) are too few to learn from: 10 are needed. Intervals do not use them."
    ]


def test_a_folder_and_the_file_merged_from_it_are_the_same_sweeps(tmp_path: Path) -> None:
    folder = written(tmp_path / "in", sweeps())
    merge([folder], tmp_path / "all.parquet")
    assert learnt([folder, tmp_path / "all.parquet"]) == learnt([folder]) == learnt([tmp_path / "all.parquet"])


def test_what_is_no_source_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no folder or file .*multrun of earlier sweeps"):
        learnt([tmp_path / "multrun"])
    with pytest.raises(ConfigError, match="No record of earlier sweeps under"):
        learnt([tmp_path])
    (written(tmp_path, sweeps()) / "0" / "record.parquet").write_text("no record")
    found = learnt([tmp_path])
    assert found.of[0].jobs == 47
    assert len(found.problems) == 1
    assert "left out, not a readable record" in next(found.lines(found.of[0].machine_id))


def test_a_record_without_a_prior_has_none() -> None:
    assert of_row({"earlier_spread": None, "earlier_df": None}) is None
    assert of_row({"earlier_spread": 0.01, "earlier_df": 3.0}) == Prior(0.01**2, 3.0)
