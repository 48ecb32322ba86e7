"""The layers above execution: bars in, a target position and what both layers say of it out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade.events import DECIDED, HELD, SOURCES, Event
from cascade.health import Health, Sink
from cascade.models import Models, bar_minutes
from cascade.rows import SAID_WIDTH
from cascade.voices import Voices
from cascade.windows import FastSide, SlowSide
from configs.errors import ArtefactError
from configs.execution import ExecutionConfig
from signals.bars.streams import Bar
from signals.expected_return import ReturnMap
from signals.said import (
    SAID,
    entangled,
    strategic_said,
    tactical_said,
)
from signals.superposition import BUY, DIRECTIONS, HOLD, SELL
from signals.upstream import CONFIDENT, CONTEXT_WIDTH

STRATEGIC, TACTICAL = "strategic", "tactical"
_CONFIDENCE = SAID.index("confidence")
_WIDTH = len(SAID)
_KEPT_BARS = 4_000  # longer bars from which a new strategic artefact's windows are made
_SECONDS_PER_MINUTE = 60.0
NO_STYLE = -1


@dataclass(frozen=True)
class Spoken:
    """What a layer said last: SELL, HOLD, BUY, and its target as a share of the limit."""

    layer: str
    directions: tuple[float, ...]
    target: float
    how: str


def _hold_said() -> NDArray[np.float64]:
    """A layer that holds for certain: probabilities, confidence, coherence; then zeros."""
    said = np.zeros(SAID_WIDTH)
    said[HOLD] = said[_CONFIDENCE] = said[_CONFIDENCE + 1] = 1.0
    return said


class Upper:
    """Strategic and tactical layer, either of which may have no artefact: it then holds.

    Attributes:
        minutes: of the bars that drive the cascade.
        target: share of the limit; style: the tactical execution agent's choice.
        context: [CONTEXT_WIDTH], what both say, unsigned.
        longer: bars of the strategic length that have closed.
        decisions: bars at whose close there was a target.
    """

    def __init__(
        self, models: Models, voices: Voices, health: Health, sink: Sink, config: ExecutionConfig
    ) -> None:
        """Raises ArtefactError where a parent order is longer than a bar."""
        self._models, self._voices, self._health, self._sink = models, voices, health, sink
        self.minutes = config.parent.horizon_steps * config.step_seconds / _SECONDS_PER_MINUTE
        self._half_spread = config.schedule.half_spread_bp
        self.fast: FastSide | None = None
        self.slow: SlowSide | None = None
        tactical, strategic = models.active.get(TACTICAL), models.active.get(STRATEGIC)
        if tactical is not None:
            self.fast = FastSide(tactical)
            self.minutes = bar_minutes(tactical)
        if strategic is not None:
            self.slow = SlowSide(strategic, self.minutes, self._half_spread)
        steps = self.minutes * _SECONDS_PER_MINUTE / config.step_seconds
        if config.parent.horizon_steps > steps:
            raise ArtefactError(
                f"execution works a parent over {config.parent.horizon_steps} steps of "
                f"{config.step_seconds:g} s, and a tactical bar has {steps:g}: expected at most "
                "as many; train it with env.parent.horizon_steps"
            )
        self._strategic, self._tactical = _hold_said(), _hold_said()[:_WIDTH]
        self._answer, self._entanglement = np.zeros(_WIDTH + 1), 0.0
        self.target, self.style, self._share = 0.0, NO_STYLE, 1.0
        self.context = np.zeros(CONTEXT_WIDTH)
        self.longer = self.decisions = 0
        self._ready: dict[str, bool] = {}
        self._kept: list[Bar] = []

    def renew_slow(self) -> None:
        """Read the bars of the past anew, by another regime model; the account stays."""
        old = self.slow
        assert old is not None
        side = SlowSide(self._models.active[STRATEGIC], self.minutes, self._half_spread)
        side.cells = old.cells
        for bar in self._kept:
            side.read(bar)
        side.keep_account(old)
        self.slow = side

    def read_past(self, bar: Bar) -> bool:
        """Take in a bar that closed before the session; whether the next one is to be decided on.

        That is so once the windows are one bar short of whole: the longest bars' that there are.

        Raises:
            DataError: see `feed`.
        """
        slow, fast = self.slow, self.fast
        if fast is not None:
            fast.feed(bar)
        if slow is None:
            return fast is not None and fast.lacks <= 1
        longer = slow.cells.push(bar)
        for each, _ in longer:
            slow.read(each)
            self._kept.append(each)
            del self._kept[:-_KEPT_BARS]
        self.longer += len(longer)
        return bool(longer) and slow.lacks <= 1

    def feed(self, bar: Bar, clock: int) -> None:
        """Take in a bar that has closed; the strategic layer decides where one of its own has.

        Raises:
            DataError: the bar is none, or does not follow the last one.
        """
        if self.fast is not None:
            self.fast.feed(bar)
        slow = self.slow
        if slow is None:
            return
        for longer, mean_open in slow.cells.push(bar):
            slow.feed(longer, mean_open)
            self.longer += 1
            self._kept.append(longer)
            del self._kept[:-_KEPT_BARS]
            self._sink.tell(
                Event.NEW_30MIN_BAR,
                clock,
                bar=list(longer),
                regime=slow.regime,
                confidence=_told(slow.regime_confidence),
            )
            self._tell_ready(STRATEGIC, slow.whole, clock)
            if slow.whole:
                self._decide_strategic(slow, clock)

    def decide(self, clock: int, account: NDArray[Any]) -> bool:
        """The tactical decision at a bar's close; whether there is a target by now."""
        slow, fast = self.slow, self.fast
        if slow is not None:
            self._strategic[-1] = slow.cells.phase(clock)
        if fast is not None:
            self._tell_ready(TACTICAL, fast.whole, clock)
        if (slow is not None and not slow.whole) or (fast is not None and not fast.whole):
            return False
        if fast is None:
            self.target, self.style = float(self._strategic[-2]), NO_STYLE
        else:
            self._decide_tactical(fast, clock, account)
        self.decisions += 1
        self.context[:_WIDTH] = self._strategic[:_WIDTH]
        self.context[_WIDTH : 2 * _WIDTH] = self._tactical
        self.context[-2:] = self._entanglement, self._share
        return True

    def _ask_strategic(self) -> None:
        """Ask, and work out what is said, so that an answer that means nothing is a fault."""
        model, slow = self._models.active[STRATEGIC], self.slow
        assert slow is not None
        self._voices.asks[STRATEGIC]()
        actions = self._voices.answers[STRATEGIC]
        told = model.row[None], actions[None], model.probabilities[None]
        self._answer[:] = strategic_said(*told, slow.rules, model.policy.temperature)[0]

    def _decide_strategic(self, slow: SlowSide, clock: int) -> None:
        """Ask the strategic layer, or stand in for it."""
        model = self._models.active[STRATEGIC]
        slow.write_row(model.row)
        source = self._health.call(STRATEGIC, self._ask_strategic, clock)
        if source == DECIDED:
            slow.take(self._voices.answers[STRATEGIC])
            self._strategic[:-1] = self._answer
        else:
            if source == HELD:
                self._strategic = _hold_said()
                self._strategic[-2] = slow.held
            slow.order(float(self._strategic[-2]))
        self._sink.tell(
            Event.STRATEGIC_DECISION,
            clock,
            source=SOURCES[source],
            actions=self._actions(STRATEGIC, source),
            said=self._strategic[:-1].tolist(),
            information=_listed(model.information) if source == DECIDED else None,
        )

    def _ask_tactical(self) -> None:
        """As `_ask_strategic`, with the entanglement of both layers."""
        model, fast = self._models.active[TACTICAL], self.fast
        assert fast is not None
        # As in training: by the confidence that the layer above states, its temperature included.
        model.conditional = bool(self._strategic[_CONFIDENCE] >= CONFIDENT)
        self._voices.asks[TACTICAL]()
        rows, actions = model.row[None], self._voices.answers[TACTICAL][None]
        rules, temperature = fast.rules, model.policy.temperature
        p = model.probabilities[None]
        self._answer[:] = tactical_said(rows, actions, p, rules, temperature)[0]
        self._entanglement = 0.0
        if model.conditional:
            above = self._strategic[None, : len(DIRECTIONS)]
            self._entanglement = float(entangled(above, *model.given, rules)[0])

    def _decide_tactical(self, fast: FastSide, clock: int, account: NDArray[Any]) -> None:
        model, closing = self._models.active[TACTICAL], 0
        position, limit = int(account["position"][0]), int(account["limit"][0])
        fast.write_row(account, self._strategic, model.row)
        source = self._health.call(TACTICAL, self._ask_tactical, clock)
        if source == DECIDED:
            actions, strategic = self._voices.answers[TACTICAL], float(self._strategic[-2])
            self.target, closing, self.style = fast.take(actions, account, strategic)
            self._tactical, self._share = self._answer[:_WIDTH].copy(), float(self._answer[_WIDTH])
        else:
            self._entanglement = 0.0
        if source == HELD:
            self._tactical, self._share = _hold_said()[:_WIDTH], 0.0
            self.target = position / max(limit, 1)
        fast.passed()
        self._sink.tell(
            Event.TACTICAL_DECISION,
            clock,
            source=SOURCES[source],
            actions=self._actions(TACTICAL, source),
            said=[*self._tactical.tolist(), self._share, self._entanglement],
            target=self.target,
            closing=closing,
        )

    def _actions(self, layer: str, source: int) -> list[float] | None:
        if source != DECIDED:
            return None
        found: list[float] = self._voices.answers[layer].tolist()
        return found

    def _tell_ready(self, layer: str, whole: bool, clock: int) -> None:
        if self._ready.get(layer) != whole:
            self._ready[layer] = whole
            self._sink.tell(Event.INDICATORS_READY, clock, layer=layer, ready=whole)

    @property
    def worth(self) -> tuple[float, ReturnMap, float] | None:
        """Of the layer that sets the position: (its score, what scores were worth, their horizon).

        The horizon is in bars of the tactical length. None where it is not known what its
        scores were worth.
        """
        setter, said = (TACTICAL, self._tactical)
        if self.slow is not None:
            setter, said = (STRATEGIC, self._strategic)
        model = self._models.active[setter]
        if model.returns is None:
            return None
        bars = model.returns.horizon_bars * bar_minutes(model) / self.minutes
        return float(said[BUY] - said[SELL]), model.returns, bars

    @property
    def urgent(self) -> tuple[float, float, float]:
        """(confidence of the layer that orders, entanglement, usual spread in basis points)."""
        said = self._strategic if self.fast is None else self._tactical
        return float(said[_CONFIDENCE]), self._entanglement, 2.0 * self._half_spread

    def spoken(self) -> list[Spoken]:
        """What the layers said last, for people."""
        count, found = len(DIRECTIONS), []
        for layer, said, target in (
            (STRATEGIC, self._strategic, float(self._strategic[-2])),
            (TACTICAL, self._tactical, self.target),
        ):
            how = "decides" if layer in self._models.active else "no artefact"
            how = "degraded" if layer in self._health.degraded else how
            found.append(Spoken(layer, tuple(map(float, said[:count])), target, how))
        return found


def _listed(values: NDArray[np.float32] | None) -> list[float] | None:
    return None if values is None else [float(value) for value in values]


def _told(number: float) -> float | None:
    """A number as JSON has it."""
    return float(number) if math.isfinite(number) else None
