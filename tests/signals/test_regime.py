"""The regime model: its filter looks at no later bar, and finds regimes that are there."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from configs.errors import ArtefactError, ConfigError, DataError
from configs.signals import RegimeConfig, SignalsConfig
from market.bars import Bars
from signals.bars.columns import REGIMES
from signals.regime import RegimeModel, regime_filter
from tests.signals.bars.series import MINUTES, bars_of, part, walk
from tests.signals.bars.test_matrices import model

pytest.importorskip("hmmlearn", reason="fitting needs the `train` extra")
from signals.regime_fit import fit_regimes

DAY_MINUTES = 1440
DAY = DAY_MINUTES * 60_000_000_000
VOLATILITY = np.array([0.07, 0.12, 0.28, 0.55]) / np.sqrt(252.0)
STEPS = 16  # of the path inside a day, from which its range comes
QUICK = SignalsConfig(regime=RegimeConfig(restarts=3))
BARS = walk(500, seed=21, hole=260)


def simulate(days: int, mean_days: float, seed: int) -> tuple[np.ndarray, Bars]:
    """Regimes of four volatilities, and daily bars of a path that has them."""
    rng = np.random.default_rng(seed)
    state = np.zeros(days, int)
    for t in range(1, days):
        switch = rng.random() < 1.0 / mean_days
        state[t] = (state[t - 1] + rng.integers(1, 4)) % 4 if switch else state[t - 1]
    steps = rng.standard_normal((days, STEPS)) * VOLATILITY[state][:, None] / np.sqrt(STEPS)
    path = np.concatenate([np.zeros((days, 1)), np.cumsum(steps, axis=1)], axis=1)
    level = np.r_[0.0, np.cumsum(path[:-1, -1])][:, None]
    prices = 100.0 * np.exp(level + path)
    ohlc = np.column_stack([prices[:, 0], prices.max(1), prices.min(1), prices[:, -1]])
    return state, bars_of(np.arange(days) * DAY, ohlc, np.ones(days))


def forward(density: np.ndarray, mean_days: float) -> np.ndarray:
    """The likeliest state at each day by Bayes' rule, from log densities [n, 4]."""
    transition = np.full((4, 4), 1.0 / (3.0 * mean_days))
    np.fill_diagonal(transition, 1.0 - 1.0 / mean_days)
    prior, out = np.full(4, 0.25), []
    for row in density:
        posterior = prior * np.exp(row - row.max())
        posterior /= posterior.sum()
        out.append(posterior.argmax())
        prior = posterior @ transition
    return np.array(out)


def balanced(state: np.ndarray, told: np.ndarray) -> float:
    return float(np.mean([(told[state == k] == k).mean() for k in range(4)]))


def features(bars: Bars) -> np.ndarray:
    """Return and log range of each day but the first."""
    span = np.log(np.log(bars.high / bars.low))[1:]
    return np.column_stack([np.diff(np.log(bars.close)), span])


def gaussian(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    square = np.einsum("ni,ij,nj->n", x - mean, np.linalg.inv(covariance), x - mean)
    return -0.5 * (square + np.linalg.slogdet(covariance)[1])


def by_volatility(fitted: RegimeModel) -> np.ndarray:
    """The rank of each regime's volatility: how its states map to the simulated ones."""
    return np.argsort(np.argsort(np.array(fitted.mean)[:, 1]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("mean_days", [20, 60, 120])
def test_the_fitted_filter_does_as_well_as_bayes(mean_days: int, seed: int) -> None:
    """On one split fitted, on the next judged: balanced accuracy against two online filters
    that know the truth, one of them told returns alone (the bound of the yardsticks), the
    other the same features, with their law in each regime from the labels."""
    state, train = simulate(3000, mean_days, 2 * seed)
    truth, test = simulate(3000, mean_days, 2 * seed + 1)
    fitted = fit_regimes(train, DAY_MINUTES)
    told = by_volatility(fitted)[regime_filter(fitted, test, DAY_MINUTES).posterior[1:].argmax(1)]
    ours = balanced(truth[1:], told)
    seen, known = features(test), features(train)
    returns = -0.5 * (seen[:, :1] / VOLATILITY) ** 2 - np.log(VOLATILITY)
    labelled = [known[state[1:] == k] for k in range(4)]
    both = np.column_stack([gaussian(seen, x.mean(0), np.cov(x.T)) for x in labelled])
    assert ours >= 0.95 * balanced(truth[1:], forward(returns, mean_days))
    assert ours >= 0.95 * balanced(truth[1:], forward(both, mean_days))


@pytest.fixture(scope="module")
def fitted() -> tuple[RegimeModel, np.ndarray, Bars]:
    _, train = simulate(1500, 40, 5)
    truth, test = simulate(1000, 40, 6)
    return fit_regimes(train, DAY_MINUTES, QUICK), truth, test


def test_a_model_of_one_split_tells_regimes_of_the_next(
    fitted: tuple[RegimeModel, np.ndarray, Bars],
) -> None:
    regimes, truth, test = fitted
    reading = regime_filter(regimes, test, DAY_MINUTES)
    told = by_volatility(regimes)[reading.posterior[1:].argmax(1)]
    assert balanced(truth[1:], told) > 0.85
    # What the alarms say is in force is late by construction, and still mostly right.
    force = by_volatility(regimes)[reading.regime[1:]]
    assert balanced(truth[1:], force) > 0.7
    switches = np.count_nonzero(np.diff(truth))
    assert 0.5 * switches < reading.alarm.sum() < 2.5 * switches
    assert (np.flatnonzero(np.diff(reading.regime[1:])) + 2 == np.flatnonzero(reading.alarm)).all()


def test_states_stand_in_the_documented_order(
    fitted: tuple[RegimeModel, np.ndarray, Bars],
) -> None:
    mean = {name: row for name, row in zip(REGIMES, fitted[0].mean, strict=True)}
    assert max(mean, key=lambda name: mean[name][1]) == "VOLATILE"
    assert mean["BULL"][0] >= mean["SIDEWAYS"][0] >= mean["BEAR"][0]
    assert np.array(fitted[0].transition).diagonal().min() > 0.9


def test_the_same_seed_gives_the_same_model() -> None:
    _, bars = simulate(400, 40, 7)
    few = SignalsConfig(regime=RegimeConfig(restarts=2, iterations=5))
    one, two = (fit_regimes(bars, DAY_MINUTES, few) for _ in range(2))
    assert one == two


def test_bull_and_bear_are_told_by_their_returns() -> None:
    """Two regimes of equal volatility that drift apart, beside a calm and a wild one."""
    rng = np.random.default_rng(8)
    state = np.repeat(rng.permutation(np.arange(60) % 4), 40)
    drift = np.array([0.01, -0.01, 0.0, 0.0])[state]
    scale = np.array([0.01, 0.01, 0.003, 0.04])[state]
    steps = rng.standard_normal((len(state), STEPS)) * scale[:, None] / 4.0 + drift[:, None] / 16.0
    path = np.cumsum(steps, axis=1)
    prices = 100.0 * np.exp(np.r_[0.0, np.cumsum(path[:-1, -1])][:, None] + path)
    ohlc = np.column_stack([prices[:, 0], prices.max(1), prices.min(1), prices[:, -1]])
    bars = bars_of(np.arange(len(state)) * DAY, ohlc, np.ones(len(state)))
    fitted = fit_regimes(bars, DAY_MINUTES, QUICK)
    reading = regime_filter(fitted, bars, DAY_MINUTES)
    assert balanced(state[1:], reading.posterior[1:].argmax(1)) > 0.85


def test_the_filter_of_a_prefix_is_the_prefix_of_the_filter() -> None:
    whole = regime_filter(model(), BARS, MINUTES)
    for rows in (1, 3, 200, 260, 261, 401):
        reading = regime_filter(model(), part(BARS, slice(0, rows)), MINUTES)
        for ours, theirs in zip(reading, whole, strict=True):
            np.testing.assert_array_equal(ours, theirs[:rows])
    assert whole.alarm.any()


def test_the_filter_starts_again_at_a_hole() -> None:
    whole = regime_filter(model(), BARS, MINUTES)
    after = regime_filter(model(), part(BARS, slice(260, None)), MINUTES)
    for ours, theirs in zip(after, whole, strict=True):
        np.testing.assert_array_equal(ours, theirs[260:])


def test_the_filter_is_the_forward_recursion() -> None:
    """Against the recursion in plain probabilities, features written once more."""
    bars, fit = part(BARS, slice(0, 200)), model()
    reading = regime_filter(fit, bars, MINUTES)
    square = np.log(bars.high / bars.low) ** 2 / (4 * np.log(2))
    posterior = None
    for t in range(2, 200):
        x = np.array(
            [
                np.log(bars.close[t] / bars.close[t - 1]),
                np.log(np.sqrt(square[t - 2 : t + 1].mean())),
            ]
        )
        pairs = zip(fit.mean, fit.covariance, strict=True)
        density = np.array([gaussian(x[None], np.array(m), np.array(c))[0] for m, c in pairs])
        prior = fit.start if posterior is None else posterior @ np.array(fit.transition)
        posterior = prior * np.exp(density)
        posterior = posterior / posterior.sum()
        np.testing.assert_allclose(reading.posterior[t], posterior, rtol=1e-9, atol=1e-12)
        assert reading.confidence[t] == reading.posterior[t].max()
    assert np.isnan(reading.posterior[:2]).all() and (reading.regime[:2] == -1).all()


def test_an_absurd_bar_leaves_probabilities() -> None:
    high = BARS.high.copy()
    high[50] *= 100.0
    reading = regime_filter(model(), replace(BARS, high=high), MINUTES)
    np.testing.assert_allclose(reading.posterior[2:200].sum(axis=1), 1.0)


def test_a_model_is_saved_and_loaded(tmp_path: Path) -> None:
    path = tmp_path / "regimes.json"
    model().save(path)
    assert RegimeModel.load(path) == model()
    assert [p.name for p in tmp_path.iterdir()] == ["regimes.json"]


def damaged(**changes: object) -> str:
    given = {"format": "grandmodel regime model 1", **json.loads(json.dumps(vars(model())))}
    given |= changes
    return json.dumps({name: value for name, value in given.items() if value is not None})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot be read .* fit one on the training split"),
        ("{", "is no JSON"),
        ("[1]", "no regime model of this version"),
        (damaged(format="other"), "no regime model of this version"),
        (damaged(mean=None), "'mean' is missing"),
        (damaged(mood=1), "'mood' is unknown"),
        (damaged(start=[1.0]), r"'start' is not valid: expected finite numbers of shape \[4\]"),
        (damaged(start=[0.5, 0.5, 0.5, 0.5]), "'start' .* probabilities that sum to 1"),
        (damaged(mean=[["a", 1]] * 4), "'mean' is not valid"),
        (damaged(covariance=[[[1, 2], [2, 1]]] * 4), "'covariance' .* positive definite"),
        (damaged(floor=0), "'floor' .* a number above 0"),
    ],
)
def test_a_damaged_model_is_one_error(tmp_path: Path, text: str | None, told: str) -> None:
    path = tmp_path / "regimes.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ArtefactError, match=told) as caught:
        RegimeModel.load(path)
    assert str(path) in str(caught.value)


def test_bars_that_no_model_can_be_fitted_on() -> None:
    with pytest.raises(DataError, match=r"99 bars to fit regimes on, expected at least 200"):
        fit_regimes(simulate(100, 20, 1)[1], DAY_MINUTES, QUICK)
    with pytest.raises(DataError, match="no stretch of bars is longer than 48"):
        fit_regimes(part(BARS, slice(0, 40)), MINUTES, QUICK)
    still = bars_of(np.arange(400) * DAY, np.full((400, 4), 100.0), np.ones(400))
    with pytest.raises(DataError, match="no bar has a range"):
        fit_regimes(still, DAY_MINUTES, QUICK)
    with pytest.raises(ConfigError, match="30-minute bars on 1440-minute bars"):
        regime_filter(model(), still, DAY_MINUTES)


def test_the_library_is_imported_for_fitting_alone(project: Path) -> None:
    code = (
        "import sys, signals.regime_fit, signals.bars.matrices, signals.bars.streams;"
        "sys.exit('hmmlearn' in sys.modules or 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project, timeout=120)
    assert done.returncode == 0
