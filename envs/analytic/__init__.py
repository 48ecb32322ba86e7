"""Markets whose best policy is known, played by the strategic layer's agents and choices."""

from envs.analytic.batched import BatchedAnalytic, make_batched

__all__ = ["BatchedAnalytic", "make_batched"]
