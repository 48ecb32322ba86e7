"""How far what a trained policy states can be believed, and the temperature that mends it.

Confidences (`trainers.stated` says which, and when one is right) are fitted a temperature on
the validation split, never on the test split, on whose episodes the calibration error is then
measured before and after. A temperature changes how sure a policy says it is and nothing that
it does. What return a score has been worth is fitted there too, for sizes. Predicted numbers
are measured alone. Where the networks know nothing of what is to come there may be no gain, and
the report says so.

Intervals resample days, as all comparisons do (`trainers.statistics`). They are basic bootstrap
intervals (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 5.2):
the error is a sum of absolute gaps, which resampling makes larger, and they take that off.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cascade.artefact import DIRECTION, REGIME, Confidence
from configs.errors import DataError, GrandmodelError
from configs.evaluation import EvaluationConfig
from configs.splits import Split
from configs.train import Environment, LayerTraining
from policies.calibration import (
    BINS,
    Reliability,
    expected_calibration_error,
    fit_confidence,
    fit_temperature,
    reliability,
)
from policies.ensemble import LayerPolicy
from policies.readout import read_out
from signals.expected_return import score
from trainers.calibration_report import (
    CalibrationReport,
    ExpectedReturns,
    Interval,
    PredictedNumber,
    TemperedConfidence,
)
from trainers.graphs import TracedPolicy
from trainers.isotonic import fit_return_map
from trainers.layers import Layer, LayerEnv
from trainers.stated import (
    Claims,
    Directions,
    Floats,
    Predictions,
    Regimes,
    Stated,
    hear,
    trade_cost,
)

_COST_EPISODES = 64  # played for what a trade costs
_ONE_BAR = 1  # over which `trainers.stated` measures moves
LEAST_CLAIMS = 100  # of each split: a temperature of fewer says little
_SIDES = torch.tensor([-1.0, 0.0, 1.0])  # of `signals.superposition.DIRECTIONS`


def calibrate(
    layer: Layer, policy: LayerPolicy, training: LayerTraining, env: Environment
) -> CalibrationReport:
    """Fit and judge whatever `policy` states; what cannot be is said and stops nothing.

    Args:
        env: the training's environment, with a folder for every artefact of a layer above.
    """
    told, traced = training.evaluation, TracedPolicy(policy)
    most = min(told.batch_size, told.calibration_parents + told.calibration_parents % 2)

    def made(split: Split, num: int = most) -> LayerEnv:
        return layer.judging_env(num, training.seed, env, split)

    try:
        test, fitted, cost = hear(made("test"), traced, told, layer.said), None, None
        if test.directions or test.regimes:
            fitted = hear(made("validation"), traced, told, layer.said)
        if test.directions:
            rule = layer.baselines(env, told)[told.reference[0]]
            cost = trade_cost(made("validation", min(most, _COST_EPISODES)), rule, told)
    except GrandmodelError as error:
        return CalibrationReport(missing=(f"calibration: not measured: {error}",))
    return judge(fitted, test, cost, told)


def judge(
    fitted: Stated | None, test: Stated, cost: float | None, config: EvaluationConfig
) -> CalibrationReport:
    """Temperatures by the validation split `fitted`, errors by the test split.

    cost: that a direction must beat to be right; None where none is stated.
    """
    confidences: list[TemperedConfidence] = []
    numbers: list[PredictedNumber] = []
    missing: list[str] = []
    if fitted is not None and fitted.directions and test.directions and cost is not None:
        claims, judged = fitted.directions.claims(cost), test.directions.claims(cost)
        try:
            confidences.append(_direction(claims, judged, config))
        except DataError as error:
            missing.append(f"calibration of {DIRECTION}: not fitted: {error}")
    returns = None
    if fitted is not None and fitted.directions and test.directions:
        try:
            returns = _returns(fitted.directions, test.directions, config)
        except DataError as error:
            missing.append(f"expected returns: not fitted: {error}")
    if fitted is not None and fitted.regimes and test.regimes:
        try:
            confidences.append(_regime(fitted.regimes, test.regimes, config))
        except DataError as error:
            missing.append(f"calibration of {REGIME}: not fitted: {error}")
    if test.predictions:
        try:
            numbers.append(_predicted("quality", test.predictions, config))
        except DataError as error:
            missing.append(f"calibration of quality: not measured: {error}")
    return CalibrationReport(
        test.episodes, cost, tuple(confidences), tuple(numbers), tuple(missing), returns
    )


def _direction(fitted: Claims, test: Claims, config: EvaluationConfig) -> TemperedConfidence:
    """Raises DataError where too little was stated."""
    for split, found in (("validation", fitted), ("test", test)):
        if len(found) < LEAST_CLAIMS:
            raise DataError(
                f"{len(found)} of {found.of} decisions on the {split} split took a side, expected "
                f"{LEAST_CLAIMS} or more (HOLD states no direction); train it for longer, or raise "
                "evaluation.calibration_parents"
            )
    temperature = fit_confidence(_logits(fitted.p), torch.from_numpy(fitted.right > 0.0))
    return _tempered(DIRECTION, temperature, fitted, test, config)


def _regime(fitted: Regimes, test: Regimes, config: EvaluationConfig) -> TemperedConfidence:
    came = torch.from_numpy(fitted.came)
    temperature = fit_temperature(_logits(fitted.p), came / came.sum(1, keepdim=True))
    return _tempered(REGIME, temperature, fitted.claims(), test.claims(), config)


def _logits(p: Floats) -> Tensor:
    """Logits of distributions; what has no chance lies as low as a number can."""
    return torch.from_numpy(np.log(np.maximum(p, np.finfo(np.float64).tiny)))


def _confidence(p: Floats, temperature: float) -> Floats:
    """The largest of each row under a temperature, [n]."""
    logits = _logits(p)
    if p.shape[1] == len(_SIDES):
        sure = read_out(logits, _SIDES.double().expand_as(logits), temperature).confidence
    else:
        sure = torch.softmax(logits / temperature, dim=1).amax(1)
    return np.asarray(sure.numpy())


def _tempered(
    what: Confidence,
    temperature: float,
    fitted: Claims,
    test: Claims,
    config: EvaluationConfig,
) -> TemperedConfidence:
    right = test.right
    stated, tempered = (_confidence(test.p, t) for t in (1.0, temperature))
    sums = [_gaps(sure, right) for sure in (stated, tempered)]
    values = np.array([_error(sure, right) for sure in (stated, tempered)])
    draws = _resampled(np.hstack(sums), test.days, config)
    errors = np.abs(draws.reshape(len(draws), 2, BINS + 1)[:, :, :BINS]).sum(2)
    errors /= draws[:, BINS : BINS + 1]
    before, after = (
        _basic(value, found, config, low=0.0) for value, found in zip(values, errors.T, strict=True)
    )
    return TemperedConfidence(
        what=what,
        temperature=temperature,
        fitted=len(fitted),
        rows=len(test),
        of=test.of,
        right=float(right.mean()),
        before=before,
        after=after,
        change=_basic(float(values[1] - values[0]), errors[:, 1] - errors[:, 0], config),
        stated=_table(stated, right),
        tempered=_table(tempered, right),
    )


def _predicted(what: str, found: Predictions, config: EvaluationConfig) -> PredictedNumber:
    said, came = found.said, found.came
    squares = np.column_stack([(came - said) ** 2, came, came * came])
    draws = _resampled(np.hstack([_gaps(said, came), squares]), found.days, config)
    errors = np.abs(draws[:, :BINS]).sum(1) / draws[:, BINS]
    return PredictedNumber(
        what=what,
        rows=len(said),
        error=_basic(_error(said, came), errors, config, low=0.0),
        explained=_basic(
            float(_explained(np.append(len(said), squares.sum(0))[None])[0]),
            _explained(draws[:, BINS:]),
            config,
        ),
        stated=_table(said, came),
    )


def _returns(fitted: Directions, test: Directions, config: EvaluationConfig) -> ExpectedReturns:
    """What scores were worth on the validation split, which the policy was not trained on."""
    found = fit_return_map(score(fitted.p), fitted.moves, _ONE_BAR)
    errors = (test.moves - found.of(score(test.p))) ** 2
    squares = np.column_stack([errors, test.moves**2])
    draws = _resampled(squares, test.days, config)
    tiny = np.finfo(np.float64).tiny
    explained = 1.0 - draws[:, 0] / np.maximum(draws[:, 1], tiny)
    value = 1.0 - squares[:, 0].sum() / max(squares[:, 1].sum(), tiny)
    return ExpectedReturns(found, len(test.p), _basic(value, explained, config))


def _explained(sums: Floats) -> Floats:
    """R2 [n] of sums [n, 4]: rows, squared errors, numbers, squared numbers."""
    rows, errors, numbers, squares = sums.T
    around = squares - numbers * numbers / rows
    tiny = np.finfo(np.float64).tiny
    return np.where(around > tiny, 1.0 - errors / np.maximum(around, tiny), 0.0)


def _error(said: Floats, came: Floats) -> float:
    return expected_calibration_error(torch.from_numpy(said), torch.from_numpy(came))


def _table(said: Floats, came: Floats) -> Reliability:
    return reliability(torch.from_numpy(said), torch.from_numpy(came))


def _gaps(said: Floats, came: Floats) -> Floats:
    """[n, BINS + 1]: what came less what was said in the bin of each row, then 1 to count it."""
    out = np.zeros((len(said), BINS + 1))
    bins = np.minimum((said * BINS).astype(np.int64), BINS - 1)
    out[np.arange(len(said)), bins] = came - said
    out[:, BINS] = 1.0
    return out


def _resampled(values: Floats, days: NDArray[np.int64], config: EvaluationConfig) -> Floats:
    """Sums [samples, K] of the rows [n, K] of as many days, drawn with replacement.

    Raises:
        DataError: all rows are of one day.
    """
    _, labels = np.unique(days, return_inverse=True)
    count = int(labels.max()) + 1
    if count == 1:
        raise DataError(
            "all episodes begin on one day (evaluation.cluster_days), of which there is no "
            "interval; give the split more bars"
        )
    sums = np.stack([np.bincount(labels, column, count) for column in values.T], axis=1)
    generator = np.random.default_rng(config.seed)
    drawn = generator.multinomial(count, np.full(count, 1.0 / count), config.bootstrap_samples)
    return np.asarray(drawn @ sums)


def _basic(
    value: float, draws: Floats, config: EvaluationConfig, low: float | None = None
) -> Interval:
    """The basic bootstrap interval; `low` is what the figure cannot be below."""
    tail = (1.0 - config.confidence) / 2.0
    below, above = np.quantile(draws, [tail, 1.0 - tail])
    first, last = 2.0 * value - above, 2.0 * value - below
    if low is not None:
        first, last = max(first, low), max(last, low)
    return Interval(float(value), float(first), float(last))
