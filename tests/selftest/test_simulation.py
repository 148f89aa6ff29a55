"""The simulation runs what judges measurements, sees a promise that does not hold, and keeps the page around its tables."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mtbench.launch import commands
from mtbench.results.comparison import compare, corrected
from mtbench.results.inference import Floats
from mtbench.results.stats import Comparison
from mtbench.selftest.simulation import __main__ as simulation
from mtbench.selftest.simulation import judged, promises
from mtbench.selftest.simulation.judged import Estimate
from mtbench.selftest.simulation.noise import NOISES, Noise, normal
from mtbench.selftest.simulation.promises import Scale, Table

TINY = Scale(tables=12, trials=60)


def one_by_one(table: Floats) -> list[Comparison]:
    """The comparisons of one table (pairs, arms, restarts, rounds)."""
    arms = [[{place: float(np.exp(log)) for place, log in np.ndenumerate(arm)} for arm in pair] for pair in table]
    return [one for pair in arms if (one := compare(*pair)) is not None]


@pytest.mark.parametrize("restarts", [2, 3, 5])
@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise.name)
def test_whole_tables_are_judged_as_one_comparison_after_another(noise: Noise, restarts: int) -> None:
    drawn = noise.draw(np.random.default_rng(1), (2, 6, 2, restarts, 8))
    drawn[:, :, 1] += np.array([0, 0, 0.01, 0.03, 0.1, 0.3])[:, None, None]  # an effect in some pairs
    found = judged.bounds(judged.ratios(drawn), 2)
    thresholds, slower, wrong = judged.threshold(found), judged.slower(found), judged.any_false(found)
    for number, table in enumerate(drawn):
        alone = one_by_one(table)
        assert [one.ratio for one in alone] == pytest.approx(np.exp(found.estimate[number]))
        assert [one.p_value for one in alone] == pytest.approx(found.p_value[number])
        assert [one.threshold for one in alone] == pytest.approx(thresholds[number])
        assert [one.verdict == "slower" for one in alone] == slower[number].tolist()
        significant = [one.differs and one.p_value <= 0.05 for one in corrected(alone)]
        assert any(significant) == wrong[number]


def test_a_promise_that_does_not_hold_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two restarts that differ by 20 %, four times as much as is assumed."""
    monkeypatch.setattr(promises, "NOISES", (Noise("20 %", "", normal(0.2)),))
    scale = Scale(tables=200, trials=500)
    for part in (promises.coverage_of_a_time, promises.coverage_of_a_ratio, promises.families):
        assert any("2 restarts" in line for line in part(scale, np.random.default_rng(2)).broken)


@pytest.mark.parametrize(("value", "most", "least"), [(0.05, True, False), (0.08, False, False), (0.95, False, True)])
def test_a_promise_holds_within_four_errors(value: float, most: bool, least: bool) -> None:
    found = Estimate(value, 0.005)
    assert found.at_most(0.05) is most
    assert found.at_least(0.95) is least


def test_an_estimate_counts_tables_and_not_their_cells() -> None:
    found = Estimate.of(np.repeat([[True], [False]] * 50, 20, axis=1))
    assert (found.value, found.error) == pytest.approx((0.5, 0.05), rel=0.01)
    assert Estimate.of(np.zeros(200, dtype=bool)) == Estimate(0.0, 1 / 200)


def test_the_program_writes_its_tables_below_the_mark_and_fails_with_a_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(simulation, "QUICK", TINY)
    assert simulation.main(["--quick", "--seed", "1"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n## ") == len(simulation.PARTS)
    page = tmp_path / "truth.md"
    page.write_text(f"# Truth\n\nWords.\n\n{simulation.MARK}\n\nold tables\n")
    assert simulation.main(["--quick", "--seed", "1", "--into", str(page)]) == 0
    assert page.read_text() == f"# Truth\n\nWords.\n\n{simulation.MARK}\n\n{printed[:-1]}"

    def broken(_: Scale, __: np.random.Generator) -> Table:
        return Table("T", "t", ["a"], [["1"]], ["T does not hold"])

    monkeypatch.setattr(simulation, "PARTS", (broken,))
    assert simulation.main(["--quick"]) == 1
    assert "Broken: T does not hold" in capsys.readouterr().out
    page.write_text("no mark")
    with pytest.raises(SystemExit):
        simulation.main(["--quick", "--into", str(page)])


def test_the_page_has_the_tables_of_the_program_and_every_promise_held() -> None:
    page = (Path(__file__).parents[2] / "docs" / "truth.md").read_text()
    assert simulation.MARK in page
    assert "Every promise holds within four Monte Carlo errors." in page
    below = page.partition(simulation.MARK)[2]
    titles: Sequence[str] = [line.removeprefix("## ") for line in below.splitlines() if line.startswith("## ")]
    assert len(titles) == len(simulation.PARTS)


def test_the_self_tests_command_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "QUICK", TINY)
    monkeypatch.setattr(simulation, "PARTS", (simulation.centers,))
    found = CliRunner().invoke(commands.app, ["selftest", "--simulations", "--quick"])
    assert (found.exit_code, "## The median or the mean of the restarts" in found.output) == (0, True), found.output
