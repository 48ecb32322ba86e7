"""`tactical_v1`: three agents tilt the strategic target every five minutes and work the way there.

The batched form steps N episodes in one kernel; the PettingZoo faces are its N = 1 case.
"""

from envs.tactical.batched import BatchedTactical, make_batched

__all__ = ["BatchedTactical", "make_batched"]
