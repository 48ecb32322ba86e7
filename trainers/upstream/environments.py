"""Batched environments as trainings make them, in the driver and in every runner."""

from __future__ import annotations

from typing import Any

from configs.execution import ExecutionConfig
from configs.loading import load_config
from configs.splits import Split
from configs.tactical import TacticalConfig
from envs.execution import BatchedExecution
from envs.tactical import BatchedTactical
from trainers.upstream.frozen import bars_above, strategic_table


def make_tactical(
    num_envs: int,
    seed: int = 0,
    config: TacticalConfig | dict[str, Any] | None = None,
    split: Split = "train",
    judged: bool = False,
) -> BatchedTactical:
    """N tactical episodes under what the configuration names: a folder, or nothing loaded.

    Args:
        judged: see `BatchedTactical`.

    Raises:
        ConfigError: plain data that is no `TacticalConfig`.
        ArtefactError, DataError: see `strategic_table` and `envs.tactical.BatchedTactical`.
    """
    told = _read(TacticalConfig, config)
    above = strategic_table(told, split) if told.upstream.loaded else None
    return BatchedTactical(told, num_envs, seed, split, above, judged)


def make_execution(
    num_envs: int,
    seed: int = 0,
    config: ExecutionConfig | dict[str, Any] | None = None,
    split: Split = "train",
    paired_sides: bool = False,
) -> BatchedExecution:
    """N execution episodes, likewise.

    Raises:
        ConfigError: plain data that is no `ExecutionConfig`.
        ArtefactError, DataError: see `bars_above`.
    """
    told = _read(ExecutionConfig, config)
    above = bars_above(told, split) if told.upstream.loaded else None
    return BatchedExecution(told, num_envs, seed, split, paired_sides, above)


def _read(kind: Any, config: Any) -> Any:
    if isinstance(config, dict):
        return load_config(kind, config)
    return kind() if config is None else config
