"""What a layer above tells the next one, from its rows and its policy's answers (SPEC section 1).

Environments under an artefact, and whoever runs the cascade, compute it here: the weighted mean
of directional agents' masked probabilities over SELL, HOLD and BUY, each action counted by the
sign of what it changes, then confidence and coherence. A policy's fitted temperature
(`cascade.policy.OnnxPolicy.temperature`) changes the confidence and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ActionError
from market.kernels import inlined, kernel
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
    SUM_TOLERANCE,
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
_POSITION, _ALLOWED, _TARGET = _PLACE["position"], _PLACE["allowed"], _PLAN["strategic_target"]
_CONFIDENCE = SAID.index("confidence")
_MASK = TACTICAL.mask_indices(_AGENT[TACTICAL_AGENT])
# All agents are discrete: probabilities lie where noise does.
_FIRST = TACTICAL.noise_slice(_AGENT[TACTICAL_AGENT]).start
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
    change, out = np.zeros((count, MOVES)), np.empty((count, len(STRATEGIC_SAID)))
    legal, weights = np.zeros((count, MOVES), np.bool_), np.zeros((count, agents))
    said = _strategic(rows, actions, probabilities, rules, temperature, change, legal, weights, out)
    if not said:
        p = probabilities[:, : agents * MOVES].astype(np.float64).reshape(count, agents, MOVES)
        _refuse(p, _whole(change), weights, legal, temperature)
    return out


@kernel
def _strategic(
    rows: Any,
    actions: Any,
    probabilities: Any,
    rules: Any,
    temperature: float,
    change: Any,
    legal: Any,
    weights: Any,
    out: Any,
) -> bool:
    """Write what is said, and what it comes from; False where a row's numbers mean nothing."""
    rule, agents, good = rules[0], weights.shape[1], True
    p = np.empty((agents, MOVES))
    for n in range(len(rows)):
        held, most = float(rows[n, _POSITION]), float(rows[n, _ALLOWED])
        for choice in range(MOVES):
            moved = held + position_change(choice, held, rule.step, rule.small_step)
            change[n, choice] = min(max(moved, -most), most) - held
            legal[n, choice] = may_choose(choice, held, most)
        for agent in range(agents):
            weights[n, agent] = agent_weight(agent, int(actions[n, agents]))
            for choice in range(MOVES):
                p[agent, choice] = probabilities[n, agent * MOVES + choice]
        good = speak(p, change[n], legal[n], weights[n], temperature, out[n]) and good
        out[n, len(SAID)] = strategic_target(actions[n], held, rule, most)
    return good


@inlined
def speak(p: Any, change: Any, legal: Any, weights: Any, temperature: float, out: Any) -> bool:
    """SAID of one row into out[:5]; False where the numbers mean nothing.

    `signals.superposition.directions`, `confidence` and `coherence` in one pass, for loops that
    ask of a row at a time: to rounding (by test), and of a batch what its rows give.

    Args:
        p: [A, K]. change: [K]. legal: bool [K]. weights: [A]. See `directions`.
    """
    whole, good = 0.0, 0.0 < temperature < math.inf
    for agent in range(len(weights)):
        whole += weights[agent]
    out[SELL], out[HOLD], out[BUY] = 0.0, 0.0, 0.0
    for agent in range(len(weights)):
        total, kept = 0.0, 0.0
        for choice in range(len(change)):
            good = good and 0.0 <= p[agent, choice] < math.inf and math.isfinite(change[choice])
            total += p[agent, choice]
            kept += p[agent, choice] if legal[choice] else 0.0
        good = good and abs(total - 1.0) <= SUM_TOLERANCE and kept > 0.0
        if not good:
            return False
        share = weights[agent] / whole if whole > 0.0 else 0.0
        for choice in range(len(change)):
            if legal[choice]:
                move = change[choice] if abs(change[choice]) >= _ROUNDING else 0.0
                place = BUY if move > 0.0 else SELL if move < 0.0 else HOLD
                out[place] += share * p[agent, choice] / kept
    if whole == 0.0:
        out[HOLD] = 1.0
    top, total = max(out[SELL], out[HOLD], out[BUY]), out[SELL] + out[HOLD] + out[BUY]
    entropy, tempered = 0.0, 0.0
    for place in range(len(DIRECTIONS)):
        entropy -= out[place] / total * math.log(out[place] / total) if out[place] > 0.0 else 0.0
        tempered += (out[place] / top) ** (1.0 / temperature)
    out[_CONFIDENCE] = top / total if temperature == 1.0 else 1.0 / tempered
    out[_CONFIDENCE + 1] = min(max(1.0 - entropy / math.log(len(DIRECTIONS)), 0.0), 1.0)
    return True


def _refuse(
    p: Floats, change: Floats, weights: Floats, legal: NDArray[np.bool_], temperature: float
) -> None:
    """Raise ActionError: what is wrong with numbers of which nothing can be said."""
    confidence(directions(p, change, weights, legal), temperature)
    raise ActionError("probabilities of which nothing can be said: expected distributions")


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
    out = np.empty((len(rows), len(TACTICAL_SAID)))
    if not _tactical(rows, probabilities, rules, temperature, out):
        _refuse(*_tilts(rows, probabilities, rules), temperature)
    out[:, -1] = actions[:, _AGENT[RISK_AGENT]] / (len(SHARES) - 1)
    return out


@kernel
def _tactical(rows: Any, probabilities: Any, rules: Any, temperature: float, out: Any) -> bool:
    """Write SAID of `tactical_said`; False where a row's numbers mean nothing."""
    rule, good, count = rules[0], True, len(_MASK)
    cap, weights = rule.kelly_cap, np.ones(1)
    p, change, legal = np.empty((1, count)), np.empty(count), np.empty(count, np.bool_)
    for n in range(len(rows)):
        target = float(rows[n, _TARGET])
        before = min(max(target, -cap), cap)
        for choice in range(count):
            tilted = target + tilt_of(choice, rule.small, rule.large)
            change[choice] = min(max(tilted, -cap), cap) - before
            legal[choice] = rows[n, _MASK[choice]] > 0.0
            p[0, choice] = probabilities[n, _FIRST + choice]
        good = speak(p, change, legal, weights, temperature, out[n]) and good
    return good


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
    out = np.empty((len(rows), len(TACTICAL_SAID)))
    if not _tactical(rows, probabilities, rules, 1.0, out):
        _refuse(*_tilts(rows, probabilities, rules), 1.0)
    return out[:, : len(DIRECTIONS)]


def _tilts(
    rows: Rows, probabilities: Rows, rules: NDArray[Any]
) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
    """The tactical agent's p [N, 1, 5], what choices change, its weight, which are legal."""
    rule = rules[0]
    tilts = _tilt_sizes(len(TILTS), float(rule["small"]), float(rule["large"]))
    target, cap = rows[:, _TARGET].astype(np.float64), float(rule["kelly_cap"])
    before = np.clip(target, -cap, cap)
    change = np.clip(target[:, None] + tilts, -cap, cap) - before[:, None]
    p = probabilities[:, _FIRST : _FIRST + len(TILTS)].astype(np.float64)
    return p[:, None, :], _whole(change), np.ones(1), rows[:, _MASK] > 0.0


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
    out = np.zeros(len(rows))
    sure = np.flatnonzero(confidence >= CONFIDENT)
    if sure.size:
        asked = tactical_given_strategic(rows[sure])
        out[sure] = entangled(strategic[sure], asked, ask(asked), rules)
    return out


def entangled(strategic: Floats, asked: Rows, answers: Rows, rules: NDArray[Any]) -> Floats:
    """Entanglement of both layers, [N], whatever the upper one's confidence.

    Args:
        strategic: SELL, HOLD, BUY of the strategic layer, [N, 3].
        asked: `tactical_given_strategic` of N rows. answers: probabilities of these, [3 N, ...].
        rules: TACTICAL_RULES [1].
    """
    count = len(DIRECTIONS)
    given = tactical_directions(asked, answers, rules)
    return entanglement(strategic, given.reshape(-1, count, count))


@kernel
def _tilt_sizes(count: int, small: float, large: float) -> Any:
    out = np.empty(count)
    for choice in range(count):
        out[choice] = tilt_of(choice, small, large)
    return out


def _whole(change: Floats) -> Floats:
    """Without what is rounding of whole units and of float32."""
    return np.where(np.abs(change) < _ROUNDING, 0.0, change)
