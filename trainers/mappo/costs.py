"""What a step of a batched environment costs, for constraints: measured beside the reward."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.constraints import ConstraintConfig
from configs.errors import TrainingError
from configs.places import function_at

Floats = NDArray[np.float64]
Actions = NDArray[np.float32]

# Called on a batch of environments before they step by the actions [N, action_width]; what it
# returns gives the costs [N] of the step once it is played, before any reset.
Cost = Callable[[Any, Actions], Callable[[], Floats]]

_BP = 1e4
_LEVEL = "level_bp"
_FILLED = "filled_before_cross"


def drawdown() -> Cost:
    """By how much the worst drawdown of the episode grows, bp of the peak of equity.

    Summed over an episode it is the worst drawdown of the episode.
    """

    def before(env: Any, actions: Actions) -> Callable[[], Floats]:
        worst = _accounts(env)["worst_drawdown"].copy()
        return lambda: np.asarray(_BP * (_accounts(env)["worst_drawdown"] - worst))

    return before


def beyond(level_bp: float) -> Cost:
    """1 where the bar loses more than `level_bp` of the equity before it, else 0.

    Where the mean of a step is at most 5%, the bar's 95% value at risk is at most the level.
    """

    def after(env: Any, actions: Actions) -> Floats:
        accounts = _accounts(env)
        lost = _BP * (accounts["before"] - accounts["equity"]) / accounts["before"]
        return np.asarray((lost > level_bp).astype(np.float64))

    return afterwards(after)


def unfilled() -> Cost:
    """Share of the parent order that is left to the forced crossing, in the step that ends it."""

    def after(env: Any, actions: Actions) -> Floats:
        left = 1.0 - env.episode_metrics[:, _filled_metric(env)]
        return np.where(env.terminations | env.truncations, left, 0.0)

    return afterwards(after)


def afterwards(function: Callable[..., Any], **options: float) -> Cost:
    """What a function says of the step when it is played: `function(env, actions, **options)`."""

    def before(env: Any, actions: Actions) -> Callable[[], Floats]:
        return lambda: np.asarray(function(env, actions, **options), dtype=np.float64)

    return before


BUILT_IN: Mapping[str, Callable[..., Cost]] = MappingProxyType(
    {"drawdown": drawdown, "var": beyond, "unfilled": unfilled}
)


def step_cost(config: ConstraintConfig) -> Cost:
    """The cost that a constraint names.

    Raises:
        TrainingError: there is no such cost or function, or it takes other options.
    """
    where = f"mappo.constraints: cost '{config.cost}' of '{config.name}'"
    if config.cost in BUILT_IN:
        expected = {_LEVEL} if config.cost == "var" else set()
        if set(config.options) != expected:
            raise TrainingError(
                f"{where} has options {sorted(config.options) or 'none'}, expected "
                f"{sorted(expected) or 'none'}"
            )
        return BUILT_IN[config.cost](**config.options)
    if ":" not in config.cost:
        raise TrainingError(f"{where}: expected {', '.join(BUILT_IN)} or package.module:function")
    function = function_at(config.cost, where, "takes (env, actions) and returns a cost each [N]")
    return afterwards(function, **config.options)


def check_costs(constraints: Sequence[ConstraintConfig], env: Any) -> None:
    """Refuse constraints that a training of `env` could not measure, before it begins.

    Raises:
        TrainingError: a cost that is none, or not one of this environment.
    """
    for constraint in constraints:
        step_cost(constraint)
        if constraint.cost in _MEASURED:
            _MEASURED[constraint.cost](env)


class Costs:
    """Every constraint's cost of a sampler's environments.

    names: of the constraints. step: float64 [N, constraints], of the last step.
    """

    def __init__(self, constraints: Sequence[ConstraintConfig], num_envs: int) -> None:
        self.names = tuple(constraint.name for constraint in constraints)
        self._scales = np.array([constraint.scale for constraint in constraints])
        self._costs = [step_cost(constraint) for constraint in constraints]
        self._pending: list[Callable[[], Floats]] = []
        self.step: Floats = np.zeros((num_envs, len(constraints)))

    def before(self, env: Any, actions: Actions) -> None:
        """Look at the environments before they step by `actions`."""
        self._pending = [cost(env, actions) for cost in self._costs]

    def after(self) -> None:
        """Measure the step that `before` looked at, now that it is played, into `step`.

        Raises:
            TrainingError: a cost is of another shape, or not finite.
        """
        for k, (name, measured) in enumerate(zip(self.names, self._pending, strict=True)):
            found = measured()
            if found.shape != (len(self.step),) or not np.isfinite(found).all():
                raise TrainingError(
                    f"mappo.constraints: cost '{name}' gave numbers of shape {found.shape}, of "
                    f"which {int(np.isfinite(found).sum())} are finite: expected a finite one for "
                    f"each of {len(self.step)} environments"
                )
            self.step[:, k] = found

    def penalised(
        self,
        rewards: NDArray[np.float32],
        acted: NDArray[np.bool_],
        multipliers: Sequence[float],
    ) -> NDArray[np.float32]:
        """Rewards [N, A] less what the step cost by the multipliers, in the rewards' scale."""
        told = np.asarray(multipliers, dtype=np.float64)
        paid = (rewards - (self.step @ (told * self._scales))[:, None]) / (1.0 + told.sum())
        return np.where(acted, paid, 0.0).astype(np.float32)


def _accounts(env: Any) -> Any:
    """The accounts of a layer above execution, [N]."""
    accounts = getattr(getattr(env, "arrays", None), "accounts", None)
    if accounts is None:
        raise TrainingError(
            f"mappo.constraints: {type(env).__name__} keeps no accounts, whose drawdown or losses "
            "could be limited: expected an environment of the strategic or the tactical layer, or "
            "a cost of your own (package.module:function)"
        )
    return accounts


def _filled_metric(env: Any) -> int:
    """Where the execution layer tells which share was filled before the forced crossing."""
    names = tuple(getattr(env, "metric_names", ()))
    if _FILLED not in names:
        raise TrainingError(
            f"mappo.constraints: {type(env).__name__} works no parent order, whose unfilled share "
            "could be limited: expected the execution layer's environment, or a cost of your own "
            "(package.module:function)"
        )
    return names.index(_FILLED)


# What a cost reads of an environment.
_MEASURED: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {"drawdown": _accounts, "var": _accounts, "unfilled": _filled_metric}
)
