"""Counter-based noise for joint decisions: keyed, not drawn.

A stateful generator gives each environment whatever is next in its stream, so
that a decision depends on the batch it was made in. Here the noise of a
decision is a function of (seed, step, agent, component) alone: the same
episode gets the same actions alone or in a batch, on any face, after a resume,
and for two policies compared on common random numbers.

The bits are SplitMix64's finaliser (Steele, Lea and Flood, "Fast splittable
pseudorandom number generators", 2014) chained over the parts of the key.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from signals.layout import LayerLayout

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_SHIFT_1, _SHIFT_2, _SHIFT_3 = np.uint64(30), np.uint64(27), np.uint64(31)
_DOUBLE_SHIFT = np.uint64(11)  # the 53 bits that a double holds
_ULP = 2.0**-53
_AGENT_SHIFT = 32  # lanes of two agents never meet below 2^31 components
_DRAWS = 2  # uniforms per component: Box-Muller takes two


def mix(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: uint64 of any shape -> uint64, a bijection that scatters bits."""
    with np.errstate(over="ignore"):
        z = keys + _GOLDEN
        z = (z ^ (z >> _SHIFT_1)) * _MIX_1
        z = (z ^ (z >> _SHIFT_2)) * _MIX_2
    mixed: NDArray[np.uint64] = z ^ (z >> _SHIFT_3)
    return mixed


def derive_seeds(*parts: int, count: int) -> NDArray[np.uint64]:
    """`count` distinct seeds [count] that depend on all the `parts` (each >= 0)."""
    key = np.zeros(1, dtype=np.uint64)
    for part in parts:
        key = mix(key ^ mix(np.full(1, part, dtype=np.uint64)))
    with np.errstate(over="ignore"):
        return mix(key + np.arange(count, dtype=np.uint64) * _GOLDEN)


def _uniform(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Uniform in the open interval (0, 1)."""
    return ((bits >> _DOUBLE_SHIFT).astype(np.float64) + 0.5) * _ULP


class JointNoise:
    """The noise of one layer's joint decisions, its lanes computed once."""

    def __init__(self, layout: LayerLayout) -> None:
        box: list[int] = []
        discrete: list[int] = []
        lanes: list[int] = []
        for number, agent in enumerate(layout.agents):
            start = len(lanes)
            lanes += [(number << _AGENT_SHIFT) + _DRAWS * c for c in range(agent.encoded_width)]
            (box if agent.kind == "box" else discrete).extend(range(start, len(lanes)))
        self._box = np.array(box, dtype=np.int64)
        self._discrete = np.array(discrete, dtype=np.int64)
        self._lanes = np.array(lanes, dtype=np.uint64)

    def __call__(self, seeds: NDArray[np.uint64], steps: NDArray[np.int64]) -> NDArray[np.float32]:
        """Noise for the decision number `steps` [N] of the episodes seeded `seeds` [N].

        Returns float32 [N, layout.noise_width]: standard normal in the lanes of
        boxes, standard Gumbel in those of discrete choices. Row n depends on
        (seeds[n], steps[n]) alone.
        """
        rows = mix(mix(seeds.astype(np.uint64)) ^ mix(steps.astype(np.uint64)))
        first = _uniform(mix(rows[:, None] ^ mix(self._lanes)))
        noise = np.empty(first.shape, dtype=np.float32)
        if self._box.size:
            second = _uniform(mix(rows[:, None] ^ mix(self._lanes[self._box] + np.uint64(1))))
            radius = np.sqrt(-2.0 * np.log(np.ascontiguousarray(first[:, self._box])))
            noise[:, self._box] = radius * np.cos(2.0 * np.pi * second)
        if self._discrete.size:
            uniform = np.ascontiguousarray(first[:, self._discrete])
            noise[:, self._discrete] = -np.log(-np.log(uniform))
        return noise


def joint_noise(
    layout: LayerLayout, seeds: NDArray[np.uint64], steps: NDArray[np.int64]
) -> NDArray[np.float32]:
    """`JointNoise(layout)(seeds, steps)`; keep a `JointNoise` where it is called often."""
    return JointNoise(layout)(seeds, steps)
