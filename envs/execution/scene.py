"""What a picture of an execution episode shows, gathered step by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from configs.market import VENUE_COUNT
from envs.execution.batched import BatchedExecution
from market.book import MAKER, TAKER, TRADE_PRICE, TRADE_QUANTITY
from market.decode import BP
from market.schedules import almgren_chriss_share, almgren_chriss_urgency
from market.state import (
    ACTIVE,
    ASK,
    BID,
    LEVEL_PRICE,
    LEVEL_QUANTITY,
    LEVELS_SEEN,
    OWN_PRICE,
    OWN_QUANTITY,
    OWN_TAKER,
)

Floats = NDArray[np.float64]
Depth = Mapping[int, int]  # quantity at a ladder price


@dataclass(frozen=True)
class Fill:
    """One own fill: the step that it fell in, its ladder price, and how it came about."""

    step: int
    price: int
    quantity: int
    passive: bool


@dataclass(frozen=True)
class Scene:
    """One moment of an episode. Prices are ladder ticks, shares those of the parent."""

    side: int  # +1 buys, -1 sells
    quantity: int
    step: int
    ended: bool
    shortfall_bp: float
    base: float  # plus a ladder price: the price in ticks
    tick: float  # currency
    bids: Depth  # of others, the venues' five best levels consolidated
    asks: Depth
    own: Depth  # own resting orders
    arrival: float
    mids: Floats  # [horizon + 1], NaN where not seen
    remaining: Floats  # [horizon + 1], share; NaN where not seen
    twap: Floats  # [horizon + 1], share that TWAP leaves open
    schedule: Floats  # [horizon + 1], the same of Almgren and Chriss
    fills: tuple[Fill, ...]

    @property
    def horizon(self) -> int:
        """Steps of the episode."""
        return len(self.twap) - 1

    def price(self, ladder: float) -> float:
        """A ladder price in currency."""
        return (self.base + ladder) * self.tick


@dataclass
class History:
    """What pictures need of the steps behind: kept where a face renders, and nowhere else."""

    mids: Floats = field(default_factory=lambda: np.zeros(0))
    remaining: Floats = field(default_factory=lambda: np.zeros(0))
    schedule: Floats = field(default_factory=lambda: np.zeros(0))
    fills: list[Fill] = field(default_factory=list)

    @property
    def begun(self) -> bool:
        """Whether there is an episode to show."""
        return len(self.mids) > 0

    def begin(self, batch: BatchedExecution) -> None:
        """Forget the last episode; of a restored one, what lies before it is not known."""
        marks = int(batch.simulator.market.parents[0]["horizon"]) + 1
        self.mids = np.full(marks, np.nan)
        self.remaining = np.full(marks, np.nan)
        self.schedule = planned_shares(batch)
        self.fills = []
        self._mark(batch)

    def record(self, batch: BatchedExecution) -> None:
        """Take note of the step that was just made."""
        market = batch.simulator.market
        step = int(market.parents[0]["step"])
        # The tape starts anew at every step; it is a ring of which the newest rows are left.
        rows = market.tape[0][: int(market.tape_count[0])]
        passive = rows[:, MAKER] > 0
        for row, rested in zip(rows, passive, strict=True):
            if rested or row[TAKER] == OWN_TAKER:
                price, quantity = int(row[TRADE_PRICE]), int(row[TRADE_QUANTITY])
                self.fills.append(Fill(step, price, quantity, bool(rested)))
        self._mark(batch)

    def _mark(self, batch: BatchedExecution) -> None:
        market = batch.simulator.market
        parent = market.parents[0]
        step = int(parent["step"])
        self.mids[step] = market.episodes[0]["last_mid"]
        self.remaining[step] = parent["remaining"] / parent["quantity"]

    def scene(self, batch: BatchedExecution) -> Scene:
        """The moment that the environment is in."""
        market = batch.simulator.market
        parent, episode = market.parents[0], market.episodes[0]
        horizon = int(parent["horizon"])
        return Scene(
            side=int(parent["side"]),
            quantity=int(parent["quantity"]),
            step=int(parent["step"]),
            ended=bool(parent["done"]),
            shortfall_bp=float(parent["shortfall"]),
            base=float(episode["base"]),
            tick=batch.config.market.tick,
            bids=_consolidated(market.depth[0], BID),
            asks=_consolidated(market.depth[0], ASK),
            own=_resting(market.owned[0]),
            arrival=float(parent["arrival"]),
            mids=self.mids.copy(),
            remaining=self.remaining.copy(),
            twap=1.0 - np.arange(horizon + 1) / horizon,
            schedule=self.schedule.copy(),
            fills=tuple(self.fills),
        )


def planned_shares(batch: BatchedExecution) -> Floats:
    """Almgren and Chriss's open share at every step mark, by the volatility known now [marks]."""
    parent, episode = batch.simulator.market.parents[0], batch.simulator.market.episodes[0]
    horizon, quantity = int(parent["horizon"]), int(parent["quantity"])
    to_bp = BP / (float(episode["base"]) + float(parent["arrival"]))
    variance = float(episode["variance_slow"]) * to_bp * to_bp
    volume = max(float(episode["step_volume"]), 1.0)
    impact = batch.config.schedule.impact_slope_bp * quantity / volume
    urgency = almgren_chriss_urgency(batch.config.reward.risk_aversion, variance, impact)
    left = np.ones(horizon + 1)
    for mark, after in pairwise(range(horizon + 1)):
        left[after] = left[mark] * (1.0 - almgren_chriss_share(urgency, horizon - mark))
    return left


def _consolidated(depth: NDArray[np.int32], half: int) -> dict[int, int]:
    levels: dict[int, int] = {}
    for venue in range(VENUE_COUNT):
        for level in range(LEVELS_SEEN):
            price = int(depth[venue, half, level, LEVEL_PRICE])
            if price >= 0:
                quantity = int(depth[venue, half, level, LEVEL_QUANTITY])
                levels[price] = levels.get(price, 0) + quantity
    return levels


def _resting(owned: NDArray[np.int32]) -> dict[int, int]:
    levels: dict[int, int] = {}
    for order in owned[owned[:, ACTIVE] == 1]:
        price = int(order[OWN_PRICE])
        levels[price] = levels.get(price, 0) + int(order[OWN_QUANTITY])
    return levels
