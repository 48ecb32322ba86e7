"""What the layers above execution read from bars: indicators, matrices, live streams.

Every indicator is ONE update over a state of plain arrays, and a series kernel that
loops over it, so that a table computed at once and a stream fed bar by bar are equal
to the bit. A state is born of zeros: clearing it is starting again, which is what
happens at a hole in the data (`signals.bars.clock`), so that what comes after a hole
never depends on what came before it. NaN means "not warmed up" everywhere but in a
`FeatureTable`, which has a mask for it.
"""
