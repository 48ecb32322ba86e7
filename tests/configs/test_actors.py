"""The actors' configuration refuses what no network can be built from."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from configs.actors import ActorConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden": ()},
        {"hidden": (0,)},
        {"memory": "rnn"},
        {"memory_width": 0},
        {"bounded": "clipped"},
        {"initial_sigma": 4.0},
        {"initial_sigma": 0.01},
        {"sigma": 1.0},
    ],
    ids=str,
)
def test_wrong_settings_are_refused(wrong: dict[str, object]):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        ActorConfig(**wrong)
