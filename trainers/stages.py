"""Scores of a policy in a stage of its curriculum, between random actions and the best baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from configs.curriculum import CurriculumConfig
from configs.errors import TrainingError
from configs.team import PlayConfig
from trainers.mappo.plan import TeamPlan
from trainers.mappo.sampler import Actors, make_environment
from trainers.play import ModePlayer, Player, RandomPlayer, play

Baselines = Callable[[Mapping[str, Any]], Mapping[str, Player]]

_APART = 1 << 32  # evaluations' seeds lie behind all that runs are given


@dataclass(frozen=True)
class StageScore:
    """(policy - random) / (best - random), and the mean returns it is made of."""

    score: float
    policy: float
    random: float
    best: float

    def figures(self) -> dict[str, float]:
        """The four numbers under the names that curves have."""
        return {
            "score": self.score,
            "score_return": self.policy,
            "score_random": self.random,
            "score_best": self.best,
        }


class StageScorer:
    """Plays a stage's evaluation episodes: the same ones each time and for everyone.

    stages: the environment's keyword arguments in each stage. baselines: who may set the
    score of 1 there; without any the stage's `target` does.

    Raises:
        TrainingError: a stage has neither.
    """

    def __init__(
        self,
        config: CurriculumConfig,
        plan: TeamPlan,
        make: str,
        stages: Sequence[Mapping[str, Any]],
        baselines: Baselines | None,
        seed: int,
    ) -> None:
        self._config = config
        self._plan = plan
        self._make = make
        self._stages = stages
        self._baselines = baselines
        self._play = PlayConfig(
            episodes=config.episodes, num_envs=config.episodes, seed=_APART + seed
        )
        self._bounds: dict[int, tuple[float, float]] = {}
        for stage in config.stages:
            if baselines is None and stage.target is None:
                raise TrainingError(
                    f"stage '{stage.name}' of mappo.curriculum has no target: '{plan.name}' has no "
                    "baselines, so give the return that scores 1 (mappo.curriculum.stages.N.target)"
                )

    def score(self, stage: int, actors: Actors) -> StageScore:
        """The actors' modes in `stage`, counted from 0.

        Raises:
            TrainingError: random actions are as good as what should score 1.
        """
        if stage not in self._bounds:
            self._bounds[stage] = self._measured(stage)
        random, best = self._bounds[stage]
        mean = self._mean(stage, lambda count: ModePlayer(self._plan, actors, count))
        return StageScore((mean - random) / (best - random), mean, random, best)

    def _measured(self, stage: int) -> tuple[float, float]:
        """Mean returns of random actions and of what scores 1."""
        layout, name = self._plan.layout, self._config.stages[stage].name
        random = self._mean(stage, lambda _: RandomPlayer(layout, self._play.seed))
        best = self._config.stages[stage].target
        if best is None:
            found = self._baselines(self._stages[stage]) if self._baselines else {}
            best = max(self._mean(stage, _always(player)) for player in found.values())
        if best <= random:
            raise TrainingError(
                f"stage '{name}': random actions return {random:g}, the best baseline or target "
                f"{best:g}: expected more, or no score can be given"
            )
        return random, best

    def _mean(self, stage: int, make_player: Callable[[int], Player]) -> float:
        def make_env(count: int, seed: int) -> Any:
            return make_environment(self._make, count, seed, self._stages[stage])

        played = play(make_env, make_player, self._plan, self._play)
        return float(played.team_returns.mean())


def _always(player: Player) -> Callable[[int], Player]:
    return lambda _: player
