"""PettingZoo environments out of a name or a function, as ParallelEnvs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pettingzoo import AECEnv
from pettingzoo.utils.conversions import aec_to_parallel

from configs.errors import TrainingError
from configs.places import function_at

_GIVES = "gives a PettingZoo environment"
_FACE = ("possible_agents", "observation_space", "action_space", "reset", "step")


class Maker:
    """Makes as many instances of one environment as are asked for.

    Args:
        env: a function that gives a PettingZoo environment, or its "package.module:function".
        kwargs: what the function is called with.

    Raises:
        TrainingError: there is no such module or function.
    """

    def __init__(self, env: str | Callable[..., Any], kwargs: Mapping[str, Any]) -> None:
        self.label = env if isinstance(env, str) else getattr(env, "__qualname__", repr(env))
        self._function = function_at(env, "environment", _GIVES) if isinstance(env, str) else env
        self._kwargs = dict(kwargs)

    def __call__(self) -> Any:
        """One ParallelEnv; an AECEnv is converted.

        Raises:
            TrainingError: the function raises, or what it gives is no such environment.
        """
        try:
            env = self._function(**self._kwargs)
        except Exception as error:
            given = ", ".join(f"{key}={value!r}" for key, value in self._kwargs.items())
            raise TrainingError(
                f"environment '{self.label}': calling it with ({given}) raised "
                f"{type(error).__name__}: {error}"
            ) from error
        if isinstance(env, AECEnv):
            env = self._in_parallel(env)
        for name in _FACE:
            if not hasattr(env, name):
                raise TrainingError(f"environment '{self.label}': {_lacking(env, name)}")
        return env

    def _in_parallel(self, env: Any) -> Any:
        if not env.metadata.get("is_parallelizable", False):
            raise TrainingError(
                f"environment '{self.label}' is an AECEnv that is not parallelizable (its agents "
                "act in turns): give a ParallelEnv, or set metadata['is_parallelizable'] if it "
                "changes at the end of each round of all its agents alone"
            )
        return aec_to_parallel(env)


def _lacking(env: Any, name: str) -> str:
    if name == "possible_agents":
        return (
            f"{type(env).__name__} has no 'possible_agents': the networks are built before it is "
            "played, so every agent that can ever come must be listed there"
        )
    return f"{type(env).__name__} has no '{name}': expected a ParallelEnv or AECEnv of PettingZoo"
