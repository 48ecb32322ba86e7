"""What no formula gives: the placement scale and the population that spread and depth need.

Both are found by simulation on the same seeds each time. The spread grows with the
placement scale; where no scale gives the spread wanted, the nearest one is kept and the
difference stays visible beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from configs.execution import ExecutionConfig
from market.calibrate.figures import DEPTH, SPREAD, figures, simulate

SECONDS = 900.0
RECORDINGS = 6
TOLERANCE = 0.03  # of the spread, relative: well inside the error of a real hour's own mean
DEPTH_TOLERANCE = 0.08
ROUNDS = 4
STEPS = 9  # simulations of one bracketed search
_FIRST_FACTOR = 2.0
_LEAST_SCALE, _MOST_SCALE = 1e-3, 1e4  # ticks
_MOST_RESTING = 20_000

Say = Callable[[str], None]


@dataclass
class PlacementSearch:
    """Search of `placement_scale` and `resting_orders` for a spread and a depth.

    Args:
        config: everything else fixed.
        spread: wanted mean spread, ticks.
        depth: wanted quantity a side near the quotes; None leaves the population alone.
        say: told after every simulation.
    """

    config: ExecutionConfig
    spread: float
    depth: float | None
    say: Say
    seed: int = 0
    simulations: int = field(default=0, init=False)
    reached: dict[str, float] = field(default_factory=dict, init=False)
    _nearest: float = field(default=np.inf, init=False, repr=False)
    _best: ExecutionConfig | None = field(default=None, init=False, repr=False)

    def run(self) -> ExecutionConfig:
        """The configuration whose market comes nearest; `reached` holds its figures."""
        for _ in range(ROUNDS):
            self._fit_spread()
            if self.depth is None or self._off(DEPTH, self.depth) <= DEPTH_TOLERANCE:
                break
            self._scale_population(self.depth)
        return self.config

    @property
    def met(self) -> bool:
        """Whether the spread lies within TOLERANCE of the one wanted."""
        return self._off(SPREAD, self.spread) <= TOLERANCE

    def _off(self, name: str, wanted: float) -> float:
        value = self.reached.get(name, float("nan"))
        return abs(value / wanted - 1.0) if np.isfinite(value) and wanted > 0.0 else np.inf

    def _with(self, **values: float | int) -> ExecutionConfig:
        flow = self.config.market.flow.model_copy(update=values)
        market = self.config.market.model_copy(update={"flow": flow})
        return self.config.model_copy(update={"market": market})

    def _try(self, scale: float) -> float:
        """Simulate with this placement scale; log of the spread over the one wanted."""
        config = self._with(placement_scale=float(f"{scale:.4g}"))
        found = figures(simulate(config, SECONDS, RECORDINGS, self.seed))
        self.simulations += 1
        excess = float(np.log(max(found[SPREAD], 1e-9) / self.spread))
        if not np.isfinite(excess):
            excess = np.inf  # never quoted on both sides: far too wide
        if abs(excess) <= self._nearest:
            self._nearest, self._best, self.reached = abs(excess), config, found
        self.say(
            f"simulation {self.simulations}: placement scale {scale:.3g}, spread"
            f" {found[SPREAD]:.2f} of {self.spread:.2f} ticks, depth {found[DEPTH]:.0f}"
        )
        return excess

    def _fit_spread(self) -> None:
        """Bracket the scale by factors, then halve the bracket on logarithms."""
        self._nearest, self._best = np.inf, None
        scale, factor = self.config.market.flow.placement_scale, _FIRST_FACTOR
        excess = self._try(scale)
        low, high = 0.0, np.inf
        for _ in range(STEPS - 1):
            if abs(excess) <= TOLERANCE:
                break
            low, high = (scale, high) if excess < 0.0 else (low, scale)
            if low > 0.0 and np.isfinite(high):
                scale = float(np.sqrt(low * high))
            else:
                scale, factor = scale * factor if excess < 0.0 else scale / factor, factor * 1.5
            if not _LEAST_SCALE <= scale <= _MOST_SCALE:
                break
            excess = self._try(scale)
        self.config = self._best or self.config

    def _scale_population(self, depth: float) -> None:
        """Let as many more orders rest as depth is short of; the spread is then searched anew."""
        now = self.config.market.flow.resting_orders
        ratio = depth / max(self.reached[DEPTH], 1e-9)
        target = int(np.clip(round(now * ratio), 2, _MOST_RESTING))
        slots = max(self.config.market.book.slots, min(2 * target, 1 << 16))
        self.config = self._with(resting_orders=target)
        book = self.config.market.book.model_copy(update={"slots": slots})
        market = self.config.market.model_copy(update={"book": book})
        self.config = self.config.model_copy(update={"market": market})
