"""A scene as a picture: the book, the schedule, and the mid with the fills."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.drawing import FONT, RGB, ROOM, blank, colour, dress, legend, pixels
from envs.execution.scene import Depth, Scene

# What is drawn in each colour, and nothing else but its entry in a legend.
BID_COLOUR: RGB = (44, 123, 182)
ASK_COLOUR: RGB = (215, 48, 39)
OWN_COLOUR: RGB = (255, 191, 0)
REMAINING_COLOUR: RGB = (0, 0, 0)
TWAP_COLOUR: RGB = (150, 150, 150)
SCHEDULE_COLOUR: RGB = (148, 0, 211)
MID_COLOUR: RGB = (70, 70, 90)
PASSIVE_COLOUR: RGB = (0, 158, 60)
AGGRESSIVE_COLOUR: RGB = (255, 102, 0)

_MARKER_AREA = 36.0  # square points
_BAR = 0.8  # of the distance between two prices
_SIDES = {1: "buy", -1: "sell"}


def draw(scene: Scene) -> NDArray[np.uint8]:
    """The scene as uint8 [HEIGHT, WIDTH, 3]: red, green and blue."""
    figure = blank()
    grid = figure.add_gridspec(
        2,
        2,
        width_ratios=(2, 3),
        left=0.09,
        right=0.98,
        bottom=0.1,
        top=0.86,
        wspace=0.3,
        hspace=0.3,
    )
    state = "ended" if scene.ended else f"step {scene.step} of {scene.horizon}"
    figure.suptitle(
        f"{_SIDES[scene.side]} {scene.quantity} · {state} · shortfall {scene.shortfall_bp:+.1f} bp",
        fontsize=FONT + 2,
    )
    _draw_book(figure.add_subplot(grid[:, 0]), scene)
    _draw_schedule(figure.add_subplot(grid[0, 1]), scene)
    _draw_prices(figure.add_subplot(grid[1, 1]), scene)
    return pixels(figure)


def _draw_book(axes: Any, scene: Scene) -> None:
    """Quantity by price: others' depth on both sides, own resting orders behind it."""

    def bars(levels: Depth, behind: Depth, rgb: RGB, label: str) -> None:
        axes.barh(
            [scene.price(price) for price in levels],
            list(levels.values()),
            left=[behind.get(price, 0) for price in levels],
            height=_BAR * scene.tick,
            color=colour(rgb),
            label=label or None,
            linewidth=0,
            antialiased=False,
        )

    others = {**scene.bids, **scene.asks}
    bars(scene.bids, {}, BID_COLOUR, "bids")
    bars(scene.asks, {}, ASK_COLOUR, "asks")
    if scene.own:
        bars(scene.own, others, OWN_COLOUR, "")
    ends = {price: others.get(price, 0) + quantity for price, quantity in scene.own.items()}
    # A mark of one size besides: an own order may be too small beside the others to be seen.
    axes.scatter(
        list(ends.values()),
        [scene.price(price) for price in ends],
        s=_MARKER_AREA,
        marker="<",
        color=colour(OWN_COLOUR),
        label="own",
        linewidths=0,
        zorder=3,
    )
    prices: list[float] = [*others, *scene.own] or [scene.arrival]
    axes.set_ylim(scene.price(min(prices) - 1), scene.price(max(prices) + 1))
    axes.set_xlim(0, ROOM * max([*others.values(), *ends.values(), 1]))
    dress(axes, "book", "quantity", "price")
    legend(axes)


def _draw_schedule(axes: Any, scene: Scene) -> None:
    """The open share of the parent: TWAP's, Almgren and Chriss's, and what is so."""
    marks = np.arange(scene.horizon + 1)
    axes.plot(marks, scene.twap, color=colour(TWAP_COLOUR), label="TWAP")
    axes.plot(marks, scene.schedule, color=colour(SCHEDULE_COLOUR), label="Almgren-Chriss")
    axes.plot(marks, scene.remaining, color=colour(REMAINING_COLOUR), label="remaining")
    axes.set_xlim(0, scene.horizon)
    axes.set_ylim(0, ROOM)
    dress(axes, "schedule", "", "open share")
    legend(axes)


def _draw_prices(axes: Any, scene: Scene) -> None:
    """The mid through the episode, and own fills at their prices."""
    marks = np.arange(scene.horizon + 1)
    mids = np.array([scene.price(mid) for mid in scene.mids])
    axes.plot(marks, mids, color=colour(MID_COLOUR), label="mid")
    for passive, rgb, marker, label in (
        (True, PASSIVE_COLOUR, "o", "passive"),
        (False, AGGRESSIVE_COLOUR, "^", "aggressive"),
    ):
        fills = [fill for fill in scene.fills if fill.passive == passive]
        axes.scatter(
            [fill.step for fill in fills],
            [scene.price(fill.price) for fill in fills],
            s=_MARKER_AREA,
            marker=marker,
            color=colour(rgb),
            label=label,
            linewidths=0,
            zorder=3,
        )
    prices = [*scene.mids[~np.isnan(scene.mids)], *(fill.price for fill in scene.fills)]
    axes.set_xlim(0, scene.horizon)
    axes.set_ylim(scene.price(min(prices) - 1), scene.price(max(prices) + 1))
    dress(axes, "mid and fills", "step", "price")
    legend(axes)
