"""A book state given as JSON: what four venues quote, and where the parent order stands."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from configs.errors import RequestError

MAX_REQUEST_BYTES = 1 << 20
MAX_QUANTITY = (1 << 31) - 1  # the books count in 32 bits
MAX_STEPS = 1000  # as parent.horizon_steps of the configuration
MAX_LEVELS = 5
MAX_HISTORY = 10_000
STANDARD_INPUT = "-"
PROBABILITY_TOLERANCE = 1e-6
# Far beyond any market, and far within what the row's columns can hold.
MIN_PRICE, MAX_PRICE = 1e-9, 1e9
MIN_VOLUME, MAX_VOLUME = 1e-3, 1e12
MIN_VOLATILITY_BP, MAX_VOLATILITY_BP = 1e-4, 1e4
_SHOWN_PROBLEMS = 3

Quantity = Annotated[int, Field(gt=0, le=MAX_QUANTITY)]
Count = Annotated[int, Field(ge=0, le=MAX_QUANTITY)]
Steps = Annotated[int, Field(gt=0, le=MAX_STEPS)]
Price = Annotated[float, Field(ge=MIN_PRICE, le=MAX_PRICE)]
Volume = Annotated[float, Field(ge=0, le=MAX_VOLUME)]
Level = tuple[Price, Quantity]
Probabilities = tuple[
    Annotated[float, Field(ge=0, le=1)],
    Annotated[float, Field(ge=0, le=1)],
    Annotated[float, Field(ge=0, le=1)],
]
UNIFORM: Probabilities = (1 / 3, 1 / 3, 1 / 3)


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class VenueState(_Request):
    """One venue's quotes, best first: [price, quantity] pairs, own orders left out."""

    bids: tuple[Level, ...] = Field(default=(), max_length=MAX_LEVELS)
    asks: tuple[Level, ...] = Field(default=(), max_length=MAX_LEVELS)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        bids, asks = [p for p, _ in self.bids], [p for p, _ in self.asks]
        if bids != sorted(set(bids), reverse=True):
            raise ValueError("bids must fall in price, best first, each price once")
        if asks != sorted(set(asks)):
            raise ValueError("asks must rise in price, best first, each price once")
        if bids and asks and bids[0] >= asks[0]:
            raise ValueError(f"the best bid {bids[0]:g} must lie below the best ask {asks[0]:g}")
        return self


class RestingState(_Request):
    """An own order that rests: `ahead` is the quantity before it in its queue."""

    venue: str
    price: Price
    quantity: Quantity
    ahead: Count = 0
    steps_ago: int = Field(default=0, ge=0, le=MAX_STEPS)


class ParentState(_Request):
    """The parent order. `average_price` is that of what is filled (default: arrival).

    `urgency_correction` and `carry` are those that the decision before this one
    answered with, so that a caller can step through an execution of its own.
    """

    side: Literal["BUY", "SELL"]
    quantity: Quantity
    filled: Count = 0
    filled_passive: Count = 0
    arrival: Price
    average_price: Price | None = None
    horizon_steps: Steps | None = None
    steps_left: Steps | None = None
    reduces_risk: bool = False
    in_flight: Count = 0
    urgency_correction: float = Field(default=0.0, ge=-1, le=1)
    carry: float = Field(default=0.0, ge=0, le=1)
    resting: tuple[RestingState, ...] = ()

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.filled >= self.quantity:
            raise ValueError(f"filled {self.filled} of {self.quantity}: nothing is left to decide")
        if self.filled_passive > self.filled:
            raise ValueError(f"filled_passive {self.filled_passive} exceeds filled {self.filled}")
        working = sum(order.quantity for order in self.resting) + self.in_flight
        if working > self.quantity - self.filled:
            raise ValueError(
                f"resting and in_flight add up to {working}, more than the "
                f"{self.quantity - self.filled} that remain"
            )
        return self


class RecentState(_Request):
    """The past, one entry per step, oldest first, the present step last."""

    mids: tuple[Price, ...] = Field(default=(), max_length=MAX_HISTORY)
    buy_volumes: tuple[Volume, ...] = Field(default=(), max_length=MAX_HISTORY)
    sell_volumes: tuple[Volume, ...] = Field(default=(), max_length=MAX_HISTORY)

    @model_validator(mode="after")
    def _aligned(self) -> Self:
        if len(self.buy_volumes) != len(self.sell_volumes):
            raise ValueError("buy_volumes and sell_volumes must have one entry per step each")
        return self


class UpstreamState(_Request):
    """What the layers above say: probabilities of SELL, HOLD, BUY, and risk's share."""

    strategic: Probabilities = UNIFORM
    tactical: Probabilities = UNIFORM
    entanglement: float = Field(default=0.0, ge=0, le=1)
    risk_share: float = Field(default=1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _normalised(self) -> Self:
        for name in ("strategic", "tactical"):
            total = sum(getattr(self, name))
            if abs(total - 1.0) > PROBABILITY_TOLERANCE:
                raise ValueError(f"{name} probabilities add up to {total:g}, expected 1")
        return self


class BookState(_Request):
    """One moment of an execution: venues by name, the parent order, and what is known besides.

    `step_volume` is the market volume expected in one step and `volatility_bp`
    the deviation of one step's move, where the caller knows better than the
    configuration. Left-out venues quote nothing.
    """

    venues: dict[str, VenueState] = Field(min_length=1)
    parent: ParentState
    recent: RecentState = RecentState()
    upstream: UpstreamState = UpstreamState()
    step_volume: float | None = Field(default=None, ge=MIN_VOLUME, le=MAX_VOLUME)
    volatility_bp: float | None = Field(default=None, ge=MIN_VOLATILITY_BP, le=MAX_VOLATILITY_BP)


def read_book_state(source: str | Path) -> BookState:
    """The book state in a JSON file, or on standard input for "-".

    Raises:
        RequestError: it cannot be read, is too large, is not JSON, or does not add up.
    """
    where = "standard input" if str(source) == STANDARD_INPUT else str(source)
    try:
        if str(source) == STANDARD_INPUT:
            raw = sys.stdin.buffer.read(MAX_REQUEST_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                raw = file.read(MAX_REQUEST_BYTES + 1)
    except OSError as error:
        raise RequestError(
            f"book state {where} cannot be read ({error.strerror}); expected a JSON file or "
            f"'{STANDARD_INPUT}' for standard input"
        ) from error
    if len(raw) > MAX_REQUEST_BYTES:
        raise RequestError(f"book state {where} is larger than {MAX_REQUEST_BYTES} bytes")
    return parse_book_state(raw, where)


def parse_book_state(raw: bytes, where: str) -> BookState:
    """The book state in JSON text; `where` names it in errors (RequestError)."""
    try:
        fields = json.loads(raw, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise RequestError(
            f"book state {where} is not JSON ({error}); expected an object with 'venues' and "
            "'parent'"
        ) from error
    return book_state_of(fields, where)


def book_state_of(fields: Any, where: str) -> BookState:
    """The book state in JSON data; `where` names it in errors (RequestError)."""
    try:
        return BookState.model_validate(fields)
    except ValidationError as error:
        found = error.errors()
        problems = [
            f"{'.'.join(map(str, e['loc'])) or 'it'}: {e['msg']}" for e in found[:_SHOWN_PROBLEMS]
        ]
        if len(found) > _SHOWN_PROBLEMS:
            problems.append(f"and {len(found) - _SHOWN_PROBLEMS} more")
        raise RequestError(f"book state {where}: {'; '.join(problems)}") from error


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key '{twice}' is given twice")
    return fields
