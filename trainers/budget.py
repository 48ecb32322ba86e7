"""How much of a training's budget is used: of the limit that is nearest."""

from __future__ import annotations

from configs.mappo import StopConfig


def budget_used(stop: StopConfig, env_steps: int, minutes: float, iterations: int) -> float:
    """The largest share used of any limit in `stop`; 1 or more means that it is used up."""
    return max(_shares(stop, env_steps, minutes, iterations).values())


def limits_reached(
    stop: StopConfig, env_steps: int, minutes: float, iterations: int
) -> tuple[str, ...]:
    """The limits that are used up, as they are set; () where there is more to train."""
    shares = _shares(stop, env_steps, minutes, iterations)
    return tuple(f"{name}={getattr(stop, name)}" for name, used in shares.items() if used >= 1.0)


def decay_progress(stop: StopConfig, env_steps: int, minutes: float, iterations: int) -> float:
    """The share of the budget that decays follow: the clock's only where nothing else bounds it."""
    if stop.env_steps is not None or stop.iterations is not None:
        stop = stop.model_copy(update={"minutes": None})
    return budget_used(stop, env_steps, minutes, iterations)


def _shares(stop: StopConfig, env_steps: int, minutes: float, iterations: int) -> dict[str, float]:
    used = {"env_steps": env_steps, "minutes": minutes, "iterations": iterations}
    limits = {name: getattr(stop, name) for name in used}
    return {name: used[name] / limit for name, limit in limits.items() if limit is not None}
