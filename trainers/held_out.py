"""A policy on episodes held out from its training, of any split, without the test's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from configs.evaluation import MAX_EVALUATION_SEED, EvaluationConfig
from configs.splits import Split
from configs.train import LayerTraining
from trainers.evaluate import Actor, Match
from trainers.layers import LAYERS, LayerEnv
from trainers.mappo.plan import POLICY
from trainers.monitoring import Validation
from trainers.session import torch_threads
from trainers.torch_actor import TorchActor


def validation(config: EvaluationConfig, episodes: int, batch_size: int) -> EvaluationConfig:
    """As `config`, of exactly so many episodes, none of which is the test's.

    Where episodes are told apart by seeds alone, as of the execution layer's built-in market,
    the seed decides: counted down from the highest, it never meets one counted up from 0.
    """
    return config.model_copy(
        update={
            "seed": MAX_EVALUATION_SEED - config.seed,
            "min_parents": episodes,
            "max_parents": episodes,
            "batch_size": min(batch_size, episodes + episodes % 2),
        }
    )


def scored(
    config: LayerTraining, env: Any, history: Sequence[Mapping[str, float]] = ()
) -> Validation | None:
    """How a layer's training is scored on its way; None where nobody asks for it.

    env, history: see `play` and `trainers.monitoring.Validation`.
    """
    patience = config.mappo.stop.patience
    if patience is None:
        return None
    told = validation(config.evaluation, patience.episodes, config.evaluation.batch_size)

    def score(actors: Mapping[str, Any]) -> float:
        match = play(config, env, {POLICY: TorchActor(actors[POLICY])}, told, "validation")
        return float(match.objectives(POLICY).mean())

    return Validation(score, LAYERS[config.layer].objective.lower_is_better, history)


def play(
    config: LayerTraining,
    env: Any,
    policies: Mapping[str, Actor],
    told: EvaluationConfig,
    split: Split | None = None,
) -> Match:
    """Play `told.max_parents` episodes of `split` by every policy, the same for all.

    Args:
        config: of the training, whose layer, seed and threads count.
        env: the environment's configuration, artefacts of layers above in folders.
        split: None takes the one that policies are judged on.

    Raises:
        DataError: the split holds no episode.
        TrainingError: see `trainers.evaluate.Match`.
    """
    layer = LAYERS[config.layer]

    def make(count: int) -> LayerEnv:
        return layer.judging_env(count, config.seed, env, split)

    match = Match(make, policies, told, layer.objective)
    # As in training: on a busy machine a second thread made one decision 20 times slower.
    with torch_threads(config.mappo.torch_threads):
        while match.parents < told.max_parents:
            match.play_batch()
    return match
