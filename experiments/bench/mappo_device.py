"""`bench mappo --device NAME`: one update of the toy team on a device, without RLlib.

The learner's part alone: a rollout in memory, all epochs over it. In float32, under
bfloat16 autocast and compiled, beside the same update on one CPU thread and a bare
torch update on the same device. Wall time, the device waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import median

import torch

from configs.errors import ConfigError
from configs.mappo import MappoConfig
from experiments.bare_ppo import NUM_ENVS, BarePPO, Batch
from experiments.bench.report import Figure
from experiments.contenders import Sharing, Training
from experiments.ours_toy import toy_settings
from experiments.toy_team import make_batched
from trainers.mappo.plan import TeamPlan, plan_training
from trainers.mappo.rollout import Rollout
from trainers.mappo.sampler import Sampler
from trainers.mappo.update import build_update

CPU = "cpu"
_SHARING: Sharing = "separate"
_WIDE = (256, 256)  # the default networks; those of 64 leave a GPU waiting
_ROUNDS = 5
_ENV_STEPS = {"cpu": 4_096, "cuda": 16_384}  # what keeps either busy for a moment
_VARIANTS: Mapping[str, Mapping[str, str | bool]] = {
    "fp32": {},
    "bf16": {"precision": "bfloat16"},
    "compiled": {"compile": True},
    "bf16_compiled": {"precision": "bfloat16", "compile": True},
}


def check_device(name: str) -> None:
    """Raises ConfigError where torch finds no such device."""
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        found = "cpu and cuda" if torch.cuda.is_available() else "cpu alone"
        raise ConfigError(
            f"--device {name}: torch {torch.__version__} cannot use it here ({error}); "
            f"expected one that it finds: {found}"
        ) from error


def figures(device: str, rounds: int = _ROUNDS) -> list[Figure]:
    """Milliseconds of one update in every variant, and the two references."""
    check_device(device)
    env_steps = _ENV_STEPS.get(torch.device(device).type, _ENV_STEPS["cuda"])
    training = replace(Training(), env_steps=env_steps, hidden=_WIDE)
    settings = toy_settings(_SHARING, training)
    plan = plan_training(make_batched(1).layout, settings)
    rollout = _rollout(plan, settings)
    timed = {
        name: _ours(plan, settings.model_copy(update=changes), rollout, device, rounds)
        for name, changes in _VARIANTS.items()
    }
    references = {
        "one CPU thread, fp32": _ours(plan, settings, rollout, CPU, rounds),
        "bare torch, fp32": _bare(training, device, rounds),
    }
    return [
        Figure(
            f"update_{name}_{device.replace(':', '_')}",
            1e3 * seconds,
            "ms",
            reference,
            1e3 * other,
            other / seconds,
        )
        for name, seconds in timed.items()
        for reference, other in references.items()
    ]


def _rollout(plan: TeamPlan, settings: MappoConfig) -> Rollout:
    actors = {actor.name: actor.build() for actor in plan.actors}
    sampler = Sampler(make_batched(NUM_ENVS, settings.seed), plan, settings.seed)
    return sampler.sample(actors, settings.rollout_length)


def _ours(
    plan: TeamPlan, settings: MappoConfig, rollout: Rollout, device: str, rounds: int
) -> float:
    update = build_update(plan, settings, torch.device(device))
    return _seconds(lambda: update.run(rollout, 0.0, 1), device, rounds)


def _bare(training: Training, device: str, rounds: int) -> float:
    bare = BarePPO(_SHARING, training, NUM_ENVS)
    batch = bare._batch(*bare._rollout())
    bare.actors.to(device)
    bare.critic.to(device)

    def update() -> None:
        bare.learn(Batch(*(part.to(device) for part in batch)))

    return _seconds(update, device, rounds)


def _seconds(work: Callable[[], object], device: str, rounds: int) -> float:
    """The median of `rounds` calls, after two that are not counted (compiling, allocating)."""
    torch.set_num_threads(1)
    taken = []
    for _ in range(rounds + 2):
        began = time.perf_counter()
        work()
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return median(taken[2:])
