"""What every measure of this package asks of the returns it is given."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.errors import DataError

Floats = NDArray[np.float64]


def checked(returns: ArrayLike, least: int = 1, what: str = "returns") -> Floats:
    """`returns` as float64, time along the first axis.

    Args:
        returns: [n, ...], finite.
        least: periods that there must be.
        what: they are, for the message.

    Raises:
        DataError: too few periods, or a number that is not finite.
    """
    values = np.asarray(returns, dtype=np.float64)
    if values.ndim == 0 or len(values) < least:
        raise DataError(
            f"{what} of shape {values.shape}: expected {least} periods or more along the first "
            "axis; give a longer backtest"
        )
    if not np.isfinite(values).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise DataError(
            f"{what} at {where} are {values[where]}: expected finite ones; leave out or mend the "
            "period where they were not measured"
        )
    return values


def checked_panel(panel: ArrayLike, least: int = 2, candidates: int = 1) -> Floats:
    """`panel` as float64 [n, k], one column a candidate.

    Raises:
        DataError: see `checked`; or it is no table of at least so many candidates.
    """
    values = checked(panel, least, "panel of returns")
    if values.ndim != 2 or values.shape[1] < candidates:
        raise DataError(
            f"panel of shape {values.shape}: expected [periods, candidates] with {candidates} "
            "candidates or more"
        )
    return values
