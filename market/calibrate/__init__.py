"""A market's configuration from a file of its messages or bars: numpy alone."""
