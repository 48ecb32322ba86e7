"""What a picture of an episode of bars shows, gathered bar by bar."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.barwise.batched import BatchedBars

Floats = NDArray[np.float64]

BEFORE = 24  # bars shown from before the episode
_BP = 1e4


@dataclass(frozen=True)
class Scene:
    """One moment of an episode.

    Attributes:
        bars: float64 [before + played, 4], open, high, low and close, currency; those
            before the episode and those that it has played.
        before: how many bars lie before the episode.
        horizon: bars of the whole episode.
        positions: float64 [played + 1], share of the limit, from the episode's begin on; NaN
            where not seen.
        equity: float64 [played + 1], change since the begin in basis points; NaN likewise.
        drawdown: share of the highest equity, now.
        costs: all that was paid, basis points of the initial equity.
        ended: whether the episode is over.
    """

    bars: Floats
    before: int
    horizon: int
    positions: Floats
    equity: Floats
    drawdown: float
    costs: float
    ended: bool

    @property
    def played(self) -> int:
        """Bars since the episode's begin."""
        return len(self.positions) - 1


@dataclass
class History:
    """What pictures need of the bars behind: kept where a face renders, and nowhere else."""

    first: int = 0
    horizon: int = 0
    positions: list[float] = field(default_factory=list)
    equity: list[float] = field(default_factory=list)

    @property
    def begun(self) -> bool:
        """Whether there is an episode to show."""
        return len(self.positions) > 0

    def begin(self, batch: BatchedBars) -> None:
        """Forget the last episode; of a restored one, what lies before it is not known."""
        place = batch.arrays.world.places[0]
        played = int(place["played"])
        self.first = int(place["bar"]) - played
        self.horizon = int(batch.arrays.last_bars[0]) - self.first + 1
        self.positions = [np.nan] * played
        self.equity = [np.nan] * played
        self.record(batch)

    def record(self, batch: BatchedBars) -> None:
        """Take note of how the account stands now."""
        account = batch.arrays.accounts[0]
        self.positions.append(account["position"] / account["limit"])
        self.equity.append(_BP * (account["equity"] / account["initial"] - 1.0))

    def scene(self, batch: BatchedBars, tick: float) -> Scene:
        """The moment now. `tick`: currency."""
        begin = max(self.first - BEFORE, 0)
        account: Any = batch.arrays.accounts[0]
        played = len(self.positions) - 1
        return Scene(
            bars=batch.arrays.world.tape.ohlc[begin : self.first + played] * tick,
            before=self.first - begin,
            horizon=self.horizon,
            positions=np.array(self.positions),
            equity=np.array(self.equity),
            drawdown=float(account["drawdown"]),
            costs=_BP * float(account["all_costs"] / account["initial"]),
            ended=bool(batch.terminations[0]),
        )
