"""The registry of layers: what each entry says is what its environment has."""

from __future__ import annotations

import pickle
from importlib import import_module

import cloudpickle
import pytest

from configs.errors import ConfigError
from configs.mappo import MappoConfig
from configs.places import function_at
from configs.train import load_train_config
from trainers.layers import LAYERS
from trainers.mappo.plan import plan_training
from trainers.mappo.unseen import refuse_unseen_split
from trainers.monitoring import SCORE

METRICS = {
    "strategic": "envs.strategic.kernel",
    "tactical": "envs.tactical.arrays",
    "execution": "envs.execution.kernel",
}


@pytest.mark.parametrize("name", LAYERS)
def test_what_is_shown_is_measured(name: str) -> None:
    layer = LAYERS[name]
    measured = set(import_module(METRICS[name]).METRICS) | {"return"}
    wanted = {layer.objective.metric, *(figure.metric for figure in layer.objective.figures)}
    wanted |= {key for key, _, _ in layer.shown}
    assert wanted <= measured
    learnt = {"entropy", "kl", "explained_variance", "value_spread"}
    learnt |= {"grad_norm_policy", "grad_norm_critic", SCORE}
    assert set(layer.curves) <= measured | learnt
    assert callable(function_at(layer.make, "environment", "makes one"))


@pytest.mark.parametrize("name", LAYERS)
def test_policies_are_judged_on_the_test_split_which_training_is_refused(name: str) -> None:
    layer = LAYERS[name]
    assert layer.judged["split"] == "test"
    config = load_train_config(name, [], [], [], None)
    with pytest.raises(ConfigError, match=r"unknown key 'split' under 'env'"):
        load_train_config(name, [], [], ["env.split=test"], None)
    refuse_unseen_split({"config": config.env.model_dump(mode="json")}, layer.make)


@pytest.mark.parametrize("name", LAYERS)
def test_the_precision_is_that_of_a_baseline(name: str) -> None:
    config = load_train_config(name, [], [], [], None)
    baselines = LAYERS[name].baselines(config.env, config.evaluation)
    assert set(config.evaluation.reference) <= set(baselines)


@pytest.mark.parametrize("name", LAYERS)
def test_what_runners_are_sent_of_a_layer_is_small(name: str) -> None:
    """Ray prints an error line where an actor's arguments take 100 KB."""
    plan = plan_training(LAYERS[name].layout, MappoConfig())
    text = cloudpickle.dumps(plan)
    assert len(text) < 5_000 and pickle.loads(text) == plan
