"""MAPPO on RLlib: algorithm, batched runner, learner and modules."""
