"""Plots of a market's facts as inline SVG that follows the page's light or dark colours."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from market.facts import Fact, ImpactSample, Sample, curves
from market.facts.curves import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that nothing else draws with: the page's own variables take their place.
INK, RULE = "#010203", "#040506"
SERIES = ("#070809", "#0a0b0c", "#0d0e0f")
VARIABLES = {
    INK: "var(--ink)",
    RULE: "var(--rule)",
    SERIES[0]: "var(--first)",
    SERIES[1]: "var(--second)",
    SERIES[2]: "var(--third)",
}
MARKERS, DASHES = ("o", "s", "^"), ("-", "--", ":")
SIZE_INCHES = (6.4, 3.9)
BAND_OPACITY = 0.18
FEW_DECADES = 100.0  # ends of an axis whose ratio is below it have more labels
SPOKEN_POINTS = 6  # of each curve, in the text that stands for the plot


@dataclass(frozen=True)
class Panel:
    """One plot: what it shows of each market, and what to look for."""

    name: str
    title: str
    look_for: str
    x_label: str
    y_label: str
    curve: Callable[[Sample], Curve]
    x_log: bool = True
    y_log: bool = False
    level: float | None = None  # drawn across: what a market without the fact would show


@dataclass(frozen=True)
class Plot:
    """A drawn panel: SVG text and every curve in it."""

    svg: str
    curves: dict[str, Curve]
    spoken: str


PANELS = (
    Panel(
        "kurtosis",
        "Kurtosis by horizon",
        "Above the normal law's 3 and falling (Cont 2001). The band is the interval.",
        "horizon, s",
        "kurtosis",
        curves.kurtosis,
        y_log=True,
        level=3.0,
    ),
    Panel(
        "clustering",
        "Volatility clustering",
        "Absolute returns stay correlated for minutes (Cont 2001).",
        "lag, s",
        "correlation of |10 s returns|",
        curves.clustering,
        x_log=False,
        level=0.0,
    ),
    Panel(
        "sign-memory",
        "Memory of order signs",
        "A straight line here is a power law (Lillo and Farmer 2004); "
        "correlations at or below zero are not drawn.",
        "lag, orders",
        "correlation of signs",
        curves.sign_memory,
        y_log=True,
    ),
    Panel(
        "spread",
        "Spread",
        "Share of the time at each spread; the widest .5% are counted at the last one.",
        "spread, ticks",
        "share of time",
        curves.spread,
        x_log=False,
    ),
    Panel(
        "depth",
        "Depth profile",
        "Mean quantity behind the best quote, both sides (Bouchaud, Mezard and Potters 2002).",
        "distance from the best, ticks",
        "quantity, units",
        curves.depth,
        x_log=False,
        y_log=True,
    ),
    Panel(
        "signature",
        "Signature plot",
        "Flat at 1 where prices cannot be predicted; it falls where the mid bounces.",
        "horizon, s",
        "variance a second, over that at 1 s",
        curves.signature,
        level=1.0,
    ),
    Panel(
        "interarrival",
        "Gaps between messages",
        "Poisson gaps would bend down at their mean; clustered ones are short and long.",
        "gap, s",
        "share of gaps longer",
        curves.interarrival,
        y_log=True,
    ),
    Panel(
        "fano",
        "Clustering of messages",
        "1 at every window for a Poisson stream; rising where messages cause messages.",
        "window, s",
        "variance over mean of the count",
        curves.fano,
        y_log=True,
        level=1.0,
    ),
    Panel(
        "cancel-age",
        "Time to cancel",
        "A straight tail is a power law (Challet and Stinchcombe 2001).",
        "age, s",
        "share of cancels older",
        curves.cancel_age,
        y_log=True,
    ),
    Panel(
        "trade-size",
        "Size of trades",
        "Quantity of an incoming order over all of its fills.",
        "quantity, units",
        "share of orders larger",
        curves.trade_size,
        y_log=True,
    ),
    Panel(
        "response",
        "Response of the mid to an order",
        "It rises and levels off (Bouchaud et al. 2018): part of the move comes with later orders.",
        "lag, orders",
        "move, mean spreads",
        curves.response,
        level=0.0,
    ),
)


def plot(panel: Panel, samples: Mapping[str, Sample]) -> Plot:
    """Draw one panel of every market, by its name."""
    found = {name: panel.curve(sample) for name, sample in samples.items()}
    figure, axes = panel_axes(panel.x_label, panel.y_label, panel.x_log, panel.y_log)
    if panel.level is not None:
        axes.axhline(panel.level, color=INK, linewidth=0.8, dashes=(2, 3))
    for place, (name, curve) in enumerate(found.items()):
        _draw(axes, curve, name, place)
    return Plot(as_svg(figure, axes, panel.name), found, _spoken(panel.title, found))


def impact_plot(impact: Mapping[str, ImpactSample], facts: Mapping[str, Fact]) -> Plot:
    """Mean impact over volume of every experiment, and the power law fitted to it.

    `facts` holds the exponent of each experiment by the experiment's name.
    """
    units = ", ".join(sorted({pairs.unit for pairs in impact.values()}))
    figure, axes = panel_axes("share of volume", f"impact, {units}", True, True)
    found: dict[str, Curve] = {}
    for place, (name, pairs) in enumerate(impact.items()):
        label, fact = name.replace("_", " "), facts[name]
        if fact.value is None:
            found[label] = Curve(reason=fact.reason)
            continue
        found[label] = curves.impact(pairs)
        fit = curves.impact_fit(pairs, fact.value)
        colour, dash = SERIES[place % len(SERIES)], DASHES[place % len(DASHES)]
        axes.plot(fit.x, fit.y, color=colour, linestyle=dash, linewidth=1.4)
        _draw(axes, found[label], f"{label}: exponent {number(fact.value)}", place, line=False)
    return Plot(as_svg(figure, axes, "impact"), found, _spoken("Impact by volume", found))


def number(value: float | None, digits: int = 3) -> str:
    """Some significant digits, without an exponent where people would write none."""
    if value is None:
        return "-"
    if value != 0.0 and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}e}"
    places = digits - 1 - int(np.floor(np.log10(abs(value)))) if value else 0
    return f"{value:,.{max(places, 0)}f}"


def panel_axes(
    x_label: str, y_label: str, x_log: bool = False, y_log: bool = False
) -> tuple[Figure, Axes]:
    """A figure and its axes in the page's colours."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    axes = figure.subplots()
    for axis, scale, log in (
        (axes.xaxis, axes.set_xscale, x_log),
        (axes.yaxis, axes.set_yscale, y_log),
    ):
        if log:
            scale("log", nonpositive="mask")
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    axes.tick_params(which="both", colors=INK)
    axes.grid(color=RULE, linewidth=0.6)
    for spine in axes.spines.values():
        spine.set_color(RULE)
    return figure, axes


def _draw(axes: Axes, curve: Curve, label: str, place: int, line: bool = True) -> None:
    if not curve.x.size:
        return
    colour = SERIES[place % len(SERIES)]
    marker, dash = MARKERS[place % len(MARKERS)], DASHES[place % len(DASHES)]
    style: dict[str, Any] = {"linestyle": dash if line else "none", "marker": marker}
    axes.plot(curve.x, curve.y, color=colour, label=label, markersize=3.5, linewidth=1.4, **style)
    floor = _floor(curve.y) if axes.get_yscale() == "log" else -np.inf
    known = np.isfinite(curve.low) & (curve.high > floor)
    if known.any() and line:
        band = (curve.x[known], np.maximum(curve.low[known], floor), curve.high[known])
        axes.fill_between(*band, color=colour, alpha=BAND_OPACITY, linewidth=0.0)
    elif known.any():
        ends = (np.maximum(curve.low[known], floor), curve.high[known])
        axes.vlines(curve.x[known], *ends, color=colour)


def _floor(y: NDArray[np.float64]) -> float:
    """Where a band that reaches zero ends on a logarithmic axis."""
    positive = y[y > 0.0]
    return float(positive.min()) / 2.0 if positive.size else np.inf


def _label_decades(axes: Axes) -> None:
    """Label 2 and 5 too on logarithmic axes that span little."""
    from matplotlib.ticker import LogLocator

    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        if axis.get_scale() == "log" and high < FEW_DECADES * low:
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))


def as_svg(figure: Figure, axes: Axes, name: str) -> str:
    """The figure as an SVG element: ids its own, colours the page's, text as text."""
    import matplotlib

    _label_decades(axes)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(labelcolor=INK, frameon=False)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    return text


def _spoken(title: str, found: Mapping[str, Curve]) -> str:
    """The plot in words: a few points of each curve, or why there is none."""
    said = [f"{title}."]
    for name, curve in found.items():
        if not curve.x.size:
            said.append(f"{name}: not measured, {curve.reason}.")
            continue
        picked = np.unique(np.linspace(0, curve.x.size - 1, SPOKEN_POINTS).round().astype(int))
        points = ", ".join(f"{number(curve.y[k])} at {curve.x[k]:.3g}" for k in picked)
        said.append(f"{name}: {points}.")
    return " ".join(said)
