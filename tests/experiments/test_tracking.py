"""Tracking and its frontier, on bars that need no data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from configs.errors import EXIT_CODE
from configs.execution import ExecutionConfig
from configs.facts import FactsConfig
from experiments import tracking
from experiments.synthetic_bars import DAY_SECONDS, synthetic_bars
from market.bars import Bars

MINUTES = 30
PER_DAY = 13
SESSIONS = 6


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Bars:
    return synthetic_bars(tmp_path_factory.mktemp("bars") / "synthetic.csv", SESSIONS, seed=0)


@pytest.fixture(scope="module")
def found(bars: Bars) -> tracking.Tracking:
    return tracking.measure(ExecutionConfig(), bars, MINUTES, SESSIONS)


def test_bars_are_tracked(found: tracking.Tracking) -> None:
    for errors, count in ((found.long, SESSIONS * PER_DAY), (found.short, SESSIONS * PER_DAY * 6)):
        assert (errors.bars, errors.missing) == (count, 0)
        assert max(errors.open, errors.close) < 0.10
        assert max(errors.high, errors.low) < 0.15
        assert errors.volume_correlation > 0.9
        assert errors.volume_ratio == pytest.approx(1.0, abs=0.1)
    # Nothing follows exactly what it only leans toward.
    assert 0.01 < found.error < 0.3


def test_facts_stay_in_range_along_bars(found: tracking.Tracking) -> None:
    targets = FactsConfig().targets
    judged = [name for name in found.facts if getattr(targets, name).is_set]
    assert len(judged) >= 5
    for name in judged:
        target = getattr(targets, name)
        low = -np.inf if target.low is None else target.low
        high = np.inf if target.high is None else target.high
        assert low <= found.facts[name] <= high, name
    tails = [found.facts[f"kurtosis_{horizon}s"] for horizon in (1, 10, 60)]
    assert tails == sorted(tails, reverse=True)


def test_the_path_itself_has_a_variance_ratio_of_one(found: tracking.Tracking) -> None:
    assert found.path_ratios == pytest.approx((1.0, 1.0), abs=0.15)


def test_harder_leaning_trades_realism_for_tracking(bars: Bars, found: tracking.Tracking) -> None:
    """Too weak the mid trails and trends, too strong it swings."""
    rows = tracking.frontier(ExecutionConfig(), bars, MINUTES, 2, (1 / 3, 1.0, 2.5))
    leans, results = zip(*rows, strict=True)
    assert leans == pytest.approx((2 / 3, 2.0, 5.0))
    for place in (0, 1):
        ratios = [result.ratios[place] for result in results]
        assert ratios[0] > ratios[1] > ratios[2]
    assert results[0].ratios[0] > 1.3
    assert results[2].ratios[0] < 0.6
    assert results[0].error > 1.3 * results[1].error


def test_errors_are_medians_of_shares_of_the_range() -> None:
    """By hand: three given bars, one of them without range, one without a trade."""
    columns = {
        "start": np.array([0, 1, 2, 3]),
        "open": np.array([10.0, 10.0, 10.0, 10.0]),
        "high": np.array([14.0, 10.0, 20.0, 12.0]),
        "low": np.array([9.0, 10.0, 10.0, 10.0]),
        "close": np.array([12.0, 10.0, 15.0, 11.0]),
        "volume": np.array([1.0, 2.0, 3.0, 4.0]),
    }
    report = None
    given = Bars(**columns, source="given", fingerprint="", report=report)  # type: ignore[arg-type]
    made = replace(
        given,
        start=columns["start"][:3],
        open=np.array([11.0, 12.0, 11.0]),
        high=np.array([14.0, 12.0, 18.0]),
        low=np.array([9.5, 9.0, 12.0]),
        close=np.array([12.0, 9.0, 15.0]),
        volume=np.array([2.0, 4.0, 6.0]),
    )
    errors = tracking._errors([(given, made)])
    assert (errors.bars, errors.missing) == (4, 1)
    assert errors.open == pytest.approx((1 / 5 + 1 / 10) / 2)
    assert errors.high == pytest.approx((0 + 2 / 10) / 2)
    assert errors.low == pytest.approx((0.5 / 5 + 2 / 10) / 2)
    assert errors.close == 0.0
    assert errors.volume_correlation == pytest.approx(1.0)
    assert errors.volume_ratio == pytest.approx(12 / 10)


def test_synthetic_bars_are_days_whose_volume_follows_their_range(bars: Bars) -> None:
    assert len(bars) == SESSIONS * PER_DAY
    gaps = np.diff(bars.start) / 60e9
    assert set(gaps) == {30.0, 24 * 60 - DAY_SECONDS / 60 + 30}
    assert np.corrcoef(bars.volume, bars.high - bars.low)[0, 1] > 0.3
    year = np.sqrt(np.mean(np.log(bars.close / bars.open) ** 2) * 252 * PER_DAY)
    assert year == pytest.approx(0.15, rel=0.3)


def test_a_missing_file_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "nowhere" / "deep"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    assert tracking.main(["sample-bars"]) == EXIT_CODE
    printed = capsys.readouterr()
    assert "does not exist: expected a CSV or Parquet file of bars" in printed.err
    assert printed.out == ""


def test_the_command_prints_the_frontier(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], found: tracking.Tracking
) -> None:
    monkeypatch.setattr(tracking, "DAYS", 1)
    monkeypatch.setattr(tracking, "frontier", lambda *_: [(0.6, found), (2.0, found)])
    assert tracking.main([]) == 0
    printed = capsys.readouterr().out
    assert "30 m bars against the file: 78 bars" in printed
    assert "volume_clustering" not in printed
    assert "volatility_clustering" in printed
    lines = [line for line in printed.splitlines() if line.endswith("<- configured")]
    assert len(lines) == 1
    assert lines[0].split()[0] == "2.00"
    assert f"{found.ratios[0]:.3f}" in lines[0]
