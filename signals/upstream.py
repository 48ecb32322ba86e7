"""Outputs of the layers above: sampled, for training a layer before those exist, or given.

A signal of configured information coefficient is drawn per episode: its
correlation with the standardised move of the reference over the episode is that
coefficient, and it becomes a superposition over SELL, HOLD, BUY by a softmax.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from market.kernels import inlined, kernel
from market.random import PURPOSE_UPSTREAM, normal, stream_key, uniform

CONTEXT_WIDTH = 12
LAYER_WIDTH = 5  # of one layer in it: three probabilities, confidence, coherence
CONFIDENT = 0.6  # entanglement is used from this confidence on
_RISK_SHARES = 4.0  # a parent exists only where the share is .25, .5, .75 or 1
_STRATEGIC, _TACTICAL, _ENTANGLEMENT, _RISK, _TILT = range(5)


@inlined
def superpose(signal: float, sharpness: float, out: Any, at: int) -> float:
    """Write (against, hold, with, confidence, coherence) of a signed signal; the confidence.

    For the side of a buyer that is (SELL, HOLD, BUY, confidence, coherence).
    """
    down, up = math.exp(-sharpness * signal), math.exp(sharpness * signal)
    total = down + 1.0 + up
    out[at], out[at + 1], out[at + 2] = down / total, 1.0 / total, up / total
    entropy = 0.0
    for index in range(3):
        entropy -= out[at + index] * math.log(out[at + index])
    confidence = max(out[at], out[at + 1], out[at + 2])
    out[at + 3] = confidence
    out[at + 4] = min(max(1.0 - entropy / math.log(3.0), 0.0), 1.0)
    return confidence


@inlined
def sign_context(said: Any, side: int, out: Any) -> None:
    """Write the cascade context of what both layers say, signed by the parent's side.

    Args:
        said: [CONTEXT_WIDTH], SELL, HOLD and BUY where `out` has against, hold and with.
    """
    out[:] = said
    if side < 0:
        for layer in (0, LAYER_WIDTH):
            out[layer], out[layer + 2] = said[layer + 2], said[layer]


@kernel
def sample_context(
    path_seed: np.uint64,
    episode: int,
    side: int,
    standardised_move: float,
    coefficient: float,
    sharpness: float,
    out: Any,
) -> None:
    """Write the cascade context [CONTEXT_WIDTH] of an episode, signed by the parent's side.

    Args:
        standardised_move: the reference's move over the episode, in its own sigmas.
        coefficient: the information coefficient of both signals, 0 to .1.
    """
    key = stream_key(path_seed, episode, PURPOSE_UPSTREAM)
    noise = math.sqrt(1.0 - coefficient * coefficient)
    strategic = coefficient * standardised_move + noise * normal(key, _STRATEGIC)
    tactical = coefficient * standardised_move + noise * normal(key, _TACTICAL)
    confidence = superpose(side * strategic, sharpness, out, 0)
    superpose(side * tactical, sharpness, out, LAYER_WIDTH)
    drawn = uniform(key, 2 * _TILT + _ENTANGLEMENT)
    out[10] = drawn if confidence >= CONFIDENT else 0.0
    out[11] = (1.0 + math.floor(uniform(key, 2 * _TILT + _RISK) * _RISK_SHARES)) / _RISK_SHARES
