"""The facts of recordings whose answers are known from theory or by hand."""

from __future__ import annotations

import dataclasses
import json
import warnings

import numpy as np
import pytest

from configs.errors import DataError
from configs.facts import FactsConfig
from market.facts import (
    curves,
    facts,
    messages,
    pooled,
    prices,
    quotes,
    trades,
)
from market.facts.intervals import fit_exponent
from market.recording import Recording
from tests.market.recordings import hawkes, poisson, quoted, recording, traded

SIGMAS = 4.0  # of the estimator, allowed on fixed seeds: one in 16,000 under the theory
SECONDS = 100_000


def by_name(recordings: Recording | list[Recording], config: FactsConfig | None = None):
    return {fact.name: fact for fact in facts(recordings, config)}


# Returns


def walk(steps: np.ndarray) -> Recording:
    return quoted(10_000.0 + np.concatenate([[0.0], np.cumsum(steps)]))


def test_a_gaussian_walk_is_normal_at_every_horizon() -> None:
    sigma = 1.7
    steps = np.random.default_rng(0).normal(0.0, sigma, SECONDS)
    sample = pooled([walk(steps)])
    for horizon in prices.KURTOSIS_HORIZONS:
        # Overlapping returns: 24 / n times the sum of the fourth powers of their correlations.
        overlap = 1.0 + 2.0 * ((1.0 - np.arange(1, horizon) / horizon) ** 4).sum()
        error = np.sqrt(24.0 * overlap / SECONDS)
        assert prices.kurtosis(sample, horizon).value == pytest.approx(3.0, abs=SIGMAS * error)
    ratio_error = np.sqrt(4.0 * 300 / (3.0 * SECONDS))  # Lo and MacKinlay 1988
    ratio = prices.variance_ratio(sample)
    assert ratio.value == pytest.approx(1.0, abs=SIGMAS * ratio_error)
    assert ratio.low is not None and ratio.high is not None
    half_width = (ratio.high - ratio.low) / 2
    assert half_width == pytest.approx(1.96 * ratio_error, rel=0.05)
    assert prices.volatility(sample).value == pytest.approx(sigma, rel=0.05)
    assert prices.absolute_memory(sample, 10.0).value == pytest.approx(0.0, abs=SIGMAS * 0.01)


def test_kurtosis_of_independent_laplace_steps_falls_as_one_over_the_horizon() -> None:
    steps = np.random.default_rng(1).laplace(0.0, 1.0, 2 * SECONDS)
    found = by_name(walk(steps))
    assert found["kurtosis_1s"].value == pytest.approx(6.0, rel=0.05)
    assert found["kurtosis_10s"].value == pytest.approx(3.3, rel=0.05)
    assert found["kurtosis_60s"].value == pytest.approx(3.05, rel=0.05)
    assert found["kurtosis_fall"].value == pytest.approx(3.05 / 3.3, rel=0.05)
    assert found["kurtosis_fall"].met is True


def test_kurtosis_does_not_depend_on_level_or_drift() -> None:
    steps = np.random.default_rng(2).laplace(0.0, 1.0, 20_000)
    plain, drifting = pooled([walk(steps)]), pooled([walk(steps + 50.0)])
    assert prices.kurtosis(drifting, 1.0).value == pytest.approx(
        prices.kurtosis(plain, 1.0).value, rel=1e-6
    )


def test_quote_noise_lowers_the_variance_ratio_as_it_should() -> None:
    rng = np.random.default_rng(3)
    sigma, noise = 1.0, 0.8
    mid = np.cumsum(rng.normal(0.0, sigma, SECONDS + 1)) + rng.normal(0.0, noise, SECONDS + 1)
    expected = (sigma**2 + 2 * noise**2 / 300) / (sigma**2 + 2 * noise**2)
    sample = pooled([quoted(10_000.0 + mid)])
    assert prices.variance_ratio(sample).value == pytest.approx(expected, rel=0.25)
    at_ten = (sigma**2 + 2 * noise**2 / 10) / (sigma**2 + 2 * noise**2)
    signature = curves.signature(sample)
    assert signature.y[signature.x == 10.0] == pytest.approx(at_ten, rel=0.03)


def test_a_steady_drift_grows_as_the_horizon() -> None:
    """Changes of h s are h times those of 1 s: variance a second grows h-fold, exactly."""
    sample = pooled([walk(np.full(1000, 0.5)), walk(np.full(2000, -0.5))])
    assert prices.variance_ratio(sample).value == pytest.approx(300.0)
    assert prices.variance_growth(sample, 20.0).value == pytest.approx(20.0)
    assert prices.volatility(sample).value == pytest.approx(0.5 * np.sqrt(60.0))


def test_volatility_that_switches_is_seen_in_absolute_returns() -> None:
    rng = np.random.default_rng(4)
    levels = np.where(np.arange(SECONDS) // 1000 % 2 == 0, 1.0, 3.0)
    sample = pooled([walk(rng.normal(0.0, 1.0, SECONDS) * levels)])
    # Var of the mean of |r| over its variance, levels 1 and 3; edges blur about 2% of the pairs.
    expected = (2 / np.pi) / (5.0 - 4.0 * 2 / np.pi)
    assert prices.absolute_memory(sample, 10.0).value == pytest.approx(expected, abs=0.03)


def test_nothing_is_measured_across_two_recordings() -> None:
    rng = np.random.default_rng(5)
    steps = rng.normal(0.0, 1.0, 4000)
    one = walk(steps[:2000])
    other = quoted(50_000.0 + np.concatenate([[0.0], np.cumsum(steps[2000:])]))
    both = prices.volatility(pooled([one, other]), 10.0).value
    apart = [prices.volatility(pooled([each]), 10.0).value ** 2 for each in (one, other)]
    assert both**2 == pytest.approx(np.mean(apart), rel=1e-12)


def test_a_missing_mid_leaves_out_its_returns_alone() -> None:
    steps = np.random.default_rng(6).normal(0.0, 1.0, 5000)
    mid = 10_000.0 + np.concatenate([[0.0], np.cumsum(steps)])
    whole = quoted(mid)
    bid = whole.bid.copy()
    bid[100] = np.nan
    holed = dataclasses.replace(whole, bid=bid)
    kept = np.delete(steps, [99, 100])
    assert prices.volatility(pooled([holed]), 1.0).value == pytest.approx(np.sqrt((kept**2).mean()))


# Signs


@pytest.mark.parametrize("fills", [1, 3])
def test_signs_that_repeat_with_a_probability(fills: int) -> None:
    """A Markov chain's correlation is (2p - 1)^lag; an order in three fills is still one."""
    rng = np.random.default_rng(7)
    repeat, orders = 0.85, 40_000
    sides = np.cumprod(np.where(rng.random(orders) < repeat, 1.0, -1.0))
    found = by_name(traded(sides, fills))
    error = np.sqrt((1 + 0.49) / (1 - 0.49) / orders)
    assert found["sign_memory_1"].value == pytest.approx(0.7, abs=SIGMAS * error)
    assert found["sign_memory_10"].value == pytest.approx(0.7**10, abs=SIGMAS * error)
    assert found["trade_size_mean"].value == pytest.approx(10.0 * fills)
    assert found["orders_per_second"].value == pytest.approx(1.0, rel=1e-3)


def test_runs_of_power_law_length_give_the_exponent_of_theory() -> None:
    """Runs of one sign of law P(k) correlate as sum_{k > l} (k - l) P(k) / E[k]."""
    rng = np.random.default_rng(8)
    lengths = np.arange(1, 2001)
    law = lengths**-2.5 / (lengths**-2.5).sum()
    runs = rng.choice(lengths, p=law, size=150_000)
    sides = np.repeat(rng.choice([-1.0, 1.0], runs.size), runs)
    lags = np.arange(1, 101)
    theory = np.array([np.maximum(lengths - lag, 0) @ law for lag in lags]) / (lengths @ law)
    exponent = -fit_exponent(lags.astype(float), theory[None], np.ones((1, lags.size)))[0]
    assert 0.4 < exponent < 0.7  # near alpha - 1 = .5 (Lillo, Mike and Farmer 2005)
    sample = pooled([traded(sides)])
    assert trades.sign_memory(sample, 1).value == pytest.approx(theory[0], abs=0.02)
    assert trades.sign_memory(sample, 10).value == pytest.approx(theory[9], abs=0.03)
    assert trades.sign_memory_decay(sample).value == pytest.approx(exponent, abs=0.08)


# Quotes, by hand


def test_spreads_are_weighted_by_time() -> None:
    found = by_name(
        recording(
            seconds=50.0,
            quote_time=[0.0, 10.0, 40.0, 45.0, 49.0],
            bid=[99.0, 98.0, np.nan, 100.0, 100.0],
            ask=[101.0, 102.0, 102.0, 100.0, 99.0],
        )
    )
    assert found["spread_mean"].value == pytest.approx((2 * 10 + 4 * 30 + 0 * 4 - 1 * 1) / 45)
    assert found["spread_median"].value == 4.0
    assert found["locked_or_crossed"].value == pytest.approx(5 / 45)
    assert found["locked_or_crossed"].met is False
    assert found["one_sided"].value == pytest.approx(5 / 50)


def test_the_spread_curve_adds_up() -> None:
    times = np.arange(1000.0)
    half = np.where(times % 4 == 0, 2.0, 0.5)
    curve = curves.spread(
        pooled([recording(seconds=1000.0, quote_time=times, bid=100 - half, ask=100 + half)])
    )
    assert curve.x.tolist() == [1.0, 4.0]
    assert curve.y.tolist() == pytest.approx([0.75, 0.25])


def test_depth_is_the_mean_by_time() -> None:
    one = recording(seconds=100.0, depth=[10.0, 30.0, 5.0])
    other = recording(seconds=300.0, depth=[20.0, 50.0])
    found = by_name([one, other])
    assert found["depth_at_best"].value == pytest.approx(17.5)
    assert found["depth_peak"].value == 1.0
    assert curves.depth(pooled([one, other])).y.tolist() == pytest.approx([17.5, 45.0])


# Messages


def test_a_poisson_stream() -> None:
    rate, seconds = 20.0, 20_000.0
    times = poisson(rate, seconds, np.random.default_rng(9))
    found = by_name(recording(seconds=seconds, message_time=times))
    count = rate * seconds
    assert found["messages_per_second"].value == pytest.approx(times.size / seconds)
    assert found["interarrival_cv"].value == pytest.approx(1.0, abs=SIGMAS * np.sqrt(2 / count))
    share = 1.0 - np.exp(-rate * 1e-3)
    assert found["interarrival_below_1ms"].value == pytest.approx(
        share, abs=SIGMAS * np.sqrt(share / count)
    )
    for name, window in (("fano_1s", 1.0), ("fano_60s", 60.0)):
        error = np.sqrt(2.0 * window / seconds)
        assert found[name].value == pytest.approx(1.0, abs=SIGMAS * error)
    assert found["branching_ratio"].value < 0.1


def test_a_hawkes_stream_tells_its_branching_ratio() -> None:
    rng = np.random.default_rng(10)
    times = hawkes(immigrants=5.0, branching=0.6, delay=0.05, seconds=40_000.0, rng=rng)
    found = by_name(recording(seconds=40_000.0, message_time=times))
    assert found["messages_per_second"].value == pytest.approx(5.0 / 0.4, rel=0.03)
    assert found["fano_60s"].value == pytest.approx(1 / 0.4**2, rel=0.2)
    assert found["branching_ratio"].value == pytest.approx(0.6, abs=0.04)
    assert found["interarrival_cv"].value > 1.2


def test_pareto_ages_at_cancel() -> None:
    exponent, least, count = 1.5, 0.02, 50_000
    ages = least * (1.0 + np.random.default_rng(11).pareto(exponent, count))
    found = by_name(recording(cancel_age=ages))
    assert found["cancel_age_median"].value == pytest.approx(least * 2 ** (1 / exponent), rel=0.02)
    error = exponent / np.sqrt(0.1 * count)  # Hill's asymptotic standard error
    tail = found["cancel_age_tail"]
    assert tail.value == pytest.approx(exponent, abs=SIGMAS * error)
    assert tail.high - tail.low == pytest.approx(2 * 1.96 * error, rel=0.5)


def test_pareto_sizes() -> None:
    rng = np.random.default_rng(12)
    sizes = np.floor(100.0 * (1.0 + rng.pareto(1.8, 40_000))).astype(np.int64)
    made = dataclasses.replace(traded(rng.choice([-1.0, 1.0], sizes.size)), trade_quantity=sizes)
    found = by_name(made)
    assert found["trade_size_mean"].value == pytest.approx(sizes.mean())
    assert found["trade_size_median"].value == pytest.approx(np.median(sizes), abs=1.0)
    assert found["trade_size_tail"].value == pytest.approx(1.8, abs=SIGMAS * 1.8 / np.sqrt(4000))


# Costs and response, by hand


def costs() -> Recording:
    return recording(
        seconds=20.0,
        quote_time=[0.0, 1.0, 1.5, 4.0, 18.0],
        bid=[99.0, 100.0, 101.0, 97.0, 97.0],
        ask=[101.0, 102.0, 103.0, 101.0, 103.0],
        trade_time=[1.0, 1.0, 4.0, 19.5],
        trade_price=[101.0, 102.0, 101.0, 103.0],
        trade_quantity=[10, 30, 40, 5],
        trade_side=[1, 1, -1, 1],
    )


def test_spreads_paid_and_kept() -> None:
    found = by_name(costs())
    # Mids before: 100, 100, 102, 100. Each fill counts by its quantity.
    effective = 2 * (10 * 1 + 30 * 2 + 40 * 1 + 5 * 3) / 85
    assert found["effective_spread"].value == pytest.approx(effective)
    # Mids one second on: 102, 102, 99; the last trade is less than a second before the end.
    assert found["realised_spread_1s"].value == pytest.approx(2 * (-10 + 0 - 40 * 2) / 80)
    assert found["realised_spread_10s"].value == pytest.approx(2 * (10 * 2 + 30 * 3 - 40 * 2) / 80)


def test_response_is_from_before_one_order_to_before_another() -> None:
    # Orders at 1 (bought, mid 100), 4 (sold, mid 102), 19.5 (bought, mid 100).
    assert trades.response(pooled([costs()]), 1).value == pytest.approx((2.0 + 2.0) / 2)
    assert trades.response(pooled([costs()]), 2).value == pytest.approx(0.0)


# What cannot be told


def test_an_empty_recording_has_reasons_and_no_numbers() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = facts(recording())
    told = {fact.name for fact in found if fact.value is not None}
    assert told == {"messages_per_second", "orders_per_second"}  # zero a second
    assert all(fact.reason for fact in found if fact.value is None)
    judged = [fact for fact in found if fact.value is None and fact.target.is_set]
    assert judged and not any(fact.met for fact in judged)
    json.dumps([fact.as_dict() for fact in found], allow_nan=False)


def test_a_market_that_stands_still_or_has_no_sides_says_why() -> None:
    still = by_name(quoted(np.full(3601, 100.0)))
    for name in ("kurtosis_1s", "kurtosis_fall", "variance_ratio", "volatility_clustering"):
        assert still[name].value is None and "move" in still[name].reason
    unquoted = recording(quote_time=[0.0, 5.0], bid=[np.nan, np.nan], ask=[101.0, 102.0])
    sides = by_name(unquoted)
    assert sides["spread_mean"].value is None and sides["spread_mean"].reason == quotes.NEVER_QUOTED
    assert sides["one_sided"].value == 1.0
    buyers = by_name(traded(np.ones(500)))
    assert buyers["sign_memory_1"].value is None and "one side" in buyers["sign_memory_1"].reason


def test_every_value_is_finite_and_inside_its_interval() -> None:
    rng = np.random.default_rng(13)
    base = walk(rng.standard_t(4, 7200))
    times = poisson(1.0, 7200.0, rng)
    full = dataclasses.replace(
        base,
        message_time=times,
        trade_time=times,
        trade_price=np.full(times.size, 10_000.0),
        trade_quantity=rng.integers(1, 500, times.size),
        trade_side=np.cumprod(rng.choice([1, 1, 1, -1], times.size)),
        cancel_age=rng.exponential(3.0, 5000),
        depth=np.array([5.0, 8.0]),
    )
    for fact in facts(full):
        if fact.name == "branching_ratio":
            continue  # bounded below by zero, where a Poisson stream's interval may end
        assert fact.value is not None and np.isfinite(fact.value), fact.reason
        if fact.low is not None:
            assert fact.low <= fact.value <= fact.high, fact
    again = facts(full)
    assert again == facts(full)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seconds": 0.0}, r"'made': seconds is 0.0, expected a number above zero"),
        ({"message_time": [1.0, 0.5]}, r"message_time\[1\] is 0.5, expected ascending times"),
        ({"message_time": [np.nan]}, r"message_time\[0\] is nan"),
        ({"message_time": [4000.0]}, r"message_time\[0\] is 4000.0, expected within 0 and 3600"),
        ({"trade_time": [1.0]}, r"0 of trade_price, expected 1 as trade_time"),
        ({"cancel_age": [1.0, -1.0]}, r"cancel_age\[1\] is -1.0"),
        ({"depth": [np.inf]}, r"depth\[0\] is inf"),
        ({"quote_time": [0.0], "bid": [np.inf], "ask": [1.0]}, r"bid\[0\] is inf"),
        ({"depth": np.zeros((2, 2))}, r"depth has shape \(2, 2\), expected \[n\]"),
    ],
)
def test_a_recording_that_contradicts_itself_is_refused(changes: dict, message: str) -> None:
    changes = dict(changes)
    with pytest.raises(DataError, match=message):
        facts(recording(changes.pop("seconds", 3600.0), **changes))


def test_trades_of_no_side_or_no_quantity_are_refused() -> None:
    good = traded(np.ones(3))
    with pytest.raises(DataError, match=r"trade_side\[1\] is 0, expected \+1 or -1"):
        facts(dataclasses.replace(good, trade_side=np.array([1, 0, 1])))
    with pytest.raises(DataError, match=r"trade_quantity\[2\] is 0, expected above zero"):
        facts(dataclasses.replace(good, trade_quantity=np.array([1, 1, 0])))
    with pytest.raises(DataError, match="no recording to measure"):
        facts([])


# Intervals


def test_intervals_of_a_rate_hold_as_often_as_they_say() -> None:
    rng = np.random.default_rng(14)
    held = 0
    trials = 300
    for _ in range(trials):
        made = recording(message_time=poisson(2.0, 3600.0, rng))
        found = messages.messages_per_second(pooled([made]))
        held += found.low <= 2.0 <= found.high
    # Thirty blocks and a percentile interval: 95% less about 2; two in the trial's own noise.
    assert 0.89 <= held / trials <= 0.98


def test_few_blocks_tell_no_interval() -> None:
    short = recording(seconds=300.0, message_time=np.arange(300.0))
    found = by_name(short)["messages_per_second"]
    assert found.value == pytest.approx(1.0) and found.low is None and found.high is None
