"""The base of every configuration model: frozen, and closed to unknown keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A frozen model; an unknown key is an error, and so is a non-finite number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
