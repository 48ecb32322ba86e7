"""What a layer above tells the next one, from its rows and its policy's answers (SPEC section 1).

Environments under an artefact, and whoever runs the cascade, compute it here: the weighted mean
of directional agents' masked probabilities over SELL, HOLD and BUY, each action counted by the
sign of what it changes, then confidence and coherence. A policy's fitted temperature
(`cascade.policy.OnnxPolicy.temperature`) changes the confidence and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market.kernels import kernel
from market.targets import (
    MOVES,
    agent_weight,
    may_choose,
    position_change,
    strategic_target,
    tilt_of,
)
from signals.strategic import DIRECTIONAL, STRATEGIC
from signals.superposition import (
    BUY,
    DIRECTIONS,
    HOLD,
    SELL,
    coherence,
    confidence,
    directions,
    entanglement,
)
from signals.tactical import RISK_AGENT, SHARES, TACTICAL, TACTICAL_AGENT, TILTS
from signals.upstream import CONFIDENT

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]

# Columns of what is said: a superposition with its measures, then one number of the layer's own.
SAID = (*(name.lower() for name in DIRECTIONS), "confidence", "coherence")
STRATEGIC_SAID = (*SAID, "target")  # share of the limit
TACTICAL_SAID = (*SAID, "risk_share")  # of the target

_ROUNDING = 1e-3  # of a position in whole units, share of the limit
_PLACE = {column.name: index for index, column in enumerate(STRATEGIC.columns)}
_PLAN = {column.name: index for index, column in enumerate(TACTICAL.columns)}
_AGENT = {agent.name: index for index, agent in enumerate(TACTICAL.agents)}
_CONDITIONS = {SELL: "strategic_sell", HOLD: "strategic_hold", BUY: "strategic_buy"}
_CERTAIN = ("strategic_confidence", "strategic_coherence")


def strategic_said(
    rows: Rows,
    actions: Rows,
    probabilities: Rows,
    rules: NDArray[Any],
    temperature: float = 1.0,
) -> Floats:
    """STRATEGIC_SAID, [N, 6], of a joint decision.

    An action's change is that of the position, within what drawdown leaves: BUY at the limit
    changes nothing, and anything but a cut does where the limit has shrunk below the position.
    The coordinator's choice sets the weights; where it stands aside the layer holds.

    Args:
        rows: [N, STRATEGIC.row_width], that were decided on.
        actions, probabilities: as of `cascade.policy.Decision`.
        rules: STRATEGIC_RULES [1].
        temperature: of the confidence.
    """
    count, agents = len(rows), len(DIRECTIONAL)
    change, target = np.zeros((count, MOVES)), np.zeros(count)
    legal, weights = np.zeros((count, MOVES), np.bool_), np.zeros((count, agents))
    position = rows[:, _PLACE["position"]].astype(np.float64)
    allowed = rows[:, _PLACE["allowed"]].astype(np.float64)
    _strategic(position, allowed, actions, rules, change, legal, weights, target)
    p = probabilities[:, : agents * MOVES].astype(np.float64).reshape(count, agents, MOVES)
    return _joined(directions(p, _whole(change), weights, legal), target, temperature)


@kernel
def _strategic(
    position: Any,
    allowed: Any,
    actions: Any,
    rules: Any,
    change: Any,
    legal: Any,
    weights: Any,
    target: Any,
) -> None:
    rule = rules[0]
    for n in range(len(position)):
        held, most = position[n], allowed[n]
        for choice in range(change.shape[1]):
            moved = held + position_change(choice, held, rule.step, rule.small_step)
            change[n, choice] = min(max(moved, -most), most) - held
            legal[n, choice] = may_choose(choice, held, most)
        agents = weights.shape[1]
        for agent in range(agents):
            weights[n, agent] = agent_weight(agent, int(actions[n, agents]))
        target[n] = strategic_target(actions[n], held, rule, most)


def tactical_said(
    rows: Rows,
    actions: Rows,
    probabilities: Rows,
    rules: NDArray[Any],
    temperature: float = 1.0,
) -> Floats:
    """TACTICAL_SAID, [N, 6], of a joint decision.

    The tactical agent alone is directional. Its action's change is that of the target against
    the strategic one as it is, both within Kelly's cap: what it adds, and not what is left of
    the way to a target set before.

    Args:
        rows: [N, TACTICAL.row_width], that were decided on.
        actions, probabilities: as of `cascade.policy.Decision`.
        rules: TACTICAL_RULES [1].
        temperature: of the confidence.
    """
    p, change, legal = _tilts(rows, probabilities, rules)
    share = actions[:, _AGENT[RISK_AGENT]] / (len(SHARES) - 1)
    return _joined(directions(p, change, np.ones(1), legal), share, temperature)


def tactical_given_strategic(rows: Rows) -> Rows:
    """Rows [3 N, TACTICAL.row_width] in which the strategic layer is certain to SELL, HOLD, BUY.

    Three in a row for each of `rows`, in the order of DIRECTIONS; its target stays what it is.
    """
    out = np.repeat(rows, len(DIRECTIONS), axis=0)
    for column in _CERTAIN:
        out[:, _PLAN[column]] = 1.0
    for direction, column in _CONDITIONS.items():
        out[:, _PLAN[column]] = 0.0
        out[direction :: len(DIRECTIONS), _PLAN[column]] = 1.0
    return out


def tactical_directions(rows: Rows, probabilities: Rows, rules: NDArray[Any]) -> Floats:
    """SELL, HOLD, BUY of `tactical_said` alone, [N, 3]."""
    p, change, legal = _tilts(rows, probabilities, rules)
    return directions(p, change, np.ones(1), legal)


def _tilts(
    rows: Rows, probabilities: Rows, rules: NDArray[Any]
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """The tactical agent's probabilities [N, 1, 5], what its choices change, which are legal."""
    agent, rule = _AGENT[TACTICAL_AGENT], rules[0]
    tilts = _tilt_sizes(len(TILTS), float(rule["small"]), float(rule["large"]))
    target, cap = rows[:, _PLAN["strategic_target"]].astype(np.float64), float(rule["kelly_cap"])
    before = np.clip(target, -cap, cap)
    change = np.clip(target[:, None] + tilts, -cap, cap) - before[:, None]
    # All agents are discrete: probabilities lie where noise does.
    p = probabilities[:, TACTICAL.noise_slice(agent)].astype(np.float64)
    return p[:, None, :], _whole(change), rows[:, TACTICAL.mask_indices(agent)] > 0.0


def strategic_tactical_entanglement(
    ask: Callable[[Rows], Rows],
    strategic: Floats,
    confidence: Floats,
    rows: Rows,
    rules: NDArray[Any],
) -> Floats:
    """Entanglement of both layers, [N], 0 where the upper one is less than `CONFIDENT`.

    The policy is asked where it counts alone.

    Args:
        ask: the tactical policy's probabilities (`cascade.policy.Decision`) of rows; it is
            called once, on three rows of each that counts, or not at all.
        strategic: SELL, HOLD, BUY of the strategic layer, [N, 3].
        confidence: that it says it has, [N].
        rows: [N, TACTICAL.row_width], that were decided on.
        rules: TACTICAL_RULES [1].
    """
    out, count = np.zeros(len(rows)), len(DIRECTIONS)
    sure = np.flatnonzero(confidence >= CONFIDENT)
    if sure.size:
        asked = tactical_given_strategic(rows[sure])
        answers = tactical_directions(asked, ask(asked), rules)
        out[sure] = entanglement(strategic[sure], answers.reshape(-1, count, count))
    return out


@kernel
def _tilt_sizes(count: int, small: float, large: float) -> Any:
    out = np.empty(count)
    for choice in range(count):
        out[choice] = tilt_of(choice, small, large)
    return out


def _whole(change: Floats) -> Floats:
    """Without what is rounding of whole units and of float32."""
    return np.where(np.abs(change) < _ROUNDING, 0.0, change)


def _joined(p: Floats, own: NDArray[Any], temperature: float) -> Floats:
    return np.column_stack([p, confidence(p, temperature), coherence(p), own])
