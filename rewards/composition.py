"""A reward is the sum of its terms by weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from market.kernels import inlined


@inlined
def composed(
    weights: NDArray[np.float64], terms: NDArray[np.float64], weighed: NDArray[np.float64]
) -> float:
    """The reward of one step, and what each term has in it.

    Args:
        weights: [terms], see `weights_of` of a layer's terms.
        terms: [terms], unweighed, in the same order.
        weighed: [terms], receives each term's part of the reward, for the breakdown.
    """
    total = 0.0
    for term in range(len(weights)):
        weighed[term] = weights[term] * terms[term]
        total += weighed[term]
    return total
