"""A cascade at work on paper: bars drive it, simulated books fill what it sends."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade.engine import Engine, Plan
from cascade.events import BAR
from cascade.hot import hold_action
from cascade.models import LayerModel, Models, bar_minutes
from cascade.rows import account_breakers, position_limit
from cascade.windows import opened_account, settle_account
from configs.barwise import LayerConfig
from configs.cascade import CascadeRunConfig
from configs.errors import ConfigError, DataError
from configs.market import BarReference, GeneratorReference
from market.bar_tape import bar_tape
from market.bars import Bars, load_bars
from market.finer_bars import finer_bars
from market.paper import PaperMarket
from market.paper_layout import CANCELLED, REJECTED
from market.synthetic import synthetic_bars
from market.working import WORKED
from signals.bars.clock import NS_PER_MINUTE
from signals.bars.streams import Bar

_KEPT_LATENCIES = 4096
_MICROSECONDS = 1e-3  # of a nanosecond
_SECONDS_PER_MINUTE = 60.0

Watch = Callable[["PaperSession"], None]


def driving_layer(models: Models) -> LayerModel[Any]:
    """The layer whose account is traded and whose bars drive the cascade."""
    layer = "tactical" if "tactical" in models.active else "strategic"
    return models.active[layer]


def driving_minutes(models: Models) -> float:
    """The length of the bars that drive the cascade: the tactical ones, or as long as a parent."""
    model = driving_layer(models)
    if model.layer == "tactical":
        return bar_minutes(model)
    execution = models.active["execution"].config
    return float(execution.parent.horizon_steps * execution.step_seconds / _SECONDS_PER_MINUTE)


def driving_bars(models: Models, run: CascadeRunConfig) -> Bars:
    """The bars of a session, of the length that drives the cascade.

    Raises:
        ConfigError, DataError: the file cannot be read, or its bars are no multiple of that length.
    """
    config: LayerConfig = driving_layer(models).config
    minutes, tick, flow = driving_minutes(models), config.market.tick, config.market.flow
    if run.bars is None:
        reference = config.market.reference
        if isinstance(reference, BarReference):
            reference = GeneratorReference()
        return synthetic_bars(
            reference, run.generated_bars, minutes, tick, run.generated_seed, flow
        )
    bars, parts = load_bars(run.bars), run.bars.bar_minutes / minutes
    if parts < 1 or parts != int(parts):
        raise ConfigError(
            f"bars.bar_minutes={run.bars.bar_minutes}: the cascade decides every {minutes:g} min, "
            "expected a whole multiple of it; set it to the file's length, or give other bars"
        )
    if parts == 1:
        return bars
    return finer_bars(bars, run.bars.bar_minutes, int(parts), tick, run.generated_seed, flow)


class Latencies:
    """The latest hot decisions' wall time, microseconds."""

    def __init__(self) -> None:
        self._kept = np.zeros(_KEPT_LATENCIES)
        self._count = 0

    def add(self, nanoseconds: int) -> None:
        self._kept[self._count % _KEPT_LATENCIES] = nanoseconds * _MICROSECONDS
        self._count += 1

    @property
    def last(self) -> float:
        """The latest one's; 0 before the first."""
        return float(self._kept[(self._count - 1) % _KEPT_LATENCIES])

    def percentiles(self, *wanted: float) -> list[float]:
        """Of those kept; 0 where there is none."""
        kept = self._kept[: min(self._count, _KEPT_LATENCIES)]
        if not kept.size:
            return [0.0] * len(wanted)
        return [float(value) for value in np.percentile(kept, wanted)]


@contextmanager
def without_collector() -> Iterator[None]:
    """No garbage collection inside: its pauses are a thousand hot decisions long."""
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


class PaperSession:
    """Runs an engine over bars, its parents worked in simulated books.

    Attributes:
        account: ACCOUNT [1], in ticks, marked at the last bar's close.
        bar: number of the bar that is being played.
        plan: what is ordered over it.
        latencies: of hot decisions.
    """

    def __init__(self, engine: Engine, bars: Bars, seed: int, watch: Watch | None = None) -> None:
        """Raises DataError where bars do not suit the market; see `PaperMarket`."""
        models, self.engine, self.bars = engine.models, engine, bars
        config: LayerConfig = driving_layer(models).config
        self._tick, self._minutes = config.market.tick, driving_minutes(models)
        self._limits = account_breakers(config)
        tape = bar_tape(bars, self._minutes, self._tick, config.past_bars)
        self.market = PaperMarket(models.active["execution"].config, tape, seed)
        mark = float(bars.close[0]) / self._tick
        self._full, self._leverage = position_limit(config), config.account.leverage
        self.account = self._opened(mark)
        self._first = config.past_bars
        self.bar, self.plan, self.latencies = 0, Plan(0, 0), Latencies()
        self.trades = 0
        self._watch, self._hold = watch, hold_action()
        self._worked = np.zeros(1, WORKED)
        self._nothing = np.zeros((), self.market.paper.decision.dtype)

    def _opened(self, mark: float) -> NDArray[Any]:
        """A flat ACCOUNT [1]; `mark` in ticks."""
        return opened_account(self._full, self._leverage, mark)

    def watch(self, watch: Watch) -> None:
        """Have `watch` look at the session every few steps."""
        self._watch = watch

    @property
    def result(self) -> float:
        """Equity gained since the begin, currency."""
        held = self.account[0]
        return float(held["equity"] - held["initial"]) * self._tick

    @property
    def tally(self) -> dict[str, int]:
        """Units and orders sent, filled, cancelled and rejected, and those open."""
        tally = self.market.paper.tally
        told = {name: int(tally[name][0]) for name in tally.dtype.names or ()}
        return {
            **told,
            "units_open": self.market.open_units,
            "orders_open": self.market.open_orders,
        }

    def run(self, steps: int) -> int:
        """Go on until `steps` hot decisions are taken, or the bars end; how many were."""
        taken = 0
        with without_collector():
            while taken < steps and self.bar + 1 < len(self.bars):
                taken += self.play_bar(steps - taken)
        return taken

    def play_bar(self, most: int) -> int:
        """Decide at a bar's close, and play the next; how many hot decisions were taken.

        At most `most` steps of a parent are worked; what is open then stays open.
        """
        self.decide_bar()
        taken = 0
        if self.open_books():
            taken, whole = self._work(most)
            if not whole:
                return taken
        if self._watch is not None:
            self._watch(self)
        self.close_bar()
        return taken

    def decide_bar(self) -> Plan:
        """What is to be ordered over the next bar, decided at this one's close."""
        now = self.bar
        bar = self.bar_at(now)
        self.plan = self.engine.on_bar(bar, self.arrival(now), self.account, now + 1)
        self.bar = now + 1
        return self.plan

    def begin(self) -> int:
        """Take in the bars that the layers' windows want to be whole; how many those were.

        Before anything else; nothing is decided at them. The last bar is never among them.

        Raises:
            DataError, AuditError: see `Engine.on_past`.
        """
        past = np.zeros(len(self.bars) - 1, BAR)
        for name in BAR.names or ():
            past[name] = getattr(self.bars, name)[:-1]
        self.bar = self.engine.on_past(past)
        mark = float(self.bars.close[self.bar]) / self._tick
        self.account[...] = self._opened(mark)
        return self.bar

    def open_books(self) -> bool:
        """Begin the bar that was decided on; whether a parent is to be worked in it."""
        self._worked[...] = np.zeros((), WORKED)
        if not self.plan.signed or self.bar < self._first:
            return False
        self.market.begin(self.bar, self.plan.signed, self.plan.reduces_risk)
        return True

    def close_bar(self) -> None:
        """Book what the bar came to, and mark the account at its close."""
        close = float(self.bars.close[self.bar]) / self._tick
        settle_account(self.account, self._worked, close, self._limits)

    def bar_at(self, number: int) -> Bar:
        """Bar number `number` as it is told."""
        bars = self.bars
        return Bar(
            int(bars.start[number]),
            float(bars.open[number]),
            float(bars.high[number]),
            float(bars.low[number]),
            float(bars.close[number]),
            float(bars.volume[number]),
        )

    def arrival(self, number: int) -> int:
        """When bar number `number` comes: at its end."""
        return int(self.bars.start[number]) + round(self._minutes * NS_PER_MINUTE)

    def seen(self) -> tuple[Any, Any, Any, Any]:
        """PARENT [1], EPISODE [1], depth and own resting orders, as the engine is shown them."""
        view = self.market.simulator.market
        return view.parents, view.episodes, view.depth[0], view.owned[0]

    def _work(self, most: int) -> tuple[int, bool]:
        """Work the planned parent; (steps taken, whether it is done)."""
        market = self.market
        taken = 0
        while not market.done and taken < most:
            self.step()
            taken += 1
            if self._watch is not None and taken % _STEPS_SEEN == 0:
                self._watch(self)
        if not market.done:
            return taken, False
        self.close_parent()
        return taken, True

    def close_parent(self) -> None:
        """The parent is done: have it recorded, and kept for `close_bar`."""
        market = self.market
        self.trades += 1
        self._worked[...] = market.worked()
        parent, worked = market.simulator.market.parents[0], self._worked[0]
        self.engine.on_closed(
            self.engine.at_step(int(parent["step"])),
            bar=self.bar,
            filled=int(worked["quantity"]),
            abandoned=int(parent["abandoned"]),
            slippage=float(worked["slippage"]),
            impact=float(worked["impact_value"]),
            fees=float(worked["fees"]),
        )

    def step(self) -> None:
        """One hot decision, and what the books make of it."""
        engine, market = self.engine, self.market
        view, paper = self.seen(), market.paper
        begun = time.perf_counter_ns()
        sends = engine.on_step(*view)
        self.latencies.add(time.perf_counter_ns() - begun)
        hot = engine.hot
        if sends:
            paper.children[...], paper.cancels[...] = hot.children, hot.cancels
            paper.decision[...] = hot.decision
            market.step(
                hot.acted["action"][0],
                engine.refused_units,
                engine.completes,
                engine.crossing_limit,
            )
        else:
            paper.cancels[...] = 0
            paper.decision[...] = self._nothing
            paper.decision["carry"] = market.simulator.market.parents["carry"]
            market.step(self._hold, complete=False)
        ended = market.ended
        cancelled = rejected = ended
        if len(ended):  # most steps end nothing
            how = ended["how"]
            cancelled, rejected = ended[how == CANCELLED], ended[how == REJECTED]
        told = engine.at_step(int(market.simulator.market.parents["step"][0]))
        forced = int(paper.report["forced_id"][0])
        engine.on_report(told, market.fills, cancelled, rejected, forced)


_STEPS_SEEN = 5  # between two looks of whoever watches


def begin_clock(bars: Bars) -> int:
    """The clock of a session that these bars drive, before the first.

    Raises:
        DataError: there is no bar.
    """
    if not len(bars):
        raise DataError(f"{bars.source}: no bars to run on")
    return int(bars.start[0])
