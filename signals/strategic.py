"""The strategic layer's columns, agents and choices (SPEC section 1.1).

A row holds the window of the slow matrix and that of the regime matrix bar by bar, oldest
first, then the account, the last choices, and which choices are allowed. Each directional
agent observes its own columns of the matrices; all observe the rest.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from configs.strategic import StudyColumnsConfig
from signals.account import ACCOUNT_COLUMNS, AHEAD_COLUMNS, window_columns
from signals.bars.columns import REGIME_COLUMNS, REGIME_ROWS, STRATEGIC_COLUMNS, STRATEGIC_ROWS
from signals.layout import ActionComponent, AgentLayout, Column, LayerLayout, Window

REGIME_PREFIX = "regime."

# The choices of a directional agent: what it does to the position, as a share of the limit.
BUY, SELL, HOLD, REDUCE, INCREASE = range(5)
DIRECTIONS = ("BUY", "SELL", "HOLD", "REDUCE", "INCREASE")
# The choices of the coordinator: whose weight is doubled, or none has any.
BACK_MOMENTUM, BACK_STRUCTURE, BACK_REGIME, EQUAL_WEIGHTS, STAND_ASIDE = range(5)
GATES = ("BACK_MOMENTUM", "BACK_STRUCTURE", "BACK_REGIME", "EQUAL_WEIGHTS", "STAND_ASIDE")

DIRECTIONAL = ("momentum_agent", "structure_agent", "regime_agent")
COORDINATOR = "coordinator_agent"

MATRIX = window_columns(STRATEGIC_COLUMNS, STRATEGIC_ROWS)
REGIMES = window_columns(REGIME_COLUMNS, REGIME_ROWS, REGIME_PREFIX)

SHARPE = (
    Column("sharpe_mean", "10 bp a bar", -10, 10, "differential Sharpe ratio"),
    Column("sharpe_deviation", "10 bp a bar", 0, 10, "differential Sharpe ratio"),
)
LAST_CHOICES = tuple(
    Column(f"last_{agent}_{choice.lower()}", "0 or 1", 0, 1, "choices of the last step")
    for agent, choices in (
        *((name, DIRECTIONS) for name in DIRECTIONAL),
        (COORDINATOR, GATES),
    )
    for choice in choices
)
ALLOWED = tuple(Column(f"may_{choice.lower()}", "0 or 1", 0, 1, "account") for choice in DIRECTIONS)

STATE = ACCOUNT_COLUMNS + SHARPE + LAST_CHOICES + ALLOWED
SHARED = MATRIX + REGIMES + STATE


def _views(*beginnings: str) -> tuple[str, ...]:
    """Names of the slow matrix's columns that begin so, and of the state's."""
    matrix = [c.name for c in MATRIX if c.name.startswith(beginnings)]
    return (*matrix, *(c.name for c in STATE))


_NEWEST = tuple(c.name for c in REGIMES if c.name.endswith("@0"))
_C = ActionComponent
_MOVES = (
    _C("BUY", "a step toward long", initial=0.15),
    _C("SELL", "a step toward short", initial=0.15),
    _C("HOLD", "position as it is", initial=0.5),
    _C("REDUCE", "half a step toward flat", initial=0.1),
    _C("INCREASE", "half a step away from flat", initial=0.1),
)
_MASK = tuple(column.name for column in ALLOWED)

AGENTS = (
    AgentLayout(
        DIRECTIONAL[0], (), "discrete", _MOVES, _views("mlmi_", "momentum_"), _MASK, follows=False
    ),
    AgentLayout(
        DIRECTIONAL[1], (), "discrete", _MOVES, _views("nwrqk_", "lvn_"), _MASK, follows=False
    ),
    AgentLayout(
        DIRECTIONAL[2],
        (),
        "discrete",
        _MOVES,
        (*(c.name for c in REGIMES), *(c.name for c in STATE)),
        _MASK,
        follows=False,
    ),
    AgentLayout(
        COORDINATOR,
        (),
        "discrete",
        (
            _C("BACK_MOMENTUM", "doubles the weight of momentum_agent", initial=0.2),
            _C("BACK_STRUCTURE", "doubles the weight of structure_agent", initial=0.2),
            _C("BACK_REGIME", "doubles the weight of regime_agent", initial=0.2),
            _C("EQUAL_WEIGHTS", "a third each", initial=0.2),
            _C("STAND_ASIDE", "no weight: the position stays", initial=0.2),
        ),
        (*(c.name for c in MATRIX), *_NEWEST, *(c.name for c in STATE)),
    ),
)

_VERSION = 0
WINDOWS = (
    Window(STRATEGIC_ROWS, len(STRATEGIC_COLUMNS)),
    Window(REGIME_ROWS, len(REGIME_COLUMNS)),
)
STRATEGIC = LayerLayout("strategic", SHARED, AGENTS, AHEAD_COLUMNS, _VERSION, WINDOWS)

# For studies alone (`configs.strategic.StudyColumnsConfig`): it shows the future.
NEXT_RETURN = Column(
    "next_return", "bars' sigmas", -10, 10, "path to come: of the bar after the next"
)


@cache
def strategic_layout(study: StudyColumnsConfig) -> LayerLayout:
    """The layer's layout; in studies one of other columns, which has another digest.

    The state's columns stay in their order; what is shown beside them stands last.
    """
    if study == StudyColumnsConfig():
        return STRATEGIC
    extra = (NEXT_RETURN,) if study.next_return else ()
    bars = MATRIX + REGIMES if study.matrices else ()
    shared = bars + STATE + extra
    kept = {column.name for column in shared}
    agents = tuple(
        replace(
            agent,
            views=tuple(name for name in agent.views or () if name in kept)
            + tuple(column.name for column in extra),
        )
        for agent in AGENTS
    )
    windows = WINDOWS if study.matrices else ()
    return replace(STRATEGIC, shared=shared, agents=agents, windows=windows)
