"""Steps a batched environment with the sequential policy and records a rollout."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from configs.errors import TrainingError
from envs.batched import BatchedEnv
from policies.sequential import SequentialPolicy
from signals.noise import JointNoise, derive_seeds
from trainers.mappo.rollout import EpisodeStats, Rollout

# Purposes that seeds are derived for: episodes and decisions share no bits.
_EPISODES, _DECISIONS = 1, 2


def make_environment(make: str, num_envs: int, seed: int, kwargs: Mapping[str, Any]) -> BatchedEnv:
    """Call the function `make` ("package.module:function") for a batched environment."""
    module_name, _, function_name = make.partition(":")
    if not module_name or not function_name:
        raise TrainingError(
            f"environment '{make}': expected 'package.module:function', where the function "
            "takes (num_envs, seed, **kwargs) and returns a batched environment"
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there; something that it imports is not
        raise TrainingError(
            f"environment '{make}': there is no module '{error.name}'; name an importable module"
        ) from error
    factory: Callable[..., BatchedEnv] | None = getattr(module, function_name, None)
    if factory is None:
        raise TrainingError(f"environment '{make}': module '{module_name}' has no such function")
    env = factory(num_envs=num_envs, seed=seed, **kwargs)
    if env.num_envs != num_envs:
        raise TrainingError(
            f"environment '{make}': asked for {num_envs} environments, got {env.num_envs}"
        )
    return env


class Sampler:
    """N environments, their running episodes, and the counters that key the noise.

    `seed` and `worker` give every environment its own stream of episodes and of
    decisions; no two workers share one.
    """

    def __init__(self, env: BatchedEnv, seed: int, worker: int, stagger: int = 0) -> None:
        self.env = env
        self._stagger = stagger
        self._noise = JointNoise(env.layout)
        self._source = (seed, worker)
        self._derive(0)
        self._names = [agent.name for agent in env.layout.agents]
        self._term_names: tuple[str, ...] = getattr(env, "reward_term_names", ())
        self._decisions = 0
        self._started = False
        self._returns = np.zeros((env.num_envs, len(self._names)))
        self._lengths = np.zeros(env.num_envs, dtype=np.int64)

    def begin_at(self, iteration: int) -> None:
        """Begin, if it has not begun, as a runner built in place of a lost one at `iteration`.

        Otherwise it would replay the episodes and the noise of the one that it replaces.
        """
        if not self._started:
            self._derive(iteration)

    def _derive(self, begun: int) -> None:
        self._begun = begun
        place = (begun,) if begun else ()  # a run's first runners have begun with it
        count = self.env.num_envs
        self._episode_seeds = derive_seeds(*self._source, _EPISODES, *place, count=count)
        self._noise_seeds = derive_seeds(*self._source, _DECISIONS, *place, count=count)

    def sample(self, policy: SequentialPolicy, length: int, explore: bool = True) -> Rollout:
        """`length` steps of every environment, episodes that end reset within."""
        if not self._started:
            self._start(policy, explore)
        env, count = self.env, self.env.num_envs
        buffers = self._allocate(length)
        cut_index: list[NDArray[np.int64]] = []
        cut_states = [np.empty((0, env.layout.state_width), dtype=np.float32)]
        stats = EpisodeStats(steps=length * count)
        for t in range(length):
            buffers["rows"][t] = env.rows
            buffers["states"][t] = env.states
            buffers["latent"][t], buffers["log_prob"][t] = self._step(policy, explore)
            for name in ("rewards", "targets", "terminations", "truncations"):
                buffers[name][t] = getattr(env, name)
            self._count_terms(stats)
            if t == length - 1:
                buffers["last_states"] = env.states.copy()
            cut = np.flatnonzero(env.truncations & ~env.terminations)
            if cut.size:
                cut_index.append(np.stack([np.full_like(cut, t), cut], axis=1))
                cut_states.append(env.states[cut])
            self._finish(env.terminations | env.truncations, stats)
        self._count_rewards(stats, buffers["rewards"])
        return Rollout(
            **buffers,
            cut_index=np.concatenate([np.empty((0, 2), dtype=np.int64), *cut_index]),
            cut_states=np.concatenate(cut_states),
            stats=stats,
        )

    def _allocate(self, length: int) -> dict[str, Any]:
        env, layout = self.env, self.env.layout

        def floats(width: int) -> NDArray[np.float32]:
            return np.empty((length, env.num_envs, width), dtype=np.float32)

        flags = np.empty((2, length, env.num_envs), dtype=np.bool_)
        return {
            "rows": floats(layout.row_width),
            "states": floats(layout.state_width),
            "latent": floats(layout.action_width),
            "log_prob": floats(len(layout.agents)),
            "rewards": floats(len(layout.agents)),
            "targets": floats(env.targets.shape[1]),
            "terminations": flags[0],
            "truncations": flags[1],
        }

    def _start(self, policy: SequentialPolicy, explore: bool) -> None:
        """Begin all episodes, each `stagger / N` steps after the one before it.

        Episodes of one length begun together would end together for ever, and a
        rollout shorter than an episode would hold one phase of it at a time.
        """
        self.env.reset(seeds=self._episode_seeds)
        self._started = True
        self._check("after reset")
        if self._stagger == 0:
            return
        begin = np.arange(self.env.num_envs) * self._stagger // self.env.num_envs
        unused = EpisodeStats()
        for step in range(self._stagger):
            mask = begin == step
            if step and mask.any():
                self._restart(mask)
            self._step(policy, explore)
            self._finish(self.env.terminations | self.env.truncations, unused)

    def _step(
        self, policy: SequentialPolicy, explore: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One joint decision of every environment; (latent, log_prob)."""
        noise = None
        if explore:
            steps = np.full(self.env.num_envs, self._decisions, dtype=np.int64)
            noise = torch.from_numpy(self._noise(self._noise_seeds, steps))
        with torch.no_grad():
            acted = policy.act(torch.from_numpy(self.env.rows), noise)
        self._decisions += 1
        self.env.step(acted.actions.numpy())
        self._lengths += 1
        self._returns += self.env.rewards
        self._check(f"at step {self._decisions} of the run")
        return acted.latent.numpy(), acted.log_prob.numpy()

    def _finish(self, ended: NDArray[np.bool_], stats: EpisodeStats) -> None:
        """Record the episodes that ended and begin the next ones."""
        count = int(ended.sum())
        if count == 0:
            return
        sums = stats.episode_sums
        returns = self._returns[ended]
        found = {"return": float(returns.mean(axis=1).sum())}
        found["length"] = float(self._lengths[ended].sum())
        for k, name in enumerate(self._names):
            found[f"return/{name}"] = float(returns[:, k].sum())
        metrics = self.env.episode_metrics[ended].sum(axis=0)
        found.update(zip(self.env.metric_names, map(float, metrics), strict=True))
        for name, value in found.items():
            sums[name] = sums.get(name, 0.0) + value
        stats.episodes += count
        self._restart(ended)

    def _restart(self, mask: NDArray[np.bool_]) -> None:
        self._returns[mask] = 0.0
        self._lengths[mask] = 0
        self.env.reset(mask)

    def _count_terms(self, stats: EpisodeStats) -> None:
        """Sum the reward's terms, where the environment offers `reward_terms` [N, terms]."""
        if not self._term_names:
            return
        totals = np.asarray(getattr(self.env, "reward_terms")).sum(axis=0)  # noqa: B009
        for name, value in zip(self._term_names, totals, strict=True):
            key = f"term/{name}"
            stats.step_sums[key] = stats.step_sums.get(key, 0.0) + float(value)

    def _count_rewards(self, stats: EpisodeStats, rewards: NDArray[np.float32]) -> None:
        totals = rewards.sum(axis=(0, 1), dtype=np.float64)
        for name, value in zip(self._names, totals, strict=True):
            stats.step_sums[f"reward/{name}"] = float(value)

    def _check(self, when: str) -> None:
        """Stop at the first non-finite number, where it can still be placed."""
        env, layout = self.env, self.env.layout
        for what, values, names in (
            ("reward of agent", env.rewards, self._names),
            ("observation column", env.rows, [c.name for c in layout.columns]),
            ("state column", env.states, [c.name for c in layout.state_columns]),
        ):
            if np.isfinite(values).all():
                continue
            row, column = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
            raise TrainingError(
                f"{what} '{names[column]}' is {values[row, column]} in environment row {row} "
                f"{when}: expected a finite number; the environment is at fault"
            )

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next rollout depends on, the policy apart."""
        return {
            "simulator": self.env.state_dict() if self._started else None,
            "begun": self._begun,
            "decisions": self._decisions,
            "returns": self._returns.copy(),
            "lengths": self._lengths.copy(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave; the next rollout is the same to the bit."""
        if state["returns"].shape != self._returns.shape:
            raise TrainingError(
                f"checkpoint of {state['returns'].shape[0]} environments, this run has "
                f"{self.env.num_envs}: resume with the num_envs it was begun with"
            )
        self._derive(int(state["begun"]))
        self._started = state["simulator"] is not None
        if self._started:
            self.env.load_state(state["simulator"])
        self._decisions = int(state["decisions"])
        self._returns[:] = state["returns"]
        self._lengths[:] = state["lengths"]
