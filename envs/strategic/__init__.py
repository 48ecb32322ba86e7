"""`strategic_v0`: four agents set one target position every bar of half an hour.

The batched form steps N episodes in one kernel; the PettingZoo faces are its N = 1 case.
"""

from envs.strategic.batched import BatchedStrategic, make_batched

__all__ = ["BatchedStrategic", "make_batched"]
