"""Plots of a backtest as inline SVG; each says in words what it shows and what to look for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signals.layout import LayerLayout
from trainers.evaluation import metrics
from trainers.evaluation.bars import Bars, Track
from trainers.evaluation.findings import Findings
from trainers.evaluation.orders import Orders
from trainers.evaluation.subject import POLICY
from trainers.market_plots import INK, RULE, SERIES, as_svg, panel_axes

Floats = NDArray[np.float64]

_BP = 1e4
_ROLLING_SHARE = 6  # the rolling Sharpe ratio spans one of so many parts of the periods
_ROLLING_LEAST = 10
_SHOWN_BARS = 200  # of decisions on the price: more cannot be told apart
_CURVE_POINTS = 1_000
_MARK = 26.0  # square points
_BINS = 10
_LEAST_IN_BIN = 5
_FIRST, _SECOND, _THIRD = SERIES


@dataclass(frozen=True)
class Drawn:
    """A plot: its name, title, what to look for, and the SVG."""

    name: str
    title: str
    look_for: str
    svg: str


@dataclass(frozen=True)
class SampleOrder:
    """One parent order as two policies worked it: mids (currency) and shares still open."""

    mids: dict[str, Floats]
    open: dict[str, Floats]
    side: int


def plots_of_bars(found: Findings, bars: Bars, layout: LayerLayout) -> list[Drawn]:
    """All plots of a backtest bar by bar."""
    track = bars.tracks[POLICY]
    known = np.isfinite(track.rising) & (bars.moves != 0.0)
    return [
        *plots_of_returns(found, bars.days),
        _costs_of_bars(bars),
        _decisions(bars, track),
        _histogram(track.actions, layout),
        _calibration(
            track.rising[known],
            (bars.moves > 0.0)[known],
            "said chance that the price rises over the next bar, if it moves",
            "share of bars on which it rose",
        ),
    ]


def plots_of_returns(found: Findings, days: NDArray[np.int64]) -> list[Drawn]:
    """Equity, drawdown and rolling Sharpe ratio; days: since 1970 UTC, [days]."""
    stamps = days.astype("datetime64[D]").astype("datetime64[ms]").astype(object)
    x = stamps if found.unit == "day" else np.arange(found.lead.size)
    curves = {
        name: (metrics.equity_of(gain)[1:] - 1.0) * 100.0 for name, gain in found.gains.items()
    }
    window = max(_ROLLING_LEAST, len(x) // _ROLLING_SHARE)
    return [
        _lines(
            "equity",
            "Equity",
            "Growth net of costs. The policy should end above every baseline, and steadily.",
            (found.unit, "growth since the start, %"),
            x,
            curves,
            found.best,
        ),
        _drawdown(found, x),
        _rolling(found, x, window, found.periods_a_year, "Sharpe ratio a year"),
    ]


def plots_of_orders(
    found: Findings, orders: Orders, layout: LayerLayout, sample: SampleOrder
) -> list[Drawn]:
    """All plots of a backtest of parent orders."""
    count = np.arange(1, found.lead.size + 1)
    curves = {name: np.cumsum(gain) / count for name, gain in found.gains.items()}
    window = max(_ROLLING_LEAST, found.lead.size // _ROLLING_SHARE)
    return [
        _lines(
            "equity",
            "What was saved over the best baseline",
            f"Sum of its shortfall less the policy's, {found.unit} by {found.unit}: rising where "
            "the policy is cheaper.",
            (found.unit, "saved so far, bp"),
            count,
            {POLICY: np.cumsum(found.lead)},
            found.best,
        ),
        _lines(
            "costs-by-path",
            "Mean shortfall so far",
            f"Each policy's mean over the {found.unit}s so far, which settles as more are added. "
            "Lower is cheaper.",
            (found.unit, "mean shortfall, bp"),
            count,
            {name: -curve for name, curve in curves.items()},
            found.best,
        ),
        _order_drawdown(found, count),
        _rolling(found, count, window, 1.0, "mean lead over its deviation"),
        _costs_of_orders(orders),
        _sample(sample),
        _histogram(orders.actions, layout),
        _calibration(
            orders.predicted,
            orders.came,
            "quality that the monitor predicted",
            "mean quality that came",
        ),
    ]


def _lines(
    name: str,
    title: str,
    look_for: str,
    labels: tuple[str, str],
    x: Any,
    curves: Mapping[str, Floats],
    best: str,
) -> Drawn:
    figure, axes = panel_axes(*labels)
    every = np.unique(np.linspace(0, len(x) - 1, _CURVE_POINTS).round().astype(int))
    places = np.asarray(x, dtype=object)[every]
    others = "other baselines"
    for policy, curve in curves.items():
        named = policy in (POLICY, best)
        label = policy if named else others
        axes.plot(places, np.asarray(curve)[every], label=label, **_style(policy, best))
        others = others if named else "_unnamed"  # one entry in the legend for all of them
    axes.axhline(0.0, color=INK, linewidth=0.8, dashes=(2, 3))
    _turn_dates(axes, x)
    return Drawn(name, title, look_for, as_svg(figure, axes, name))


def _style(policy: str, best: str) -> dict[str, Any]:
    if policy == POLICY:
        return {"color": _FIRST, "linewidth": 2.0, "zorder": 3}
    if policy == best:
        return {"color": _SECOND, "linewidth": 1.6, "linestyle": "--", "zorder": 2}
    return {"color": INK, "linewidth": 0.7, "alpha": 0.5}


def _turn_dates(axes: Any, x: Any) -> None:
    if len(x) and not isinstance(np.asarray(x, dtype=object)[0], int | float | np.integer):
        axes.tick_params(axis="x", rotation=30)


def _drawdown(found: Findings, days: Any) -> Drawn:
    shown = {name: metrics.drawdowns(found.gains[name]) * 100.0 for name in (POLICY, found.best)}
    return _lines(
        "drawdown",
        "Drawdown",
        "How far the account lies below its highest so far. Deep and long is what hurts.",
        (found.unit, "below the highest so far, %"),
        days,
        shown,
        found.best,
    )


def _order_drawdown(found: Findings, count: NDArray[np.int64]) -> Drawn:
    saved = np.concatenate([[0.0], np.cumsum(found.lead)])
    below = (saved - np.maximum.accumulate(saved))[1:]
    return _lines(
        "drawdown",
        "Drawdown of what was saved",
        "How far the savings lie below their highest so far: how long luck can hide the truth.",
        (found.unit, "below the highest so far, bp"),
        count,
        {POLICY: below},
        found.best,
    )


def _rolling(found: Findings, x: Any, window: int, periods: float, label: str) -> Drawn:
    series = (
        {POLICY: found.gains[POLICY], found.best: found.gains[found.best]}
        if found.alone is not None
        else {POLICY: found.lead}
    )
    shown = {name: metrics.rolling_sharpe(gain, window, periods) for name, gain in series.items()}
    return _lines(
        "rolling",
        f"Rolling Sharpe ratio, {window} {found.unit}s",
        "Above zero throughout where the edge is lasting; one good stretch is not enough.",
        (found.unit, label),
        x,
        shown,
        found.best,
    )


def _stacked(
    name: str, title: str, look_for: str, unit: str, parts: Mapping[str, Mapping[str, float]]
) -> Drawn:
    """Bars of each policy, one part above the other; negative parts below zero."""
    figure, axes = panel_axes("", unit)
    policies = list(next(iter(parts.values())))
    above, below = np.zeros(len(policies)), np.zeros(len(policies))
    for (part, values), colour in zip(parts.items(), SERIES, strict=False):
        heights = np.array([values[policy] for policy in policies])
        axes.bar(
            policies, heights, bottom=np.where(heights >= 0.0, above, below), color=colour,
            label=part, width=0.6,
        )  # fmt: skip
        above, below = above + np.maximum(heights, 0.0), below + np.minimum(heights, 0.0)
    axes.axhline(0.0, color=INK, linewidth=0.8)
    axes.tick_params(axis="x", rotation=40)
    return Drawn(name, title, look_for, as_svg(figure, axes, name))


def _costs_of_bars(bars: Bars) -> Drawn:
    fees = {name: float(track.fees.sum()) * _BP for name, track in bars.tracks.items()}
    rest = {name: float(t.costs.sum()) * _BP - fees[name] for name, t in bars.tracks.items()}
    return _stacked(
        "costs",
        "What trading cost",
        "Over the whole backtest, already taken off the returns.",
        "bp of the account",
        {"spread and impact": rest, "fees": fees},
    )


def _costs_of_orders(orders: Orders) -> Drawn:
    samples = orders.report.samples
    fees = {name: float(found["fees_bp"].mean()) for name, found in samples.items()}
    slipped = {name: float(found["slippage_bp"].mean()) for name, found in samples.items()}
    rest = {
        name: float(found["shortfall_bp"].mean()) - fees[name] - slipped[name]
        for name, found in samples.items()
    }
    return _stacked(
        "costs",
        "What the shortfall is made of",
        "Mean of an order. Slippage is against the mid when it was decided; what is left is how "
        "the price moved before the order was done, own impact included.",
        "bp of the parent order",
        {"slippage": slipped, "fees": fees, "timing and impact": rest},
    )


def _decisions(bars: Bars, track: Track) -> Drawn:
    shown = slice(0, min(_SHOWN_BARS, len(bars.close)))
    figure, axes = panel_axes("bar of the backtest", "close")
    x = np.arange(len(bars.close))[shown]
    close, held = bars.close[shown], track.positions[shown]
    axes.plot(x, close, color=INK, linewidth=1.0, label="close")
    changed = np.diff(np.concatenate([[0.0], held]))
    for chosen, colour, marker, label in (
        (changed > 0.0, _FIRST, "^", "bought over this bar"),
        (changed < 0.0, _SECOND, "v", "sold over this bar"),
    ):
        axes.scatter(
            x[chosen], close[chosen], s=_MARK, color=colour, marker=marker, label=label,
            zorder=3,
        )  # fmt: skip
    beside = axes.twinx()
    beside.fill_between(x, held, color=_THIRD, alpha=0.25, linewidth=0.0, step="mid")
    beside.set_ylim(-3.0, 1.05)
    beside.set_yticks([-1.0, 0.0, 1.0])
    beside.set_ylabel("position, share of the limit", color=INK)
    beside.tick_params(colors=INK)
    return Drawn(
        "decisions",
        f"Decisions on the price, first {len(x)} bars",
        "Buying before rises and selling before falls; the shade is the position (right axis). "
        "Every episode ends flat.",
        as_svg(figure, axes, "decisions"),
    )


def _sample(sample: SampleOrder) -> Drawn:
    figure, axes = panel_axes("step", "mid price")
    steps = np.arange(len(sample.mids[POLICY]))
    axes.plot(steps, sample.mids[POLICY], color=INK, linewidth=1.0, label="mid, under the policy")
    beside = axes.twinx()
    for (name, left), colour, dash in zip(
        sample.open.items(), (_FIRST, _SECOND), ("-", "--"), strict=False
    ):
        beside.plot(np.arange(len(left)), left * 100.0, color=colour, linestyle=dash, linewidth=1.6)
        axes.plot([], [], color=colour, linestyle=dash, label=f"left open by {name}")
    beside.set_ylabel("left open, %", color=INK)
    beside.tick_params(colors=INK)
    done = "buying" if sample.side > 0 else "selling"
    return Drawn(
        "decisions",
        f"Decisions on the price: one order, {done}",
        "What is still open of the order (right axis) as the price moves.",
        as_svg(figure, axes, "decisions"),
    )


def _histogram(actions: NDArray[np.float32], layout: LayerLayout) -> Drawn:
    """Shares of choices of each agent; means and spreads of the numbers of box agents."""
    from matplotlib.figure import Figure

    agents = layout.agents
    figure = Figure(figsize=(6.4, 0.9 + 1.05 * len(agents)), layout="constrained")
    panels = figure.subplots(len(agents), 1, squeeze=False)[:, 0]
    for number_, (agent, axes) in enumerate(zip(agents, panels, strict=True)):
        part = actions[:, layout.action_slice(number_)]
        names = [component.name for component in agent.components]
        if agent.kind == "discrete":
            counted = np.bincount(part[:, 0].astype(int), minlength=len(names))
            axes.bar(names, 100.0 * counted / max(len(part), 1), color=_FIRST, width=0.6)
            axes.set_ylabel("% chosen", color=INK, fontsize=7)
        else:
            lines = {key: {"color": INK} for key in ("boxprops", "whiskerprops", "capprops")}
            axes.boxplot(
                part, showfliers=False, whis=(5, 95), medianprops={"color": _FIRST}, **lines
            )
            axes.set_xticks(range(1, len(names) + 1), names)
            axes.set_ylim(-0.02, 1.02)
            axes.set_ylabel("number", color=INK, fontsize=7)
        axes.set_title(agent.name, fontsize=8, color=INK, loc="left")
        axes.tick_params(colors=INK, labelsize=7)
        for spine in axes.spines.values():
            spine.set_color(RULE)
    return Drawn(
        "actions",
        "What the agents chose",
        "Shares of every choice; boxes: half of the numbers, whiskers: nine tenths. One choice "
        "alone means that the agent decides nothing.",
        as_svg(figure, panels[0], "actions"),
    )


def _calibration(said: Floats, came: NDArray[Any], x_label: str, y_label: str) -> Drawn:
    """What was said against what came, in bins of equally many; the diagonal is honest."""
    figure, axes = panel_axes(x_label, y_label)
    points = calibration(said, np.asarray(came, np.float64))
    low, high = (0.0, 1.0)
    if points:
        xs, ys, ends = (np.array(values) for values in zip(*points, strict=True))
        axes.errorbar(xs, ys, yerr=ends, color=_FIRST, marker="o", linewidth=1.4, label="measured")
        low = float(min(xs.min(), (ys - ends).min()))
        high = float(max(xs.max(), (ys + ends).max()))
    axes.plot([low, high], [low, high], color=INK, linewidth=0.8, dashes=(2, 3), label="honest")
    told = "" if points else " The policy gives no such number, or too few."
    return Drawn(
        "calibration",
        "Calibration",
        "On the dotted line what is said is what comes; bars are two standard errors." + told,
        as_svg(figure, axes, "calibration"),
    )


def calibration(said: Floats, came: Floats) -> Sequence[tuple[float, float, float]]:
    """Mean said, mean that came and two standard errors, in bins of equally many.

    Args:
        said, came: float64 [n].
    """
    if said.size < _BINS * _LEAST_IN_BIN or float(said.std()) == 0.0:
        return []
    order = np.argsort(said, kind="stable")
    out = []
    for some in np.array_split(order, _BINS):
        error = 2.0 * float(came[some].std(ddof=1)) / np.sqrt(some.size)
        out.append((float(said[some].mean()), float(came[some].mean()), float(error)))
    return out
