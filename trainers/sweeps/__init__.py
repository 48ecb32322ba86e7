"""Searches over a layer's training: studies by Optuna, killed and resumed, shared by workers."""
