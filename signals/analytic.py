"""Columns of the analytic markets: the strategic layer's agents and choices on a few numbers.

All agents see all columns. What the future depends on is shown whole: the law's feature, the
position, and how many bars are left. The probability of the calm regime is the Bayes filter's,
a function of past returns alone; so the best policy of these columns is the filter's, and no
policy of the returns themselves can do better.
"""

from __future__ import annotations

from dataclasses import replace

from signals.layout import Column, LayerLayout
from signals.strategic import ALLOWED, STRATEGIC

_LAW, _FILTER, _EPISODE = "law", "Bayes filter of past returns", "episode"

FEATURES = {
    "ar1": (Column("deviation", "stationary standard deviations", -10, 10, _LAW),),
    "regime": (
        Column("calm", "probability", 0, 1, _FILTER),
        Column("calm_odds", "log odds over 4", -10, 10, _FILTER),
    ),
    "oracle": (Column("return_after", "standard deviations", -10, 10, _LAW),),
    "random_walk": (Column("last_return", "standard deviations", -10, 10, _LAW),),
    "almgren_chriss": (),
}
EPISODE = (
    Column("position", "share of the limit, long above 0", -1, 1, "account"),
    Column("bars_left", "share of the episode", 0, 1, _EPISODE),
    Column("closing", "one over the bars left; 0 after the last", 0, 1, _EPISODE),
)
ODDS_SCALE = 4.0

# For the critic alone, as in `signals.account`: the path to come is exogenous.
AHEAD = (1, 3, 8, 24)  # bars; then all that are left
PATH_COLUMNS = tuple(
    column
    for n in (*AHEAD, "all")
    for column in (
        Column(f"move_{n}", "bars' sigmas x root of bars", -10, 10, "path to come", True),
        Column(f"held_move_{n}", "the same x the position", -10, 10, "path to come", True),
    )
)
_VERSION = 0


def analytic_layout(name: str) -> LayerLayout:
    """The layout of the market of that name, one of FEATURES."""
    agents = tuple(replace(agent, views=None) for agent in STRATEGIC.agents)
    # Returns that nobody is paid for are worth no baseline.
    path = () if name == "almgren_chriss" else PATH_COLUMNS
    shared = FEATURES[name] + EPISODE + ALLOWED
    return LayerLayout(f"analytic_{name}", shared, agents, path, _VERSION)
