"""Policies: torch actors and critics, blind to environments."""
