"""Whether a Sharpe ratio can be luck: of one series, and of the best among many tried.

Sharpe ratios here are those of one period, never annualised, unless a name says so; time is
the first axis. Sources: Bailey and Lopez de Prado, "The Sharpe ratio efficient frontier" (2012;
PSR, MinTRL) and "The deflated Sharpe ratio" (2014; DSR); Bailey, Borwein, Lopez de Prado and
Zhu, "The probability of backtest overfitting" (2017; PBO by CSCV).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from configs.errors import ConfigError, DataError
from trainers.evaluation.metrics import DAYS_A_YEAR, sharpe
from trainers.evaluation.series import Floats, checked, checked_panel

EULER_GAMMA = float(np.euler_gamma)
CONFIDENCE = 0.95
BLOCKS = 16  # of CSCV: 12,870 ways to halve them, the paper's own choice
MAX_BLOCKS = 20  # 184,756 ways; more would not fit into memory
LEAST_PERIODS = 4  # third and fourth moments of fewer say nothing
_LAGS_POWER = 2.0 / 9.0  # Newey and West (1994) for Bartlett's kernel
_LAGS_SCALE, _LAGS_OF = 4.0, 100.0
_STEEPEST = 0.97  # of an AR(1) that prewhitens: beyond it nothing is known of the mean
_TINY = 1e-300


@dataclass(frozen=True)
class Moments:
    """What the distribution of an estimated Sharpe ratio depends on; floats or arrays [...].

    Attributes:
        sharpe: a period, nan where returns never change.
        skew: third standardised moment.
        kurtosis: fourth standardised moment, 3 of a normal.
        periods: that the returns are worth: fewer than there are where they move in trends.
    """

    sharpe: Floats
    skew: Floats
    kurtosis: Floats
    periods: Floats

    @property
    def spread(self) -> Floats:
        """sqrt(1 - g3 SR + (g4 - 1) SR^2 / 4): the estimate's deviation times sqrt(n - 1)."""
        square = 1.0 - self.skew * self.sharpe + (self.kurtosis - 1.0) * self.sharpe**2 / 4.0
        return np.sqrt(np.maximum(square, 0.0))


def moments(returns: ArrayLike, *, dependent: bool = True) -> Moments:
    """The moments of returns [n, ...], each [...].

    Args:
        dependent: count trending returns as fewer (see `effective_periods`).
    """
    values = checked(returns, LEAST_PERIODS)
    centred = values - values.mean(axis=0)
    second = np.square(centred).mean(axis=0)
    safe = np.where(second > 0.0, second, np.nan)
    count = effective_periods(values) if dependent else np.full(second.shape, float(len(values)))
    return Moments(
        sharpe=sharpe(values, periods=1.0),
        skew=(centred**3).mean(axis=0) / safe**1.5,
        kurtosis=(centred**4).mean(axis=0) / safe**2,
        periods=count,
    )


def effective_periods(returns: ArrayLike) -> Floats:
    """How many independent periods returns [n, ...] are worth, [...], n at most.

    n times their variance over their long-run variance (Lo, "The statistics of Sharpe ratios",
    2002): Bartlett-weighted autocovariances, lags by Newey and West (1994), prewhitened by an
    AR(1) (Andrews and Monahan 1992), without which trends are counted too low. Returns that
    alternate are not counted as more: what looks like certainty there may be a bid-ask bounce.
    """
    values = checked(returns, LEAST_PERIODS)
    n = len(values)
    centred = values - values.mean(axis=0)
    second = np.square(centred).sum(axis=0)
    safe = np.where(second > 0.0, second, 1.0)
    slope = np.clip((centred[1:] * centred[:-1]).sum(axis=0) / safe, -_STEEPEST, _STEEPEST)
    rest = centred[1:] - slope * centred[:-1]
    lags = min(int(_LAGS_SCALE * (n / _LAGS_OF) ** _LAGS_POWER), n - 2)
    long_run = np.square(rest).sum(axis=0)
    for lag in range(1, lags + 1):
        weight = 1.0 - lag / (lags + 1.0)
        long_run += 2.0 * weight * (rest[lag:] * rest[:-lag]).sum(axis=0)
    inflation = long_run / (1.0 - slope) ** 2 / safe
    return np.asarray(n / np.maximum(inflation, 1.0))


def psr(returns: ArrayLike, benchmark: ArrayLike = 0.0, *, dependent: bool = True) -> Floats:
    """The probabilistic Sharpe ratio: P(true Sharpe > `benchmark`), [...] of returns [n, ...].

    Phi[(SR - SR*) sqrt(n - 1) / sqrt(1 - g3 SR + (g4 - 1) SR^2 / 4)], a period. 0 where
    returns never change: what does not trade shows no skill.
    """
    return psr_of(moments(returns, dependent=dependent), benchmark)


def psr_of(found: Moments, benchmark: ArrayLike = 0.0) -> Floats:
    """`psr` of moments at hand."""
    gap = found.sharpe - np.asarray(benchmark, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = gap * np.sqrt(np.maximum(found.periods - 1.0, 0.0)) / found.spread
    return np.where(np.isfinite(found.sharpe), norm.cdf(np.nan_to_num(score)), 0.0)


def expected_best(trials: float, deviation: ArrayLike = 1.0) -> Floats:
    """The Sharpe ratio that the best of so many trials without skill is expected to show.

    sd ((1 - g) Phi^-1(1 - 1/N) + g Phi^-1(1 - 1/(N e))), g = .5772; 0 of a single trial.

    Args:
        trials: N, independent ones.
        deviation: of the Sharpe ratios over trials, a period.
    """
    _check_trials(trials)
    if trials == 1:
        return np.zeros_like(np.asarray(deviation, np.float64))
    likely = norm.ppf(1.0 - 1.0 / trials)
    rarer = norm.ppf(1.0 - 1.0 / (trials * math.e))
    return np.asarray(deviation) * ((1.0 - EULER_GAMMA) * likely + EULER_GAMMA * rarer)


def dsr(
    returns: ArrayLike, trials: float, deviation: ArrayLike, *, dependent: bool = True
) -> Floats:
    """The deflated Sharpe ratio: PSR against what the best of `trials` would show by luck.

    Args:
        returns: [n, ...] of the one that was chosen.
        trials: N, every configuration that was tried, kept or not.
        deviation: sqrt(V[SR_k]) of Sharpe ratios (a period) over trials; `trial_deviation`.
    """
    return psr(returns, expected_best(trials, deviation), dependent=dependent)


def trial_deviation(panel: ArrayLike, leave_out: int | None = None) -> float:
    """The deviation of Sharpe ratios (a period) over the candidates of a panel [n, k].

    Args:
        leave_out: the column of the chosen one: what it is held against must not grow with
            how good it is. With it among them, one of twenty with a Sharpe ratio of 2 over five
            years raises the bar that it has to pass by 40%.

    Where fewer than two are left the deviation is sqrt(1 / (n - 1)), that of no skill.
    """
    values = checked_panel(panel, LEAST_PERIODS)
    if leave_out is not None:
        values = np.delete(values, leave_out, axis=1)
    found = sharpe(values, periods=1.0)
    found = found[np.isfinite(found)]
    if found.size < 2:
        return math.sqrt(1.0 / (len(values) - 1.0))
    return float(found.std(ddof=1))


def min_track_record(
    returns: ArrayLike, benchmark: float = 0.0, confidence: float = CONFIDENCE
) -> Floats:
    """MinTRL, periods [...]: how long returns like these must be to beat `benchmark` surely.

    1 + (1 - g3 SR + (g4 - 1) SR^2 / 4) (z / (SR - SR*))^2; inf where SR is no higher.
    """
    found = moments(returns, dependent=False)
    gap = found.sharpe - benchmark
    z = norm.ppf(confidence)
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = 1.0 + found.spread**2 * (z / gap) ** 2
    return np.where(gap > 0.0, needed, np.inf)


def corrected(probability: ArrayLike, trials: float) -> Floats:
    """P(the best of `trials` without skill looks less good than this): probability ** trials.

    Sidak's correction of one-sided tests (1967): exact where trials are independent, cautious
    where they are alike, whatever the dispersion of the trials' true Sharpe ratios.

    Args:
        probability: of the chosen one alone, such as `psr`.
    """
    _check_trials(trials)
    return np.asarray(np.asarray(probability, np.float64) ** trials)


@dataclass(frozen=True)
class Overfitting:
    """PBO by CSCV.

    Attributes:
        pbo: the share of splits where the best in sample ranks below the median out of sample.
        splits: how many ways of halving the blocks.
        logits: float64 [splits], ln(w / (1 - w)) of the chosen one's relative rank w.
    """

    pbo: float
    splits: int
    logits: Floats


def overfitting(panel: ArrayLike, blocks: int = BLOCKS) -> Overfitting:
    """The probability of backtest overfitting of a panel [n, k] of candidates' returns.

    Time is cut into `blocks` of equal length (periods too many at the start are left out); of
    every half of them the candidate of the best Sharpe ratio is chosen and ranked by the
    other half.

    Raises:
        DataError: fewer than two candidates, or than two periods a block.
        ConfigError: blocks are odd, or too many.
    """
    if blocks % 2 or not 2 <= blocks <= MAX_BLOCKS:
        raise ConfigError(f"blocks={blocks}: expected an even number from 2 to {MAX_BLOCKS}")
    values = checked_panel(panel, 2 * blocks, candidates=2)
    length = len(values) // blocks
    cut = values[len(values) - blocks * length :].reshape(blocks, length, values.shape[1])
    sums, squares = cut.sum(axis=1), np.square(cut).sum(axis=1)
    inside = _halves(blocks)
    outside = 1.0 - inside
    count = length * blocks / 2
    chosen = _half_sharpes(inside, sums, squares, count).argmax(axis=1)
    later = _half_sharpes(outside, sums, squares, count)
    own = later[np.arange(len(chosen)), chosen][:, None]
    # Of equals (those that never trade) half count as worse: they are no overfitting.
    rank = (later < own).sum(axis=1) + 0.5 * ((later == own).sum(axis=1) - 1) + 1.0
    share = rank / (values.shape[1] + 1.0)
    logits = np.log(share / (1.0 - share))
    return Overfitting(float((logits < 0.0).mean()), len(chosen), logits)


@lru_cache(maxsize=4)
def _halves(blocks: int) -> Floats:
    """Every choice of half of the blocks as a row of 0 and 1, [choices, blocks]."""
    picked: Sequence[tuple[int, ...]] = list(combinations(range(blocks), blocks // 2))
    out = np.zeros((len(picked), blocks))
    out[np.arange(len(picked))[:, None], np.array(picked)] = 1.0
    return out


def _half_sharpes(half: Floats, sums: Floats, squares: Floats, count: float) -> Floats:
    """Sharpe ratios [choices, k] from sums and sums of squares by block; 0 without a spread."""
    mean = half @ sums / count
    variance = np.maximum(half @ squares / count - mean**2, 0.0)
    out = np.zeros_like(mean)
    return np.divide(mean, np.sqrt(variance), out=out, where=variance > _TINY)


@dataclass(frozen=True)
class Verdict:
    """Whether the chosen candidate has shown skill.

    Attributes:
        says: "evidence" where `probability` is `confidence` or more.
        probability: that the best of `trials` without skill would have looked less good:
            `corrected` of `psr`.
        candidate: its column in the panel.
        sharpe: of it, a year.
        psr: P(its true Sharpe ratio > 0), as if it alone had been tried.
        dsr: PSR against the best of `trials` by luck, their dispersion taken of the others.
        luck: that best by luck, a year.
        min_track_record: periods for `confidence` in a Sharpe ratio above 0, as if alone.
        trials: all that were tried.
        periods: of the panel; effective_periods: that they are worth, see the function.
    """

    says: Literal["evidence", "no evidence"]
    probability: float
    confidence: float
    candidate: int
    sharpe: float
    psr: float
    dsr: float
    luck: float
    min_track_record: float
    trials: float
    periods: int
    effective_periods: float

    @property
    def is_evidence(self) -> bool:
        return self.says == "evidence"

    def __str__(self) -> str:
        if not math.isfinite(self.sharpe):
            return (
                f"{self.says}: its {self.periods} periods do not vary, as where nothing is "
                "traded: there is no Sharpe ratio to judge"
            )
        return (
            f"{self.says}: Sharpe ratio {self.sharpe:.2f} a year over {self.periods} periods; the "
            f"best of {self.trials:g} without skill looks less good with probability "
            f"{self.probability:.3f} (asked: {self.confidence:g}); DSR {self.dsr:.3f}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data; what is not finite is None."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def verdict(
    panel: ArrayLike,
    trials: float | None = None,
    *,
    candidate: int | None = None,
    periods: float = DAYS_A_YEAR,
    confidence: float = CONFIDENCE,
) -> Verdict:
    """Judge the best candidate of a panel, told how many were tried.

    Args:
        panel: [n, k] returns net of costs of the candidates at hand, one a column.
        trials: all that were tried, at least k; k by default.
        candidate: the column that was chosen; by default that of the best Sharpe ratio. One
            that was named before the panel was seen is a single trial: say `trials=1` and give
            it alone.
        periods: of a year.
        confidence: asked of the probability.

    Raises:
        DataError: the panel is no table of finite returns of `LEAST_PERIODS` or more.
        ConfigError: fewer trials than candidates, or no such column.
    """
    values = checked_panel(panel, LEAST_PERIODS)
    n, k = values.shape
    tried = float(k if trials is None else trials)
    if tried < k:
        raise ConfigError(
            f"trials={tried:g} of a panel of {k} candidates: expected at least as many as there "
            "are; count every configuration that was tried"
        )
    ratios = np.nan_to_num(sharpe(values, 1.0), nan=-np.inf)
    column = int(ratios.argmax()) if candidate is None else candidate
    if not 0 <= column < k:
        raise ConfigError(f"candidate={column}: expected a column from 0 to {k - 1}")
    own = values[:, column]
    found = moments(own)
    alone = float(psr_of(found))
    luck = float(expected_best(tried, trial_deviation(values, leave_out=column)))
    probability = float(corrected(alone, tried))
    return Verdict(
        says="evidence" if probability >= confidence else "no evidence",
        probability=probability,
        confidence=confidence,
        candidate=column,
        sharpe=float(found.sharpe) * math.sqrt(periods),
        psr=alone,
        dsr=float(psr_of(found, luck)),
        luck=luck * math.sqrt(periods),
        min_track_record=float(min_track_record(own, confidence=confidence)),
        trials=tried,
        periods=n,
        effective_periods=float(found.periods),
    )


def _check_trials(trials: float) -> None:
    if not (math.isfinite(trials) and trials >= 1):
        raise ConfigError(f"trials={trials}: expected 1 or more, every configuration tried")


def columns_of(series: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """Series of one length [n] as the columns of a panel.

    Raises:
        DataError: they differ in length.
    """
    lengths = {np.asarray(one).shape for one in series}
    if len(lengths) != 1:
        raise DataError(
            f"series of shapes {sorted(lengths)}: expected one length, period by period"
        )
    return np.column_stack([np.asarray(one, np.float64) for one in series])
