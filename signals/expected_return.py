"""From a score to an expected return: the fitted, rising map that sizes rest on (SPEC section 6).

A layer's score is what it says beyond even odds, P(BUY) - P(SELL). How much return a score has
been worth is an isotonic fit over training folds (`trainers.isotonic`); here it is applied: on
numpy alone, and in kernels. A probability is never taken for a return.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.errors import ArtefactError, DataError
from market.kernels import inlined
from signals.superposition import BUY, SELL, distributions

Floats = NDArray[np.float64]
FORMAT = 1
MAX_KNOTS = 10_000
RETURN_MAP_FILE = "return_map.json"


@dataclass(frozen=True)
class ReturnMap:
    """Expected return over the holding horizon by score, straight between knots, flat outside.

    Attributes:
        scores: float64 [m], strictly rising.
        returns: float64 [m], never falling.
        sigma: deviation of the return about the map, over the same horizon.
        horizon_bars: bars of that horizon.
        samples: scores that it was fitted on.
    """

    scores: Floats
    returns: Floats
    sigma: float
    horizon_bars: int
    samples: int

    def __post_init__(self) -> None:
        problem = _problem(self.scores, self.returns)
        if problem is None and not (math.isfinite(self.sigma) and self.sigma >= 0.0):
            problem = f"sigma is {self.sigma}, expected a number of 0 or above"
        if problem is None and min(self.horizon_bars, self.samples) < 1:
            problem = "horizon_bars and samples must be 1 or above"
        if problem is not None:
            raise DataError(f"return map: {problem}")

    def of(self, scores: ArrayLike) -> Floats:
        """Expected returns of scores, of the same shape.

        Raises:
            DataError: a score is not finite.
        """
        values = np.asarray(scores, np.float64)
        if not np.isfinite(values).all():
            raise DataError("return map: a score is not finite")
        return np.asarray(np.interp(values, self.scores, self.returns))

    def save(self, path: Path) -> None:
        """Write it as JSON; `read_return_map` reads it back."""
        path.write_text(json.dumps(self.as_dict(), allow_nan=False) + "\n", encoding="utf-8")

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data; `return_map` reads it back to an equal map."""
        return {
            "format": FORMAT,
            "scores": self.scores.tolist(),
            "returns": self.returns.tolist(),
            "sigma": self.sigma,
            "horizon_bars": self.horizon_bars,
            "samples": self.samples,
        }


def return_map(fields: Mapping[str, Any], where: str) -> ReturnMap:
    """The map in plain data; `where` names it in errors.

    Raises:
        ArtefactError: another format, a field that is missing or of another kind, or no map.
    """
    try:
        if fields["format"] != FORMAT:
            raise ArtefactError(
                f"{where}: return map of format {fields['format']}, expected {FORMAT}; fit it again"
            )
        scores, returns = (np.array(fields[name], np.float64) for name in ("scores", "returns"))
        sigma, counts = float(fields["sigma"]), (fields["horizon_bars"], fields["samples"])
        if any(type(count) is not int for count in counts):
            raise TypeError("horizon_bars and samples are whole numbers")
        return ReturnMap(scores, returns, sigma, *counts)
    except (KeyError, TypeError, ValueError, DataError) as error:
        raise ArtefactError(f"{where}: no return map ({error}); fit it again") from error


def read_return_map(path: Path) -> ReturnMap:
    """The map in a JSON file.

    Raises:
        ArtefactError: see `return_map`; or it cannot be read.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} cannot be read ({error}); expected a return map") from error
    if not isinstance(fields, dict):
        raise ArtefactError(f"{path}: no return map (not an object); fit it again")
    return return_map(fields, str(path))


def score(p: ArrayLike) -> Floats:
    """P(BUY) - P(SELL), [N], of superpositions [N, 3] over `superposition.DIRECTIONS`."""
    clean = distributions(p)
    return np.asarray(clean[:, BUY] - clean[:, SELL])


@inlined
def return_of(score: float, scores: Any, returns: Any) -> float:
    """`ReturnMap.of` of one score, for kernels; NaN of NaN."""
    last = len(scores) - 1
    if not score > scores[0]:
        return returns[0] if score == score else score
    if score >= scores[last]:
        return returns[last]
    low, high = 0, last
    while high - low > 1:
        middle = (low + high) // 2
        if scores[middle] <= score:
            low = middle
        else:
            high = middle
    part = (score - scores[low]) / (scores[high] - scores[low])
    return returns[low] + part * (returns[high] - returns[low])


def _problem(scores: Floats, returns: Floats) -> str | None:
    if scores.ndim != 1 or scores.shape != returns.shape or not 1 <= len(scores) <= MAX_KNOTS:
        return (
            f"scores have shape {scores.shape} and returns {returns.shape}, expected [m] of both, "
            f"m from 1 to {MAX_KNOTS}"
        )
    if not (np.isfinite(scores).all() and np.isfinite(returns).all()):
        return "a score or a return is not finite"
    if (np.diff(scores) <= 0.0).any():
        return "scores must rise strictly"
    return "returns must not fall" if (np.diff(returns) < 0.0).any() else None
