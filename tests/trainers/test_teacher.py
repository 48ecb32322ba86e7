"""A rule that actors imitate at first: what it chooses, when it is gone, who has none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from configs.actors import ActorConfig
from configs.encoders import AveragesConfig
from configs.errors import ConfigError, TrainingError
from configs.loading import load_config
from configs.mappo import CriticConfig, MappoConfig, TeacherConfig
from signals.layout import LayerLayout
from signals.strategic import STRATEGIC
from signals.tactical import TACTICAL
from signals.team import TeamLayout
from tests.envs.layers import LAYERS
from tests.trainers.team_envs import team_layout
from tests.trainers.toy_env import toy_layout
from trainers.bar_baselines import baselines_of
from trainers.mappo.config import MAPPOConfig
from trainers.mappo.plan import POLICY, plan_training
from trainers.mappo.sampler import Sampler
from trainers.mappo.teacher import build_teacher
from trainers.mappo.update import build_update
from trainers.torch_actor import TorchActor

ROWS, LENGTH = 16, 32


def settings(**changes: Any) -> MappoConfig:
    options: dict[str, Any] = {
        "policy": ActorConfig(hidden=(32,), encoders=(AveragesConfig(spans=(1, 4)),)),
        "critic": CriticConfig(hidden=(16,)),
        "num_envs": ROWS,
        "rollout_length": LENGTH,
        "minibatches": 4,
        "epochs": 4,
        "learning_rate": 1e-2,
        "teacher": TeacherConfig(rule="quote"),
    }
    return MappoConfig(**(options | changes))


def test_its_weight_falls_to_zero_by_its_share_of_the_budget() -> None:
    told = TeacherConfig(rule="quote", coefficient=2.0, until=0.5)
    teacher = build_teacher(plan_training(TACTICAL, settings()), told)
    found = [teacher.weight(progress) for progress in (0.0, 0.25, 0.5, 0.8, 1.2)]
    assert found == pytest.approx([2.0, 1.0, 0.0, 0.0, 0.0])


@pytest.mark.parametrize("layout", [STRATEGIC, TACTICAL])
def test_every_baseline_of_a_layer_may_teach(layout: LayerLayout) -> None:
    plan = plan_training(layout, MappoConfig())
    rows = torch.rand(5, layout.row_width, generator=torch.Generator().manual_seed(3))
    rules = baselines_of(layout.layer)
    assert rules
    for name, rule in rules.items():
        told = build_teacher(plan, TeacherConfig(rule=name)).choices(rows)
        assert torch.equal(told, torch.from_numpy(rule.act(rows.numpy())))


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (
            TACTICAL,
            r"teacher.rule=quot: layer 'tactical' has no such baseline; did you mean 'quote'",
        ),
        (toy_layout(), r"'toy' has no rules to learn from; expected .* leave mappo.teacher out"),
        (team_layout({"walkers": ("categorical", 3)}), r"has no rules to learn from"),
    ],
)
def test_who_has_no_such_rule_is_told(layout: LayerLayout | TeamLayout, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        build_teacher(plan_training(layout, MappoConfig()), TeacherConfig(rule="quot"))


def test_a_training_hears_of_it_before_it_begins() -> None:
    told = settings(teacher=TeacherConfig(rule="quot"))
    kwargs = {"config": LAYERS["tactical"].config.model_dump(mode="json")}
    with pytest.raises(TrainingError, match="did you mean 'quote'"):
        MAPPOConfig().mappo(told).batched_env("trainers.upstream:make_tactical", kwargs)


@pytest.mark.parametrize(
    "wrong", [{"coefficient": 0.0}, {"until": 0.0}, {"until": 1.5}, {"rule": ""}]
)
def test_bad_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        load_config(TeacherConfig, {"rule": "quote", **wrong})


def test_actors_come_to_choose_as_their_teacher_does_and_are_let_go() -> None:
    told = settings(gamma=0.0, entropy_coefficient=0.0)
    env = LAYERS["tactical"].batched(ROWS)
    plan = plan_training(TACTICAL, told)
    update = build_update(plan, told, torch.device("cpu"))
    sampler = Sampler(env, plan, 5, 0, 0, 1)
    rule = baselines_of("tactical")["quote"]

    def alike() -> float:
        """The share of decisions in which all agents would choose what the rule would."""
        shares = []
        for _ in range(LENGTH):
            sampler.sample(update.actors, 1)
            chosen = TorchActor(update.actors[POLICY]).act(env.rows)
            shares.append((chosen == rule.act(env.rows)).all(axis=1).mean())
        return float(np.mean(shares))

    losses, before = [], alike()
    for number in range(12):
        figures = update.run(sampler.sample(update.actors, LENGTH), 0.0, number)
        losses.append(figures["teacher_loss"])
    assert losses[-1] < 0.5 * losses[0]
    assert before < 0.5 and alike() > 0.8
    assert "teacher_loss" not in update.run(sampler.sample(update.actors, LENGTH), 0.5, 99)
