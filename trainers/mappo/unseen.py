"""What no training may see: the validation and the test split of the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from configs.errors import TrainingError

_SPLIT = "split"
_UNSEEN = ("validation", "test")


def refuse_unseen_split(kwargs: Mapping[str, Any], env: str) -> None:
    """Refuse keyword arguments of a training environment that name data kept from training.

    Every training run is told its environment through one door (`MAPPOConfig.batched_env`),
    stages of a curriculum included; evaluation makes its environments itself and may name
    any split.

    Args:
        kwargs: what the environment will be called with; looked through at any depth.
        env: its name, for the message.

    Raises:
        TrainingError: a key `split` says "validation" or "test".
    """
    for path, value in _splits(kwargs, ""):
        if isinstance(value, str) and value.lower() in _UNSEEN:
            raise TrainingError(
                f"environment '{env}': {path}={value!r} in a training configuration: expected "
                "'train', since policies are chosen and judged on the other splits; leave it "
                f"out, and evaluate on {value!r} once the policy is trained"
            )


def _splits(kwargs: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for key, value in kwargs.items():
        path = f"{above}{key}"
        if key == _SPLIT:
            yield path, value
        if isinstance(value, Mapping):
            yield from _splits(value, f"{path}.")
