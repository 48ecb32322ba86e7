"""What a policy states as it decides, beside what then happens: the material of calibration.

Episodes are played in mode, those that `trainers.evaluate` plays first. Three things are
stated, of which a layer has some:

- A direction, with a confidence: the likeliest of SELL, HOLD and BUY in what the layer tells
  the next one (`signals.said`). It is right where the reference's move over the next bar, in
  that direction, is larger than what a trade costs: changing the position has then paid. HOLD
  states no direction, and its confidence is used by nothing (SPEC section 6: no order on
  HOLD), so decisions to hold are counted and left out.
- A regime, with a confidence: the likeliest that the regime encoder expects of the next bar.
  What is true is known as that bar's filtered posterior alone, so it is right by the share
  that the posterior gives it.
- A number, such as the quality of the step that the execution monitor predicts, beside the
  number that the environment measures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cascade.artefact import POLICY
from cascade.graphs import ACTIONS, PROBABILITIES, REGIMES
from configs.errors import DataError, TrainingError
from configs.evaluation import MAX_PARENTS, EvaluationConfig
from envs.batched import BatchedEnv
from signals.bars.columns import POSTERIORS
from signals.layout import LayerLayout
from signals.superposition import BUY, DIRECTIONS, HOLD, SELL
from trainers.evaluate import EVALUATION_SEEDS, Actor
from trainers.graphs import TracedPolicy

Floats = NDArray[np.float64]
Told = Mapping[str, NDArray[np.float32]]  # a decision's outputs by name (`cascade.graphs`)
# (rows, actions, probabilities, the environment's rules) -> what the layer says, [N, ...],
# its first columns those of `signals.superposition.DIRECTIONS`.
Said = Callable[..., Floats]

_SIGNS = {SELL: -1.0, HOLD: 0.0, BUY: 1.0}


@dataclass(frozen=True)
class Directions:
    """p: float64 [n, 3], over DIRECTIONS. moves: float64 [n], of the reference over the next
    bar, as a share of its price. days: int64 [n], equal where chance was shared.
    """

    p: Floats
    moves: Floats
    days: NDArray[np.int64]

    def claims(self, cost: float) -> Claims:
        """Those that took a side, and whether it paid more than `cost`, a share of the price."""
        chosen = self.p.argmax(axis=1)
        sides = np.array([_SIGNS[direction] for direction in range(len(DIRECTIONS))])[chosen]
        took = sides != 0.0
        right = sides * self.moves > cost
        return Claims(self.p[took], right[took].astype(np.float64), self.days[took], len(self.p))


@dataclass(frozen=True)
class Regimes:
    """p: float64 [n, 4], expected of the next bar. came: float64 [n, 4], its posterior."""

    p: Floats
    came: Floats
    days: NDArray[np.int64]

    def claims(self) -> Claims:
        right = np.take_along_axis(self.came, self.p.argmax(axis=1)[:, None], axis=1)[:, 0]
        return Claims(self.p, right, self.days, len(self.p))


@dataclass(frozen=True)
class Claims:
    """Statements with a confidence, the largest of p [n, C], and how far they were right.

    right: [n], 0 or 1, or what lies between where truth is a probability itself. of: decisions
    that they were made in.
    """

    p: Floats
    right: Floats
    days: NDArray[np.int64]
    of: int

    def __len__(self) -> int:
        return len(self.p)


@dataclass(frozen=True)
class Predictions:
    """Numbers in [0, 1] as they were predicted and as they came, float64 [n]."""

    said: Floats
    came: Floats
    days: NDArray[np.int64]


@dataclass(frozen=True)
class Stated:
    """What one split's episodes gave; None of what the layer does not state."""

    episodes: int
    directions: Directions | None = None
    regimes: Regimes | None = None
    predictions: Predictions | None = None


def hear(
    env: BatchedEnv, policy: TracedPolicy, config: EvaluationConfig, said: Said | None
) -> Stated:
    """Play `config.calibration_parents` episodes, or as few more as fill the last batch.

    Args:
        env: its rows are begun anew; of layers with `said` an `envs.barwise` one.
        said: None of a layer that states no direction.

    Raises:
        TrainingError: an episode did not end within `config.max_steps`.
    """
    ears = _ears(env, policy, said)

    def decide(rows: NDArray[np.float32]) -> Told:
        with torch.no_grad():
            found = policy.outputs(torch.from_numpy(rows))
        return {name: np.ascontiguousarray(values.numpy()) for name, values in found.items()}

    episodes = 0
    while episodes < config.calibration_parents:
        _play(env, decide, config, ears, episodes)
        episodes += env.num_envs
    return Stated(episodes, **{ear.name: ear.heard() for ear in ears})


def trade_cost(env: BatchedEnv, actor: Actor, config: EvaluationConfig) -> float:
    """What a trade costs as a share of its value: the mean over all that `actor` trades.

    Args:
        env: an `envs.barwise` one, each of whose rows plays an episode.
        actor: a rule, so that what is right does not depend on the policy that is judged.

    Raises:
        TrainingError: an episode did not end within `config.max_steps`.
        DataError: nothing was traded.
    """
    paid = _Costs()
    actor.reset(env.num_envs)
    _play(env, lambda rows: {ACTIONS: actor.act(rows)}, config, [paid], 0)
    return paid.heard()


def _play(
    env: BatchedEnv,
    decide: Callable[[NDArray[np.float32]], Told],
    config: EvaluationConfig,
    ears: Sequence[_Ear],
    first: int,
) -> None:
    """One batch of episodes to their ends, from number `first` of those of an evaluation on."""
    seeds = np.uint64(EVALUATION_SEEDS + config.seed * MAX_PARENTS + first)
    env.reset(seeds=seeds + np.arange(env.num_envs, dtype=np.uint64))
    days = env.clusters // config.cluster_days
    playing = np.ones(env.num_envs, np.bool_)
    for _ in range(config.max_steps):
        told = decide(env.rows)
        with ExitStack() as hearing:
            for ear in ears:
                hearing.enter_context(ear.over(env, told, playing, days))
            env.step(told[ACTIONS])
        playing = playing & ~(env.terminations | env.truncations)
        if not playing.any():
            return
    raise TrainingError(
        f"{int(playing.sum())} episodes did not end within {config.max_steps} steps "
        "(evaluation.max_steps)"
    )


def _ears(env: BatchedEnv, policy: TracedPolicy, said: Said | None) -> list[_Ear]:
    ears: list[_Ear] = []
    if said is not None:
        ears.append(_Direction(said))
    if REGIMES in policy.widths(POLICY):
        ears.append(_Regime(env.layout))
    if env.targets.shape[1]:
        ears.append(_Prediction(env.layout))
    return ears


class _Ear(ABC):
    """Notes one kind of statement before a step, and what came after it.

    name: of the field of `Stated` that it fills, if of any. playing: bool [N], rows whose
    episode goes on.
    """

    name: str = ""

    def __init__(self) -> None:
        self._said: list[NDArray[Any]] = []
        self._came: list[NDArray[Any]] = []
        self._days: list[NDArray[np.int64]] = []

    @abstractmethod
    def over(
        self, env: Any, told: Told, playing: NDArray[np.bool_], days: NDArray[np.int64]
    ) -> AbstractContextManager[None]:
        """Around a step of `env`: note what is stated of it, and what comes of it."""

    @abstractmethod
    def heard(self) -> Any:
        """All that was noted."""

    def _note(
        self, said: NDArray[Any], playing: NDArray[np.bool_], days: NDArray[np.int64]
    ) -> None:
        self._said.append(said[playing].astype(np.float64))
        self._days.append(days[playing])

    def _noted(self) -> tuple[Floats, Floats, NDArray[np.int64]]:
        return tuple(np.concatenate(part) for part in (self._said, self._came, self._days))  # type: ignore[return-value]


class _Direction(_Ear):
    name = "directions"

    def __init__(self, said: Said) -> None:
        super().__init__()
        self._say = said

    @contextmanager
    def over(
        self, env: Any, told: Told, playing: NDArray[np.bool_], days: NDArray[np.int64]
    ) -> Iterator[None]:
        world = env.arrays.world
        said = self._say(env.rows, told[ACTIONS], told[PROBABILITIES], env.arrays.decision)
        self._note(said[:, : len(DIRECTIONS)], playing, days)
        bars = world.places["bar"][playing]  # to be played next
        closes = world.tape.ohlc[:, 3]
        yield
        self._came.append(closes[bars] / closes[bars - 1] - 1.0)

    def heard(self) -> Directions:
        return Directions(*self._noted())


class _Costs(_Ear):
    """Of everything that is traded."""

    def __init__(self) -> None:
        super().__init__()
        self._costs = self._traded = 0.0  # ticks x units

    @contextmanager
    def over(
        self, env: Any, told: Told, playing: NDArray[np.bool_], days: NDArray[np.int64]
    ) -> Iterator[None]:
        yield
        played = env.arrays.accounts[playing]
        self._costs += float(played["costs"].sum())
        self._traded += float((played["turnover"] * played["limit"] * played["mark"]).sum())

    def heard(self) -> float:
        if not self._traded:
            raise DataError(
                "the reference rule traded nothing, so that what a trade costs is not known; name "
                "another by evaluation.reference"
            )
        return self._costs / self._traded


class _Regime(_Ear):
    name = "regimes"

    def __init__(self, layout: LayerLayout) -> None:
        super().__init__()
        names = [column.name.rpartition(".")[2] for column in layout.columns]
        self._newest = [names.index(f"{posterior.name}@0") for posterior in POSTERIORS]

    @contextmanager
    def over(
        self, env: BatchedEnv, told: Told, playing: NDArray[np.bool_], days: NDArray[np.int64]
    ) -> Iterator[None]:
        self._note(told[REGIMES], playing, days)
        yield
        self._came.append(env.rows[playing][:, self._newest].astype(np.float64))

    def heard(self) -> Regimes:
        return Regimes(*self._noted())


class _Prediction(_Ear):
    """Of the first supervised component."""

    name = "predictions"

    def __init__(self, layout: LayerLayout) -> None:
        super().__init__()
        places = [
            layout.action_slice(k).start + number
            for k, agent in enumerate(layout.agents)
            if agent.kind == "box"
            for number, component in enumerate(agent.components)
            if component.supervised
        ]
        self._place = places[0]

    @contextmanager
    def over(
        self, env: BatchedEnv, told: Told, playing: NDArray[np.bool_], days: NDArray[np.int64]
    ) -> Iterator[None]:
        self._note(told[ACTIONS][:, self._place], playing, days)
        yield
        self._came.append(env.targets[playing, 0].astype(np.float64))

    def heard(self) -> Predictions:
        said, came, days = self._noted()
        known = np.isfinite(came)
        return Predictions(said[known], came[known], days[known])
