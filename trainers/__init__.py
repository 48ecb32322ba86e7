"""Training: MAPPO on RLlib, evaluation, tracking, export and the command line."""
