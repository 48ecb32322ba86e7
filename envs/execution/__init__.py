"""`execution_v1`: five agents work one parent order in the simulated book.

The batched form steps N episodes in one kernel; the PettingZoo faces are its N = 1 case.
"""

from envs.execution.batched import BatchedExecution, make_batched
from envs.execution.parallel import ENV_ID, ExecutionParallelEnv
from envs.execution.sequential import ExecutionAECEnv

__all__ = ["ENV_ID", "BatchedExecution", "ExecutionAECEnv", "ExecutionParallelEnv", "make_batched"]
