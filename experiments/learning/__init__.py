"""Whether the layers learn: full trainings against the best baseline, over seeds and paths."""
