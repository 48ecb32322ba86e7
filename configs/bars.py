"""Real bars: the file, how its stamps read, and what is mended or left out."""

from __future__ import annotations

import itertools
import zoneinfo
from datetime import date
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from configs.base import Config
from configs.errors import nearest

BarColumn = Literal["time", "open", "high", "low", "close", "volume"]


class Window(Config):
    """Days left out: `start` belongs to the window, `end` is the first day after it."""

    start: date
    end: date

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start >= self.end:
            raise ValueError(
                f"start {self.start} is not before end {self.end}, expected start < end"
            )
        return self


class BarsConfig(Config):
    """A CSV or Parquet file of open, high, low, close and volume.

    All dates below are days of the file's own time zone, from midnight to midnight.
    """

    path: Path
    timezone: str = Field("UTC", description="IANA zone of stamps that carry no offset")
    dayfirst: bool | None = Field(
        None, description="whether 3/4/2024 is 3 April; null settles it from the whole file"
    )
    bar_minutes: PositiveInt = Field(30, description="length of a bar; stamps are its start")
    tick: PositiveFloat | None = Field(None, description="price increment; null checks none")
    on_bad: Literal["error", "drop"] = "error"
    exclude: tuple[Window, ...] = ()
    rolls: tuple[date, ...] = Field(
        (), description="days whose first bar is the first of the next contract"
    )
    adjust: Literal["forward", "none"] = Field(
        "forward",
        description=(
            "forward scales the bars from each roll on so that its gap closes; the past, "
            "which features have seen, never changes"
        ),
    )
    drop_zero_volume: bool = False
    columns: dict[BarColumn, str] = Field(
        default_factory=dict, description="headers of the file, where their names tell nothing"
    )
    max_rows: PositiveInt = Field(20_000_000, description="a larger file is refused")
    max_line_bytes: PositiveInt = Field(4096, description="a longer line is no bar")

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        known = zoneinfo.available_timezones()
        if value not in known:
            close = nearest(value, known)
            hint = close if close.startswith("did") else "such as America/New_York or UTC"
            raise ValueError(f"expected an IANA time zone; {hint}")
        return value

    @field_validator("rolls")
    @classmethod
    def _rolls_in_order(cls, value: tuple[date, ...]) -> tuple[date, ...]:
        for before, after in itertools.pairwise(value):
            if after <= before:
                raise ValueError(f"roll {after} follows {before}, expected rising dates")
        return value
