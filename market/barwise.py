"""N markets that play bar after bar of a tape, one order worked inside each bar.

Through a run of bars one market goes on: books, metaorders, excitation and own impact pass
from bar to bar, each of which has a clock of its own from 0. Books are opened anew at an
episode's begin, after a hole in the tape, and where the price has left the ladder's middle.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.barwise import BarwiseConfig
from configs.errors import SimulatorError
from configs.execution import ChildConfig, ExecutionConfig, ParentConfig
from configs.market import GeneratorReference
from market.arrivals import begin_arrivals, draw_activity, renew_arrivals
from market.bar_tape import BarTape, Tape, ladder_margin
from market.desk import desk_at
from market.flow import begin_metaorders
from market.impact import begin_impact, resume_impact
from market.kernels import inlined, kernel
from market.opening import clear_episode, open_books
from market.own import advance
from market.random import (
    PURPOSE_BARS,
    PURPOSE_LATENCY,
    hash64,
    normal,
    stream_key,
)
from market.reference import bar_deviation, fill_knots, pinned_bridge, walk_back
from market.state import Market, allocate_market
from market.thin import thin
from market.working import WORKED, work_bar

PLACE = np.dtype(
    [
        ("seed", np.uint64),  # of the episode's path, flow and order of events
        ("bar", np.int64),  # of the tape, to be played next
        ("played", np.int64),  # bars of this episode
        ("reopen", np.int64),  # 1 at an episode's begin
    ]
)

LAW = np.dtype(
    [
        ("bar_seconds", np.float64),
        ("rate", np.float64),  # usual messages a second
        ("mean_size", np.float64),
        ("impact", np.float64),  # Y
        ("resting_orders", np.int64),
        ("longest", np.int64),  # market orders of a metaorder
        ("tail", np.float64),  # of the length of a metaorder met under way
        ("margin", np.float64),  # levels to either end of the ladder, at least
        ("dispersion", np.float64),
        ("pace_noise", np.float64),
        ("reaction", np.float64),  # seconds
    ]
)
_LEAST_TAIL = 0.1
# Draws of one bar, by number.
_MOOD, _BRIDGE, _INSIDE, _NOISE, _BOOKS, _FLOWS, _ARRIVALS, _METAORDERS = range(8)


class Barwise(NamedTuple):
    """The arrays of N markets on one tape."""

    market: Market
    tape: Tape
    places: NDArray[Any]  # PLACE [N]
    worked: NDArray[Any]  # WORKED [N], of the bar played last
    law: NDArray[Any]  # LAW [1]
    memories: NDArray[np.float64]  # of the activity, seconds
    scratch: NDArray[np.float64]  # [slices + 1]
    blank: NDArray[Any]  # PARENT [1], zeros


@inlined
def _inside(tape: Any, bar: int, base: float, ladder: int, margin: float) -> bool:
    """Whether the whole bar lies on the ladder, clear of both ends."""
    low, high = tape.ohlc[bar, 2] - base, tape.ohlc[bar, 1] - base
    return low >= margin and high <= ladder - 1.0 - margin


@inlined
def _draw_bar(world: Any, n: int, bar: int, key: np.uint64) -> None:
    """The path through the bar, how busy each slice is, and the message rate."""
    market, law = world.market, world.law[0]
    episode, path, busy = market.episodes[n], market.path[n], market.activity[n]
    slices = len(busy)
    seconds = market.flow[0].step_seconds
    draw_activity(hash64(key, _MOOD), seconds, world.memories, law.dispersion, busy)
    row = world.tape.ohlc[bar]
    open_, high, low, close = row[0], row[1], row[2], row[3]
    whole = bar_deviation(open_, high, low, close)
    bridge = hash64(key, _BRIDGE)
    pinned_bridge(bridge, open_, high, low, close, whole, busy, path, world.scratch)
    sigma = world.tape.sigma[bar] / math.sqrt(slices)
    for index in range(slices + 1):
        path[index] -= episode.base
    for step in range(slices):
        market.deviation[n, step] = sigma * math.sqrt(busy[step])
    episode.lowest, episode.highest = low - episode.base, high - episode.base
    episode.sigma = sigma
    episode.variance_slow = sigma * sigma
    episode.rate = law.rate * world.tape.pace[bar]
    episode.rate *= math.exp(law.pace_noise * normal(hash64(key, _NOISE), 0))
    # By what is known before the bar: the pace of the bars behind.
    usual = law.rate * world.tape.pace[bar]
    episode.step_volume = usual * market.flow[0].market_share * law.mean_size * seconds
    episode.impact_scale = law.impact * math.sqrt(episode.variance_slow / episode.step_volume)


@inlined
def _open(world: Any, n: int, key: np.uint64, first: bool) -> None:
    """Open the books anew around the bar's open and let them settle; own impact stays."""
    market, law, flow = world.market, world.law[0], world.market.flow[0]
    episode, desk = market.episodes[n], desk_at(market, n)
    clear_episode(market, n, market.path.shape[1] - 1)
    walk_back(market, n, hash64(key, _INSIDE))
    episode.flow_key = hash64(key, _FLOWS)
    episode.latency_key = stream_key(episode.seed, episode.episode, PURPOSE_LATENCY)
    episode.clock = -flow.warmup_steps * flow.step_seconds
    episode.next_knot = episode.clock
    episode.arrivals = 0
    if first:
        begin_impact(desk, law.impact)
    open_books(market, n, law.resting_orders, hash64(key, _BOOKS))
    begin_arrivals(desk, flow, hash64(key, _ARRIVALS), episode.clock)
    begin_metaorders(desk, flow, hash64(key, _METAORDERS), law.longest, law.tail)
    advance(desk, flow, 0.0)
    resume_impact(desk, 0.0)


@kernel
def enter_bar(world: Any, n: int) -> None:
    """Make episode `n`'s market ready for its next bar, the clock at 0."""
    place, market, law = world.places[n], world.market, world.law[0]
    episode, flow = market.episodes[n], market.flow[0]
    bar = place.bar
    key = hash64(stream_key(place.seed, episode.episode, PURPOSE_BARS), place.played)
    gap = world.tape.gap[bar]
    first = place.reopen == 1
    anew = first or gap > 0.0
    anew = anew or not _inside(world.tape, bar, episode.base, flow.ladder, law.margin)
    if anew:
        episode.base = math.floor(world.tape.ohlc[bar, 0]) - flow.ladder // 2
    _draw_bar(world, n, bar, key)
    fill_knots(market, n, hash64(key, _INSIDE))
    if not first:
        _turn_back(market, n, law.bar_seconds, gap)
    if anew:
        _open(world, n, key, first)
    else:
        desk = desk_at(market, n)
        renew_arrivals(desk, flow)
        resume_impact(desk, 0.0)
    place.reopen = 0


@inlined
def _turn_back(market: Any, n: int, bar_seconds: float, gap: float) -> None:
    """Count time from the new bar's start: what is due later stays due."""
    episode = market.episodes[n]
    episode.clock -= bar_seconds
    episode.next_arrival -= bar_seconds
    episode.next_arbitrage -= bar_seconds
    episode.impact_time -= bar_seconds + gap
    episode.next_knot = 0.0


@kernel
def play_bar(world: Any, n: int, signed: int, style: int) -> None:
    """Play episode `n`'s next bar while an order of `signed` units is worked in `style`.

    What it came to is in `world.worked[n]`; prices there count from `episodes[n].base`.
    """
    enter_bar(world, n)
    worked, law = world.worked[n], world.law[0]
    work_bar(world.market, n, signed, style, law.reaction, world.blank, worked)
    worked.reference_value += world.market.episodes[n].base * worked.quantity
    worked.volume_value += world.market.episodes[n].base * worked.volume
    world.places[n].bar += 1
    world.places[n].played += 1


@kernel
def begin_episode(world: Any, n: int, seed: np.uint64, episode: int, bar: int) -> None:
    """Episode number `episode` of `seed`, whose first bar is `bar`."""
    place, market = world.places[n], world.market
    place.seed = seed
    place.bar = bar
    place.played = 0
    place.reopen = 1
    market.episodes[n].seed = seed
    market.episodes[n].episode = episode
    market.episodes[n].cluster = world.tape.day[bar]


def bar_market_config(config: BarwiseConfig, levels: int) -> ExecutionConfig:
    """A market in which one bar is one parent order of `config.slices` steps."""
    seconds = config.bar_minutes * 60.0 / config.slices
    flow = thin(config.market.flow, config.thinning)
    flow = flow.model_copy(
        update={
            "knot_seconds": config.knot_seconds,
            "warmup_steps": max(math.ceil(config.warmup_seconds / seconds), 1),
        }
    )
    book = config.market.book.model_copy(update={"ladder_levels": levels})
    market = config.market.model_copy(
        update={"flow": flow, "book": book, "reference": GeneratorReference()}
    )
    return ExecutionConfig(
        step_seconds=seconds,
        parent=ParentConfig(horizon_steps=config.slices),
        child=ChildConfig(max_resting=1, max_children=1, sweep_ticks=config.sweep_ticks),
        market=market,
    )


def allocate_barwise(config: BarwiseConfig, tape: BarTape, num: int) -> Barwise:
    """Arrays of `num` markets on `tape`.

    Raises:
        SimulatorError: `num` is not positive.
        DataError: a bar is beyond the largest ladder.
    """
    if num <= 0:
        raise SimulatorError(f"num={num}: expected at least one market")
    placement = config.market.flow.placement_limit
    levels = tape.ladder_levels(config.market.book.ladder_levels, placement)
    inner = bar_market_config(config, levels)
    market = allocate_market(inner, num)
    flow, law = inner.market.flow, np.zeros(1, LAW)
    values = {
        "bar_seconds": tape.bar_seconds,
        "rate": flow.arrivals.messages_per_second,
        "mean_size": float(np.mean(market.sizes)),
        "impact": flow.impact.scale,
        "resting_orders": flow.resting_orders,
        "longest": flow.metaorders.longest,
        "tail": max(flow.metaorders.exponent - 1.0, _LEAST_TAIL),
        "margin": ladder_margin(placement) / 2,
        "dispersion": flow.arrivals.activity_dispersion,
        "pace_noise": config.pace_noise,
        "reaction": config.reaction_seconds,
    }
    for name, value in values.items():
        law[name] = value
    return Barwise(
        market=market,
        tape=tape.tape,
        places=np.zeros(num, PLACE),
        worked=np.zeros(num, WORKED),
        law=law,
        memories=np.array(flow.arrivals.activity_seconds),
        scratch=np.zeros(config.slices + 1),
        blank=np.zeros(1, market.parents.dtype),
    )


def usual_bar_volume(world: Barwise) -> float:
    """Units that others trade in a bar of the usual pace, expected."""
    law, flow = world.law[0], world.market.flow[0]
    return float(law["rate"] * flow["market_share"] * law["mean_size"] * law["bar_seconds"])
