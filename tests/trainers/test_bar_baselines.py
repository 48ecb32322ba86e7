"""Simple rules of the layers above execution: what they want, and how they get there."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from signals.strategic import (
    BACK_MOMENTUM,
    BUY,
    COORDINATOR,
    DIRECTIONAL,
    HOLD,
    SELL,
    STAND_ASIDE,
    STRATEGIC,
)
from signals.tactical import CHOICES, TACTICAL
from tests.envs.layers import LAYERS
from trainers.bar_baselines import strategic_baselines, tactical_baselines

COLUMN = {column.name: index for index, column in enumerate(STRATEGIC.columns)}
AGENTS = [agent.name for agent in STRATEGIC.agents]


def row(**values: float) -> NDArray[np.float32]:
    """A row of a flat account under no limit but its own, with `values` by column name."""
    given = {"allowed": 1.0, "may_buy": 1.0, "may_sell": 1.0, "may_hold": 1.0, **values}
    out = np.zeros((1, STRATEGIC.row_width), np.float32)
    for name, value in given.items():
        out[0, COLUMN[name]] = value
    return out


def choices(baseline: str, **values: float) -> dict[str, int]:
    newest = {name.replace("_newest", "@0"): value for name, value in values.items()}
    action = strategic_baselines()[baseline].act(row(**newest))
    assert action.shape == (1, STRATEGIC.action_width) and action.dtype == np.float32
    return dict(zip(AGENTS, action[0].astype(int).tolist(), strict=True))


def moves(choice: int) -> dict[str, int]:
    gate = STAND_ASIDE if choice == HOLD else BACK_MOMENTUM
    return {**dict.fromkeys(DIRECTIONAL, choice), COORDINATOR: gate}


@pytest.mark.parametrize(
    ("baseline", "values", "choice"),
    [
        ("buy_and_hold", {}, BUY),
        ("buy_and_hold", {"position": 0.9}, BUY),
        ("buy_and_hold", {"position": 1.0}, HOLD),
        ("flat", {}, HOLD),
        ("momentum", {"momentum_50_newest": 0.4}, BUY),
        ("momentum", {"momentum_50_newest": -0.4}, SELL),
        ("momentum", {"momentum_50_newest": -0.4, "position": -1.0}, HOLD),
        ("momentum", {"momentum_50_newest": -0.4, "nwrqk_value_newest": 1.0}, SELL),
        ("momentum", {"momentum_50_newest": 0.4, "position": -1.0}, BUY),
        ("momentum", {"position": 0.5}, HOLD),
        # The regression above the price: it is expected to rise.
        ("mean_reversion", {"nwrqk_value_newest": 0.2}, BUY),
        ("mean_reversion", {"nwrqk_value_newest": -0.2}, SELL),
        ("mean_reversion", {"nwrqk_value_newest": -0.2, "momentum_50_newest": 1.0}, SELL),
        # A halved limit is the limit; a halted account may only hold.
        ("buy_and_hold", {"position": 0.5, "allowed": 0.5}, HOLD),
        ("buy_and_hold", {"allowed": 0.0, "may_buy": 0.0, "may_sell": 0.0}, HOLD),
        ("buy_and_hold", {"may_buy": 0.0}, HOLD),
    ],
)
def test_a_rule_goes_to_its_side_and_stays_there(
    baseline: str, values: dict[str, float], choice: int
) -> None:
    assert choices(baseline, **values) == moves(choice)


def test_rules_read_the_newest_bar_alone() -> None:
    older = {
        name: 1.0
        for name in COLUMN
        if name.startswith(("momentum_50@", "nwrqk_value@")) and not name.endswith("@0")
    }
    for baseline in ("momentum", "mean_reversion"):
        assert choices(baseline, **older) == moves(HOLD)


TACTICAL_COLUMN = {column.name: index for index, column in enumerate(TACTICAL.columns)}


def plan(baseline: str, *forbidden: str, **values: float) -> dict[str, str]:
    """The choices of a tactical rule by agent, where all but `forbidden` may be chosen."""
    rows = np.zeros((1, TACTICAL.row_width), np.float32)
    for name, index in TACTICAL_COLUMN.items():
        rows[0, index] = float(name.startswith("may_") and name not in forbidden)
    for name, value in values.items():
        rows[0, TACTICAL_COLUMN[name.replace("_newest", "@0")]] = value
    action = tactical_baselines()[baseline].act(rows)
    return {
        agent.name: CHOICES[agent.name][int(number)]
        for agent, number in zip(TACTICAL.agents, action[0], strict=True)
    }


@pytest.mark.parametrize(
    ("baseline", "share", "style"),
    [
        ("twap", "WHOLE", "TWAP"),
        ("market_at_open", "WHOLE", "MARKET"),
        ("join", "WHOLE", "JOIN"),
        ("flat", "NONE", "TWAP"),
    ],
)
def test_the_tactical_rules_take_the_strategic_target_in_one_style(
    baseline: str, share: str, style: str
) -> None:
    wanted = {"tactical_agent": "HOLD", "risk_agent": share, "execution_agent": style}
    assert plan(baseline) == wanted
    # A bar that must close flat: what the environment would make of a masked choice.
    closing = plan(baseline, "may_risk_agent_whole")
    assert closing == {**wanted, "risk_agent": "NONE"}


@pytest.mark.parametrize(
    ("values", "tilt"),
    [
        ({"momentum_5_newest": 0.1}, "SELL_SMALL"),
        ({"momentum_5_newest": -0.1}, "BUY_SMALL"),
        ({"momentum_5_newest": 0.0}, "HOLD"),
        ({"momentum_5_newest": 0.1, "last_tactical_agent_hold": 1.0}, "SELL_SMALL"),
        # Back at the target after a bar beside it, on whichever side.
        ({"momentum_5_newest": 0.1, "last_tactical_agent_buy_small": 1.0}, "HOLD"),
        ({"momentum_5_newest": -0.1, "last_tactical_agent_sell_small": 1.0}, "HOLD"),
    ],
)
def test_the_quoting_rule_is_beside_the_target_every_other_bar(
    values: dict[str, float], tilt: str
) -> None:
    wanted = {"tactical_agent": tilt, "risk_agent": "WHOLE", "execution_agent": "JOIN"}
    assert plan("quote", **values) == wanted
    forbidden = [f"may_tactical_agent_{choice}" for choice in ("buy_small", "sell_small")]
    assert plan("quote", *forbidden, **values) == {**wanted, "tactical_agent": "HOLD"}


def test_the_momentum_rule_tilts_to_the_side_of_the_whole_window() -> None:
    wanted = {"risk_agent": "WHOLE", "execution_agent": "JOIN"}
    window = {name: 0.1 for name in TACTICAL_COLUMN if name.startswith("momentum_5@")}
    back = {"momentum_5@0": -1.0}
    for sign, tilt in ((1.0, "BUY_LARGE"), (-1.0, "SELL_LARGE"), (0.0, "HOLD")):
        values = {name: sign * value for name, value in (window | back).items()}
        assert plan("momentum", **values) == {**wanted, "tactical_agent": tilt}
    forbidden = "may_tactical_agent_buy_large"
    assert plan("momentum", forbidden, **window) == {**wanted, "tactical_agent": "HOLD"}


def test_the_quoting_rule_trades_by_turns_and_is_never_refused() -> None:
    env, rule = LAYERS["tactical"].batched(20), tactical_baselines()["quote"]
    env.reset()
    tilts = []
    while not env.terminations.all():
        action = rule.act(env.rows)
        tilts.append(action[:, 0] != CHOICES["tactical_agent"].index("HOLD"))
        env.step(action)
    assert not env.arrays.masked.any()
    assert 0.3 < np.mean(tilts) <= 0.5
    assert not (np.array(tilts[1:]) & np.array(tilts[:-1])).any()
