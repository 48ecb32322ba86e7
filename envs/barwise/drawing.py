"""A scene of bars as a picture: candles, the position held over each bar, the equity."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.barwise.scene import Scene
from envs.drawing import FONT, RGB, ROOM, blank, colour, dress, legend, pixels

# What is drawn in each colour, and nothing else but its entry in a legend.
UP_COLOUR: RGB = (0, 158, 60)
DOWN_COLOUR: RGB = (215, 48, 39)
LONG_COLOUR: RGB = (44, 123, 182)
SHORT_COLOUR: RGB = (255, 102, 0)
EQUITY_COLOUR: RGB = (148, 0, 211)
BEGIN_COLOUR: RGB = (150, 150, 150)

_BODY = 0.7  # of the distance between two bars
_WICK = 1.0  # points
_LEAST_BODY = 1e-3  # of the picture's range, so that a bar that closes at its open is seen
_OPEN, _HIGH, _LOW, _CLOSE = range(4)


def draw(scene: Scene) -> NDArray[np.uint8]:
    """The scene as uint8 [HEIGHT, WIDTH, 3]: red, green and blue."""
    figure = blank()
    grid = figure.add_gridspec(
        3, 1, height_ratios=(3, 1, 1), left=0.09, right=0.98, bottom=0.1, top=0.86, hspace=0.6
    )
    state = "ended" if scene.ended else f"bar {scene.played} of {scene.horizon}"
    equity = scene.equity[-1]
    figure.suptitle(
        f"{state} · position {scene.positions[-1]:+.0%} · equity {equity:+.1f} bp, "
        f"costs {scene.costs:.1f} bp, drawdown {scene.drawdown:.2%}",
        fontsize=FONT + 2,
    )
    panels = [figure.add_subplot(place) for place in grid]
    for axes in panels:
        axes.set_xlim(-scene.before - 0.5, scene.horizon + 0.5)
    _draw_bars(panels[0], scene)
    _draw_positions(panels[1], scene)
    _draw_equity(panels[2], scene)
    return pixels(figure)


def _draw_bars(axes: Any, scene: Scene) -> None:
    """Candles; bar 0 is the first that the episode plays."""
    bars = scene.bars
    places = np.arange(len(bars)) - scene.before
    if len(bars):
        low, high = bars[:, _LOW].min(), bars[:, _HIGH].max()
        least = _LEAST_BODY * max(high - low, np.finfo(float).tiny)
        rises = bars[:, _CLOSE] >= bars[:, _OPEN]
        for chosen, rgb, label in ((rises, UP_COLOUR, "up"), (~rises, DOWN_COLOUR, "down")):
            some = bars[chosen]
            axes.vlines(
                places[chosen],
                some[:, _LOW],
                some[:, _HIGH],
                color=colour(rgb),
                linewidth=_WICK,
            )
            body = np.abs(some[:, _CLOSE] - some[:, _OPEN])
            axes.bar(
                places[chosen],
                np.maximum(body, least),
                bottom=some[:, [_OPEN, _CLOSE]].min(axis=1),
                width=_BODY,
                color=colour(rgb),
                label=label,
                linewidth=0,
            )
    axes.axvline(-0.5, color=colour(BEGIN_COLOUR), linewidth=_WICK, label="begin")
    dress(axes, "bars", "", "price")
    legend(axes)


def _draw_positions(axes: Any, scene: Scene) -> None:
    """What is held after each bar, as a share of the limit."""
    places = np.arange(len(scene.positions)) - 1
    held = np.nan_to_num(scene.positions)
    for chosen, rgb, label in ((held > 0, LONG_COLOUR, "long"), (held < 0, SHORT_COLOUR, "short")):
        axes.bar(
            places[chosen],
            held[chosen],
            width=_BODY,
            color=colour(rgb),
            label=label,
            linewidth=0,
            antialiased=False,
        )
    axes.set_ylim(-ROOM, ROOM)
    dress(axes, "position", "", "of the limit")
    if np.any(held != 0.0):
        legend(axes)


def _draw_equity(axes: Any, scene: Scene) -> None:
    places = np.arange(len(scene.equity)) - 1
    axes.plot(places, scene.equity, color=colour(EQUITY_COLOUR))
    dress(axes, "equity", "bar", "bp")
