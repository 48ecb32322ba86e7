"""How far a confidence can be believed: temperature scaling and calibration error.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks" (2017): one
number, fitted on data that the network was not trained on, divides its logits. It changes
no choice, only how sure the network says it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from configs.errors import DataError

TEMPERATURES = (0.05, 20.0)  # a network that needs more than this says nothing
_ROUNDS = 60  # of golden-section search: the bracket shrinks by .618 each, to 1e-12 of itself
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_PLACES = 121  # of the temperatures' range that are looked at where there may be several minima
BINS = 15  # of Guo et al.'s reports


class Reliability(NamedTuple):
    """Of each bin of confidence: how often right, how sure on average, and how many.

    accuracy, confidence: [bins], 0 where a bin is empty. rows: int64 [bins].
    """

    accuracy: Tensor
    confidence: Tensor
    rows: Tensor


def fit_temperature(logits: Tensor, outcomes: Tensor, allowed: Tensor | None = None) -> float:
    """The temperature that makes `outcomes` likeliest under softmax(logits / temperature).

    The negative log likelihood is convex in 1 / temperature, so it has one minimum, which a
    golden-section search over the logarithm finds.

    Args:
        logits: [N, C] of a validation set.
        outcomes: int64 [N], the class that came true, or [N, C], probabilities of each.
        allowed: bool [N, C], of classes that could; None for all. Outcomes must be allowed.

    Raises:
        DataError: shapes that do not go together, no rows, numbers that are not finite, or an
            outcome that is not allowed.
    """
    logits, target = _checked(logits, outcomes, allowed)

    def loss(log_temperature: float) -> float:
        log_p = functional.log_softmax(logits * math.exp(-log_temperature), dim=1)
        # 0 x -inf of what is not allowed counts for nothing.
        return -torch.where(target > 0.0, target * log_p, 0.0).sum().item()

    return math.exp(_lowest(loss, *(math.log(bound) for bound in TEMPERATURES)))


def fit_confidence(logits: Tensor, correct: Tensor) -> float:
    """The temperature at which the largest of softmax(logits / temperature) is the chance of
    being right: the one that makes `correct` likeliest.

    For a confidence that is read alone, as of a direction that pays or does not: what else
    might have come true is not asked. The likelihood may have more than one peak, so that
    temperatures all over the range are tried before the best one is refined.

    Args:
        logits: [N, C] of a validation set; -inf is never chosen.
        correct: bool [N], whether the likeliest was right.

    Raises:
        DataError: shapes that do not go together, no rows, or a row without a finite logit.
    """
    if logits.dim() != 2 or not len(logits) or correct.shape != logits.shape[:1]:
        raise DataError(
            f"logits of shape {tuple(logits.shape)} with {tuple(correct.shape)} outcomes: expected "
            "[N, C] and one outcome a row, at least one; give the validation split's"
        )
    top = logits.double().amax(1, keepdim=True)
    if not top.isfinite().all():
        row = int((~top.isfinite()).nonzero()[0, 0])
        raise DataError(f"logits of row {row}: the largest is {top[row].item()}, expected a number")
    behind, right = logits.double() - top, correct.bool()
    edge = torch.finfo(torch.float64).eps  # whoever is certain and wrong is not infinitely wrong

    def loss(log_temperature: float) -> float:
        sure = 1.0 / torch.exp(behind * math.exp(-log_temperature)).sum(1)
        return -torch.where(right, sure, 1.0 - sure).clamp(min=edge).log().sum().item()

    low, high = (math.log(bound) for bound in TEMPERATURES)
    step = (high - low) / (_PLACES - 1)
    best = min(range(_PLACES), key=lambda place: loss(low + step * place))
    around = (low + step * max(best - 1, 0), low + step * min(best + 1, _PLACES - 1))
    return math.exp(_lowest(loss, *around))


def _lowest(loss: Callable[[float], float], low: float, high: float) -> float:
    """Where between `low` and `high` a loss of one minimum has it, by golden sections."""
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = loss(left), loss(right)
    for _ in range(_ROUNDS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = loss(right)
    return 0.5 * (low + high)


def _checked(logits: Tensor, outcomes: Tensor, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
    """float64 (logits, target distributions), each [N, C]; forbidden logits at -inf."""
    if logits.dim() != 2 or not len(logits) or not logits.isfinite().all():
        raise DataError(
            f"logits to calibrate: got shape {tuple(logits.shape)}, expected finite numbers "
            "[N, C] of at least one row; give the validation split's"
        )
    wide = logits.double()
    if outcomes.dim() == 1 and len(outcomes) == len(logits):
        if outcomes.min() < 0 or outcomes.max() >= logits.shape[1]:
            raise DataError(
                f"outcomes from {outcomes.min()} to {outcomes.max()}: expected classes from 0 to "
                f"{logits.shape[1] - 1}, the columns of the logits"
            )
        target = functional.one_hot(outcomes.long(), logits.shape[1]).double()
    elif outcomes.shape == logits.shape:
        target = outcomes.double()
    else:
        raise DataError(
            f"outcomes of shape {tuple(outcomes.shape)} for logits of {tuple(logits.shape)}: "
            "expected one class a row, or its distribution"
        )
    if allowed is not None:
        if (target[~allowed] > 0.0).any():
            row = int((target.masked_fill(allowed, 0.0) > 0.0).any(1).nonzero()[0])
            raise DataError(
                f"outcome of row {row}: class {int(target[row].argmax())} came true, expected one "
                "that its mask allows; give the masks of the same rows"
            )
        wide = wide.masked_fill(~allowed, -math.inf)
    return wide, target


def reliability(confidence: Tensor, correct: Tensor, bins: int = BINS) -> Reliability:
    """Accuracy and mean confidence in `bins` equal ranges of confidence (a reliability diagram).

    Args:
        confidence: [N], in [0, 1]. correct: bool [N], whether what it said came true; or
            numbers [N], where what was said is a number itself.

    Raises:
        DataError: shapes differ, there are no rows, or a confidence lies outside [0, 1].
    """
    if confidence.shape != correct.shape or confidence.dim() != 1 or not len(confidence):
        raise DataError(
            f"confidences of shape {tuple(confidence.shape)} and {tuple(correct.shape)} outcomes: "
            "expected one of each for every row, and at least one row"
        )
    if not ((confidence >= 0.0) & (confidence <= 1.0)).all():
        raise DataError(
            f"confidences from {confidence.min():g} to {confidence.max():g}: expected 0 to 1; "
            "give probabilities, not logits"
        )
    sure = confidence.double()
    index = (sure * bins).long().clamp(max=bins - 1)
    zeros = sure.new_zeros(bins)
    count = torch.zeros(bins, dtype=torch.long).index_add(0, index, torch.ones_like(index))
    divisor = count.clamp(min=1)
    return Reliability(
        zeros.index_add(0, index, correct.double()) / divisor,
        zeros.index_add(0, index, sure) / divisor,
        count,
    )


def expected_calibration_error(confidence: Tensor, correct: Tensor, bins: int = BINS) -> float:
    """Mean over rows of |accuracy - confidence| of the row's bin, 0 to 1 (Guo et al., eq. 3).

    Raises:
        DataError: see `reliability`.
    """
    found = reliability(confidence, correct, bins)
    gap = (found.accuracy - found.confidence).abs()
    return float((gap * found.rows).sum() / found.rows.sum())
