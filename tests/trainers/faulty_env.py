"""The toy environment with one fault, at one step, of the kind that a test asks for."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.envs.teams import Broken, Scripted, Unpicklable
from tests.trainers.toy_env import ToyEnv

FOREVER_S = 3600.0


class FaultyEnv(ToyEnv):
    """`fault` happens in step number `at`, counted over the environment's whole life.

    mark: a file that the first process to come there makes; no other one has the fault.
    """

    def __init__(
        self, num_envs: int, seed: int, fault: str = "", at: int = -1, mark: str = ""
    ) -> None:
        super().__init__(num_envs, seed)
        self.fault, self.at, self.mark = fault, at, mark

    def _due(self, fault: str) -> bool:
        if self.fault != fault or self.steps != self.at:
            return False
        if not self.mark:
            return True
        try:
            Path(self.mark).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def step(self, actions: NDArray[np.float32]) -> None:
        super().step(actions)
        if self._due("nan reward"):
            self.rewards[1, 2] = np.nan
        if self._due("nan observation"):
            self.rows[1, 0] = np.nan
        if self._due("raise"):
            raise ZeroDivisionError("by zero")
        if self._due("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._due("hang"):
            time.sleep(FOREVER_S)
        if self._due("interrupt"):
            os.kill(os.getpid(), signal.SIGINT)
        if self._due("interrupt twice"):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    def reset(
        self,
        mask: NDArray[np.bool_] | None = None,
        seeds: NDArray[np.uint64] | None = None,
    ) -> None:
        super().reset(mask, seeds)
        begun = mask is not None and mask.any() and self.steps >= self.at
        if self.fault == "nan after a reset" and begun:
            self.rows[np.flatnonzero(mask)[0], 0] = np.nan
        if self.fault == "raise in a reset" and begun:
            raise OSError("no such file")

    def state_dict(self) -> dict[str, Any]:
        if self.fault == "unsaved":
            raise NotImplementedError("somewhere else")
        return super().state_dict()

    def load_state(self, state: dict[str, Any]) -> None:
        if self.fault == "unrestored":
            raise ValueError("another shape")
        super().load_state(state)


def make(num_envs: int, seed: int, **kwargs: Any) -> FaultyEnv:
    return FaultyEnv(num_envs, seed, **kwargs)


def _by_zero(result: Any) -> Any:
    raise ZeroDivisionError("by zero")


def _nan(part: int) -> Callable[[Any], Any]:
    def damage(result: Any) -> Any:
        result[part]["agent_1"] = result[part]["agent_1"] * np.nan
        return result

    return damage


DAMAGES: dict[str, Callable[[Any], Any]] = {
    "raise": _by_zero,
    "nan observation": _nan(0),
    "nan reward": _nan(1),
}


def broken(fault: str) -> Scripted:
    """A ParallelEnv of anyone's with the fault in step 3 of each episode."""
    return Broken(DAMAGES[fault], when=3)


def unsaved() -> Scripted:
    """A ParallelEnv whose state nothing can save."""
    return Unpicklable()
