"""Environments, policies and rewards of other packages: found by name, and trained with."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest
import torch

from configs.actors import ActorConfig
from configs.errors import RegistryError, TrainingError
from configs.mappo import MappoConfig
from experiments.toy_team import LAYOUT, make_batched
from policies.group import GroupActor
from signals.team import GroupLayout
from tests.trainers import command_line
from trainers import registry
from trainers.mappo.plan import plan_training
from trainers.mappo.sampler import Sampler

HERE = __name__


class Wide(GroupActor):
    """A policy of someone else's, told from ours by its class."""


def wide(layout: GroupLayout, config: ActorConfig, sharing: Any, seed: int) -> Wide:
    return Wide(layout, config.model_copy(update={"hidden": (48,)}), sharing, seed)


def no_actor(*_: object) -> torch.nn.Linear:
    return torch.nn.Linear(1, 1)


def doubled(env: Any, actions: np.ndarray) -> np.ndarray:
    assert actions.shape == (env.num_envs, LAYOUT.action_width)
    return 2.0 * env.rewards + 1.0


def summed(env: Any, actions: np.ndarray) -> np.ndarray:
    return env.rewards.sum(axis=1)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[EntryPoint]]:
    """Entry points as if packages had brought them, by group."""
    points: dict[str, list[EntryPoint]] = {}

    def add(kind: str, name: str, value: str) -> None:
        group = f"grandmodel.{kind}"
        points.setdefault(group, []).append(EntryPoint(name, value, group))

    add("policies", "wide", f"{HERE}:wide")
    add("rewards", "doubled", f"{HERE}:doubled")
    add("environments", "toy", "experiments.toy_team:parallel_env")
    monkeypatch.setattr(registry, "entry_points", lambda group: points.get(group, []))
    return points


@pytest.mark.usefixtures("installed")
def test_a_name_and_a_place_lead_to_the_same_function():
    assert registry.load("policies", "wide") is wide
    assert registry.load("policies", f"{HERE}:wide") is wide
    assert registry.location("environments", "toy") == "experiments.toy_team:parallel_env"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("policies", "wied", r"no policies are registered as 'wied'; did you mean 'wide'\?"),
        (
            "rewards",
            "nothing",
            r"known: doubled; expected one of them or 'package\.module:function'",
        ),
        ("rewards", f"{HERE}:absent", r"cannot be loaded: .* has no attribute 'absent'"),
        ("rewards", "no.such.module:f", r"cannot be loaded: No module named 'no'"),
        ("rewards", f"{HERE}:HERE", "is no function: got 'tests"),
    ],
)
def test_what_is_not_there_is_named(kind: registry.Kind, name: str, message: str):
    with pytest.raises(RegistryError, match=message):
        registry.load(kind, name)


def test_one_name_for_two_things_is_refused(installed: dict[str, list[EntryPoint]]):
    group = "grandmodel.policies"
    installed[group].append(EntryPoint("wide", "other.package:wide", group))
    with pytest.raises(RegistryError, match=r"'wide' is registered as .* and as other"):
        registry.load("policies", "wide")


@pytest.mark.usefixtures("installed")
def test_a_registered_policy_acts_in_the_place_of_ours():
    plan = plan_training(LAYOUT, MappoConfig(policy=ActorConfig(network="wide")))
    [actor] = [found.build() for found in plan.actors]
    assert isinstance(actor, Wide)
    rollout = Sampler(make_batched(4, 0), plan, 0).sample({"agents": actor}, 3)
    assert rollout.decisions["agents"].latent.shape == (3, 4, LAYOUT.action_width)
    wrong = plan_training(LAYOUT, MappoConfig(policy=ActorConfig(network=f"{HERE}:no_actor")))
    with pytest.raises(TrainingError, match=r"got a Linear, expected a policies\.actor\.Actor"):
        wrong.actors[0].build()


def test_a_reward_function_pays_those_who_acted():
    plan = plan_training(LAYOUT, MappoConfig())
    actors = {actor.name: actor.build() for actor in plan.actors}
    lives = {"lives": (2, 9, 9, 9, 9), "length": 6}
    own = Sampler(make_batched(4, 0, **lives), plan, 0).sample(actors, 6)
    paid = Sampler(make_batched(4, 0, **lives), plan, 0, reward=doubled).sample(actors, 6)
    expected = np.where(own.alive, 2.0 * own.rewards + 1.0, 0.0)
    np.testing.assert_array_equal(paid.rewards, expected)
    assert not own.alive[2:6, :, 0].any()
    returns = paid.rewards.sum(axis=0).mean(axis=1).mean()
    assert paid.stats.episode_means()["return"] == pytest.approx(returns)


def test_rewards_of_another_shape_are_refused():
    plan = plan_training(LAYOUT, MappoConfig())
    actors = {actor.name: actor.build() for actor in plan.actors}
    sampler = Sampler(make_batched(4, 0), plan, 0, reward=summed)
    with pytest.raises(TrainingError, match=r"rewards of shape \(4,\), expected \(4, 5\)"):
        sampler.sample(actors, 2)


@pytest.mark.usefixtures("installed")
def test_a_registered_environment_trains_by_its_name(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Any
):
    monkeypatch.chdir(tmp_path)
    small = ["mappo.num_envs=4", "mappo.rollout_length=10", "mappo.stop={iterations: 1}"]
    small += ["play.episodes=4", "mappo.policy.network=wide", "mappo.reward_function=doubled"]
    words = [word for text in small for word in ("--set", text)]
    code, out, err = command_line.call(monkeypatch, capfd, "train", "toy", *words)
    assert code == 0, err
    assert "trained" in out
    [folder] = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("experiments.toy_team-parallel_env-")
    code, _, err = command_line.call(monkeypatch, capfd, "train", "tyo")
    assert code == 2
    assert "tyo" in err
