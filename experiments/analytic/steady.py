"""A reward of less noise and the same mean: utility less what nobody could foresee."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.analytic import BatchedAnalytic
from envs.analytic.kernel import REWARD_TERMS

_MOVES = REWARD_TERMS.index("moves")


def steady(env: BatchedAnalytic, actions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rewards float32 [N, 4] of the step just taken, for `mappo.reward_function`.

    Exposure times the part of a bar's return that no decision before it could foresee has the
    mean zero whatever is decided, so the best policy and its expected utility stay what they
    were; a control variate that a market with a known law allows.
    """
    arrays: Any = env.arrays
    rows = np.arange(env.num_envs)
    bar = np.maximum(arrays.bars - 1, 0)
    gain, foreseen = arrays.returns[rows, bar], arrays.foreseen[rows, bar]
    exposed = np.divide(
        arrays.terms[:, _MOVES], gain, out=np.zeros(env.num_envs), where=gain != 0.0
    )
    paid = arrays.rewards - (exposed * (gain - foreseen))[:, None]
    return paid.astype(np.float32)
