"""The tactical layer's columns, agents and choices (SPEC section 1.2).

A row holds the window of the tactical matrix bar by bar, oldest first, then the account, what
the strategic layer says, how far stop and target are, the last choices, and which choices are
allowed. All three agents observe all of it, and each what those before it chose.
"""

from __future__ import annotations

from signals.account import ACCOUNT_COLUMNS, AHEAD_COLUMNS, window_columns
from signals.bars.columns import TACTICAL_COLUMNS, TACTICAL_ROWS
from signals.layout import ActionComponent, AgentLayout, Column, LayerLayout, Window

# The choices of `tactical_agent`, in the order of `market.targets`.
TILTS = ("HOLD", "BUY_SMALL", "BUY_LARGE", "SELL_SMALL", "SELL_LARGE")
# Of `risk_agent`: the share of the target.
SHARES = ("NONE", "QUARTER", "HALF", "THREE_QUARTERS", "WHOLE")
# Of `execution_agent`, in the order of `market.working`.
STYLES = ("WAIT", "MARKET", "JOIN", "IMPROVE", "TWAP")
CHOICES = {"tactical_agent": TILTS, "risk_agent": SHARES, "execution_agent": STYLES}
TACTICAL_AGENT, RISK_AGENT, EXECUTION_AGENT = CHOICES

MATRIX = window_columns(TACTICAL_COLUMNS, TACTICAL_ROWS)

_STRATEGIC = "strategic layer"
UPSTREAM_COLUMNS = (
    *(
        Column(f"strategic_{name}", "probability", 0, 1, _STRATEGIC)
        for name in ("sell", "hold", "buy")
    ),
    Column("strategic_confidence", "share", 0, 1, _STRATEGIC),
    Column("strategic_coherence", "share", 0, 1, _STRATEGIC),
    Column("strategic_target", "share of the limit", -1, 1, _STRATEGIC),
    Column("strategic_phase", "share of its bar gone by", 0, 1, _STRATEGIC),
)
PLAN = (
    Column("room_up", "of the target to its cap, share of the limit", 0, 2, "strategic target"),
    Column("room_down", "of the target to its cap, share of the limit", 0, 2, "strategic target"),
    Column("stop_distance", "share of that at entry; 1 when flat", -2, 4, "entry price, ATR"),
    Column("target_distance", "share of that at entry; 1 when flat", -2, 4, "entry price, ATR"),
    Column("risk_use", "VaR over its limit", 0, 10, "account, ranges of past bars"),
)
LAST_CHOICES = tuple(
    Column(f"last_{agent}_{choice.lower()}", "0 or 1", 0, 1, "choices of the last step")
    for agent, choices in CHOICES.items()
    for choice in choices
)
ALLOWED = tuple(
    Column(f"may_{agent}_{choice.lower()}", "0 or 1", 0, 1, "account")
    for agent, choices in CHOICES.items()
    for choice in choices
)

STATE = ACCOUNT_COLUMNS + UPSTREAM_COLUMNS + PLAN + LAST_CHOICES + ALLOWED
SHARED = MATRIX + STATE

_C = ActionComponent


def _mask(agent: str) -> tuple[str, ...]:
    return tuple(f"may_{agent}_{choice.lower()}" for choice in CHOICES[agent])


# An untrained policy is close to the strategic target, worked evenly: what it is to improve on.
# Where all choices are alike at first, most of a training goes into not trading back and forth.
AGENTS = (
    AgentLayout(
        TACTICAL_AGENT,
        (),
        "discrete",
        (
            _C("HOLD", "the strategic target as it is", initial=0.9),
            _C("BUY_SMALL", "a small tilt toward long", initial=0.03),
            _C("BUY_LARGE", "a large tilt toward long", initial=0.02),
            _C("SELL_SMALL", "a small tilt toward short", initial=0.03),
            _C("SELL_LARGE", "a large tilt toward short", initial=0.02),
        ),
        mask=_mask(TACTICAL_AGENT),
    ),
    AgentLayout(
        RISK_AGENT,
        (),
        "discrete",
        (
            _C("NONE", "target flat", initial=0.02),
            _C("QUARTER", "a quarter of the target", initial=0.02),
            _C("HALF", "half of the target", initial=0.03),
            _C("THREE_QUARTERS", "three quarters of the target", initial=0.03),
            _C("WHOLE", "the target as it is", initial=0.9),
        ),
        mask=_mask(RISK_AGENT),
    ),
    AgentLayout(
        EXECUTION_AGENT,
        (),
        "discrete",
        (
            _C("WAIT", "no order: the position stays", initial=0.05),
            _C("MARKET", "all at once at the bar's begin", initial=0.05),
            _C("JOIN", "rests at the best quote, the rest crosses at the end", initial=0.2),
            _C("IMPROVE", "rests inside the spread, the rest crosses at the end", initial=0.2),
            _C("TWAP", "equal slices over the bar", initial=0.5),
        ),
        mask=_mask(EXECUTION_AGENT),
    ),
)

_VERSION = 1
WINDOWS = (Window(TACTICAL_ROWS, len(TACTICAL_COLUMNS)),)
TACTICAL = LayerLayout("tactical", SHARED, AGENTS, AHEAD_COLUMNS, _VERSION, WINDOWS)
