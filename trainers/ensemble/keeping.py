"""An ensemble kept as a run keeps its policy: as a checkpoint that gives it back."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

from configs.actors import ActorConfig
from configs.train import LayerTraining
from market.kernels import kernel_digest
from policies.actor import Actor
from policies.ensemble import EnsemblePolicy, LayerPolicy
from policies.sequential import SequentialPolicy
from signals.layout import LayerLayout
from trainers.mappo.checkpoint import CheckpointMeta, save_checkpoint
from trainers.mappo.plan import POLICY, ActorPlan, plan_training

MAKE = "ensemble"  # what made it: no environment, so that no training can go on from it


@dataclass(frozen=True)
class MixturePlan(ActorPlan):
    """The plan of an average of probabilities. configs, counts: of its members."""

    configs: tuple[ActorConfig, ...] = ()
    counts: tuple[int, ...] = ()

    def build(self) -> Actor:
        assert isinstance(self.layout, LayerLayout)  # for the type alone: `plan_of` gives no other
        members = [SequentialPolicy(self.layout, config) for config in self.configs]
        return EnsemblePolicy(members, self.counts)


def plan_of(alone: ActorPlan, policy: LayerPolicy) -> ActorPlan:
    """The plan that builds `policy`, where `alone` is that of a single one of its layer."""
    if isinstance(policy, SequentialPolicy):
        return replace(alone, config=policy.config)
    told = {field.name: getattr(alone, field.name) for field in fields(alone)}
    return MixturePlan(
        **told, configs=tuple(member.config for member in policy.each), counts=policy.counts
    )


def keep(policy: LayerPolicy, config: LayerTraining, env_steps: int, folder: Path) -> Path:
    """Write `policy` as the one checkpoint of the run in `folder`; returns where it lies.

    config: that the run is kept under. env_steps: that its members were trained for.
    """
    plan = plan_training(policy.layout, config.mappo)
    plan = replace(plan, actors=(plan_of(plan.actors[0], policy),))
    meta = CheckpointMeta(
        iteration=0,
        env_steps=env_steps,
        minutes=0.0,
        make=MAKE,
        layout=policy.layout.digest,
        state_columns=list(plan.state_columns),
        kernels=kernel_digest(),
        config=config.mappo.model_dump(mode="json"),
    )
    return save_checkpoint(folder, {}, plan, {POLICY: policy}, meta, keep=1)
