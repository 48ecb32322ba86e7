"""The replay's own code run by Python, with pointers that refuse to leave their array.

Run as a module with NUMBA_DISABLE_JIT=1 and a folder for files.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numba

from tests.market import checked_pointers


def _replay_all(folder: Path) -> None:
    from market.history import HistoricalMarket
    from tests.market.book_checks import check_invariants
    from tests.market.history_streams import act, random_rows
    from tests.market.message_files import messages

    for seed in range(4):
        data = messages(folder, random_rows(seed, 2000), max_ladder_levels=64 << (seed % 2))
        market = HistoricalMarket(data, own_orders=200, record=True)
        act(market, seed)
        check_invariants(market.arrays.book)
        assert len(market.fills) > 10


if __name__ == "__main__":
    assert numba.config.DISABLE_JIT
    checked_pointers._install()
    _replay_all(Path(sys.argv[1]))
    assert checked_pointers.CheckedPointer.accesses > 100_000, "other pointers were used"
    print("within bounds")
