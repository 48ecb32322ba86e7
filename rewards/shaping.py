"""Potential-based shaping: hints that cannot change what is optimal.

Ng, Harada and Russell, "Policy invariance under reward transformations" (1999): a bonus
F = gamma Phi(s') - Phi(s) moves the value of every policy in a state by the same -Phi(s). In
episodes that end, this asks that Phi be 0 where they do (Grzes, "Reward shaping in episodic
reinforcement learning", 2017), or else the last state would be paid for itself. gamma has to
be the trainer's, and Phi a function of the state alone.
"""

from __future__ import annotations

from market.kernels import inlined


@inlined
def shaping_term(gamma: float, before: float, after: float, terminal: bool) -> float:
    """F = gamma Phi(s') - Phi(s), in the reward's unit.

    Args:
        gamma: discount of the trainer.
        before, after: Phi of the states before and after the step.
        terminal: whether the episode ends with the step, so that Phi(s') counts as 0.
    """
    return (0.0 if terminal else gamma * after) - before
