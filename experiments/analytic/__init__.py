"""The study of MAPPO on markets whose best policy is known: `python -m experiments.analytic`."""
