"""PettingZoo environments and their batched form."""
