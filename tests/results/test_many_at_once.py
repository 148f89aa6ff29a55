"""What is done with many records at once, to be fast, comes to what it comes to one by one."""

import math
import random
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mtbench.report.charts import Chart
from mtbench.report.packed import FEWEST, packed, unpacked
from mtbench.results import comparison, format, record
from mtbench.results.answers import questions
from mtbench.results.answers.contests import duels, of_records, rounds
from mtbench.results.comparison import Timing
from mtbench.results.samples import blocks, by_row, table
from record_builder import Grid, measured, write_grid


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    write_grid(folder, Grid(batch_sizes=(1,), seq_lens=(64, 128)))
    return folder


def test_contests_are_those_of_each_pair_alone(sweep: Path) -> None:
    records = record.of_rows(record.read(record.find([sweep]))[0])
    found = rounds(of_records(records))
    assert len(found) == 4
    for one in found:
        pairs = [
            (contest.winner, form, contest.over[form.name]) for contest in one.contests for form in contest.forms[1:]
        ]
        assert len(pairs) == 8
        alone = [("family", comparison.against(a.timings[-1], b.timings[-1])) for a, b, _ in pairs]
        assert comparison.judged(alone) == [together for _, _, together in pairs]


def test_changes_and_duels_are_those_of_each_pair_alone(sweep: Path) -> None:
    found = rounds(of_records(record.of_rows(record.read(record.find([sweep]))[0])))
    changes = [*questions.compiling(found), *questions.precisions(found)]
    assert len(changes) == 4 * 2 + 2 * 2  # compiling in each dtype, and the other dtype, of two libraries
    for change in changes:
        alone = [("f", comparison.against(s.before.timings[-1], s.after.timings[-1])) for s in change.steps]
        assert comparison.judged(alone) == [step.comparison for step in change.steps]
    by_group: dict[Any, list[Any]] = defaultdict(list)
    for duel in duels(found):
        by_group[duel.group].append(duel)
    assert {len(own) for own in by_group.values()} == {2}  # numpy does not compete
    for one in (one for own in by_group.values() for one in own):
        alone_ratio = comparison.against(one.a.timings[-1], one.b.timings[-1]).ratio
        assert one.comparison.ratio == pytest.approx(alone_ratio)


def test_pairs_with_unlike_rounds_are_compared_in_their_places() -> None:
    rng = random.Random(1)
    shapes = [(3, 8), (1, 8), (3, 8), (2, 5), (1, 2), (3, 8)]
    timings = []
    for restarts, number in shapes:
        pair = [measured(arm, rng, restarts=restarts, rounds=number) for arm in ("torch", "mlx")]
        timings.append([Timing.of(vars(one), "latency", blocks(one, "latency")) for one in pair])
    pairs = [(a, b) for a, b in timings if a is not None and b is not None]
    assert comparison.against_all(pairs) == [comparison.against(a, b) for a, b in pairs]


def test_arrays_of_blocks_are_compared_as_blocks_one_by_one(sweep: Path) -> None:
    frame, _ = record.read(record.find([sweep]))
    for metric in ("latency", "throughput"):
        arrays = list(by_row(table(frame, metric)).values())
        arrays.append(by_row(table(frame, metric).filter(pl.col("round") != 3))[0])  # an arm may miss a round
        pairs = [(a, b, None) for a, b in pairwise([*arrays, arrays[0]])]
        assert len(pairs) > 40
        assert comparison.compare_all(pairs) == [comparison.compare(dict(a), dict(b)) for a, b, _ in pairs]
    assert {found.pairs for found in comparison.compare_all(pairs) if found is not None} == {24, 21}


def test_numbers_are_rounded_at_once_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    near = [
        place * 10.0**power for power in range(-3, 13) for place in (9.9994, 9.99949999, 9.9995, 9.99950001, 1, 5.5)
    ]
    times = np.array([*near, *(10 ** rng.uniform(-3, 13, 2000)), *(rng.integers(1, 10**8, 2000) / 2)])
    assert format.rounded(times, 5).tolist() == [float(f"{ns:.5g}") for ns in times.tolist()]


def test_usual_numbers_are_written_as_all_are() -> None:
    values = [
        place * 10.0**power
        for power in range(-4, 5)
        for place in (1, 1.005, 9.89, 9.9, 9.949, 9.95, 9.994, 9.995, 9.9999)
    ]
    for value in values:
        text = f"{value:.2e}"
        assert format.significant(value) == f"{float(text):.{max(0, 2 - int(text.partition('e')[2]))}f}", value
        exponent = int(f"{100 * value:.1e}".partition("e")[2])
        told = f"{100 * value:.{max(0, 1 - exponent)}f}"
        assert format.percent(value) == f"{told.rstrip('0').rstrip('.') if '.' in told else told} %", value


def test_a_torn_file_costs_no_other_record(sweep: Path, tmp_path: Path) -> None:
    whole, problems = record.read(record.find([sweep]))
    assert problems == []
    torn = [tmp_path / name / record.FILE_NAME for name in ("a", "b")]
    for file, good in zip(torn, record.find([sweep])[::7], strict=False):
        file.parent.mkdir()
        file.write_bytes(good.read_bytes()[:-40])
    files = record.find([sweep])
    read, problems = record.read([torn[0], *files[:11], torn[1], *files[11:]])
    assert_frame_equal(read, whole)
    assert [problem.partition(":")[0] for problem in problems] == [str(file) for file in torn]


def test_packed_rows_come_out_as_they_were() -> None:
    rows = [
        {"text": f"a long text that repeats {n % 3}", "one": str(n), "value": n / 7, "none": None, "on": n > 4}
        for n in range(FEWEST)
    ]
    datasets = {"rows": rows, "few": rows[:2], "unlike": [*rows, {"text": "x"}], "frame": pl.DataFrame(rows)}
    chart = Chart("one", "point", None, {"mark": "point", "datasets": datasets})
    assert chart.spec == {"mark": "point", "datasets": datasets | {"frame": rows}}
    assert unpacked(chart.packed) == chart.spec
    assert len(str(packed(rows))) < len(str(rows)) / 2
    assert math.isclose(packed(rows)["value"][7], 1.0)
