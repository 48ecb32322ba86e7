"""How an agent's observation is cut from a row of its layer: matrices, state, mask, choices."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.faces import UPSTREAM
from signals.layout import Column, LayerLayout

MATRIX, STATE, MASK = "matrix", "state", "action_mask"
_LAG = "@"


@dataclass(frozen=True)
class View:
    """One agent's observation.

    Attributes:
        matrix: places in a row, int64 [rows, columns], oldest bar first.
        state: places of everything else that it observes, int64 [n].
        mask: places of the flags of its choices, int64 [choices]; empty where all are allowed.
        follows: whether it sees earlier choices.
    """

    matrix: NDArray[np.int64]
    state: NDArray[np.int64]
    mask: NDArray[np.int64]
    follows: bool


class Observer:
    """Cuts the observations of all agents off a row, in as few calls as it takes.

    Every number is copied for each agent that observes it: nobody's arrays change with the
    next step, or with what another does to its own.
    """

    def __init__(self, layout: LayerLayout) -> None:
        views = [view_of(layout, index) for index in range(len(layout.agents))]
        parts = [part for view in views for part in (view.matrix, view.state)]
        self._places = np.concatenate([part.ravel() for part in parts])
        whole = np.tile(np.arange(layout.row_width), len(views))
        self._repeats = len(views) if np.array_equal(self._places, whole) else 0
        self._cut = itemgetter(*_successive(parts))
        self._flags = np.concatenate([view.mask for view in views])
        masks = _successive([view.mask for view in views])
        followers = [index for index, view in enumerate(views) if view.follows]
        self._upstream = (len(followers), layout.upstream_width)
        self._agents = [
            (
                layout.agents[index].name,
                2 * index,
                view.matrix.shape,
                masks[index] if view.mask.size else None,
                followers.index(index) if view.follows else None,
            )
            for index, view in enumerate(views)
        ]

    def observe(self, rows: NDArray[np.float32]) -> dict[str, dict[str, NDArray[Any]]]:
        """The agents' observations of one row, [1, row width], before anybody has chosen."""
        if self._repeats:
            # Everybody sees everything: whole rows are copied in a third of the time.
            copied = rows.repeat(self._repeats, 0).ravel()
        else:
            copied = rows.take(self._places, mode="clip")
        numbers = self._cut(copied)
        flags = rows.take(self._flags, mode="clip").astype(np.int8)  # they are 0 or 1
        upstream = np.zeros(self._upstream, np.float32)
        found: dict[str, dict[str, NDArray[Any]]] = {}
        for name, first, shape, mask, follower in self._agents:
            seen = {MATRIX: numbers[first].reshape(shape), STATE: numbers[first + 1]}
            if mask is not None:
                seen[MASK] = flags[mask]
            if follower is not None:
                seen[UPSTREAM] = upstream[follower]
            found[name] = seen
        return found


def _successive(parts: list[NDArray[np.int64]]) -> list[slice]:
    """Where each of `parts` lies once they are put one behind the other."""
    edges = np.cumsum([0, *(part.size for part in parts)]).tolist()
    return [slice(start, stop) for start, stop in pairwise(edges)]


def view_of(layout: LayerLayout, agent: int) -> View:
    """Of what agent number `agent` observes, columns named NAME@LAG make the matrix where a
    name has more lags than one."""
    seen = layout.observation_indices(agent)
    lags: dict[str, dict[int, int]] = {}
    for place in seen:
        name, mark, lag = layout.columns[place].name.partition(_LAG)
        if mark:
            lags.setdefault(name, {})[int(lag)] = int(place)
    windows = {name: places for name, places in lags.items() if len(places) > 1}
    matrix = [[windows[name][lag] for name in windows] for lag in _lags(windows)]
    inside = {place for places in windows.values() for place in places.values()}
    return View(
        np.array(matrix, np.int64),
        np.array([place for place in seen if place not in inside], np.int64),
        layout.mask_indices(agent),
        layout.agents[agent].follows and agent > 0,
    )


def _lags(windows: dict[str, dict[int, int]]) -> list[int]:
    """The lags of the windows, oldest first."""
    first = next(iter(windows.values()), {})
    return sorted(first, reverse=True)


def column_box(columns: list[Column], shape: tuple[int, ...]) -> spaces.Box:
    """A float32 box of `shape` with the bounds that the column table declares."""
    low = np.array([c.low for c in columns], np.float32).reshape(shape)
    high = np.array([c.high for c in columns], np.float32).reshape(shape)
    return spaces.Box(low, high, dtype=np.float32)


def observation_space(layout: LayerLayout, agent: int) -> spaces.Dict:
    """The space of `view_of(layout, agent).observe`."""
    view = view_of(layout, agent)
    parts: dict[str, spaces.Space[Any]] = {}
    for name, places in ((MATRIX, view.matrix), (STATE, view.state)):
        columns = [layout.columns[place] for place in places.ravel()]
        parts[name] = column_box(columns, places.shape)
    if view.mask.size:
        parts[MASK] = spaces.Box(0, 1, view.mask.shape, np.int8)
    if view.follows:
        parts[UPSTREAM] = spaces.Box(0.0, 1.0, (layout.upstream_width,), np.float32)
    return spaces.Dict(parts)
