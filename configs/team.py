"""Everything one training on a PettingZoo environment of anyone's needs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, NonNegativeInt, PositiveInt

from configs.base import Config
from configs.loading import load_config, shipped
from configs.mappo import MappoConfig
from configs.tracking import TrackingConfig
from configs.train import MAX_SEED

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.]+")


class PlayConfig(Config):
    """How long the trained actors are played, by their modes, against random actions.

    episodes: whole ones, on the same seeds for both. num_envs: stepped together.
    max_steps: of one episode; a guard against one that never ends.
    """

    episodes: PositiveInt = 200
    num_envs: PositiveInt = 32
    max_steps: PositiveInt = 10_000
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    bootstrap_samples: int = Field(default=2_000, ge=100)
    seed: NonNegativeInt = 0


class TeamConfig(Config):
    """One training on a PettingZoo environment.

    env: "package.module:function" that returns a ParallelEnv (or an AEC environment
    that can be made parallel), called with `kwargs`. `seed` is that of the whole run.
    """

    env: str = Field(pattern=r"^[\w.]+:\w+$")
    kwargs: dict[str, Any] = Field(default_factory=dict)
    mappo: MappoConfig = MappoConfig()
    play: PlayConfig = PlayConfig()
    tracking: TrackingConfig = TrackingConfig()
    seed: NonNegativeInt = Field(default=0, le=MAX_SEED)
    output: str = Field(default="runs", min_length=1)

    @property
    def run_family(self) -> str:
        """What the names of all runs of the environment begin with."""
        return self.run_stem

    @property
    def run_stem(self) -> str:
        """The environment's name, fit for a folder."""
        return _NOT_IN_NAMES.sub("-", self.env)


def load_team_config(
    env: str,
    files: Sequence[Path],
    overrides: Sequence[str],
    seed: int | None,
    base: Path | None = None,
) -> TeamConfig:
    """The defaults of teams, then files, then overrides, then the seed.

    `base` takes the place of the defaults: the configuration of a run to resume.

    Raises:
        ConfigError: see `configs.loading.load_config`.
    """
    sources: list[Path | Mapping[str, Any]] = [base or shipped("teams", "default"), *files]
    sources.append({"env": env})
    if seed is not None:
        overrides = [*overrides, f"seed={seed}"]
    config = load_config(TeamConfig, *sources, overrides=overrides)
    return config.model_copy(
        update={"mappo": config.mappo.model_copy(update={"seed": config.seed})}
    )
