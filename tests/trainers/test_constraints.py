"""Limits kept by multipliers: a problem solved in closed form, what costs are, and a resume."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from configs.actors import ActorConfig
from configs.constraints import ConstraintConfig
from configs.errors import TrainingError
from configs.execution import ExecutionConfig, ParentConfig
from configs.loading import load_config
from configs.mappo import CriticConfig, MappoConfig, StopConfig
from configs.strategic import StrategicConfig
from configs.train import load_train_config
from envs.execution import BatchedExecution
from envs.strategic import BatchedStrategic
from market.account import ACCOUNT
from signals.execution import EXECUTION
from signals.strategic import STRATEGIC
from tests.trainers.dial_env import (
    BEST_FREE,
    BEST_LIMITED,
    BEST_MULTIPLIER,
    HORIZON,
    LAYOUT,
    LIMIT,
    make,
)
from tests.trainers.rays import local_ray
from tests.trainers.updates import one_thread  # noqa: F401  a fixture, used by its name
from tests.trainers.upstreams import STRATEGIC_ENV
from trainers.mappo.checkpoint import CheckpointMeta, load_checkpoint
from trainers.mappo.config import MAPPOConfig
from trainers.mappo.constraints import Multiplier, Multipliers
from trainers.mappo.costs import Costs, check_costs, step_cost
from trainers.mappo.plan import plan_training
from trainers.mappo.rollout import EpisodeStats
from trainers.mappo.sampler import Sampler
from trainers.mappo.update import build_update
from trainers.recording import iteration_figures
from trainers.train import IterationReport, train

SQUARED = "tests.trainers.dial_env:squared"
DIAL = "tests.trainers.dial_env:make"
ENVS, LENGTH = 32, 8
NAME = "mappo.constraint.square"


def square(**changes: Any) -> ConstraintConfig:
    told = {"name": "square", "cost": SQUARED, "over": "step", "limit": LIMIT}
    return ConstraintConfig(**(told | changes))


def settings(*constraints: ConstraintConfig, **changes: Any) -> MappoConfig:
    told = {
        "policy": ActorConfig(hidden=(8,)),
        "critic": CriticConfig(hidden=(8,)),
        "num_envs": ENVS,
        "rollout_length": LENGTH,
        "minibatches": 2,
        "epochs": 4,
        "learning_rate": 1e-2,
        "gamma": 0.0,  # a step is a problem of its own
        "entropy_coefficient": 1e-3,
        "constraints": constraints,
    }
    return MappoConfig(**(told | changes))


def trained(iterations: int, *constraints: ConstraintConfig) -> list[dict[str, float]]:
    """The figures of each iteration, `paid` a step among them, without RLlib."""
    told = settings(*constraints)
    plan = plan_training(LAYOUT, told)
    update = build_update(plan, told, torch.device("cpu"))
    multipliers = Multipliers(constraints)
    sampler = Sampler(make(ENVS, 0), plan, 0, constraints=constraints)
    found = []
    for number in range(iterations):
        rollout = sampler.sample(update.actors, LENGTH, True, multipliers.values)
        update.run(rollout, 0.0, number)
        paid = rollout.stats.step_means()["reward/dial"]
        found.append(multipliers.move(rollout.stats) | {"paid": paid})
    return found


def ended(found: list[dict[str, float]], key: str, last: int = 10) -> float:
    return float(np.mean([row[key] for row in found[-last:]]))


def test_a_limit_that_binds_is_kept_and_what_is_left_is_the_best_there_is() -> None:
    found = trained(60, square(integral=0.1, proportional=0.5))
    assert ended(found, f"{NAME}.cost") == pytest.approx(LIMIT, rel=0.05)
    assert ended(found, "paid") == pytest.approx(BEST_LIMITED, rel=0.05)
    low, high = BEST_MULTIPLIER
    assert low <= found[-1][f"{NAME}.multiplier"] <= high
    assert found[-1][f"{NAME}.limit"] == LIMIT
    # It was broken on the way: the multiplier, not the start, has kept it.
    assert max(row[f"{NAME}.cost"] for row in found) > 1.5 * LIMIT


def test_a_limit_that_does_not_bind_costs_nothing() -> None:
    """The multiplier falls to 0, and the policy is the free one's."""
    found = trained(40, square(limit=2.0, initial=0.5))
    told = [row[f"{NAME}.multiplier"] for row in found]
    assert told == sorted(told, reverse=True) and told[0] > 0.4 and told[-1] == 0.0
    assert ended(found, "paid") == pytest.approx(BEST_FREE, rel=0.03)


def test_of_an_episode_the_sum_is_limited() -> None:
    constraints = (square(over="episode", limit=HORIZON * LIMIT, scale=3.0, initial=0.5),)
    told = settings(*constraints)
    plan = plan_training(LAYOUT, told)
    update = build_update(plan, told, torch.device("cpu"))
    sampler = Sampler(make(ENVS, 0), plan, 0, constraints=constraints)
    plain = Sampler(make(ENVS, 0), plan, 0)
    rollout, free = (
        sampler.sample(update.actors, LENGTH, True, (0.5,)),
        plain.sample(update.actors, LENGTH),
    )
    level = free.rewards[..., 0] / 2.0
    expected = (2.0 * level - 0.5 * 3.0 * level**2) / 1.5
    np.testing.assert_allclose(rollout.rewards[..., 0], expected, rtol=1e-6)
    means = rollout.stats.episode_means()
    assert means["cost/square"] == pytest.approx(HORIZON * (level**2).mean(), rel=1e-5)
    # Returns and rewards are told as the environment pays them.
    assert means["return"] == pytest.approx(free.stats.episode_means()["return"])
    steps, frees = rollout.stats.step_means(), free.stats.step_means()
    assert steps["reward/dial"] == pytest.approx(frees["reward/dial"], rel=1e-6)
    moved = Multipliers(constraints).move(rollout.stats)
    assert moved[f"{NAME}.cost"] == means["cost/square"]


def test_without_constraints_nothing_is_another_to_the_bit() -> None:
    """Nor with one whose multiplier is 0: what is paid is what the environment pays."""
    told, plain = settings(square(limit=9.0)), settings()
    states = []
    for config in (plain, told):
        plan = plan_training(LAYOUT, config)
        update = build_update(plan, config, torch.device("cpu"))
        sampler = Sampler(make(ENVS, 0), plan, 0, constraints=config.constraints)
        for number in range(2):
            zeros = (0.0,) * len(config.constraints)
            rollout = sampler.sample(update.actors, LENGTH, True, zeros)
            update.run(rollout, 0.0, number)
        states.append({k: v for a in update.actors.values() for k, v in a.state_dict().items()})
        assert ("cost/square" in rollout.stats.episode_sums) == bool(config.constraints)
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert load_train_config("strategic", [], [], [], None).mappo.constraints == ()


def test_the_controller_is_a_pid_within_its_bounds() -> None:
    told = Multiplier(
        square(limit=2.0, proportional=0.5, integral=0.1, derivative=0.25, initial=0.2, cap=1.0)
    )
    assert told.value == 0.2
    told.move(3.0)  # e = .5; no rise before there was a cost
    assert told.value == pytest.approx(0.25 + 0.25)
    told.move(4.0)  # e = 1, a rise of .5
    assert told.value == pytest.approx(0.5 + 0.35 + 0.125)
    told.move(40.0)
    assert told.value == 1.0
    for _ in range(30):
        told.move(0.0)
    assert told.value == 0.0
    told.move(2.4)  # the integral was held at 0: it acts again at once
    assert told.value == pytest.approx(0.1 + 0.02 + 0.25 * 1.2)


def test_where_no_episode_ends_a_multiplier_waits() -> None:
    told = Multipliers([square(over="episode", initial=0.5)])
    figures = told.move(EpisodeStats(steps=10, step_sums={"cost_per_step/square": 9.0}))
    assert told.values == (0.5,) and f"{NAME}.cost" not in figures
    again = Multipliers([square(over="episode")])
    again.load_state(told.state_dict())
    assert again.values == (0.5,)


def test_what_a_checkpoint_keeps_goes_on_to_the_bit() -> None:
    """Multipliers, and what running episodes have cost; without RLlib."""
    constraints = (square(over="episode", limit=0.5, proportional=0.3, initial=0.1),)
    told = settings(*constraints)
    plan = plan_training(LAYOUT, told)
    update = build_update(plan, told, torch.device("cpu"))
    length = HORIZON + 1  # a checkpoint falls into the middle of episodes

    def go_on(sampler: Sampler, multipliers: Multipliers) -> list[dict[str, float]]:
        mine, found = copy.deepcopy(update), []
        for number in range(2):
            rollout = sampler.sample(mine.actors, length, True, multipliers.values)
            mine.run(rollout, 0.0, number)
            found.append(multipliers.move(rollout.stats) | rollout.stats.episode_means())
        return found

    sampler = Sampler(make(ENVS, 0), plan, 0, constraints=constraints)
    multipliers = Multipliers(constraints)
    multipliers.move(sampler.sample(update.actors, length, True, multipliers.values).stats)
    kept = pickle.dumps((sampler.state_dict(), multipliers.state_dict()))
    whole = go_on(sampler, multipliers)
    state, of_multipliers = pickle.loads(kept)
    again, theirs = (
        Sampler(make(ENVS, 0), plan, 0, constraints=constraints),
        Multipliers(constraints),
    )
    again.load_state(state)
    theirs.load_state(of_multipliers)
    assert theirs.values != (0.1,)
    assert go_on(again, theirs) == whole


def test_drawdown_and_losses_are_read_off_the_accounts() -> None:
    accounts = np.zeros(3, ACCOUNT)
    env = SimpleNamespace(arrays=SimpleNamespace(accounts=accounts))
    accounts["worst_drawdown"] = (0.0, 0.01, 0.02)
    told = (
        ConstraintConfig(name="drawdown", cost="drawdown", limit=100.0),
        ConstraintConfig(
            name="var", cost="var", options={"level_bp": 30.0}, over="step", limit=0.05
        ),
    )
    costs = Costs(told, 3)
    costs.before(env, np.zeros((3, 1), np.float32))
    accounts["worst_drawdown"] = (0.0, 0.015, 0.02)
    accounts["before"] = (100.0, 200.0, 100.0)
    accounts["equity"] = (100.4, 199.0, 99.8)
    costs.after()
    np.testing.assert_allclose(costs.step, [[0.0, 0.0], [50.0, 1.0], [0.0, 0.0]], atol=1e-9)
    paid = costs.penalised(
        np.ones((3, 2), np.float32), np.array([[True, True], [True, False], [True, True]]), (0.5, 2)
    )
    np.testing.assert_allclose(paid, [[1 / 3.5] * 2, [(1 - 27.0) / 3.5, 0.0], [1 / 3.5] * 2], 1e-5)


def test_of_the_strategic_layer_costs_are_what_its_episodes_measure() -> None:
    """The worst drawdown, and the share of bars that lose more than so much."""
    env = BatchedStrategic(load_config(StrategicConfig, STRATEGIC_ENV), ENVS)
    level = 1.0
    told = (
        ConstraintConfig(name="drawdown", cost="drawdown", limit=100.0),
        ConstraintConfig(
            name="var", cost="var", options={"level_bp": level}, over="step", limit=0.05
        ),
    )
    plan = plan_training(STRATEGIC, settings(*told))
    sampler = Sampler(env, plan, 0, constraints=told)
    actors = build_update(plan, settings(*told), torch.device("cpu")).actors
    horizon = env.config.horizon_bars
    stats = sampler.sample(actors, 2 * horizon, True, (0.0, 0.0)).stats
    assert stats.episodes == 2 * ENVS
    means = stats.episode_means()
    assert means["worst_drawdown_bp"] > 0.0
    assert means["cost/drawdown"] == pytest.approx(means["worst_drawdown_bp"], rel=1e-9)
    share = stats.step_means()["cost_per_step/var"]
    assert 0.0 < share < 1.0 and means["cost/var"] == pytest.approx(share * horizon)
    figures = Multipliers(told).move(stats)
    assert figures["mappo.constraint.var.cost"] == share


def test_of_the_execution_layer_a_cost_is_what_its_episodes_leave_to_the_crossing() -> None:
    env = BatchedExecution(ExecutionConfig(parent=ParentConfig(horizon_steps=LENGTH)), ENVS)
    told = (ConstraintConfig(name="unfilled", cost="unfilled", limit=0.02),)
    plan = plan_training(EXECUTION, settings(*told))
    sampler = Sampler(env, plan, 0, constraints=told)
    actors = build_update(plan, settings(*told), torch.device("cpu")).actors
    stats = sampler.sample(actors, 2 * LENGTH, True, (0.0,)).stats
    assert stats.episodes >= 2 * ENVS  # what is filled ends early
    means = stats.episode_means()
    assert 0.0 < means["cost/unfilled"] < 1.0
    assert means["cost/unfilled"] == pytest.approx(1.0 - means["filled_before_cross"], rel=1e-9)


def test_what_is_no_constraint_is_told() -> None:
    for changed, message in (
        ({"limit": 0.0}, "greater than 0"),
        ({"name": "Big Loss"}, "string_pattern|should match pattern"),
        ({"integral": 0.0}, "would stay at 0"),
        ({"initial": 30.0}, "expected no more"),
    ):
        with pytest.raises(ValidationError, match=message):
            square(**changed)
    with pytest.raises(ValidationError, match="square, square, expected each once"):
        settings(square(), square())
    for config, message in (
        (square(cost="drowdown"), "expected drawdown, var, unfilled or package.module:function"),
        (square(cost="var"), r"options none, expected \['level_bp'\]"),
        (square(cost="drawdown", options={"x": 1.0}), r"options \['x'\], expected none"),
        (square(cost="tests.trainers.dial_env:gone"), "gone"),
    ):
        with pytest.raises(TrainingError, match=message):
            step_cost(config)
        with pytest.raises(TrainingError, match=message):
            check_costs((square(), config), make(1, 0))
    plan = plan_training(LAYOUT, settings())
    actors = build_update(plan, settings(), torch.device("cpu")).actors
    for config, message in (
        (square(cost="drawdown"), "DialEnv keeps no accounts"),
        (square(cost="unfilled"), "DialEnv works no parent order"),
        (square(cost="tests.trainers.dial_env:unknown"), "of which 0 are finite"),
        (square(cost="tests.trainers.dial_env:single"), r"of shape \(\)"),
    ):
        with pytest.raises(TrainingError, match=message):
            Sampler(make(ENVS, 0), plan, 0, constraints=(config,)).sample(actors, 1, True, (0.0,))
    for cost, message in (("drawdown", "keeps no accounts"), ("unfilled", "no parent order")):
        with pytest.raises(TrainingError, match=message):
            check_costs((square(cost=cost),), make(1, 0))
        with pytest.raises(TrainingError, match=message):  # before there is a runner
            MAPPOConfig().mappo(settings(square(cost=cost))).batched_env(DIAL)


def test_a_checkpoint_of_before_there_were_constraints_goes_on(tmp_path: Path) -> None:
    then = settings().model_dump(mode="json")
    del then["constraints"]
    meta = CheckpointMeta(1, 1, 0.0, "x", "x", [], "x", then)
    meta.check_settings(settings(), tmp_path)
    with pytest.raises(TrainingError, match=r"other settings: constraints=.*\(was \[\]\)"):
        meta.check_settings(settings(square()), tmp_path)


@pytest.fixture
def _ray() -> Iterator[None]:
    with local_ray(1):
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_multipliers_are_logged_and_resumed_to_the_bit(tmp_path: Path) -> None:
    def run(output: Path, iterations: int, resume: bool = False) -> list[IterationReport]:
        reports: list[IterationReport] = []
        stop = StopConfig(iterations=iterations)
        told = settings(square(integral=0.2, proportional=0.3, initial=0.1), stop=stop)
        train(told, DIAL, {}, output, resume, reports.append)
        return reports

    whole = run(tmp_path / "whole", 4)
    half = run(tmp_path / "half", 2)
    rest = run(tmp_path / "half", 4, resume=True)
    assert [r.constraints for r in half + rest] == [r.constraints for r in whole]
    # The share of the budget that is used alone differs: the first half had half of it.
    for mine, other in zip(half + rest, whole, strict=True):
        assert {**mine.losses, "progress": 0.0} == {**other.losses, "progress": 0.0}
    assert whole[-1].constraints[f"{NAME}.multiplier"] != whole[1].constraints[f"{NAME}.multiplier"]
    figures = iteration_figures(whole[-1])
    assert {f"{NAME}.{key}" for key in ("cost", "multiplier", "limit")} <= figures.keys()
    _, state = load_checkpoint(tmp_path / "whole" / "checkpoints" / "iteration-000004")
    assert state["multipliers"]["square"]["value"] == figures[f"{NAME}.multiplier"]
