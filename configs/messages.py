"""Order messages of a real market: the file, its codes and its units."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from configs.base import Config
from configs.market import LADDER_MULTIPLE

MessageColumn = Literal["time", "type", "id", "size", "price", "side"]
MESSAGE_COLUMNS: tuple[MessageColumn, ...] = ("time", "type", "id", "size", "price", "side")
MessageKind = Literal["add", "reduce", "delete", "execute", "hidden", "cross", "halt"]
MESSAGE_KINDS: tuple[MessageKind, ...] = (
    "add",
    "reduce",
    "delete",
    "execute",
    "hidden",
    "cross",
    "halt",
)
LOBSTER_PRICE_UNIT = 1e-4  # currency; LOBSTER writes dollars times 10,000


class MessagesConfig(Config):
    """A file of order messages: LOBSTER's CSV, or rows of time, type, id, size, price, side.

    LOBSTER (lobsterdata.com): no header; time in seconds after midnight; type 1 add,
    2 partial cancel, 3 delete, 4 execution, 5 execution of a hidden order, 6 cross
    trade, 7 halt; price in dollars times 10,000; side 1 where the resting order buys,
    -1 where it sells. Rows of any other source stand under a header, or in Parquet.
    """

    path: Path
    form: Literal["auto", "lobster", "rows"] = Field(
        "auto", description="auto: a text file without a header is LOBSTER's"
    )
    columns: dict[MessageColumn, str] = Field(
        default_factory=dict, description="headers of the file, where they have other names"
    )
    kinds: dict[str, MessageKind] = Field(
        default_factory=dict,
        description="further type codes; 1 to 7 and the kinds' own names are known",
    )
    sides: dict[str, Literal["buy", "sell"]] = Field(
        default_factory=dict, description="further side codes; 1, -1, buy, sell, B, S are known"
    )
    time_unit: Literal["s", "ms", "us", "ns"] = "s"
    price_unit: PositiveFloat | None = Field(
        None, description="currency per unit of the price column; null: 1e-4 in LOBSTER, else 1"
    )
    tick: PositiveFloat = Field(0.01, description="price increment, currency")
    unknown_ids: Literal["count", "error"] | None = Field(
        None,
        description=(
            "a message that names an order never added: counted and left out of the book, or an "
            "error; null: count in LOBSTER, whose files start in mid-life, else error"
        ),
    )
    on_bad: Literal["error", "drop"] = "error"
    max_ladder_levels: PositiveInt = Field(
        1 << 16,
        multiple_of=LADDER_MULTIPLE,
        le=1 << 20,
        description="prices of the book; orders beyond them are parked and counted",
    )
    max_rows: PositiveInt = Field(
        5_000_000, description="a larger file is refused; reading takes 130 bytes a row"
    )
    max_line_bytes: PositiveInt = Field(4096, description="a longer line is no message")

    @model_validator(mode="after")
    def _lobster_names_nothing(self) -> Self:
        if self.form == "lobster" and self.columns:
            raise ValueError("columns name headers, and LOBSTER's files have none; leave one out")
        return self
