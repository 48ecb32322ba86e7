"""Significance by closed forms, by known values and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from configs.errors import ConfigError, DataError
from trainers.evaluation import significance as told

DAYS = 252


def _noise(days: int, candidates: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((days, candidates))


def _exactly(mean: float, days: int) -> np.ndarray:
    """Returns of a given Sharpe ratio and of the skew 0 and kurtosis 1 of a coin."""
    coin = np.tile([1.0, -1.0], days // 2)
    return mean * coin.std(ddof=1) + coin


def test_psr_of_a_coin_by_hand() -> None:
    returns = _exactly(0.1, 200)
    # Of a coin g3 = 0 and g4 = 1: what is under the root is 1.
    assert float(told.psr(returns)) == pytest.approx(norm.cdf(0.1 * math.sqrt(199)), rel=1e-9)
    higher = float(told.psr(returns, 0.1))
    assert higher == pytest.approx(0.5, abs=1e-9)


def test_psr_of_the_paper_s_example() -> None:
    """Bailey and Lopez de Prado (2012): n 24, SR .458, skew -2.448, kurtosis 10.164: PSR .913."""
    found = told.Moments(np.array(0.458), np.array(-2.448), np.array(10.164), np.array(24.0))
    assert float(told.psr_of(found)) == pytest.approx(0.913, abs=0.001)
    normal = told.Moments(np.array(0.458), np.array(0.0), np.array(3.0), np.array(24.0))
    assert float(told.psr_of(normal)) == pytest.approx(0.982, abs=0.001)


def test_dsr_of_the_paper_s_example() -> None:
    """Bailey and Lopez de Prado (2014), section 'A numerical example': DSR .9004.

    An annual Sharpe ratio of 2.5 over 1,250 days, 100 trials of variance 1/2 a year, skew
    -3, kurtosis 10; the bar lies at .1132 a day.
    """
    bar = float(told.expected_best(100, math.sqrt(0.5 / 250)))
    assert bar == pytest.approx(0.1132, abs=1e-4)
    found = told.Moments(
        np.array(2.5 / math.sqrt(250)), np.array(-3.0), np.array(10.0), np.array(1250.0)
    )
    assert float(told.psr_of(found, bar)) == pytest.approx(0.9004, abs=1e-3)


def test_the_best_of_100_on_noise_over_two_years_is_the_known_one() -> None:
    """1.79 a year: 100 trials whose Sharpe ratios have the deviation of no skill."""
    bar = float(told.expected_best(100, math.sqrt(1.0 / (2 * DAYS)))) * math.sqrt(DAYS)
    assert bar == pytest.approx(1.79, abs=0.01)
    best = [told.sharpe(_noise(2 * DAYS, 100, seed), DAYS).max() for seed in range(200)]
    assert np.mean(best) == pytest.approx(bar, abs=0.06)
    assert float(told.expected_best(1)) == 0.0


def test_the_least_record_of_a_sharpe_ratio_of_one_is_2_7_years() -> None:
    generator = np.random.default_rng(0)
    drawn = generator.standard_normal(200_000)
    drawn = (drawn - drawn.mean()) / drawn.std() + 1.0 / math.sqrt(DAYS)
    needed = float(told.min_track_record(drawn)) / DAYS
    assert needed == pytest.approx(2.7, abs=0.02)
    # A record of that length has the asked probability, by definition.
    assert float(
        told.psr_of(
            told.Moments(
                np.array(1.0 / math.sqrt(DAYS)),
                np.array(0.0),
                np.array(3.0),
                np.array(needed * DAYS),
            )
        )
    ) == pytest.approx(0.95, abs=1e-3)
    assert float(told.min_track_record(-drawn)) == math.inf


def test_trending_returns_count_as_fewer_and_alternating_ones_not_as_more() -> None:
    noise = _noise(20_000, 1)[:, 0]
    slow = np.empty_like(noise)
    slow[0] = noise[0]
    for t in range(1, len(noise)):
        slow[t] = 0.3 * slow[t - 1] + noise[t]
    # The long-run variance of an AR(1) is (1 + phi) / (1 - phi) times its own.
    share = float(told.effective_periods(slow)) / len(slow)
    assert share == pytest.approx((1 - 0.3) / (1 + 0.3), rel=0.06)
    assert float(told.effective_periods(np.tile([1.0, -1.0], 50))) == 100.0
    assert float(told.effective_periods(np.zeros(50))) == 50.0


def test_pbo_is_a_half_on_noise_and_none_of_a_planted_skill() -> None:
    on_noise = [told.overfitting(_noise(500, 20, seed), 8).pbo for seed in range(60)]
    assert np.mean(on_noise) == pytest.approx(0.5, abs=0.08)
    panel = _noise(500, 20, 1)
    panel[:, 7] += 0.4
    found = told.overfitting(panel)
    assert found.splits == 12_870
    assert found.pbo < 0.01


def test_pbo_is_one_where_what_gains_in_a_half_loses_in_the_other() -> None:
    """Two candidates, each the mirror of the other over time: the best always turns worst."""
    blocks, length = 4, 50
    ramp = np.repeat([3.0, 1.0, -1.0, -3.0], length)
    wiggle = np.tile([1.0, -1.0], blocks * length // 2)
    panel = np.column_stack([ramp + wiggle, -ramp + wiggle])
    found = told.overfitting(panel, blocks)
    assert found.splits == 6
    # Halves that hold (3, -3) or (1, -1) tie; the other four turn round.
    assert found.pbo == pytest.approx(4 / 6)


def test_pbo_equals_its_definition_split_by_split() -> None:
    panel = _noise(43, 5, 3)
    blocks, length = 4, 10
    cut = panel[3:].reshape(blocks, length, 5)
    from itertools import combinations

    below = 0
    for inside in combinations(range(blocks), 2):
        outside = [b for b in range(blocks) if b not in inside]
        first = np.concatenate([cut[b] for b in inside])
        later = np.concatenate([cut[b] for b in outside])
        best = (first.mean(0) / first.std(0)).argmax()
        ratio = later.mean(0) / later.std(0)
        rank = (ratio <= ratio[best]).sum() / 6.0
        below += math.log(rank / (1 - rank)) < 0
    assert told.overfitting(panel, blocks).pbo == pytest.approx(below / 6)


def test_a_verdict_counts_every_trial() -> None:
    panel = _noise(5 * DAYS, 20, 4) * 0.01
    panel[:, 3] += 0.01 * 2.2 / math.sqrt(DAYS) - panel[:, 3].mean()
    few, many = told.verdict(panel), told.verdict(panel, trials=100_000)
    assert few.candidate == many.candidate == 3
    assert few.says == "evidence"
    assert many.says == "no evidence"
    assert few.probability == pytest.approx(few.psr**20)
    assert few.dsr > many.dsr
    assert few.sharpe == pytest.approx(2.2, abs=0.05)
    assert "best of 20" in str(few)


def test_a_verdict_on_what_never_trades_is_no_evidence() -> None:
    idle = told.verdict(np.zeros((100, 1)))
    assert (idle.says, idle.probability) == ("no evidence", 0.0)
    assert "no Sharpe ratio" in str(idle)
    assert "nan" not in str(idle)
    assert idle.as_dict()["sharpe"] is None


def test_the_chosen_one_does_not_raise_the_bar_that_it_has_to_pass() -> None:
    panel = _noise(1_260, 20, 2)
    panel[:, 0] += 2.0 / math.sqrt(DAYS)
    assert told.trial_deviation(panel, leave_out=0) < told.trial_deviation(panel)
    assert told.trial_deviation(panel[:, :1]) == pytest.approx(math.sqrt(1 / 1_259))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: told.verdict(_noise(50, 4), trials=3), ConfigError, "at least as many"),
        (lambda: told.verdict(_noise(50, 4), candidate=4), ConfigError, "from 0 to 3"),
        (lambda: told.verdict(np.zeros(50)), DataError, "periods, candidates"),
        (lambda: told.expected_best(0), ConfigError, "1 or more"),
        (lambda: told.overfitting(_noise(50, 4), 5), ConfigError, "even number"),
        (lambda: told.overfitting(_noise(20, 4), 16), DataError, "32 periods"),
        (lambda: told.overfitting(_noise(50, 1), 4), DataError, "2 candidates"),
    ],
)
def test_what_cannot_be_judged_is_refused(call, error, message: str) -> None:
    with pytest.raises(error, match=message):
        call()
