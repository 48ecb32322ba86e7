"""How often the verdict finds evidence where there is none, and where there is some."""
