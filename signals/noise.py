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

from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError, nearest
from signals.layout import LayerLayout
from signals.team import TeamLayout

Law = Literal["normal", "gumbel", "uniform"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_SHIFT_1, _SHIFT_2, _SHIFT_3 = np.uint64(30), np.uint64(27), np.uint64(31)
_DOUBLE_SHIFT = np.uint64(11)  # the 53 bits that a double holds
_ULP = 2.0**-53
_BELOW_ONE = np.nextafter(np.float32(1.0), np.float32(0.0))
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


class _LaneNoise:
    """Noise in lanes of fixed keys and laws: the key of a lane is its agent's number and its own.

    lanes: (agent's number, number of the lane among the agent's, its law), in order.
    """

    def __init__(self, lanes: Iterable[tuple[int, int, Law]]) -> None:
        keys, laws = [], []
        for agent, lane, law in lanes:
            keys.append((agent << _AGENT_SHIFT) + _DRAWS * lane)
            laws.append(law)
        lanes = np.array(keys, dtype=np.uint64)
        named = np.array(laws, dtype=np.str_)
        self._normal = np.flatnonzero(named == "normal")
        self._first, self._second = mix(lanes), mix(lanes[self._normal] + np.uint64(1))
        self._gumbel = np.flatnonzero(named == "gumbel")
        self._uniform = np.flatnonzero(named == "uniform")

    def __call__(self, seeds: NDArray[np.uint64], steps: NDArray[np.int64]) -> NDArray[np.float32]:
        """Noise for the decision number `steps` [N] of the episodes seeded `seeds` [N].

        Returns float32 [N, layout.noise_width]: standard normal, standard Gumbel, or
        uniform in (0, 1), as the lane's law says. Row n depends on (seeds[n],
        steps[n]) alone.
        """
        rows = mix(mix(seeds.astype(np.uint64)) ^ mix(steps.astype(np.uint64)))
        first = _uniform(mix(rows[:, None] ^ self._first))
        noise = np.empty(first.shape, dtype=np.float32)
        if self._normal.size:
            second = _uniform(mix(rows[:, None] ^ self._second))
            radius = np.sqrt(-2.0 * np.log(np.ascontiguousarray(first[:, self._normal])))
            noise[:, self._normal] = radius * np.cos(2.0 * np.pi * second)
        if self._gumbel.size:
            uniform = np.ascontiguousarray(first[:, self._gumbel])
            noise[:, self._gumbel] = -np.log(-np.log(uniform))
        if self._uniform.size:
            # The nearest single to a double below 1 may be 1 itself.
            noise[:, self._uniform] = np.minimum(first[:, self._uniform], _BELOW_ONE)
        return noise


class JointNoise(_LaneNoise):
    """The noise of one layer's joint decisions: normal for boxes, Gumbel for discrete choices."""

    def __init__(self, layout: LayerLayout) -> None:
        super().__init__(
            (number, lane, "normal" if agent.kind == "box" else "gumbel")
            for number, agent in enumerate(layout.agents)
            for lane in range(agent.encoded_width)
        )


class TeamNoise(_LaneNoise):
    """The noise of a team's joint decisions: Gumbel for categorical factors, normal for others.

    uniform: names of groups whose bounded factors are drawn from uniform noise (Betas).
    An agent's lanes are keyed by its number in the team and by their place among its
    own, whatever their laws.
    """

    def __init__(self, layout: TeamLayout, uniform: tuple[str, ...] = ()) -> None:
        known = [group.name for group in layout.groups]
        for name in uniform:
            if name not in known:
                raise ConfigError(
                    f"uniform noise for group '{name}' of team '{layout.name}': no such group; "
                    f"{nearest(name, known)}"
                )
        super().__init__(_team_lanes(layout, uniform))


def _team_lanes(layout: TeamLayout, uniform: tuple[str, ...]) -> Iterator[tuple[int, int, Law]]:
    number = 0
    for group in layout.groups:
        laws: list[Law] = []
        for factor in group.factors:
            law: Law = "gumbel" if factor.kind == "categorical" else "normal"
            if factor.kind == "bounded" and group.name in uniform:
                law = "uniform"
            laws += [law] * factor.width
        for _ in group.agents:
            yield from ((number, lane, law) for lane, law in enumerate(laws))
            number += 1


def joint_noise(
    layout: LayerLayout, seeds: NDArray[np.uint64], steps: NDArray[np.int64]
) -> NDArray[np.float32]:
    """`JointNoise(layout)(seeds, steps)`; keep a `JointNoise` where it is called often."""
    return JointNoise(layout)(seeds, steps)
