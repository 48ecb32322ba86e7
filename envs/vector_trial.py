"""Whether an environment resumes to the bit, found out by playing it twice from one state."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import TrainingError
from envs.team import TeamEnv
from signals.team import GroupLayout

_BEFORE, _AFTER = 3, 6  # steps before and after the state is taken
_SEED = 0


def resume_problem(env: TeamEnv) -> str:
    """Why a restored state would not go on to the bit; "" where nothing was found.

    A state is taken in the middle of an episode; the rest, and the beginning of the next
    one, are played from it twice by the same actions.
    """
    env.reset(seeds=np.full(env.num_envs, _SEED, np.uint64))
    _play(env, _BEFORE)
    try:
        saved = env.state_dict()
        first = _play(env, _AFTER)
        env.load_state(saved)
    except TrainingError as error:
        return str(error)
    if first == _play(env, _AFTER):
        return ""
    return (
        "played on twice from one saved state it gave different numbers, so that something which "
        "it depends on lies outside its attributes (such as the global random generator)"
    )


def _play(env: TeamEnv, steps: int) -> list[bytes | str]:
    """Random steps, a reset after them and at each end, and all that they gave.

    Where the environment fails the play ends: training will meet the failure and place it.
    """
    rng = np.random.default_rng(steps)
    trace: list[bytes | str] = []
    try:
        for step in range(steps):
            env.step(random_actions(env, rng))
            trace += _shown(env)
            if env.ended.any() or step == steps - 2:
                env.reset(mask=env.ended if env.ended.any() else None)
                trace += _shown(env)
    except TrainingError as error:
        trace.append(str(error))
    return trace


def _shown(env: TeamEnv) -> list[bytes | str]:
    arrays: tuple[NDArray[Any], ...] = (
        env.rows, env.states, env.masks, env.alive, env.rewards, env.terminations,
        env.truncations,
    )  # fmt: skip
    return [array.tobytes() for array in arrays]


def random_actions(env: TeamEnv, rng: np.random.Generator) -> NDArray[np.float32]:
    """Joint actions [N, action width] drawn from what is allowed, for all agents."""
    parts = [
        _drawn(group, env.masks[:, cut].reshape(env.num_envs * len(group.agents), -1), rng)
        for group, cut in zip(env.layout.groups, env.layout.mask_slices, strict=True)
    ]
    return np.concatenate([part.reshape(env.num_envs, -1) for part in parts], axis=1)


def _drawn(
    group: GroupLayout, masks: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Actions [rows, one agent's width] of a group's agents under their masks [rows, flags]."""
    columns: list[NDArray[Any]] = []
    count, at = len(masks), 0
    for factor in group.factors:
        if factor.kind == "categorical":
            keys = rng.random((count, factor.width))
            if group.masked:
                keys[~masks[:, at : at + factor.width]] = -1.0
                at += factor.width
            columns.append(keys.argmax(axis=1)[:, None])
        elif factor.kind == "bounded":
            columns.append(rng.random((count, factor.width)))
        else:
            columns.append(rng.standard_normal((count, factor.width)))
    return np.concatenate(columns, axis=1).astype(np.float32)
