"""The search that settings came out of, so that whoever judges what they train can count it."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from configs.base import Config


class ChosenFrom(Config):
    """A study of trials, the best of which these settings are."""

    study: str = Field(min_length=1)
    storage: str = Field(min_length=1, description="address of its database, without a password")
    trials: PositiveInt = Field(description="begun when the settings were written")
