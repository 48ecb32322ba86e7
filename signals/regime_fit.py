"""Fitting the regime model by expectation maximisation, which hmmlearn does.

Restarts begin at different cuts of the volatility feature into four groups: regimes
differ first in volatility, and a start that knows this seldom ends in a poor maximum.
A range is no smaller than the move inside it, so the features are not quite jointly
normal, and bare likelihood spends a state on that: one that is left within a bar or
two, no regime. States are therefore fitted under a prior that they last (as in Fox et
al., "A sticky HDP-HMM with application to speaker diarization", 2011). Each start goes a
few iterations and the most probable of them to its end (Biernacki, Celeux and Govaert,
"Choosing starting values for the EM algorithm", 2003); its transitions alone are estimated
once more without the prior, which would draw durations out. States are labelled once, on
the bars of the fit: VOLATILE has the highest mean log volatility; of the other three BULL
has the highest mean return, BEAR the lowest, SIDEWAYS is between.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError, DataError
from configs.signals import RegimeConfig, SignalsConfig
from market.bars import Bars
from signals.bars.clock import bars_per_day, read_clock
from signals.bars.columns import REGIMES
from signals.bars.windows import new_ring
from signals.regime import FEATURES, STATES, RegimeModel, features_series

if TYPE_CHECKING:
    from hmmlearn.hmm import GaussianHMM

_VOLATILITY = FEATURES.index("log_volatility")
_RETURN = FEATURES.index("log_return")
_STAY = 0.95  # probability of staying in a state, at the start of a fit
_FEWEST = 50  # bars a state, below which a fit says nothing
# In features of variance one: so that a state that loses its bars stays a state.
_PRIOR_VARIANCE, _PRIOR_MEAN_BARS = 0.25, 1.0
_LIBRARY = "hmmlearn"
_LAWS = "st"  # hmmlearn's letters for start and transition probabilities

Features = NDArray[np.float64]


def fit_regimes(bars: Bars, bar_minutes: int, config: SignalsConfig | None = None) -> RegimeModel:
    """The regime model of training bars; the same bars and seed give the same model.

    Raises:
        ConfigError: the library that fits is not installed.
        DataError: the bars are too few, or do not move.
    """
    config = config or SignalsConfig()
    settings = config.regime
    day = bars_per_day(bar_minutes)
    windows = (settings.return_bars or day, settings.volatility_bars or day)
    parts, floor = _features(bars, bar_minutes, config, windows)
    whole = np.concatenate(parts)
    if len(whole) < _FEWEST * STATES:
        raise DataError(
            f"{bars.source}: {len(whole)} bars to fit regimes on, expected at least "
            f"{_FEWEST * STATES}; give a longer training split"
        )
    centre, scale = whole.mean(axis=0), whole.std(axis=0)
    if not (scale > 0.0).all():
        raise DataError(
            f"{bars.source}: '{FEATURES[int(np.argmin(scale))]}' is the same on every bar, "
            "expected prices that move; check the file"
        )
    best, score = _best((whole - centre) / scale, [len(part) for part in parts], settings)
    order = _labelled(best.means_)
    transition = _law(best.transmat_[np.ix_(order, order)])
    return RegimeModel(
        start=_tuples(_stationary(transition)),
        transition=_tuples(transition),
        mean=_tuples(best.means_[order] * scale + centre),
        covariance=_tuples(best.covars_[order] * np.outer(scale, scale)),
        bar_minutes=bar_minutes,
        return_bars=windows[0],
        volatility_bars=windows[1],
        floor=floor,
        alarm=settings.alarm,
        log_likelihood=score / len(whole) - float(np.log(scale).sum()),
        source=bars.fingerprint,
    )


def _features(
    bars: Bars, bar_minutes: int, config: SignalsConfig, windows: tuple[int, int]
) -> tuple[list[Features], float]:
    """The features of each stretch without a hole, and the smallest volatility above none."""
    lowest = np.finfo(np.float64).tiny
    parts = []
    for first, after in read_clock(bars.start, bar_minutes, config.clock).segments:
        part = slice(first, after)
        out = np.empty((after - first, len(FEATURES)))
        rings = new_ring(windows[0] + 1), new_ring(windows[1])
        features_series(*rings, lowest, bars.high[part], bars.low[part], bars.close[part], out)
        out = out[np.isfinite(out).all(axis=1)]
        if len(out):
            parts.append(out)
    if not parts:
        raise DataError(
            f"{bars.source}: no stretch of bars is longer than {max(windows)}, the windows of the "
            "regime model's features; give a longer training split"
        )
    above = np.concatenate(parts)[:, _VOLATILITY]
    above = above[above > np.log(lowest)]
    if not len(above):
        raise DataError(f"{bars.source}: no bar has a range, expected prices that move")
    least = float(above.min())
    for out in parts:
        np.maximum(out[:, _VOLATILITY], least, out=out[:, _VOLATILITY])
    return parts, float(np.exp(least))


def _best(
    features: Features, lengths: list[int], settings: RegimeConfig
) -> tuple[GaussianHMM, float]:
    """The most probable of several fits, its transitions let free, and its log likelihood."""
    rng = np.random.default_rng(settings.seed)
    best: GaussianHMM | None = None
    most = -np.inf
    stay = settings.persistence * len(features) / STATES
    for restart in range(settings.restarts):
        # The first start has equal groups; the others are cut anywhere.
        inner = np.arange(1, STATES) / STATES if restart == 0 else np.sort(rng.random(STATES - 1))
        with _quiet():
            model = _started(features, inner, settings)
            model.transmat_prior = 1.0 + stay * np.eye(STATES)
            model.tol = settings.tolerance * len(features)
            model.n_iter = settings.trial_iterations
            model.fit(features, lengths)
            score = float(model.score(features, lengths))
        score += stay * float(np.log(model.transmat_.diagonal()).sum())
        if score > most:
            best, most = model, score
    if best is None:
        raise DataError(
            f"none of {settings.restarts} fits of the regime model has a finite likelihood: "
            "check the bars for outliers"
        )
    best.n_iter = settings.iterations
    with _quiet():
        best.fit(features, lengths)
        best.transmat_prior, best.params = 1.0, _LAWS
        best.fit(features, lengths)
    return best, float(best.score(features, lengths))


def _started(features: Features, cuts: NDArray[np.float64], settings: RegimeConfig) -> Any:
    """A model whose states are the groups between quantiles of volatility."""
    try:
        from hmmlearn.hmm import GaussianHMM
    except ImportError as error:
        raise ConfigError(
            f"fitting regimes needs {_LIBRARY} ({error}): install the `train` extra, or load a "
            "model that was saved"
        ) from None

    width = features.shape[1]
    model = GaussianHMM(
        STATES,
        covariance_type="full",
        means_weight=_PRIOR_MEAN_BARS,
        covars_prior=settings.prior_bars * _PRIOR_VARIANCE * np.eye(width),
        # The library takes the width off a weight before it counts as bars.
        covars_weight=settings.prior_bars + width,
        init_params="",
    )
    volatility = features[:, _VOLATILITY]
    group = np.searchsorted(np.quantile(volatility, cuts), volatility)
    means, covariances = np.zeros((STATES, width)), np.empty((STATES, width, width))
    for state in range(STATES):
        held = features[group == state]
        # A group too small for a covariance of its own starts from that of all.
        held = held if len(held) > 10 * width else features
        means[state] = held.mean(axis=0)
        covariances[state] = np.cov(held.T) + _PRIOR_VARIANCE / len(held) * np.eye(width)
    model.startprob_ = np.full(STATES, 1.0 / STATES)
    leave = (1.0 - _STAY) / (STATES - 1)
    model.transmat_ = np.full((STATES, STATES), leave) + (_STAY - leave) * np.eye(STATES)
    model.means_, model.covars_ = means, covariances
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out the library's notes about fits that did not improve to the last iteration."""
    logger = logging.getLogger(_LIBRARY)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _labelled(means: Features) -> list[int]:
    """The states in the order of REGIMES; see the module's text."""
    volatile = int(np.argmax(means[:, _VOLATILITY]))
    rest = sorted((s for s in range(STATES) if s != volatile), key=lambda s: means[s, _RETURN])
    named = {"VOLATILE": volatile, "BEAR": rest[0], "SIDEWAYS": rest[1], "BULL": rest[2]}
    return [named[name] for name in REGIMES]


def _law(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities that sum to one, rounding taken out."""
    return np.asarray(values / values.sum(axis=-1, keepdims=True))


def _stationary(transition: NDArray[np.float64]) -> NDArray[np.float64]:
    """The law that the transitions keep: what is known of a stretch before its first bar.

    What a fit says of its own first bars concerns no other ones.
    """
    balance = np.vstack([transition.T - np.eye(STATES), np.ones(STATES)])
    law = np.linalg.lstsq(balance, np.r_[np.zeros(STATES), 1.0], rcond=None)[0]
    return _law(np.maximum(law, 0.0))


def _tuples(values: Any) -> Any:
    return tuple(_tuples(item) for item in values) if np.ndim(values) else float(values)
