"""The update against references that take one agent, one environment and one step at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from configs.actors import ActorConfig
from configs.mappo import CriticConfig, CriticInput, GroupConfig, Sharing
from signals.team import TeamLayout
from tests.trainers.team_envs import Life, Seen, team_layout
from tests.trainers.updates import (  # noqa: F401  one_thread is a fixture
    ENVS,
    LENGTH,
    Bench,
    bench,
    one_thread,
    settings_of,
)
from trainers.mappo.plan import CRITIC
from trainers.mappo.rollout import Rollout

# In one episode: an early death, a cut in the same step as another's death, a birth, a
# cut and a death of one life each in the middle, and two that go on to the end.
LIVES = {
    "walkers_0": Life(ends=2),
    "walkers_1": Life(ends=3, cut=True),
    "talkers_0": Life(born=2, ends=3),
    "talkers_1": Life(born=1),
}
LAYOUT = team_layout({"walkers": ("categorical", 3), "talkers": ("bounded", 2)}, state_width=2)


def reads(moment: Seen, present: np.ndarray, kind: CriticInput) -> Tensor:
    """What the critic reads of a moment, put together anew: [N, width]."""
    seen = np.concatenate([moment.rows, present.astype(np.float32)], axis=1)
    parts = {
        "state": [moment.states],
        "observations": [seen],
        "both": [moment.states, seen],
    }[kind]
    return torch.from_numpy(np.concatenate(parts, axis=1))


def alone(team: Bench, kind: CriticInput) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(advantages, returns, acted) [T, N, A]: each life of each agent by itself, step by step."""
    env, settings = team.env, team.settings
    with torch.no_grad():
        before = [team.critic.values(reads(m, m.alive, kind)).numpy() for m in env.seen]
        went_on = [team.critic.values(reads(m, m.alive, kind)).numpy() for m in env.led]
        cut = [team.critic.values(reads(m, m.alive | m.truncations, kind)).numpy() for m in env.led]
    acted = np.stack([moment.alive for moment in env.seen])
    advantages = np.zeros(acted.shape)
    for n in range(acted.shape[1]):
        for k in range(acted.shape[2]):
            running = 0.0
            for t in reversed(range(len(acted))):
                if not acted[t, n, k]:
                    continue
                after = env.led[t]
                if after.terminations[n, k]:
                    following, running = 0.0, 0.0
                elif after.truncations[n, k]:
                    following, running = cut[t][n, k], 0.0
                else:
                    following = went_on[t][n, k]
                delta = after.rewards[n, k] + settings.gamma * following - before[t][n, k]
                running = delta + settings.gamma * settings.gae_lambda * running
                advantages[t, n, k] = running
    return advantages, advantages + np.stack(before), acted


def found_advantages(team: Bench, rollout: Rollout) -> tuple[np.ndarray, np.ndarray]:
    """(values, advantages) as the update forms them."""
    with torch.no_grad():
        values, advantages = team.update.batches.advantages(
            rollout, torch.from_numpy(rollout.states), torch.from_numpy(rollout.alive)
        )
    return values.numpy(), advantages.numpy()


@pytest.mark.parametrize("kind", ["state", "observations", "both"])
@pytest.mark.parametrize("identity", [False, True])
def test_an_agents_advantages_are_those_of_its_own_lives(kind: CriticInput, identity: bool):
    critic = CriticConfig(hidden=(8,), input=kind, identity=identity)
    team = bench(LAYOUT, settings_of(critic=critic), LIVES)
    team.critic.norm.update(torch.full((5,), 0.5), torch.full((5,), 4.0))
    for _ in range(2):  # the second begins amid episodes
        rollout = team.sample()
        expected, _, acted = alone(team, kind)
        np.testing.assert_array_equal(rollout.alive, acted)
        _, advantages = found_advantages(team, rollout)
        np.testing.assert_allclose(advantages[acted], expected[acted], atol=2e-6)
    led = team.env.led
    ends = [np.concatenate([m.terminations[n] | m.truncations[n] for m in led]) for n in range(2)]
    assert all(end.any() for end in ends)
    both = [m.terminations.any(1) & m.truncations.any(1) & m.alive.any(1) for m in led]
    assert np.any(both)  # a death and a cut in one step, while others go on


def test_the_end_of_a_rollout_is_no_end_of_a_life():
    """Rollouts cut elsewhere have other last steps; here a rollout ends as agents are cut."""
    team = bench(LAYOUT, settings_of(), LIVES)
    ended_inside = False
    for length in range(1, 9):
        rollout = team.sample(length)
        expected, _, acted = alone(team, "state")
        _, advantages = found_advantages(team, rollout)
        np.testing.assert_allclose(advantages[acted], expected[acted], atol=2e-6)
        last = team.env.led[-1]
        ended_inside |= bool((last.truncations.any(1) & last.alive.any(1)).any())
    assert ended_inside


def test_a_reset_may_clear_the_flags_that_asked_for_it():
    """What the sampler hands to `reset` is no array of the environment's own."""
    team = bench(LAYOUT, settings_of())
    rollout = team.sample()
    rows = np.concatenate([rollout.decisions[a.name].rows for a in team.plan.actors], axis=2)
    begun = np.argwhere(rollout.begins[1:])
    assert len(begun)
    for t, n in begun:
        assert not np.array_equal(rows[t + 1, n], team.env.led[t].rows[n])


def normalized(values: np.ndarray, acted: np.ndarray, pooled: bool) -> np.ndarray:
    """By numpy's own moments over what was acted; [T, N, A]."""
    out = np.zeros(values.shape)
    for k in range(values.shape[2]):
        these = values[acted] if pooled else values[..., k][acted[..., k]]
        if len(these):
            out[..., k] = (values[..., k] - these.mean()) / (these.std() + 1e-8)
    return out


def reference_loss(team: Bench, rollout: Rollout) -> Tensor:
    """PPO's loss and the critic's, decision by decision, the dead left out."""
    settings, total = team.settings, torch.zeros(())
    advantages, returns, acted = alone(team, "state")
    for actor in team.plan.actors:
        cut, decided = actor.agents, rollout.decisions[actor.name]
        pooled = settings.normalize_advantages == "group"
        own = advantages[..., cut]
        if settings.normalize_advantages != "none":
            own = normalized(own, acted[..., cut], pooled)
        terms = []
        for t in range(LENGTH):
            for n in range(ENVS):
                out = team.actors[actor.name].evaluate(
                    torch.from_numpy(decided.rows[t, n : n + 1]),
                    torch.from_numpy(decided.latent[t, n : n + 1]),
                )
                for k in np.flatnonzero(acted[t, n, cut]):
                    ratio = torch.exp(out.log_prob[0, k] - float(decided.log_prob[t, n, k]))
                    weight = float(own[t, n, k])
                    clipped = ratio.clamp(1 - settings.clip, 1 + settings.clip)
                    surrogate = torch.min(ratio * weight, clipped * weight)
                    entropy = settings.entropy_coefficient * out.entropy[0, k]
                    terms.append(-surrogate - entropy)
        total = total + torch.stack(terms).mean()
    errors = []
    for k in range(acted.shape[2]):
        these = returns[..., k][acted[..., k]]  # ValueNorm's first step takes these moments
        for t in range(LENGTH):
            for n in np.flatnonzero(acted[t, :, k]):
                target = (returns[t, n, k] - these.mean()) / these.std()
                output = team.critic(torch.from_numpy(rollout.states[t, n]))[k]
                errors.append(functional.huber_loss(output, torch.tensor(target).float(), delta=10))
    return total + settings.value_coefficient * torch.stack(errors).mean()


@pytest.mark.parametrize("normalize", ["agent", "group", "none"])
def test_one_step_follows_the_gradient_of_the_reference(normalize: str):
    settings = settings_of(
        learning_rate=1.0,
        max_grad_norm=1e9,
        entropy_coefficient=0.05,
        normalize_advantages=normalize,
        sharing="per_agent",
    )
    team = bench(LAYOUT, settings, LIVES, plain_steps=True)
    rollout = team.sample()
    team.move(0.1)
    loss = reference_loss(team, rollout)
    loss.backward()
    modules = {CRITIC: team.critic, **team.actors}
    expected = {
        f"{name}.{key}": value.grad.clone()
        for name, module in modules.items()
        for key, value in module.named_parameters()
    }
    found, figures = team.gradients(rollout)
    parts = [
        value
        for name, value in figures.items()
        if name.startswith("policy_loss") or name == "value_loss"
    ]
    assert len(parts) == 3 and figures["clip_fraction/walkers"] > 0.02
    # A ratio within rounding of the clip's edge would fall on either side of it.
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=3e-6, rtol=1e-3, msg=name)


def test_an_agent_that_never_acts_moves_no_weight_of_its_own():
    lives = {"walkers_1": Life(born=99), "talkers_0": Life(born=99)}
    settings = settings_of(
        learning_rate=1.0, max_grad_norm=1e9, sharing="per_agent", entropy_coefficient=0.1
    )
    team = bench(LAYOUT, settings, lives, plain_steps=True)
    gradients, _ = team.gradients(team.sample())
    for group, dead, living in (("walkers", 1, 0), ("talkers", 0, 1)):
        for name, value in gradients.items():
            if name.startswith(group):
                assert not value[dead].any(), name
        assert gradients[f"{group}.head.weight"][living].any()
    assert not gradients["critic.head.weight"][[1, 3]].any()
    assert gradients["critic.head.weight"][[0, 2, 4]].any(dim=1).all()


def test_what_the_dead_show_changes_nothing_that_the_living_learn():
    team, other = (bench(LAYOUT, settings_of(), LIVES, plain_steps=True) for _ in range(2))
    rollout, spoilt = team.sample(), other.sample()
    dead = ~spoilt.alive
    assert dead.any()
    for actor in other.plan.actors:
        mine = dead[..., actor.agents]
        decided = spoilt.decisions[actor.name]
        decided.log_prob[mine] -= 3.0
        rows = decided.rows.reshape(*mine.shape, -1)
        rows[mine] += 0.7
    found, figures = team.gradients(rollout)
    again, same = other.gradients(spoilt)
    assert figures == pytest.approx(same, abs=1e-6)
    for name, value in found.items():
        torch.testing.assert_close(again[name], value, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("normalize", ["agent", "group", "none"])
def test_advantages_are_normalised_over_those_that_acted(normalize: str):
    team = bench(LAYOUT, settings_of(normalize_advantages=normalize), LIVES)
    rollout = team.sample()
    _, advantages = found_advantages(team, rollout)
    batch, _ = team.update.batches.prepare(rollout)
    for actor in team.plan.actors:
        acted = rollout.alive[..., actor.agents]
        own = advantages[..., actor.agents].astype(np.float64)
        expected = own if normalize == "none" else normalized(own, acted, normalize == "group")
        found = batch.rows[actor.name]["advantages"].numpy().reshape(expected.shape)
        np.testing.assert_allclose(found[acted], expected[acted], atol=1e-5)


def test_the_norm_of_values_knows_the_living_alone():
    lives = LIVES | {"walkers_2": Life(born=99)}
    team = bench(LAYOUT, settings_of(epochs=3), lives)
    team.critic.norm.update(torch.full((5,), 7.0), torch.full((5,), 9.0))
    rollout = team.sample()
    _, returns, acted = alone(team, "state")
    assert not acted[..., 2].any()
    team.update.batches.prepare(rollout)
    norm, keep = team.critic.norm, team.settings.critic.value_norm_beta
    steps = 1 + team.settings.epochs * team.settings.minibatches
    old = (1 - keep) * keep ** (steps - 1) / (1 - keep**steps)  # the first step's weight by now
    for k in range(5):
        these = returns[..., k][acted[..., k]]
        expected = 7.0 if k == 2 else old * 7.0 + (1 - old) * these.mean()
        assert norm.mean[k].item() == pytest.approx(expected, rel=1e-4)
    assert norm.variance[2].item() == pytest.approx(9.0, rel=1e-4)
    assert norm.weight[2] < norm.weight[1]


def test_an_agent_that_comes_late_finds_its_norm_as_new():
    lives = {"walkers_2": Life(born=99)}
    team = bench(LAYOUT, settings_of(), lives)
    team.update.run(team.sample(), 0.0, 1)
    assert team.critic.norm.weight.tolist()[2] == 0.0
    assert torch.equal(team.critic.norm.moments()[0][2], torch.tensor(0.0))
    team.env._born[2] = 0
    team.sample()  # the episodes that run are over
    rollout = team.sample()
    _, returns, acted = alone(team, "state")
    team.update.batches.prepare(rollout)
    expected = returns[..., 2][acted[..., 2]].mean()
    assert team.critic.norm.mean[2].item() == pytest.approx(expected, rel=1e-4)


def test_a_team_is_paid_the_mean_of_those_that_acted():
    team = bench(LAYOUT, settings_of(reward="team", gamma=0.0), LIVES)
    rollout = team.sample()
    values, advantages = found_advantages(team, rollout)
    for t in range(LENGTH):
        for n in range(ENVS):
            acted = rollout.alive[t, n]
            mean = rollout.rewards[t, n][acted].mean()
            np.testing.assert_allclose(
                (advantages + values)[t, n][acted], np.full(acted.sum(), mean), atol=1e-5
            )


def test_a_team_that_all_lives_is_paid_the_mean():
    team = bench(team_layout({"walkers": ("categorical", 3)}), settings_of(reward="team", gamma=0))
    rollout = team.sample()
    with torch.no_grad():
        values, advantages = team.update.batches.advantages(
            rollout, torch.from_numpy(rollout.states), None
        )
    mean = rollout.rewards.mean(axis=2, keepdims=True)
    expected = np.broadcast_to(mean, rollout.rewards.shape)
    np.testing.assert_allclose((advantages + values).numpy(), expected, atol=1e-5)


def test_one_decision_is_enough_to_learn_from():
    """No variance can be taken of it: the advantage is 0, and nothing becomes NaN."""
    settings = settings_of(num_envs=1, rollout_length=1, sequence_length=1)
    team = bench(team_layout({"walkers": ("categorical", 1)}), settings)
    rollout = team.sampler.sample(team.actors, 1)
    figures = team.update.run(rollout, 0.0, 1)
    assert figures["policy_loss"] == pytest.approx(0.0, abs=1e-6)
    assert np.isfinite(list(figures.values())).all()


@pytest.mark.parametrize("kind", ["state", "observations", "both"])
@pytest.mark.parametrize("identity", [False, True])
def test_the_critic_reads_what_it_is_said_to(kind: CriticInput, identity: bool):
    critic = CriticConfig(hidden=(8, 6), input=kind, identity=identity)
    team = bench(LAYOUT, settings_of(critic=critic), LIVES)
    rollout = team.sample()
    seen = LAYOUT.row_width + 5
    width = {"state": 2, "observations": seen, "both": 2 + seen}[kind]
    assert team.plan.state_width == rollout.states.shape[-1] == width
    values = team.critic(torch.from_numpy(rollout.states))
    assert values.shape == (LENGTH, ENVS, 5)
    assert sum(p.numel() for p in team.critic.head.parameters()) == 7 * (1 if identity else 5)
    if kind == "state":
        return
    assert team.plan.state_columns[-5:] == tuple(f"{a}.alive" for a in LAYOUT.agent_names)
    np.testing.assert_array_equal(rollout.states[..., -5:], rollout.alive)
    raised = torch.from_numpy(rollout.states).clone()
    raised[..., -5] = 1.0  # the first agent, as if it lived
    moved = (team.critic(raised) - values).abs().amax(dim=-1).detach().numpy()
    assert (moved[rollout.alive[..., 0]] == 0).all()
    assert (moved[~rollout.alive[..., 0]] > 1e-4).all()


def test_identity_gives_agents_values_of_their_own():
    critic = CriticConfig(hidden=(8,), identity=True)
    team = bench(LAYOUT, settings_of(critic=critic))
    states = torch.from_numpy(team.sample().states)
    by_hand = []
    for k in range(5):
        first = states @ team.critic.layers[0].weight.T + team.critic.layers[0].bias
        top = torch.tanh(first + team.critic.identity[k])
        by_hand.append((top @ team.critic.head.weight.T + team.critic.head.bias).squeeze(-1))
    torch.testing.assert_close(team.critic(states), torch.stack(by_hand, dim=-1))


def _two_groups() -> TeamLayout:
    return team_layout({"walkers": ("categorical", 2), "talkers": ("categorical", 2)})


def test_groups_keep_settings_of_their_own():
    own = GroupConfig(
        agents=("talkers_*",),
        sharing="per_agent",
        policy=ActorConfig(hidden=(4,), memory="lstm", memory_width=3),
    )
    team = bench(_two_groups(), settings_of(groups={"talkers": own}))
    assert team.actors["walkers"].memory_width == 0
    assert team.actors["talkers"].memory_width == 2 * 3 * 2
    assert team.actors["walkers"].sharing == "shared"
    assert team.actors["talkers"].sharing == "per_agent"
    first, second = (bench(_two_groups(), settings_of()) for _ in range(2))
    for name, value in first.parameters().items():
        assert torch.equal(value, second.parameters()[name]), name
    built = [actor.build() for actor in first.plan.actors]
    assert not torch.equal(built[0].trunk[0].weight, built[1].trunk[0].weight)


@pytest.mark.parametrize("sharing", ["shared", "per_agent"])
def test_the_moments_of_rows_move_after_an_update_by_the_living(sharing: Sharing):
    policy = ActorConfig(hidden=(8,), input_norm="running")
    critic = CriticConfig(hidden=(8,), input_norm="running", input="observations")
    team = bench(LAYOUT, settings_of(policy=policy, critic=critic, sharing=sharing), LIVES)
    first = team.sample()
    mode = {
        name: actor.act(_rows(first, name), None).log_prob for name, actor in team.actors.items()
    }
    figures = team.update.run(first, progress=0.0, number=1)
    # Rows are judged by the moments that they were acted by: the first step's ratios are 1.
    assert all(abs(figures[f"kl/{name}"]) < 1e-6 for name in team.actors)
    second = team.sample()
    team.update.run(second, progress=0.1, number=2)
    for actor in team.plan.actors:
        rows = np.concatenate([r.decisions[actor.name].rows for r in (first, second)])
        alive = np.concatenate([r.alive[..., actor.agents] for r in (first, second)])
        agents = alive.shape[-1]
        observed = rows.reshape(*alive.shape, -1).astype(np.float64)
        lived = (
            [observed[alive]]
            if sharing == "shared"
            else [observed[..., k, :][alive[..., k]] for k in range(agents)]
        )
        inputs = team.actors[actor.name].inputs
        np.testing.assert_allclose(
            inputs.mean, np.concatenate([x.mean(0) for x in lived]), atol=1e-5
        )
        variance = np.concatenate([x.var(0) for x in lived])
        np.testing.assert_allclose(inputs.variance, variance, rtol=1e-4, atol=1e-6)
        after = team.actors[actor.name].act(_rows(first, actor.name), None).log_prob
        assert not torch.allclose(after, mode[actor.name])
    assert (team.critic.inputs.count == 2 * ENVS * LENGTH).all()


def _rows(rollout: Rollout, name: str) -> Tensor:
    return torch.from_numpy(rollout.decisions[name].rows).flatten(0, 1)
