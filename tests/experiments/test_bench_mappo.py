"""`bench mappo`: what its figures are made of, at sizes that say nothing about speed."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from experiments.bare_ppo import BarePPO
from experiments.bench.mappo import OURS, TORCH, MappoSizes, _figures, figures, measured
from experiments.contenders import Training
from experiments.stock_rllib import local_ray

TINY = MappoSizes(Training(env_steps=512), stock_envs=(2,), rounds=1, turns=2)
NAMES = [
    "train_steps_per_s",
    "train_ratio_stock",
    "train_ratio_torch",
    "sample_steps_per_s",
    "sample_ratio_stock",
]


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    threads = torch.get_num_threads()
    with local_ray():
        yield
    torch.set_num_threads(threads)


def test_ratios_are_of_medians_and_of_stock_at_its_best() -> None:
    rates = {
        (OURS, "train"): [90.0, 100.0, 700.0],
        (OURS, "sample"): [400.0],
        (TORCH, "train"): [125.0],
        (TORCH, "sample"): [999.0],
        ("eight", "train"): [10.0],
        ("eight", "sample"): [4.0],
        ("many", "train"): [8.0],
        ("many", "sample"): [5.0],
    }
    found = {figure.name: figure for figure in _figures("shared", rates)}
    assert list(found) == [f"{name}_shared" for name in NAMES]
    assert found["train_ratio_stock_shared"].value == 10.0
    assert found["train_ratio_stock_shared"].met is True
    assert found["train_ratio_stock_shared"].reference_value == 10.0
    assert found["sample_ratio_stock_shared"].value == 80.0
    assert found["sample_ratio_stock_shared"].target == 40.0
    assert found["train_ratio_torch_shared"].value == 0.8
    assert found["train_ratio_torch_shared"].met is True
    assert found["train_steps_per_s_shared"].value == 100.0
    rates[OURS, "train"] = [79.0]
    found = {figure.name: figure for figure in _figures("separate", rates)}
    assert found["train_ratio_stock_separate"].target == 4.0
    assert found["train_ratio_torch_separate"].met is None


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_every_contender_takes_its_turns() -> None:
    rates = measured("shared", BarePPO, TINY)
    turns = {key: len(found) for key, found in rates.items()}
    fast, slow = TINY.turns * len(TINY.stock_envs), 1
    assert turns == {
        (name, measure): count
        for name, count in (
            (OURS, fast),
            (TORCH, fast),
            ("stock RLlib, 2 envs", slow),
        )
        for measure in ("train", "sample")
    }


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_every_figure_is_there() -> None:
    """With the bare loop in the place of ours: about its own equal, on a busy machine too."""
    found = {figure.name: figure for figure in figures(BarePPO, TINY)}
    assert list(found) == [f"{name}_{kind}" for kind in ("shared", "separate") for name in NAMES]
    for figure in found.values():
        assert math.isfinite(figure.value) and figure.value > 0
    assert found["train_ratio_torch_shared"].value == pytest.approx(1.0, abs=0.7)
