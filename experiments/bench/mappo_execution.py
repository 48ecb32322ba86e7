"""The execution layer's part of `bench mappo`: its own networks, and where the time goes.

Stock trains the PettingZoo face with a network for each agent, of the layer's sizes, as
many updates an iteration. It cannot let agents act one upon the other's choice, nor read
the state that our critic reads; it is given less to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

from pettingzoo.utils import BaseParallelWrapper

from configs.mappo import MappoConfig
from configs.train import load_train_config
from envs import execution_v1
from experiments.bench.mappo import steps_per_s
from experiments.bench.report import Figure, speed
from experiments.contenders import Training
from experiments.ours_toy import Ours
from experiments.stock_rllib import Stock, Team, local_ray

_MAKE = "envs.execution:make_batched"
_STOCK_ENVS = 32  # its best on the toy team
_TURNS = 5  # of ours, on either side of stock's one


class OwnColumns(BaseParallelWrapper):
    """Each agent's own observation. What others chose is zero on this face, and left out."""

    def observation_space(self, agent: str) -> Any:
        return self.env.observation_space(agent)["observation"]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        observations, infos = self.env.reset(seed=seed, options=options)
        return _own(observations), infos

    def step(self, actions: dict[str, Any]) -> Any:
        observations, *rest = self.env.step(actions)
        return _own(observations), *rest


def _own(observations: dict[str, Any]) -> dict[str, Any]:
    return {agent: seen["observation"] for agent, seen in observations.items()}


class Shares:
    """CPU seconds spent inside parts of a trainer: it wraps them where they are called."""

    def __init__(self, ours: Ours) -> None:
        self.seconds = {"environment": 0.0, "forward": 0.0, "learner": 0.0}
        algorithm = ours.algorithm
        env, module = algorithm.env_runner.sampler.env, algorithm.env_runner.module
        self._wrap("environment", env, "step")
        self._wrap("environment", env, "reset")
        for plan in algorithm.config.training_plan.actors:
            self._wrap("forward", module[plan.name].actor, "act")
        self._wrap("learner", algorithm.learner_group, "update")

    def _wrap(self, part: str, owner: Any, name: str) -> None:
        work: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return work(*args, **kwargs)
            finally:
                self.seconds[part] += time.process_time() - start

        setattr(owner, name, timed)


def figures() -> list[Figure]:
    """Training steps a CPU second, and the shares of the time that it takes."""
    config = load_train_config("execution", (), (), (), None)
    horizon = config.env.parent.horizon_steps

    def make() -> OwnColumns:
        return OwnColumns(execution_v1.parallel_env(config.env))

    team = Team("execution", make, horizon)
    with local_ray():
        ours = Ours(config.mappo, _MAKE, {"config": config.env.model_dump(mode="json")})
        stock = Stock(_STOCK_ENVS, "separate", _training(config.mappo), team)
        try:
            return _measure(ours, stock)
        finally:
            ours.close()
            stock.close()


def _training(settings: MappoConfig) -> Training:
    """The layer's settings, as far as stock knows them."""
    return Training(
        env_steps=settings.iteration_env_steps,
        minibatches=settings.minibatches,
        epochs=settings.epochs,
        hidden=settings.policy.hidden,
        gamma=settings.gamma,
        gae_lambda=settings.gae_lambda,
        learning_rate=settings.learning_rate,
        entropy_coefficient=settings.entropy_coefficient,
    )


def _measure(ours: Ours, stock: Stock) -> list[Figure]:
    ours.iterate()  # warm: kernels are compiled, episodes staggered
    shares = Shares(ours)
    rates: list[float] = []

    def turns() -> float:
        start = time.process_time()
        rates.extend(steps_per_s(ours.iterate) for _ in range(_TURNS))
        return time.process_time() - start

    spent = turns()
    # One iteration of stock's takes so long that a first one to warm it says nothing else.
    other = steps_per_s(stock.iterate)
    spent += turns()
    rate, words = median(rates), f"stock RLlib, {_STOCK_ENVS} envs"
    return [
        speed("execution_train_steps_per_s", rate, "steps/s", words, other),
        *(
            Figure(f"execution_share_{part}", seconds / spent, "of CPU time")
            for part, seconds in shares.seconds.items()
        ),
    ]
