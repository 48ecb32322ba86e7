"""Steps batched environments with a team's actors and records a rollout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from configs.constraints import ConstraintConfig
from configs.errors import GrandmodelError, TrainingError
from configs.places import function_at
from policies.actor import Actor
from signals.noise import derive_seeds
from trainers.mappo.constraints import COST, STEP_COST
from trainers.mappo.costs import Costs
from trainers.mappo.faces import Face, face_of
from trainers.mappo.plan import TeamPlan
from trainers.mappo.record import Record
from trainers.mappo.rollout import EpisodeStats, Rollout

Actors = Mapping[str, Actor]
Reward = Callable[[Any, NDArray[np.float32]], NDArray[np.float32]]

# Purposes that seeds are derived for: episodes and decisions share no bits.
_EPISODES, _DECISIONS = 1, 2


def make_environment(make: str, num_envs: int, seed: int, kwargs: Mapping[str, Any]) -> Any:
    """Call the function `make` ("package.module:function") for a batched environment.

    Returns a `BatchedEnv` of one of our layers, or a `TeamEnv`.

    Raises:
        TrainingError: there is no such function, or it gives another number of environments.
    """
    factory = function_at(
        make, "environment", "takes (num_envs, seed, **kwargs) and returns a batched environment"
    )
    env = factory(num_envs=num_envs, seed=seed, **kwargs)
    if env.num_envs != num_envs:
        raise TrainingError(
            f"environment '{make}': asked for {num_envs} environments, got {env.num_envs}"
        )
    return env


class Sampler:
    """N environments, their running episodes, and the counters that key the noise.

    `seed` and `worker` give every environment its own stream of episodes and of
    decisions; no two workers share one. `reward` pays in place of the environment;
    `constraints` say what costs a penalty. What actors remember is recorded every
    `sequence_length` steps.
    """

    def __init__(
        self,
        env: Any,
        plan: TeamPlan,
        seed: int,
        worker: int = 0,
        stagger: int = 0,
        sequence_length: int = 1,
        reward: Reward | None = None,
        constraints: Sequence[ConstraintConfig] = (),
    ) -> None:
        self.env = env
        self.plan = plan
        self.face: Face = face_of(env, plan)
        self._stagger = stagger
        self._sequence_length = sequence_length
        self._noise = plan.noise()
        self._source = (seed, worker)
        self._derive(0)
        self._term_names: tuple[str, ...] = getattr(env, "reward_term_names", ())
        self._decisions = 0
        self._started = False
        self._returns = np.zeros((env.num_envs, len(plan.agents)))
        self._lengths = np.zeros(env.num_envs, dtype=np.int64)
        self._begins = np.ones(env.num_envs, dtype=np.bool_)
        self._actions = np.zeros((env.num_envs, plan.layout.action_width), dtype=np.float32)
        self._memory: dict[str, Tensor] = {}
        self._reward = reward
        self._costs = Costs(constraints, env.num_envs) if constraints else None
        self._spent = np.zeros((env.num_envs, len(constraints)))
        self._acted = np.ones(self._returns.shape, dtype=np.bool_)
        self.rewards: NDArray[np.float32] = env.rewards

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

    def sample(
        self,
        actors: Actors,
        length: int,
        explore: bool = True,
        multipliers: Sequence[float] = (),
    ) -> Rollout:
        """`length` steps of every environment, episodes that end reset within.

        multipliers: of the constraints, by which the rewards in the rollout are penalised.
        Returns and terms of rewards in its `stats` are those of the environment.
        """
        if not self._started:
            self._start(actors, explore)
        face = self.face
        record = Record(self.plan, self.env, actors, length, self._sequence_length)
        stats = EpisodeStats(steps=length * self.env.num_envs)
        for t in range(length):
            record.before(t, face, self._begins, self._memory)
            self._step(actors, explore, record, t)
            record.after(t, face, self._penalised(multipliers))
            self._count(stats)
            self._finish(face.ended, stats)
        return record.rollout(stats)

    def _penalised(self, multipliers: Sequence[float]) -> NDArray[np.float32]:
        """What the learner is told of the step's rewards."""
        if self._costs is None:
            return self.rewards
        return self._costs.penalised(self.rewards, self._acted, multipliers)

    def _start(self, actors: Actors, explore: bool) -> None:
        """Begin all episodes, each `stagger / N` steps after the one before it.

        Episodes of one length begun together would end together for ever, and a
        rollout shorter than an episode would hold one phase of it at a time.
        """
        self._ask("reset", seeds=self._episode_seeds)
        self._started = True
        self._memory = {
            name: torch.zeros(self.env.num_envs, actor.memory_width)
            for name, actor in actors.items()
            if actor.memory_width
        }
        self._check("after reset")
        if self._stagger == 0:
            return
        begin = np.arange(self.env.num_envs) * self._stagger // self.env.num_envs
        unused = EpisodeStats()
        for step in range(self._stagger):
            mask = begin == step
            if step and mask.any():
                self._restart(mask)
            self._step(actors, explore)
            self._finish(self.face.ended, unused)

    def _step(
        self, actors: Actors, explore: bool, record: Record | None = None, t: int = 0
    ) -> None:
        """One joint decision of every environment, written into `record` at step `t`."""
        noise = None
        if explore:
            steps = np.full(self.env.num_envs, self._decisions, dtype=np.int64)
            noise = torch.from_numpy(self._noise(self._noise_seeds, steps))
        self._acted[:] = self.face.alive
        rows, masks = torch.from_numpy(self.env.rows), torch.from_numpy(self.face.masks)
        with torch.no_grad():
            for actor in self.plan.actors:
                acted = actors[actor.name].act(
                    rows[:, actor.rows],
                    None if noise is None else noise[:, actor.noise],
                    masks[:, actor.masks] if actor.mask_width else None,
                    self._memory.get(actor.name),
                )
                self._actions[:, actor.actions] = acted.actions.numpy()
                if acted.memory is not None:
                    self._memory[actor.name] = acted.memory
                if record is not None:
                    record.decided(actor.name, t, acted.latent, acted.log_prob)
        self._decisions += 1
        if self._costs is not None:
            self._costs.before(self.env, self._actions)
        self._ask("step", self._actions)
        self._pay()
        if self._costs is not None:
            self._costs.after()
            self._spent += self._costs.step
        self._begins[:] = False
        self._lengths += 1
        self._returns += self.rewards
        self._check(f"at step {self._decisions} of the run")

    def _pay(self) -> None:
        """What agents are paid for the step: by the environment, or by the function in its place.

        Raises:
            TrainingError: the function gives another shape.
        """
        if self._reward is None:
            self.rewards = self.env.rewards
            return
        paid = np.asarray(self._reward(self.env, self._actions), dtype=np.float32)
        if paid.shape != self._returns.shape:
            raise TrainingError(
                f"mappo.reward_function gave rewards of shape {paid.shape}, expected "
                f"{self._returns.shape}: one of each agent in each environment"
            )
        self.rewards = np.where(self._acted, paid, np.float32(0.0))

    def _finish(self, ended: NDArray[np.bool_], stats: EpisodeStats) -> None:
        """Record the episodes that ended and begin the next ones."""
        count = int(ended.sum())
        if count == 0:
            return
        ended = ended.copy()  # it may be the environment's own array, which its reset clears
        sums = stats.episode_sums
        returns = self._returns[ended]
        found = {"return": float(returns.mean(axis=1).sum())}
        found["length"] = float(self._lengths[ended].sum())
        for k, name in enumerate(self.plan.agents):
            found[f"return/{name}"] = float(returns[:, k].sum())
        if self._costs is not None:
            spent = self._spent[ended].sum(axis=0)
            names = (f"{COST}/{name}" for name in self._costs.names)
            found.update(zip(names, map(float, spent), strict=True))
        metrics = self.env.episode_metrics[ended].sum(axis=0)
        found.update(zip(self.env.metric_names, map(float, metrics), strict=True))
        for name, value in found.items():
            sums[name] = sums.get(name, 0.0) + value
        stats.episodes += count
        self._restart(ended)

    def _restart(self, mask: NDArray[np.bool_]) -> None:
        self._returns[mask] = 0.0
        self._spent[mask] = 0.0
        self._lengths[mask] = 0
        self._begins[mask] = True
        for memory in self._memory.values():
            memory[torch.from_numpy(mask)] = 0.0
        self._ask("reset", mask)
        self._check(f"after the reset that followed step {self._decisions} of the run", mask)

    def _count(self, stats: EpisodeStats) -> None:
        """Sum what the step paid, before any penalty, by its terms [N, terms], and what it cost."""
        told: list[tuple[str, Sequence[str], NDArray[Any]]] = [
            ("reward", self.plan.agents, self.rewards)
        ]
        if self._term_names:
            told.append(("term", self._term_names, np.asarray(self.env.reward_terms)))
        if self._costs is not None:
            told.append((STEP_COST, self._costs.names, self._costs.step))
        for kind, names, values in told:
            for name, total in zip(names, values.sum(axis=0, dtype=np.float64), strict=True):
                key = f"{kind}/{name}"
                stats.step_sums[key] = stats.step_sums.get(key, 0.0) + float(total)

    def _ask(self, method: str, *args: Any, **kwargs: Any) -> None:
        """Call the environment, and place what it raises that is not placed already."""
        try:
            getattr(self.env, method)(*args, **kwargs)
        except GrandmodelError:
            raise
        except Exception as error:
            raise TrainingError(
                f"environment '{self.plan.name}' raised {type(error).__name__}: "
                f"{str(error) or 'without a message'}, in {method}() at step {self._decisions} of "
                "the run; the environment is at fault"
            ) from error

    def _check(self, when: str, mask: NDArray[np.bool_] | None = None) -> None:
        """Stop at the first non-finite number (of the rows in `mask`), where it can be placed."""
        env, plan = self.env, self.plan
        for what, values, names in (
            ("reward of agent", self.rewards, plan.agents),
            ("observation column", env.rows, plan.columns),
            ("state column", env.states, plan.environment_state_columns),
        ):
            if np.isfinite(values if mask is None else values[mask]).all():
                continue
            row, column = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
            raise TrainingError(
                f"{what} '{names[column]}' is {values[row, column]} in environment row {row} "
                f"{when}: expected a finite number; the environment is at fault"
            )

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next rollout depends on, the actors apart.

        problem: why the environments could not be saved, in which case "simulator" is None
        and a resume begins their episodes anew; "" where they were.
        """
        simulator, problem = self._simulator() if self._started else (None, "")
        return {
            "simulator": simulator,
            "problem": problem,
            "begun": self._begun,
            "decisions": self._decisions,
            "returns": self._returns.copy(),
            "lengths": self._lengths.copy(),
            "begins": self._begins.copy(),
            "spent": self._spent.copy(),
            "memory": {name: value.numpy().copy() for name, value in self._memory.items()},
        }

    def _simulator(self) -> tuple[dict[str, Any] | None, str]:
        """The environments' state, or why there is none: the weights must be saved all the same."""
        try:
            return self.env.state_dict(), ""
        except GrandmodelError as error:
            return None, str(error)
        except Exception as error:  # an environment of anyone's
            return None, f"state_dict() raised {type(error).__name__}: {error}"

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave; the next rollout is the same to the bit.

        Where the environments could not be saved this sampler stays as it was built, and
        `begin_at` gives it episodes that were not played yet.
        """
        if state["returns"].shape != self._returns.shape:
            raise TrainingError(
                f"checkpoint of {state['returns'].shape[0]} environments, this run has "
                f"{self.env.num_envs}: resume with the num_envs it was begun with"
            )
        if state.get("problem"):
            return
        self._derive(int(state["begun"]))
        self._started = state["simulator"] is not None
        if self._started:
            self.env.load_state(state["simulator"])
        self._decisions = int(state["decisions"])
        self._returns[:] = state["returns"]
        self._lengths[:] = state["lengths"]
        self._begins[:] = state["begins"]
        self._spent[:] = state.get("spent", 0.0)  # a checkpoint of before there were constraints
        self._memory = {name: torch.from_numpy(v.copy()) for name, v in state["memory"].items()}
