"""The layers that can be trained: the one place that says what is a layer's own.

A new layer takes a class in `configs.train`, a file in configs/layers and an entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from cascade.artefact import REGIME_MODEL_FILE, TrainedOn
from configs.evaluation import EvaluationConfig
from configs.mappo import MappoConfig
from configs.places import function_at
from configs.splits import Split
from configs.train import Environment, LayerTraining
from envs.batched import BatchedEnv
from signals.execution import EXECUTION
from signals.layout import LayerLayout
from signals.said import strategic_said, tactical_said
from signals.strategic import STRATEGIC
from signals.tactical import TACTICAL
from trainers.bar_baselines import strategic_baselines, tactical_baselines
from trainers.baselines import execution_baselines
from trainers.evaluate import Actor
from trainers.mappo.plan import TeamPlan, plan_training
from trainers.objective import RETURN, SHORTFALL, Objective
from trainers.upstream.dates import trained_on

if TYPE_CHECKING:
    from trainers.stated import Said


class LayerEnv(BatchedEnv, Protocol):
    """A layer's environments, which tell what their data are."""

    @property
    def data_fingerprint(self) -> str:
        """Of the bars that episodes are cut from, or of what generates them."""
        ...


Baselines = Callable[[Any, EvaluationConfig], Mapping[str, Actor]]
Companions = Callable[[Any], Mapping[str, Callable[[Path], None]]]


def _no_companions(env: Any) -> dict[str, Callable[[Path], None]]:
    del env
    return {}


@dataclass(frozen=True)
class Layer:
    """What training, evaluating and exporting a layer needs to know of it.

    Attributes:
        layout: its columns and agents; gives its name and the id of its environment.
        make: "package.module:function" of its batched environment, called as
            function(num_envs, seed, config=..., **judged).
        judged: what the environment is told further where policies are judged.
        baselines: (environment's config, evaluation's) -> who is played against the policy.
        objective: what decides.
        shown: the progress bar's metrics, as of `trainers.progress.TrainingProgress`.
        curves: what is plotted over a training.
        companions: of an environment, the files that the artefact holds beside the policy:
            name -> what writes it. Whoever runs the policy reads them to compute its rows.
        said: the direction that the layer states to the next one; None where it states none.
        next_command: what can be done with the result; {models} is the champion's place.
    """

    layout: LayerLayout
    make: str
    baselines: Baselines
    objective: Objective
    shown: tuple[tuple[str, str, str], ...]
    curves: tuple[str, ...]
    next_command: str
    judged: Mapping[str, Any] = field(default_factory=lambda: {"split": "test"})
    companions: Companions = _no_companions
    said: Said | None = None

    @property
    def name(self) -> str:
        return self.layout.layer

    def plan(self, config: MappoConfig) -> TeamPlan:
        """Who acts by which network, as `config` asks for."""
        return plan_training(self.layout, config)

    def judging_env(
        self, num_envs: int, seed: int, config: Any, split: Split | None = None
    ) -> LayerEnv:
        """Environments on the split that policies are judged on, or likewise on another."""
        make = function_at(self.make, "environment", "makes a layer's batched environment")
        judged = self.judged if split is None else {**self.judged, "split": split}
        env: LayerEnv = make(num_envs=num_envs, seed=seed, config=config, **judged)
        return env

    def trained_on(self, config: Environment) -> TrainedOn | None:
        """The bars of the training split, for the manifest; None where there are none."""
        return trained_on(config)

    def probe(self, training: LayerTraining) -> LayerEnv:
        """Two episodes, stepped once: compiles every kernel and reads the data of both splits."""
        make = function_at(self.make, "environment", "makes a layer's batched environment")
        make(num_envs=1, seed=training.seed, config=training.env)
        env = self.judging_env(2, training.seed, training.env)
        env.reset()
        baseline = next(iter(self.baselines(training.env, training.evaluation).values()))
        baseline.reset(env.num_envs)
        env.step(baseline.act(env.rows))
        return env


def _regime_model(env: Any) -> dict[str, Callable[[Path], None]]:
    return {REGIME_MODEL_FILE: env.data.model.save}


_LEARNING = (
    "entropy",
    "kl",
    "explained_variance",
    "value_spread",  # with dropout
    "grad_norm_policy",
    "grad_norm_critic",
    "validation_score",
)
_RESULT = (
    ("reward", "reward", "{:.2f}"),
    ("return_bp", "return", "{:+.2f} bp"),
    ("costs_bp", "costs", "{:.2f} bp"),
    ("turnover", "turnover", "{:.3f}"),
    ("exposure", "exposure", "{:.0%}"),
)
_RESULT_CURVES = (
    "return_bp",
    "costs_bp",
    "turnover",
    "exposure",
    "worst_drawdown_bp",
    "masked",
)

_EXECUTION = Layer(
    layout=EXECUTION,
    make="trainers.upstream:make_execution",
    judged={"split": "test", "paired_sides": True},
    baselines=lambda env, told: execution_baselines(env, told.passive_slice_steps),
    objective=SHORTFALL,
    shown=(("return", "return", "{:.2f}"), ("shortfall_bp", "shortfall", "{:.2f} bp")),
    curves=("return", "reward_shortfall", "reward_risk", "shortfall_bp", "quality", *_LEARNING),
    next_command="grandmodel decide --layer execution --models {models}",
)

_STRATEGIC = Layer(
    layout=STRATEGIC,
    make="envs.strategic:make_batched",
    baselines=lambda env, told: strategic_baselines(),
    objective=RETURN,
    shown=_RESULT,
    curves=(
        "reward",
        "reward_equity",
        "reward_drawdown",
        "reward_turnover",
        "reward_sharpe",
        "reward_reversion",
        *_RESULT_CURVES,
        *_LEARNING,
    ),
    companions=_regime_model,
    said=strategic_said,
    next_command="grandmodel train tactical",
)

_TACTICAL = Layer(
    layout=TACTICAL,
    make="trainers.upstream:make_tactical",
    baselines=lambda env, told: tactical_baselines(),
    objective=replace(RETURN, caption=f"twap: the strategic layer alone; {RETURN.caption}"),
    shown=_RESULT,
    curves=(
        "reward",
        "reward_equity",
        "reward_entry",
        "reward_limit",
        "reward_benchmark",
        "reward_chance",
        *_RESULT_CURVES,
        "stopped",
        "taken",
        "waited",
        *_LEARNING,
    ),
    judged={"split": "test", "judged": True},
    said=tactical_said,
    next_command="grandmodel train execution",
)

LAYERS: Mapping[str, Layer] = MappingProxyType(
    {layer.name: layer for layer in (_STRATEGIC, _TACTICAL, _EXECUTION)}
)
