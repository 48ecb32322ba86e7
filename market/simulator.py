"""N simulated markets, each with one parent order: reset, step, state.

This is the one simulator of environments, evaluation and cascade. Row n depends on
its own seed, episode and actions alone, so that alone and in a batch, in any order,
the same episode runs the same way to the bit.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from configs.errors import SimulatorError
from configs.execution import ExecutionConfig
from configs.splits import Split
from market import book as lob
from market.arrivals import begin_arrivals
from market.decode import CHILD, DECISION, execution_rules
from market.desk import desk_at
from market.flow import begin_metaorders
from market.impact import begin_impact
from market.kernels import kernel
from market.opening import clear_episode, open_books
from market.own import advance
from market.pinned import Pinned, compiled_form, pinned_as
from market.random import (
    PURPOSE_ARRIVALS,
    PURPOSE_FLOW,
    PURPOSE_KNOTS,
    PURPOSE_LATENCY,
    PURPOSE_METAORDERS,
    PURPOSE_OPENING,
    PURPOSE_PARENT,
    stream_key,
    uniform,
)
from market.reference import refine
from market.restore import market_arrays, restore_arrays
from market.sources import PathSource, path_source
from market.state import STATE_FIELDS, Market, allocate_market
from market.worker import observe_step, work_step

_PARENT_SIZE, _PARENT_SIDE, _PARENT_REDUCES = range(3)
_LEAST_TAIL = 0.1


class Opening(NamedTuple):
    """What the beginning of an episode takes from the configuration."""

    resting_orders: int
    mean_size: float
    impact_scale: float
    longest: int  # market orders of a metaorder
    tail: float  # Pareto exponent of the length of a metaorder met under way
    participation_low: float
    participation_high: float
    reducing_share: float


def _opening_numbers(config: ExecutionConfig, mean_size: float) -> Opening:
    flow, parent = config.market.flow, config.parent
    return Opening(
        flow.resting_orders,
        mean_size,
        flow.impact.scale,
        flow.metaorders.longest,
        max(flow.metaorders.exponent - 1.0, _LEAST_TAIL),
        parent.participation_low,
        parent.participation_high,
        parent.reducing_share,
    )


class Beginning(NamedTuple):
    """Everything that the beginning of an episode reads and writes."""

    market: Market
    blank: NDArray[Any]  # PARENT [1], zeros
    numbers: Opening


def _beginning(config: ExecutionConfig, market: Market) -> Beginning:
    numbers = _opening_numbers(config, float(np.mean(market.sizes)))
    return Beginning(market, np.zeros(1, market.parents.dtype), numbers)


@cache
def _beginning_kind() -> Any:
    """The numba type of `Beginning`, which is the same for every configuration."""
    config = ExecutionConfig()
    return numba.typeof(_beginning(config, allocate_market(config, 1)))


_beginning_at = pinned_as(_beginning_kind)


@kernel
def _compile_beginning(arguments: Any) -> Any:
    return compiled_form(arguments)


def _beginning_form(arguments: Any) -> Any:
    """A plain function: a pickled kernel would be compiled anew."""
    return _compile_beginning(arguments)


@kernel
def _draw_parent(market: Any, n: int, side: int, numbers: Any, path_seed: Any) -> None:
    """The parent order of a new episode, at the mid that stands after the warm-up."""
    parent, episode = market.parents[n], market.episodes[n]
    key = stream_key(path_seed, episode.episode, PURPOSE_PARENT)
    span = math.log(numbers.participation_high / numbers.participation_low)
    participation = numbers.participation_low * math.exp(span * uniform(key, _PARENT_SIZE))
    volume = episode.step_volume * parent.horizon
    drawn = lob.BUY if uniform(key, _PARENT_SIDE) < 0.5 else lob.SELL
    parent.side = drawn if side == 0 else side
    parent.quantity = max(round(participation * volume), 1)
    parent.remaining = parent.quantity
    parent.participation = participation
    parent.reduces_risk = 1 if uniform(key, _PARENT_REDUCES) < numbers.reducing_share else 0
    parent.arrival = episode.last_mid


@kernel
def _begin(address: int, rows: Any, path_seeds: Any, sides: Any) -> None:
    """Open the books of new episodes, let them settle, and hand in the parent orders."""
    beginning = _beginning_at(address)
    market, numbers = beginning.market, beginning.numbers
    flow = market.flow[0]
    horizon = market.path.shape[1] - 1
    for n in rows:
        market.parents[n] = beginning.blank[0]
        clear_episode(market, n, horizon)
        episode, desk = market.episodes[n], desk_at(market, n)
        # Both sides of a path meet the same flow, so the key is the path's.
        seed, number = path_seeds[n], episode.episode
        episode.seed = seed
        episode.flow_key = stream_key(seed, number, PURPOSE_FLOW)
        episode.latency_key = stream_key(seed, number, PURPOSE_LATENCY)
        refine(market, n, stream_key(seed, number, PURPOSE_KNOTS))
        episode.clock = -flow.warmup_steps * flow.step_seconds
        episode.next_knot = episode.clock
        open_books(market, n, numbers.resting_orders, stream_key(seed, number, PURPOSE_OPENING))
        episode.step_volume = (
            episode.rate * flow.market_share * numbers.mean_size * flow.step_seconds
        )
        # By the volatility known at the start, which is the source's.
        begin_impact(desk, numbers.impact_scale)
        begin_arrivals(desk, flow, stream_key(seed, number, PURPOSE_ARRIVALS), episode.clock)
        key = stream_key(seed, number, PURPOSE_METAORDERS)
        begin_metaorders(desk, flow, key, numbers.longest, numbers.tail)
        episode.volume_mean = episode.step_volume
        episode.last_mid = market.knots[n, 0]
        episode.mid_mean = market.knots[n, 0]
        episode.spread_mean = 1.0
        for step in range(flow.warmup_steps):
            until = (step + 1 - flow.warmup_steps) * flow.step_seconds
            advance(desk, flow, until)
            observe_step(market, n)
        _draw_parent(market, n, sides[n], numbers, seed)


@kernel
def step_rows(
    market: Any, rows: Any, actions: Any, rules: Any, children: Any, cancels: Any, decisions: Any
) -> None:
    """One step of each episode in `rows`."""
    for n in rows:
        work_step(market, n, actions[n], rules[0], children[n], cancels[n], decisions[n])


class Simulator:
    """N episodes of a configuration.

    Args:
        config: the execution environment's configuration.
        num: N.
        split: which part of real bars paths come from; the generator ignores it.
        paired_sides: seeds 2k and 2k + 1 are the two sides of one path; otherwise the
            side is drawn.
        source: where paths come from; the configuration's reference where None.

    Raises:
        ConfigError, DataError: from the reference of the configuration.
        SimulatorError: `num` is not positive.
    """

    def __init__(
        self,
        config: ExecutionConfig,
        num: int,
        split: Split = "train",
        paired_sides: bool = False,
        source: PathSource | None = None,
    ) -> None:
        if num <= 0:
            raise SimulatorError(f"Simulator num={num}: expected at least one episode")
        self.config = config
        self.num = num
        self.paired_sides = paired_sides
        self.market = allocate_market(config, num)
        self.rules = execution_rules(config)
        self.source = source or path_source(config, split)
        self.children = np.zeros((num, config.child.max_children), CHILD)
        self.cancels = np.zeros((num, config.child.max_resting), np.int8)
        self.decisions = np.zeros(num, DECISION)
        self.seeds = np.zeros(num, np.uint64)
        self._beginning = Pinned(_beginning(config, self.market), _beginning_kind, _beginning_form)

    @property
    def path_seeds(self) -> NDArray[np.uint64]:
        """The seed of each row's path; the two sides of a path share it."""
        return self.seeds >> np.uint64(1) if self.paired_sides else self.seeds

    def reset(
        self,
        rows: NDArray[np.int64],
        seeds: NDArray[np.uint64] | None = None,
    ) -> None:
        """Begin new episodes in `rows`: episode 0 of `seeds` [N], else the next of their own."""
        if not rows.size:
            return
        episodes = self.market.episodes
        if seeds is None:
            episodes["episode"][rows] += 1
        else:
            self.seeds[rows] = seeds[rows]
            episodes["episode"][rows] = 0
        path_seeds = self.path_seeds
        sides = np.zeros(self.num, np.int64)
        if self.paired_sides:
            sides = np.where(self.seeds & np.uint64(1), lob.SELL, lob.BUY)
        self.source.prepare(self.market, rows, path_seeds)
        _begin(self._beginning.address, rows, path_seeds, sides)

    def step(self, rows: NDArray[np.int64], actions: NDArray[np.float32]) -> None:
        """Work one step of the episodes in `rows` under joint actions [N, ACTION_WIDTH]."""
        step_rows(
            self.market, rows, actions, self.rules, self.children, self.cancels, self.decisions
        )

    def _arrays(self) -> dict[str, Any]:
        return market_arrays(self.market, STATE_FIELDS) | {"seeds": self.seeds}

    def state_dict(self) -> dict[str, Any]:
        """Copies of every array that the next step depends on."""
        return {name: array.copy() for name, array in self._arrays().items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; nothing changes where anything does not fit.

        Raises:
            SimulatorError: a field is missing or has another shape or type.
        """
        restore_arrays(self._arrays(), state, "simulator")
