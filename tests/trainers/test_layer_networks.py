"""The layers' networks as they are trained and exported: every option on, outside ray."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from configs.actors import ActorConfig, CommunicationConfig, DropoutConfig, MaskConfig
from configs.errors import TrainingError
from configs.mappo import CriticConfig, MappoConfig
from configs.train import load_train_config
from policies.sequential import SequentialPolicy
from signals.layout import LayerLayout
from signals.strategic import STRATEGIC
from signals.tactical import TACTICAL
from tests.policies.windowed import ENCODERS, LAYOUT, rows_of
from tests.trainers.team_envs import team_layout
from tests.trainers.updates import one_thread  # noqa: F401  a fixture, used by its name
from trainers.mappo.plan import plan_training
from trainers.mappo.sampler import Sampler
from trainers.mappo.update import build_update

ENVS, LENGTH = 4, 12
EVERYTHING: dict[str, Any] = {
    "encoders": ENCODERS,
    "states": 3,
    "communication": CommunicationConfig(rounds=1, width=5),
    "dropout": DropoutConfig(rate=0.2, samples=16),
}
CRITICS = {
    "flat": CriticConfig(hidden=(8, 8), dropout=MaskConfig(rate=0.2, samples=16)),
    "set": CriticConfig(kind="set", hidden=(8, 8), heads=2, encoders=ENCODERS),
    "mean": CriticConfig(kind="set", relate="mean", hidden=(8,)),
}


class Windowed:
    """A `BatchedEnv` of random bars that move on by one each step."""

    metric_names: tuple[str, ...] = ()

    def __init__(self, layout: LayerLayout) -> None:
        self.layout, self.num_envs = layout, ENVS
        self.rows = np.zeros((ENVS, layout.row_width), np.float32)
        self.rewards = np.zeros((ENVS, 3), np.float32)
        self.terminations = np.zeros(ENVS, np.bool_)
        self.truncations = np.zeros(ENVS, np.bool_)
        self.targets = np.zeros((ENVS, 0), np.float32)
        self.episode_metrics = np.zeros((ENVS, 0))
        self._fresh = iter(range(1_000_000))

    @property
    def states(self) -> NDArray[np.float32]:
        return self.rows

    def reset(self, mask: Any = None, seeds: Any = None) -> None:
        which = np.arange(ENVS) if mask is None else np.flatnonzero(mask)
        self.rows[which] = rows_of(ENVS, next(self._fresh)).numpy()[which]

    def step(self, actions: NDArray[np.float32]) -> None:
        self.rewards[:] = self.rows[:, -1:] * (actions - 1.0)
        fresh, at = rows_of(ENVS, next(self._fresh)).numpy(), 0
        for window in self.layout.windows:
            part = slice(at, at + window.width)
            moved = np.concatenate(
                [self.rows[:, part][:, window.columns :], fresh[:, part][:, -window.columns :]], 1
            )
            self.rows[:, part] = moved
            at += window.width
        self.rows[:, at:] = fresh[:, at:]


@pytest.mark.parametrize("critic", CRITICS)
def test_an_update_moves_every_weight_and_says_what_it_learnt(critic: str) -> None:
    settings = MappoConfig(
        policy=ActorConfig(hidden=(8, 8), **EVERYTHING),
        critic=CRITICS[critic],
        num_envs=ENVS,
        rollout_length=LENGTH,
        minibatches=2,
        epochs=1,
    )
    plan = plan_training(LAYOUT, settings)
    update = build_update(plan, settings, torch.device("cpu"))
    before = {
        name: value.detach().clone()
        for module in (update.critic, *update.actors.values())
        for name, value in module.named_parameters()
    }
    rollout = Sampler(Windowed(LAYOUT), plan, seed=0).sample(update.actors, LENGTH)
    assert rollout.windows is not None
    found = update.run(rollout, progress=0.0, number=0)
    assert {"regime_loss", "dropout_loss"} <= found.keys()
    assert 0.0 < found["regime_loss"] < 0.3  # .1 of a cross-entropy over four regimes
    assert ("value_spread" in found) == (critic == "flat")
    assert found.get("value_spread", 1.0) > 0.0
    after = {
        name: value
        for module in (update.critic, *update.actors.values())
        for name, value in module.named_parameters()
    }
    # Box agents' sigmas are none here; every other weight has moved.
    still = [n for n, v in after.items() if v.numel() and torch.equal(v, before[n])]
    assert not still


def test_the_same_seed_trains_the_same_weights() -> None:
    def trained() -> dict[str, torch.Tensor]:
        settings = MappoConfig(
            policy=ActorConfig(hidden=(8, 8), **EVERYTHING),
            critic=CRITICS["set"],
            num_envs=ENVS,
            rollout_length=LENGTH,
            seed=5,
        )
        plan = plan_training(LAYOUT, settings)
        update = build_update(plan, settings, torch.device("cpu"))
        rollout = Sampler(Windowed(LAYOUT), plan, seed=0).sample(update.actors, LENGTH)
        update.run(rollout, progress=0.0, number=0)
        return {name: v for actor in update.actors.values() for name, v in actor.named_parameters()}

    first, second = trained(), trained()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize(("layer", "layout"), [("strategic", STRATEGIC), ("tactical", TACTICAL)])
def test_the_layers_own_networks_and_their_baseline_are_a_preset_apart(
    layer: str, layout: LayerLayout
) -> None:
    for presets, parts in (((), {"strategic": 4, "tactical": 1}[layer]), (("mlp",), 0)):
        config = load_train_config(layer, presets, (), (), None).mappo
        policy = plan_training(layout, config).actors[0].build()
        assert isinstance(policy, SequentialPolicy)
        assert len(policy.reader.parts) == parts


def test_one_setting_of_an_encoder_is_set_from_the_command_line() -> None:
    told = ["mappo.policy.encoders.1.patch=12", "mappo.policy.states=8"]
    policy = load_train_config("strategic", (), (), told, None).mappo.policy
    assert policy.encoders[1].kind == "regime" and policy.encoders[1].patch == 12
    assert policy.states == 8 and policy.encoders[0].kind == "structure"


def test_what_cannot_be_planned_is_explained() -> None:
    config = MappoConfig(policy=ActorConfig(encoders=ENCODERS[:1]))
    with pytest.raises(TrainingError, match=r"encoders names 1: layer 'windowed' has windows"):
        plan_training(LAYOUT, config)
    team = team_layout({"walkers": ("categorical", 3)})
    for options, message in (
        ({"states": 2}, r"'walkers' with sharing=shared and states=2 \(expected 1\)"),
        ({"encoders": ENCODERS}, r"encoders \(expected none\)"),
        ({"dropout": DropoutConfig(rate=0.1)}, r"dropout.rate=0.1"),
        ({"communication": CommunicationConfig(rounds=1)}, r"communication.rounds=1"),
        ({"conditioned": False}, r"conditioned=false"),
        ({"initial_temperature": {"walker": 2.0}}, r"initial_temperature \(expected none\)"),
    ):
        with pytest.raises(TrainingError, match=message):
            plan_training(team, MappoConfig(policy=ActorConfig(**options)))
