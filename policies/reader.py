"""From rows to features: windows of bars encoded once per row, all other columns as they are.

Agents see columns of a window, not always the same. Columns that the same agents see over
all of its bars make one part, each part is encoded once per row, and its embedding goes to
the agents that see it. So no column is encoded twice, however many agents read it, and no
agent learns of a column that it does not observe. Beside the embedding each of them reads
the newest bar as it is; columns of which an agent sees some bars alone stay flat for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from configs.encoders import EncoderConfig
from configs.errors import TrainingError
from policies.encoders import Encoder, RegimeEncoder, build_encoder
from signals.layout import LayerLayout, Window


@dataclass(frozen=True)
class Part:
    """Columns of a window that `agents` alone see over all of its bars.

    start: where the window begins in a row. columns: places among the window's.
    """

    window: Window
    start: int
    columns: tuple[int, ...]
    agents: frozenset[int]
    encoder: EncoderConfig

    @property
    def newest(self) -> NDArray[np.int64]:
        """Places in a row of the newest bar's columns."""
        last = self.start + (self.window.rows - 1) * self.window.columns
        return last + np.array(self.columns)

    def names(self, layout: LayerLayout) -> tuple[str, ...]:
        """The columns' names without their lag."""
        return tuple(layout.columns[place].name.partition("@")[0] for place in self.newest)


class RowReader(nn.Module):
    """Rows [N, row_width] -> features [N, width]: flat columns, then the parts' embeddings.

    Without encoders features are the rows themselves. flat: places in a row of the flat ones.
    """

    flat: Tensor

    def __init__(
        self, layout: LayerLayout, encoders: Sequence[EncoderConfig], generator: torch.Generator
    ) -> None:
        super().__init__()
        self.parts = _parts(layout, encoders)
        self._seen = [layout.observation_indices(k) for k in range(len(layout.agents))]
        self.width = layout.row_width
        self.encoders = nn.ModuleList(
            build_encoder(part.encoder, part.window.rows, part.names(layout), generator)
            for part in self.parts
        )
        if not self.parts:
            return
        flat = [self._flat_of(k) for k in range(len(layout.agents))]
        kept = np.unique(np.concatenate(flat))
        self.register_buffer("flat", torch.from_numpy(kept), persistent=False)
        for number, part in enumerate(self.parts):
            columns = torch.tensor(part.columns)
            self.register_buffer(f"columns_{number}", columns, persistent=False)
        widths = [self.encoder_of(k).width for k in range(len(self.parts))]
        ends = list(accumulate(widths, initial=len(kept)))
        self._ends = ends
        self.width = ends[-1]
        for k, places in enumerate(flat):
            own = [np.searchsorted(kept, places)]
            for number, part in enumerate(self.parts):
                if k in part.agents:
                    own.append(np.arange(ends[number], ends[number + 1]))
            self._seen[k] = np.concatenate(own)

    def _flat_of(self, agent: int) -> NDArray[np.int64]:
        """Places in a row that agent number `agent` reads as they are."""
        seen = set(self._seen[agent].tolist())
        for part in self.parts:
            if agent in part.agents:
                cells = _cells(part.window, part.start)[:, list(part.columns)]
                seen -= set(cells[:-1].flatten().tolist())
        return np.array(sorted(seen), np.int64)

    def seen(self, agent: int) -> NDArray[np.int64]:
        """Features that agent number `agent` reads."""
        return self._seen[agent]

    def encoder_of(self, number: int) -> Encoder:
        """The encoder of part `number`."""
        encoder = self.encoders[number]
        assert isinstance(encoder, Encoder)  # for the type alone: `build_encoder` gives no other
        return encoder

    def bars(self, rows: Tensor, number: int) -> Tensor:
        """The bars [N, rows, columns] of part `number`, oldest first."""
        part = self.parts[number]
        window = rows[:, part.start : part.start + part.window.width]
        columns = self.get_buffer(f"columns_{number}")
        bars: Tensor = window.unflatten(1, (part.window.rows, -1))
        return bars.index_select(2, columns)

    def forward(self, rows: Tensor) -> Tensor:
        if not self.parts:
            return rows
        embedded = [encoder(self.bars(rows, k)) for k, encoder in enumerate(self.encoders)]
        return torch.cat([rows.index_select(1, self.flat), *embedded], dim=1)

    def regimes(self, features: Tensor) -> Tensor | None:
        """What the first regime encoder says in `features`, as `forward` gave them.

        [N, regimes + 1]: the probability of each regime of the bar to come, then the
        confidence. None where no encoder is of that kind.
        """
        for number in range(len(self.parts)):
            encoder = self.encoder_of(number)
            if isinstance(encoder, RegimeEncoder):
                start = self._ends[number] + encoder.embedding
                return features[:, start : self._ends[number + 1]]
        return None

    def losses(self, rows: Tensor) -> dict[str, Tensor]:
        """What encoders learn beside the policy, by name; see `Encoder.losses`."""
        found: dict[str, Tensor] = {}
        for number in range(len(self.parts)):
            found |= self.encoder_of(number).losses(self.bars(rows, number))
        return found


def _cells(window: Window, start: int) -> NDArray[np.int64]:
    """Places in a row of a window's bars, [rows, columns]."""
    return start + np.arange(window.width).reshape(window.rows, window.columns)


def _parts(layout: LayerLayout, encoders: Sequence[EncoderConfig]) -> tuple[Part, ...]:
    """What is encoded, in the order of windows and columns.

    Raises:
        TrainingError: not one encoder for each window, or nobody sees a column over all bars.
    """
    if encoders and len(encoders) != len(layout.windows):
        sizes = ", ".join(f"{w.rows}x{w.columns}" for w in layout.windows) or "none"
        raise TrainingError(
            f"encoders names {len(encoders)}: layer '{layout.layer}' has windows "
            f"{sizes}; expected one encoder for each, kind flat where one is to stay as it is, "
            "or none at all"
        )
    found: list[Part] = []
    starts = accumulate((window.width for window in layout.windows), initial=0)
    for encoder, window, start in zip(encoders, layout.windows, starts, strict=False):
        if encoder.kind != "flat":
            found.extend(_parts_of(layout, encoder, window, start))
    return tuple(found)


def _parts_of(
    layout: LayerLayout, encoder: EncoderConfig, window: Window, start: int
) -> list[Part]:
    cells = _cells(window, start)
    whole = np.array(
        [np.isin(cells, layout.observation_indices(k)).all(0) for k in range(len(layout.agents))]
    )
    by_agents: dict[frozenset[int], list[int]] = {}
    for column in np.flatnonzero(whole.any(0)):
        readers = frozenset(np.flatnonzero(whole[:, column]).tolist())
        by_agents.setdefault(readers, []).append(int(column))
    if not by_agents:
        raise TrainingError(
            f"encoders kind={encoder.kind} of the window {window.rows}x{window.columns}: "
            f"no agent of layer '{layout.layer}' sees a column over all bars; choose kind flat"
        )
    return [
        Part(window, start, tuple(columns), agents, encoder)
        for agents, columns in by_agents.items()
    ]
