"""How an agent's observation is cut from a row of its layer: matrices, state, mask, choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.faces import UPSTREAM
from signals.layout import Column, LayerLayout

MATRIX, STATE, MASK = "matrix", "state", "action_mask"
_LAG = "@"
_ALLOWED = 0.5  # a flag is 0 or 1


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

    def observe(
        self, row: NDArray[np.float32], upstream: NDArray[np.float32]
    ) -> dict[str, NDArray[Any]]:
        """The observation that `row` holds, in arrays of its own."""
        # Fancy indexing copies, so that no later step changes what was observed.
        out: dict[str, NDArray[Any]] = {MATRIX: row[self.matrix], STATE: row[self.state]}
        if self.mask.size:
            out[MASK] = (row[self.mask] > _ALLOWED).astype(np.int8)
        if self.follows:
            out[UPSTREAM] = upstream.copy()
        return out


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
