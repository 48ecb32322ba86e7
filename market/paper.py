"""Paper execution: one parent order a bar, worked in the simulated books, order by order.

As `market.worker.work_step` works a parent, but for orders that are given: what the agents
decode to has passed the rules by then, and every child is followed from its sending to its
end. With nothing refused, parent, books and view go the same way to the bit (by test).

Fills are worth what `market.working` says: the reference path F at the decision, plus what the
fill missed the mid by that the decision saw, plus own impact midway through the fill.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import SimulatorError
from configs.execution import ExecutionConfig
from market import book as lob
from market.bar_tape import BarTape
from market.decode import CHILD, DECISION
from market.given_bars import GivenBarSource
from market.kernels import kernel
from market.paper_layout import ENDED, FILL, LIVE, REPORT, TALLY, Paper
from market.paper_step import paper_step
from market.random import hash64
from market.simulator import Simulator
from market.state import Market
from market.view import twice_mid_of
from market.working import WORKED

_MOST_REPORTS = 8192  # fills, or ends, of one step
_ANY_LEVEL = 1 << 30  # beyond every ladder


@kernel
def _twice_mid(market: Market) -> int:
    return int(twice_mid_of(market.depth[0], market.episodes[0].last_mid))


class PaperMarket:
    """Simulated venues in which one parent order a bar is worked.

    Attributes:
        simulator: whose view, parent and own orders decisions are made on.
        paper: arrays of orders and reports.

    Args:
        config: the execution layer's.
        tape: the bars that drive the market, its reference inside each drawn by the seed.
        seed: of every draw, with the bar's number.

    Raises:
        ConfigError, DataError: a bar does not fit the layer's horizon, or no ladder.
    """

    def __init__(self, config: ExecutionConfig, tape: BarTape, seed: int) -> None:
        book, placement = config.market.book, config.market.flow.placement_limit
        levels = tape.ladder_levels(book.ladder_levels, placement)
        market = config.market.model_copy(
            update={"book": book.model_copy(update={"ladder_levels": levels})}
        )
        self.config = config.model_copy(update={"market": market})
        self.tape, self._seed, self._rows = tape, np.uint64(seed), np.zeros(1, np.int64)
        self._source = _OneBar(self.config, tape)
        self.simulator = Simulator(self.config, 1, source=self._source)
        flow = self.simulator.market.flow[0]
        self.paper = Paper(
            flying=np.zeros(int(flow["max_pending"]), LIVE),
            rested=np.zeros(int(flow["max_resting"]) + 1, LIVE),
            fills=np.zeros(_MOST_REPORTS, FILL),
            ended=np.zeros(_MOST_REPORTS, ENDED),
            report=np.zeros(1, REPORT),
            tally=np.zeros(1, TALLY),
            worked=np.zeros(1, WORKED),
            rules=self.simulator.rules,
            children=np.zeros(config.child.max_children, CHILD),
            cancels=np.zeros(config.child.max_resting, np.int8),
            decision=np.zeros(1, DECISION),
        )

    def begin(self, bar: int, signed: int, reduces_risk: bool) -> None:
        """Open the books at the begin of bar number `bar`, with a parent of `signed` units."""
        self._source.turn_to(bar)
        self.simulator.reset(self._rows, np.array([hash64(self._seed, bar)], np.uint64))
        market = self.simulator.market
        parent, volume = market.parents, float(market.episodes["step_volume"][0])
        horizon = int(parent["horizon"][0])
        parent["side"] = lob.BUY if signed > 0 else lob.SELL
        parent["quantity"] = parent["remaining"] = abs(signed)
        parent["participation"] = abs(signed) / (volume * horizon)
        parent["reduces_risk"] = int(reduces_risk)
        paper = self.paper
        for table in (paper.flying, paper.rested, paper.worked):
            table[...] = np.zeros((), table.dtype)
        paper.worked["side"] = parent["side"]

    @property
    def twice_mid(self) -> int:
        """Twice the mid that the view shows, ladder ticks."""
        return int(_twice_mid(self.simulator.market))

    def step(
        self,
        action: NDArray[np.float32],
        refused: int = 0,
        complete: bool = True,
        limit: int | None = None,
    ) -> None:
        """Send what `paper` holds of children and cancels, and run the market for a step.

        Args:
            action: the joint action [ACTION_WIDTH] that it was decoded from.
            refused: units that the rules did not let through.
            complete: whether what is left crosses, at the horizon or where a stop completes it;
                it is given up otherwise.
            limit: the worst level at which it does, of the ladder; what is not to be had there
                is given up. At any price where None.

        Raises:
            SimulatorError: more was filled at once than reports hold.
        """
        market = self.simulator.market
        worst = int(market.parents["side"][0]) * _ANY_LEVEL if limit is None else limit
        paper_step(self.paper, market, action, self.twice_mid, refused, complete, worst)
        report = self.paper.report[0]
        if max(int(report["fills"]), int(report["ended"])) > _MOST_REPORTS:
            raise SimulatorError(
                f"{int(report['fills'])} fills in one step, expected at most {_MOST_REPORTS}; "
                "work smaller orders"
            )

    @property
    def done(self) -> bool:
        """Whether the parent is complete or given up."""
        return bool(self.simulator.market.parents["done"][0])

    @property
    def fills(self) -> NDArray[Any]:
        """FILL [k] of the last step, a view."""
        return self.paper.fills[: int(self.paper.report["fills"][0])]

    @property
    def ended(self) -> NDArray[Any]:
        """ENDED [k] of the last step, a view."""
        return self.paper.ended[: int(self.paper.report["ended"][0])]

    @property
    def open_units(self) -> int:
        """Units in flight or resting."""
        parent = self.simulator.market.parents
        return int(parent["resting"][0] + parent["in_flight"][0])

    @property
    def open_orders(self) -> int:
        """Orders in flight or resting."""
        return int(self.paper.flying["live"].sum() + self.paper.rested["live"].sum())

    def worked(self) -> NDArray[Any]:
        """WORKED [1] of the parent so far, prices as ticks of the tape."""
        out = self.paper.worked.copy()
        base = float(self.simulator.market.episodes["base"][0])
        out["reference_value"] += base * out["quantity"]
        return out


class _OneBar(GivenBarSource):
    """One bar of a tape, turned from call to call."""

    def __init__(self, config: ExecutionConfig, tape: BarTape) -> None:
        super().__init__(config, tape, np.zeros(1, np.int64), "bars", 1)
        self._tape = tape

    def turn_to(self, bar: int) -> None:
        bars = self._tape.tape
        self._ohlc[0] = bars.ohlc[bar]
        self._activity[0] = bars.pace[bar]
        self._sigma[0] = bars.sigma[bar] / np.sqrt(self._steps)
        self._day[0] = bars.day[bar]
