"""Where queued calls or energy answer otherwise than calls that are waited for, and that nothing is said where they do not."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from mtbench.api import read
from mtbench.errors import ConfigError
from mtbench.report import front
from mtbench.report.tables import load
from mtbench.results.answers import ENERGY, FASTEST, QUEUED, Answers, answers
from mtbench.results.answers.contests import of_records
from mtbench.results.record import Record, write
from record_builder import record, with_samples

LENGTHS = (64, 128)


def timed(arm: str, latency: float, queued: float, seq_len: int, joule: float | None = None) -> Record:
    """An arm whose waited and queued calls take these times in five restarts, and its energy."""
    draw = random.Random(f"{arm} {seq_len}")

    def blocks(ns: float) -> list[list[float]]:
        return [[ns * draw.uniform(0.998, 1.002) for _ in range(8)] for _ in range(5)]

    single = [[[round(ns)] * 3 for ns in rounds] for rounds in blocks(latency)]
    found = with_samples(record(arm, seq_len=seq_len, energy_joule=joule), single, blocks(queued))
    found.energy_joule = joule
    return found


def answered(records: Sequence[Record]) -> Answers:
    return answers(of_records(records), beside=of_records(records, "throughput"))


def turned(lengths: Sequence[int] = LENGTHS) -> list[Record]:
    """MLX is first in single calls, and torch in queued ones at these lengths."""
    return [
        one
        for length in LENGTHS
        for one in (
            timed("mlx", 1e5, 8e4, length),
            timed("torch", 1.5e5, 4e4 if length in lengths else 1.2e5, length),
        )
    ]


def test_queued_calls_with_another_winner_are_told() -> None:
    (one,) = answered(turned()).of(QUEUED)
    assert str(one) == (
        "Plain shapes, softmax, float32: with queued calls it is the other way round: torch is 2.0x faster than mlx (sure); "
        "with calls that are waited for, the fastest is mlx."
    )
    assert one.certainty == "sure"


def test_the_shapes_are_told_where_it_is_so_at_some() -> None:
    (one,) = answered(turned((128,))).of(QUEUED)
    assert "torch is 2.0x faster [2.0, 2.0] than mlx at seq 128 (sure)" in one.text


def test_nothing_is_said_where_both_agree_or_it_is_open() -> None:
    assert answered(turned(())).of(QUEUED) == []
    alike = [timed(arm, ns, 8e4, length) for length in LENGTHS for arm, ns in (("mlx", 1e5), ("torch", 1.5e5))]
    assert answered(alike).of(QUEUED) == []
    assert answers(of_records(turned())).of(QUEUED) == []  # throughput was not asked for


def test_less_energy_than_the_fastest_is_told_and_open() -> None:
    records = [
        one
        for length, joule in zip(LENGTHS, (0.5, 0.99), strict=True)
        for one in (timed("mlx", 1e5, 8e4, length, 1.0), timed("torch", 1.5e5, 1.2e5, length, joule))
    ]
    (one,) = answered(records).of(ENERGY)
    assert one.text == (
        "the fastest needs more energy: mlx takes 2.0x the energy of torch at seq 64 (open: one figure each, without an "
        "interval)."
    )
    assert one.certainty == "open"
    assert answered(turned()).of(ENERGY) == []  # none was recorded


def test_the_report_and_the_api_say_it(tmp_path: Path) -> None:
    for number, one in enumerate(turned()):
        write(one, tmp_path / str(number))
    found = front.answered(load([tmp_path]))
    assert [card.heading for card in front.cards(found)] == ["Plain shapes", "Queued calls"]
    results = read(tmp_path)
    assert [str(one) for one in results.answers().of(QUEUED)] == [str(one) for one in found.of(QUEUED)]
    asked = results.answers(metric="throughput")
    assert asked.of(FASTEST)[0].text.startswith("torch is 2.0x faster than mlx")
    assert asked.of(QUEUED) == []
    with pytest.raises(ConfigError, match="metric"):
        results.answers(metric="device")
