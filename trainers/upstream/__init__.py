"""Environments under artefacts of the layers above, which decide frozen on the same bars.

A frozen layer never sees what the layer below does: it lives on an account of its own, that of
the environment it was trained in. What it says is therefore a function of the bars alone, and is
played ONCE per artefact and split, batched over stretches of the bars, into a table by bar that
is kept on disk and mapped by every process. Inside a runner the layer above is then one row of
that table: the same for one environment or many, in any order, with nothing for a checkpoint to
carry beyond what the environment has copied of it. To run the networks again in each of N
environments at each of their steps would give the same numbers N times.
"""

from trainers.upstream.environments import make_execution, make_tactical
from trainers.upstream.frozen import bars_above, strategic_table

__all__ = ["bars_above", "make_execution", "make_tactical", "strategic_table"]
