"""Limits that a training keeps by multipliers: what may cost how much, and how fast it is paid for.

A multiplier is a controller of the cost (Stooke, Achiam and Abbeel, "Responsive Safety in
Reinforcement Learning by PID Lagrangian Methods", 2020, algorithm 2): with the error e = cost /
limit - 1 of an iteration it is K_P e + I + K_D max(0, change of cost / limit), within 0 and its
cap, where I grows by K_I e. The integral alone is dual ascent on the Lagrangian.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from configs.base import Config

# In the agents' files of metrics: mappo.constraint.NAME.cost.
_NAME = r"^[a-z][a-z0-9_]*$"


class ConstraintConfig(Config):
    """One limit.

    Rewards are paid as (r - sum_k multiplier_k scale_k cost_k) / (1 + sum_k multiplier_k).
    """

    name: str = Field(pattern=_NAME, description="of its metrics, mappo.constraint.NAME.*")
    cost: str = Field(
        min_length=1,
        description="drawdown (bp that the worst drawdown of the episode grows by), var (1 in a "
        "bar that loses more than options.level_bp of the equity), unfilled (share of the parent "
        "order left to the forced crossing), or package.module:function, called as "
        "function(env, actions, **options) after each step for float [N]",
    )
    options: dict[str, float] = Field(default_factory=dict, description="of the cost")
    over: Literal["episode", "step"] = Field(
        "episode", description="what is limited: an episode's sum of costs, or the mean of a step"
    )
    limit: PositiveFloat
    scale: PositiveFloat = Field(
        1.0, description="what a unit of the cost counts in rewards at a multiplier of 1"
    )
    proportional: NonNegativeFloat = Field(0.0, description="K_P")
    integral: NonNegativeFloat = Field(0.05, description="K_I, an iteration")
    derivative: NonNegativeFloat = Field(0.0, description="K_D")
    initial: NonNegativeFloat = Field(0.0, description="the integral's, and so the multiplier's")
    cap: PositiveFloat = Field(20.0, description="of the multiplier and of its integral")

    @model_validator(mode="after")
    def _can_act(self) -> Self:
        if self.initial > self.cap:
            raise ValueError(f"initial={self.initial} with cap={self.cap}: expected no more")
        if not (self.proportional or self.integral or self.derivative or self.initial):
            raise ValueError(
                "proportional, integral, derivative and initial are all 0, expected one above it: "
                "the multiplier would stay at 0"
            )
        return self
