"""Windows of bars sent bar by bar: each bar once, the windows put together where they are read.

Steps that follow each other share all bars of a window but one. A rollout therefore keeps a
table of bars for each window of the layout, and for every step the place of its newest bar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from signals.layout import Window

FloatArray = NDArray[np.float32]


def packed_width(windows: Sequence[Window]) -> int:
    """How many of a row's first columns its windows take."""
    return sum(window.width for window in windows)


@dataclass(frozen=True)
class PackedWindows:
    """The bars of a rollout of T steps of N environments.

    windows: as the layout has them. tables: float32 [bars, columns] of each.
    places: int64 [T, N, windows], the newest bar of every step in each table.
    """

    windows: tuple[Window, ...]
    tables: tuple[FloatArray, ...]
    places: NDArray[np.int64]

    def __getitem__(self, envs: slice) -> PackedWindows:
        """Of the environments in `envs`; the tables stay whole."""
        return PackedWindows(self.windows, self.tables, self.places[:, envs])

    @classmethod
    def concatenate(cls, parts: Sequence[PackedWindows]) -> PackedWindows:
        """Of all environments; the parts must be equally long."""
        first = parts[0]
        sizes = np.array([[len(table) for table in part.tables] for part in parts])
        before = np.concatenate([np.zeros_like(sizes[:1]), np.cumsum(sizes, axis=0)[:-1]])
        return cls(
            first.windows,
            tuple(
                np.concatenate(tables) for tables in zip(*(p.tables for p in parts), strict=True)
            ),
            np.concatenate([p.places + b for p, b in zip(parts, before, strict=True)], axis=1),
        )


class WindowPacker:
    """Takes the bars of a rollout down, step by step.

    Bars of a stretch must lie together, so that each episode has a run of places of its own,
    as long as what is left of the rollout when it begins.
    """

    def __init__(self, windows: tuple[Window, ...], length: int, count: int) -> None:
        self._windows = windows
        self._places = np.empty((length, count, len(windows)), np.int64)
        self._tables = [
            np.zeros((count * (window.rows + length), window.columns), np.float32)
            for window in windows
        ]
        self._sizes = [0] * len(windows)

    def add(self, t: int, rows: FloatArray, begins: NDArray[np.bool_]) -> None:
        """What the rows [N, width] of step `t` bring; `begins` [N]: an episode's first step."""
        fresh = np.flatnonzero(begins) if t else np.arange(len(rows))
        going = np.flatnonzero(~begins) if t else np.arange(0)
        at = 0
        for number, window in enumerate(self._windows):
            bars = rows[:, at : at + window.width].reshape(len(rows), window.rows, window.columns)
            at += window.width
            self._begin(t, number, fresh, bars[fresh])
            if going.size:
                places = self._places[t - 1, going, number] + 1
                self._places[t, going, number] = places
                self._tables[number][places] = bars[going, -1]

    def _begin(self, t: int, number: int, fresh: NDArray[np.int64], bars: FloatArray) -> None:
        """Give whole windows `bars` [n, rows, columns] of environments `fresh` [n] a run each."""
        rows = bars.shape[1]
        run = rows + len(self._places) - t - 1
        first = self._sizes[number] + np.arange(len(fresh)) * run
        self._sizes[number] += len(fresh) * run
        table = self._tables[number]
        if self._sizes[number] > len(table):
            grown = np.zeros((2 * self._sizes[number], table.shape[1]), np.float32)
            grown[: len(table)] = table
            self._tables[number] = table = grown
        table[first[:, None] + np.arange(rows)] = bars
        self._places[t, fresh, number] = first + rows - 1

    def packed(self) -> PackedWindows:
        """All that was taken down."""
        parts = zip(self._tables, self._sizes, strict=True)
        tables = tuple(table[:size].copy() for table, size in parts)
        return PackedWindows(self._windows, tables, self._places)


class WindowTables:
    """The tables of a rollout on a learner's device."""

    def __init__(self, packed: PackedWindows, device: torch.device) -> None:
        self._tables = [torch.tensor(table, device=device) for table in packed.tables]
        self._back = [torch.arange(1 - window.rows, 1, device=device) for window in packed.windows]

    def whole(self, rest: Tensor, places: Tensor) -> Tensor:
        """Rows [..., width] of their columns after the windows and the places [..., windows]."""
        parts = [
            table[places[..., number, None] + back].flatten(-2)
            for number, (table, back) in enumerate(zip(self._tables, self._back, strict=True))
        ]
        return torch.cat([*parts, rest], dim=-1)
