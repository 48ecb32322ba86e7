"""What the kernels of the layers above execution share; each takes a layer's step arrays."""

from __future__ import annotations

from typing import Any

from market.account import allowed_share
from market.kernels import generic, inlined

ACCEPTED = -1  # as the position of the first refused number
BP = 1e4


def result_metrics(terms: tuple[str, ...]) -> tuple[str, ...]:
    """Names of what `write_metrics` writes, in its order."""
    return (
        "return_bp", "reward", *(f"reward_{term}" for term in terms), "costs_bp", "fees_bp",
        "turnover", "exposure", "worst_drawdown_bp", "halted", "masked", "steps",
    )  # fmt: skip


@inlined
def copy_window(table: Any, bar: int, width: int, out: Any, at: int) -> int:
    """Write the last `width` numbers of `table` up to row `bar`; the place after them."""
    columns = table.shape[1]
    first = (bar + 1) * columns - width
    flat = table.reshape(-1)
    out[at : at + width] = flat[first : first + width]
    return at + width


@generic
def allowed_now(arrays: Any, n: int) -> float:
    """Share of the limit that may be held after the next bar: none once it is the last."""
    if arrays.world.places[n].bar >= arrays.last_bars[n]:
        return 0.0
    return allowed_share(arrays.accounts[n], arrays.breakers[0])


@generic
def write_metrics(arrays: Any, n: int, deciders: int) -> int:
    """The finished episode's metrics, in the order of `result_metrics`; the place after them.

    Args:
        deciders: agents whose choices may be masked.
    """
    account, out = arrays.accounts[n], arrays.episode_metrics[n]
    bars, terms = arrays.world.places[n].played, arrays.term_sums.shape[1]
    out[0] = BP * (account.equity - account.initial) / account.initial
    paid = 0.0
    for term in range(terms):
        paid += arrays.term_sums[n, term]
        out[2 + term] = arrays.term_sums[n, term]
    out[1] = paid
    at = 2 + terms
    out[at] = BP * account.all_costs / account.initial
    out[at + 1] = BP * account.all_fees / account.initial
    out[at + 2] = account.all_turnover / bars
    out[at + 3] = account.exposure / bars
    out[at + 4] = BP * account.worst_drawdown
    out[at + 5] = account.halted
    out[at + 6] = arrays.masked[n] / (bars * deciders)
    out[at + 7] = bars
    return at + 8


@inlined
def first_refused(action: Any, choices: int) -> int:
    """Position of the first number that is none of `choices`, or ACCEPTED."""
    for position in range(len(action)):
        # A comparison with NaN is false, so that one test covers range and finiteness.
        inside = 0.0 <= action[position] <= choices - 1
        if not inside or action[position] != int(action[position]):
            return position
    return ACCEPTED
