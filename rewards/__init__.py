"""Pure reward terms, composed by weights in config."""
