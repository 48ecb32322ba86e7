"""The machine that learns, and what of sequences it can hold at once."""

from __future__ import annotations

import os
from dataclasses import dataclass

import psutil
import torch

from configs.errors import TrainingError
from configs.mappo import MappoConfig
from trainers.mappo.plan import TeamPlan

_GIB = 2**30


@dataclass(frozen=True)
class MachineProfile:
    """Sizes for actors with a memory: sequences of a minibatch, and steps of a sequence."""

    name: str
    sequences: int
    sequence_length: int


# GPUs by their memory in GiB, the largest first: SPEC, section 11. A card sold as 16 GB
# shows a little less.
_SLACK = 0.9
_GPUS = (
    (40.0, MachineProfile("40 GB GPU or more", 64, 48)),
    (32.0, MachineProfile("32 GB GPU", 32, 48)),
    (16.0, MachineProfile("16 GB GPU", 16, 32)),
)
_SMALL_GPU = MachineProfile("GPU under 16 GB", 8, 32)
_CPU = MachineProfile("CPU", 32, 16)


def profile_of(gpu_bytes: int | None) -> MachineProfile:
    """The profile for a GPU of that much memory; None is a CPU."""
    if gpu_bytes is None:
        return _CPU
    for least, profile in _GPUS:
        if gpu_bytes >= _SLACK * least * _GIB:
            return profile
    return _SMALL_GPU


def detect(settings: MappoConfig) -> MachineProfile:
    """The profile of what this run learns on: its GPU where it asks for one, else the CPU."""
    if not settings.gpus_per_learner or not torch.cuda.is_available():
        return _CPU
    return profile_of(torch.cuda.get_device_properties(0).total_memory)


def sized(settings: MappoConfig, plan: TeamPlan, profile: MachineProfile) -> MappoConfig:
    """`settings` with the machine's sizes, where they ask for them and some actor has a memory.

    Raises:
        TrainingError: a learner's share of an iteration is less than one sequence.
    """
    if settings.sizes == "given" or not plan.has_memory:
        return settings
    length = _fitting(profile.sequence_length, settings.rollout_length)
    units = settings.iteration_env_steps // max(1, settings.learners) // length
    if units < 1:
        raise TrainingError(
            f"num_envs={settings.num_envs} and rollout_length={settings.rollout_length} hold less "
            f"than one sequence of {length} steps for each of {settings.learners} learners: raise "
            "mappo.num_envs or mappo.rollout_length"
        )
    minibatches = _minibatches(units, profile.sequences)
    return settings.model_copy(update={"sequence_length": length, "minibatches": minibatches})


def _fitting(wanted: int, rollout_length: int) -> int:
    """The longest sequence of at most `wanted` steps that divides a rollout."""
    return max(n for n in range(1, min(wanted, rollout_length) + 1) if rollout_length % n == 0)


def _minibatches(units: int, size: int) -> int:
    """The fewest minibatches of at most `size` of `units` that divide them."""
    return min(n for n in range(1, units + 1) if units % n == 0 and units // n <= size)


def described(settings: MappoConfig, plan: TeamPlan, profile: MachineProfile) -> str:
    """The machine and the sizes that came of it, in one line."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    memory = psutil.virtual_memory().total / _GIB
    machine = f"{os.cpu_count()} CPUs, {memory:.0f} GiB, {gpus} GPUs"
    if not plan.has_memory:
        return f"machine: {machine}; learning on: {profile.name}"
    units = settings.iteration_env_steps // max(1, settings.learners) // settings.sequence_length
    return (
        f"machine: {machine}; learning on: {profile.name}, {units // settings.minibatches} "
        f"sequences of {settings.sequence_length} steps a minibatch"
    )
