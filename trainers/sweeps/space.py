"""A search space against the real configuration: what may be searched, and how it is drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna import Trial

from configs.errors import ConfigError
from configs.sweep import Choice, FloatRange, IntRange, Searched, SweepConfig
from configs.train import LayerTraining, load_train_config

Params = Mapping[str, Any]

# What else there is says where data come from, how trials are judged, or what the machine offers.
SEARCHABLE = ("mappo.", "env.reward.", "env.augmentation.")
_NOT_SEARCHABLE = (
    "mappo.stop",
    "mappo.seed",
    "mappo.runners",
    "mappo.learners",
    "mappo.gpus_per_learner",
    "mappo.torch_threads",
    "mappo.object_store_mb",
    "mappo.ray_address",
    "mappo.checkpoint_every",
    "mappo.keep_checkpoints",
)


def overrides_of(params: Params) -> list[str]:
    """A trial's parameters as overrides of a configuration; choices are kept as JSON text."""
    return [f"{key}={_text(value)}" for key, value in params.items()]


def suggest(trial: Trial, space: Mapping[str, Searched]) -> dict[str, Any]:
    """Draw every parameter, in the order of their names, so that a file's order is nothing."""
    return {key: _draw(trial, key, space[key]) for key in sorted(space)}


def with_params(layer: str, base: Path, overrides: Sequence[str]) -> LayerTraining:
    """The configuration in the file `base` under `overrides`.

    Raises:
        ConfigError: they do not go together.
    """
    return load_train_config(layer, [], [], overrides, None, base)


def check_space(sweep: SweepConfig, base: Path) -> None:
    """Try every parameter alone at its ends, or in each of its values, on the configuration.

    Raises:
        ConfigError: a key that is unknown or no setting of the training, or a value that does
            not fit there.
    """
    for key, searched in sweep.space.items():
        _check_key(key)
        for value in _tried(searched):
            try:
                with_params(sweep.layer, base, [f"{key}={_text(value)}"])
            except ConfigError as error:
                raise ConfigError(
                    f"space.{key} of the sweep: {str(error).removeprefix('--set ')}"
                ) from None


def _check_key(key: str) -> None:
    if key.startswith(SEARCHABLE) and not key.startswith(_NOT_SEARCHABLE):
        return
    raise ConfigError(
        f"space.{key} of the sweep cannot be searched: expected a key that begins with "
        f"{', '.join(SEARCHABLE)} other than {', '.join(_NOT_SEARCHABLE)}; set it for all trials "
        "with --set"
    )


def _tried(searched: Searched) -> list[Any]:
    if isinstance(searched, Choice):
        return [json.dumps(value) for value in searched.values]
    return [searched.low, searched.high]


def _draw(trial: Trial, key: str, searched: Searched) -> Any:
    if isinstance(searched, FloatRange):
        return trial.suggest_float(key, searched.low, searched.high, log=searched.log)
    if isinstance(searched, IntRange):
        return trial.suggest_int(
            key, searched.low, searched.high, step=searched.step, log=searched.log
        )
    return trial.suggest_categorical(key, _tried(searched))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)
