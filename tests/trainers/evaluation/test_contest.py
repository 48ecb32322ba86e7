"""SPA and the model confidence set on policies whose order is known."""

from __future__ import annotations

import numpy as np
import pytest

from configs.errors import DataError
from trainers.evaluation.contest import chance, confidence_set, superiority

DAYS, SAMPLES = 600, 300


def _gains(lead: float, seed: int = 0) -> dict[str, np.ndarray]:
    """Four policies on one market, which moves them all; the first leads."""
    generator = np.random.default_rng(seed)
    market = generator.standard_normal(DAYS)
    own = generator.standard_normal((DAYS, 4))
    own[:, 0] += lead
    return {name: market + own[:, i] for i, name in enumerate(["policy", "a", "b", "c"])}


def test_a_lead_is_found_and_noise_is_not() -> None:
    found = superiority(_gains(0.3), "a", samples=SAMPLES)
    assert found is not None
    assert found.best == "policy"
    assert found.better == ("policy",)
    assert found.lower <= found.consistent <= found.upper < 0.05
    refused = sum(
        (none := superiority(_gains(0.0, seed), "a", samples=SAMPLES)) is not None
        and none.consistent < 0.05
        for seed in range(40)
    )
    assert refused <= 6  # of 40 at 5%; 7 or more have a chance of .3%


def test_the_set_holds_the_best_and_drops_the_worse() -> None:
    found = confidence_set(_gains(0.4), samples=SAMPLES)
    assert found.included == ("policy",)
    equal = confidence_set(_gains(0.0), samples=SAMPLES)
    assert len(equal.included) >= 3


def test_twins_stand_as_one() -> None:
    gains = _gains(0.4)
    gains["twin"] = gains["policy"].copy()
    found = confidence_set(gains, samples=SAMPLES)
    assert found.included == ("policy", "twin")
    alone = {"x": gains["a"], "y": gains["a"].copy()}
    assert confidence_set(alone).included == ("x", "y")
    assert superiority(alone, "x") is None


def test_the_same_seed_gives_the_same_test() -> None:
    gains = _gains(0.05)
    assert superiority(gains, "a", samples=100) == superiority(gains, "a", samples=100)


def test_what_cannot_be_tested_is_refused() -> None:
    with pytest.raises(DataError, match="no policy 'z'"):
        superiority(_gains(0.0), "z")
    with pytest.raises(DataError, match="two or more of one length"):
        confidence_set({"a": np.zeros(20), "b": np.zeros(21)})
    with pytest.raises(DataError, match="16 periods"):
        superiority({"a": np.zeros(3), "b": np.ones(3)}, "a")


def test_chances_for_people() -> None:
    assert [chance(p) for p in (0.9999, 0.0, 0.123, float("nan"))] == [
        "> 99.9%",
        "< 0.1%",
        "12.3%",
        "-",
    ]
