"""The study of MAPPO on MPE: `python -m experiments.mpe`."""
