"""Ensembles of trained policies: chosen on the validation split, exported as any artefact."""
