"""The update and all kinds of actors: judged as recorded, in lockstep, in any precision."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from configs.actors import ActorConfig
from configs.errors import TrainingError
from configs.mappo import CriticConfig, GroupConfig, MappoConfig
from signals.team import TeamLayout
from tests.trainers.team_envs import Life, team_layout
from tests.trainers.updates import (  # noqa: F401  one_thread is a fixture
    ENVS,
    LENGTH,
    SEQUENCE,
    Bench,
    bench,
    one_thread,
    settings_of,
)
from trainers.mappo.plan import CRITIC
from trainers.mappo.rollout import Rollout
from trainers.mappo.update import Rows, Update

LIVES = {"walkers_0": Life(ends=2), "walkers_2": Life(born=1, ends=4, cut=True)}


def policy(**changes: Any) -> ActorConfig:
    options = {"hidden": (8,), "memory_width": 5, "output_gain": 1.0} | changes
    return ActorConfig(**options)


def judged(team: Bench, rollout: Rollout) -> dict[str, float]:
    """The largest log ratio of any decision under the weights that took it, by actor."""
    batch, _ = team.update.batches.prepare(rollout)
    everything = torch.randperm(batch.units, generator=torch.Generator().manual_seed(0))
    found = {}
    for name, actor in team.actors.items():
        rows = batch.draw(name, everything, in_time=actor.memory_width > 0)
        with torch.no_grad():
            out = actor.evaluate(
                rows["rows"],
                rows["latent"],
                rows.get("masks"),
                rows.get("memory"),
                rows.get("begins"),
            )
        gap = (out.log_prob - rows["log_prob"]).abs()
        alive = rows.get("alive", torch.ones_like(gap, dtype=torch.bool))
        assert alive.shape == gap.shape
        found[name] = gap[alive].max().item()
    return found


SINGLE = [
    pytest.param(kind, masked, sharing, changes, id=f"{kind}-{masked}-{sharing}-{changes}")
    for kind, masked, sharing, changes in [
        ("categorical", True, "shared", {}),
        ("categorical", True, "per_agent", {"memory": "gru"}),
        ("categorical", False, "shared", {"memory": "lstm", "identity": True}),
        ("categorical", True, "sequential", {}),
        ("multi", True, "per_agent", {"layer_norm": True}),
        ("multi", True, "shared", {"memory": "gru", "layer_norm": True}),
        ("bounded", False, "shared", {"state_dependent_sigma": True}),
        ("bounded", False, "per_agent", {"bounded": "beta"}),
        ("bounded", False, "shared", {"bounded": "beta", "memory": "lstm"}),
        ("bounded", False, "sequential", {"state_dependent_sigma": True}),
        ("tuple", True, "per_agent", {"memory": "lstm", "bounded": "beta"}),
        ("tuple", True, "shared", {"identity": True}),
    ]
]


@pytest.mark.parametrize(("kind", "masked", "sharing", "changes"), SINGLE)
def test_a_decision_is_judged_as_it_was_taken(
    kind: str, masked: bool, sharing: str, changes: dict[str, Any]
):
    layout = team_layout({"walkers": (kind, 3)}, masked=("walkers",) if masked else ())
    settings = settings_of(policy=policy(**changes), sharing=sharing)
    team = bench(layout, settings, LIVES)
    for number in range(2):  # the second rollout begins amid episodes, and remembers them
        rollout = team.sample()
        assert rollout.begins[1:].any() and (rollout.begins.sum() < rollout.begins.size)
        if "memory" in changes:
            inside = rollout.begins.reshape(-1, SEQUENCE, ENVS)[:, 1:]
            assert inside.any()  # an episode begins within a sequence
            assert number == 0 or rollout.decisions["walkers"].memory[0].any()
        assert judged(team, rollout)["walkers"] < 1e-5
    figures = team.update.run(rollout, 0.0, 1)
    assert figures["clip_fraction"] == 0.0 and abs(figures["kl"]) < 1e-6


MANY = {
    "walkers": ("tuple", 3),
    "talkers": ("categorical", 2),
    "pushers": ("bounded", 2),
    "lookers": ("multi", 1),
}


def many(**changes: Any) -> tuple[TeamLayout, MappoConfig]:
    """Every kind of actor at once, with memory and without, the critic on everything."""
    groups = {
        "walkers": ("per_agent", policy(memory="gru", bounded="beta")),
        "talkers": ("sequential", policy()),
        "pushers": ("shared", policy(memory="lstm", identity=True)),
        "lookers": ("shared", policy(layer_norm=True)),
    }
    told = {
        name: GroupConfig(agents=(f"{name}_*",), sharing=sharing, policy=own)
        for name, (sharing, own) in groups.items()
    }
    layout = team_layout(MANY, state_width=2, masked=("walkers", "talkers", "lookers"))
    critic = CriticConfig(hidden=(8,), input="both")
    return layout, settings_of(groups=told, critic=critic, **changes)


def test_all_kinds_of_actors_at_once():
    team = bench(*many(), LIVES)
    for _ in range(2):
        rollout = team.sample()
        found = judged(team, rollout)
        assert set(found) == set(MANY) and max(found.values()) < 1e-5
    before = team.parameters()
    figures = team.update.run(rollout, 0.0, 1)
    for name in MANY:
        assert figures[f"clip_fraction/{name}"] == 0.0
    after = team.parameters()
    assert all(
        not torch.equal(before[name], after[name]) for name in before if before[name].numel()
    )


class Watched(Update):
    """Keeps what every minibatch showed each module."""

    def _critic_loss(self, rows: Rows) -> Tensor:
        self.__dict__.setdefault("shown", []).append({CRITIC: rows})
        return super()._critic_loss(rows)

    def _actor_loss(self, name: str, rows: Rows) -> Tensor:
        self.__dict__["shown"][-1][name] = rows
        return super()._actor_loss(name, rows)


@pytest.mark.parametrize("minibatches", [1, 3, 4])
@pytest.mark.parametrize("memory", [False, True])
def test_all_modules_see_the_same_steps_in_every_minibatch(memory: bool, minibatches: int):
    layout, settings = many(minibatches=minibatches, epochs=2)
    if not memory:
        layout = team_layout({"walkers": ("categorical", 2), "talkers": ("bounded", 2)})
        settings = settings_of(minibatches=minibatches, epochs=2)
    team = bench(layout, settings, kind=Watched)
    rollout = team.sample()
    team.update.run(rollout, 0.0, 1)
    shown = team.update.__dict__["shown"]
    assert len(shown) == 2 * minibatches
    start = len(team.plan.environment_state_columns)
    for minibatch in shown:
        states = minibatch[CRITIC]["states"].numpy()
        assert states.shape[0] == LENGTH * ENVS // minibatches
        for actor in team.plan.actors:
            rows = minibatch[actor.name]["rows"]
            if rows.dim() == 3:  # in time: [L, B, ...]
                rows = rows.transpose(0, 1).flatten(0, 1)
            cut = slice(start + actor.rows.start, start + actor.rows.stop)
            np.testing.assert_array_equal(rows.numpy(), states[:, cut])
    whole = np.sort(rollout.states.reshape(LENGTH * ENVS, -1), axis=0)
    for epoch in (shown[:minibatches], shown[minibatches:]):
        drawn = np.concatenate([m[CRITIC]["states"].numpy() for m in epoch])
        np.testing.assert_array_equal(np.sort(drawn, axis=0), whole)
    order = [m[CRITIC]["states"][0] for m in shown]
    assert not torch.equal(order[0], order[minibatches])  # epochs are shuffled apart


def test_two_learners_that_share_means_take_the_step_of_one():
    """A mean over halves of equal size is the mean over the whole: the weights agree with it."""
    settings = settings_of(learning_rate=1.0, max_grad_norm=1e9, normalize_advantages="none")
    settings = settings.model_copy(
        update={"critic": CriticConfig(hidden=(8,), value_norm=False, input="state")}
    )
    layout = team_layout({"walkers": ("categorical", 3)}, state_width=2)
    whole = bench(layout, settings, plain_steps=True)
    rollout = whole.sample()
    halves = [bench(layout, settings, plain_steps=True) for _ in range(2)]
    gradients, _ = whole.gradients(rollout)
    parts = [half.gradients(part)[0] for half, part in zip(halves, rollout.split(2), strict=True)]
    for name, value in gradients.items():
        torch.testing.assert_close(
            (parts[0][name] + parts[1][name]) / 2, value, atol=1e-6, rtol=1e-4
        )


def test_decays_end_at_zero_and_the_critic_has_a_rate_of_its_own():
    decays = {"learning_rate_decay": "linear", "entropy_decay": "linear"}
    settings = settings_of(critic_learning_rate=4e-3, entropy_coefficient=0.2, **decays)
    team = bench(team_layout({"walkers": ("categorical", 3)}), settings)
    for progress, left in ((0.0, 1.0), (0.25, 0.75), (1.0, 0.0), (1.5, 0.0)):
        figures = team.update.run(team.sample(), progress, 1)
        rates = {name: o.param_groups[0]["lr"] for name, o in team.optimizers.items()}
        assert rates == pytest.approx({"critic": 4e-3 * left, "walkers": 1e-3 * left})
        assert team.update._entropy_coefficient == pytest.approx(0.2 * left)
        assert figures["progress"] == progress
    still = team.parameters()
    team.update.run(team.sample(), 1.0, 2)
    assert all(torch.equal(value, still[name]) for name, value in team.parameters().items())
    constant = bench(team_layout({"walkers": ("categorical", 3)}), settings_of())
    constant.update.run(constant.sample(), 0.9, 1)
    assert constant.optimizers["critic"].param_groups[0]["lr"] == 1e-3


def test_epochs_stop_where_the_policies_have_moved_too_far():
    options: dict[str, Any] = {"epochs": 12, "learning_rate": 3e-2, "minibatches": 4}
    layout, settings = many(target_kl=0.01, **options)
    team = bench(layout, settings)
    rollout = team.sample()
    seen: list[float] = []
    whole = team.update._kl

    def watched() -> Tensor:
        seen.append(whole().item())
        return whole()

    team.update._kl = watched  # type: ignore[method-assign]
    figures = team.update.run(rollout, 0.0, 1)
    epochs = int(figures["epochs"])
    assert 1 <= epochs < 12
    means = [(after - before) / 4 for before, after in zip(seen[::2], seen[1::2], strict=True)]
    assert len(means) == epochs
    assert means[-1] > 1.5 * 0.01 and all(mean <= 1.5 * 0.01 for mean in means[:-1])
    groups = [figures[f"kl/{name}"] for name in MANY]
    assert np.mean(groups) == pytest.approx(np.mean(means), rel=1e-3)
    free, loose = many(**options), many(target_kl=1e9, **options)
    for layout, settings in (free, loose):
        assert bench(layout, settings).update.run(rollout, 0.0, 1)["epochs"] == 12


def test_a_loss_that_is_not_finite_stops_the_run():
    team = bench(team_layout({"walkers": ("categorical", 3)}), settings_of())
    rollout = team.sample()
    rollout.rewards[3, 1] = np.inf
    with pytest.raises(TrainingError, match=r"in update 4: expected a finite number; lower"):
        team.update.run(rollout, 0.0, 4)


@pytest.mark.parametrize(
    "changes", [{}, {"identity": True, "value_norm": False}], ids=["heads", "identity"]
)
def test_bfloat16_trains_close_to_single_precision(changes: dict[str, Any]):
    layout, settings = many(epochs=4, minibatches=3)
    critic = settings.critic.model_copy(update=changes)
    figures, moved = [], []
    for precision in ("float32", "bfloat16"):
        own = settings.model_copy(update={"precision": precision, "critic": critic})
        team = bench(layout, own, LIVES)
        before = team.parameters()
        figures.append(team.update.run(team.sample(), 0.0, 1))
        after = team.parameters()
        assert all(value.dtype == torch.float32 for value in after.values())
        moved.append(torch.cat([(after[name] - before[name]).flatten() for name in before]))
    exact, rough = figures
    assert exact != rough
    for name in MANY:
        assert rough[f"entropy/{name}"] == pytest.approx(exact[f"entropy/{name}"], rel=0.02)
        assert rough[f"kl/{name}"] == pytest.approx(exact[f"kl/{name}"], abs=2e-3)
        assert rough[f"policy_loss/{name}"] == pytest.approx(exact[f"policy_loss/{name}"], abs=0.01)
    assert rough["value_loss"] == pytest.approx(exact["value_loss"], rel=0.02)
    cosine = torch.nn.functional.cosine_similarity(*moved, dim=0).item()
    assert cosine > 0.9, cosine


@pytest.mark.parametrize(("kind", "masked", "sharing", "changes"), SINGLE)
def test_under_bfloat16_log_probabilities_are_summed_in_single_precision(
    kind: str, masked: bool, sharing: str, changes: dict[str, Any]
):
    layout = team_layout({"walkers": (kind, 3)}, masked=("walkers",) if masked else ())
    team = bench(layout, settings_of(policy=policy(**changes), sharing=sharing))
    rollout = team.sample()
    batch, _ = team.update.batches.prepare(rollout)
    rows = batch.draw("walkers", torch.arange(batch.units), in_time="memory" in changes)
    with torch.autocast("cpu", torch.bfloat16):
        out = team.actors["walkers"].evaluate(
            rows["rows"], rows["latent"], rows.get("masks"), rows.get("memory"), rows.get("begins")
        )
    for values in (out.log_prob, out.entropy):
        assert values.dtype == torch.float32
    assert (out.log_prob != out.log_prob.bfloat16()).any()
    # Its ratios begin at 1 all the same: what runners recorded is judged anew.
    own = bench(
        layout, settings_of(policy=policy(**changes), sharing=sharing, precision="bfloat16")
    )
    figures = own.update.run(rollout, 0.0, 1)
    assert figures["clip_fraction"] == 0.0 and abs(figures["kl"]) < 1e-6


@pytest.mark.slow
def test_compiled_networks_learn_the_same():
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("torch.compile needs a C++ compiler, and there is none here")
    layout = team_layout(
        {"walkers": ("tuple", 3), "talkers": ("categorical", 2)}, masked=["talkers"]
    )
    remembers = GroupConfig(agents=("talkers_*",), policy=policy(memory="gru", memory_width=3))
    settings = settings_of(
        groups={"walkers": GroupConfig(agents=("walkers_*",)), "talkers": remembers},
        sequence_length=2,
        minibatches=2,
        epochs=2,
    )
    figures, weights = [], []
    for compiled in (False, True):
        team = bench(layout, settings.model_copy(update={"compile": compiled}), LIVES)
        for number in range(2):
            found = team.update.run(team.sample(), 0.0, number)
        figures.append(found)
        weights.append(team.parameters())
    assert figures[1] == pytest.approx(figures[0], rel=1e-3, abs=1e-4)
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=5e-4, rtol=1e-2)
