"""Thinner order flow: fewer and larger messages that leave the market what it was.

The slower layers step in minutes, and a market of 25 messages a second would spend much
of their time on what they never see. Sizes grow as messages grow rare, so that volume stays;
a population of fewer, larger orders quotes wider and walks more in one step, which
placement, population and leans of `configs.thinning.THIN_TABLE` make good.
"""

from __future__ import annotations

import numpy as np

from configs.errors import ConfigError
from configs.market import FlowConfig
from configs.thinning import THIN_TABLE, ThinPoint

_FEWEST_ORDERS = 2


def thin(flow: FlowConfig, factor: float) -> FlowConfig:
    """`flow` with `factor` times fewer messages a second.

    Mean spread, depth in units, volume a second and the cost of an order at equal share of
    volume are those of `flow` within 10%, by test for the default flow. How far another flow
    keeps them, `python -m experiments.thin --config FILE` tells. Own impact (`market.impact`)
    goes by expected volume, which is the same.

    Raises:
        ConfigError: the factor lies outside the table, or the flow has no room for the
            greater share of market orders.
    """
    last = THIN_TABLE[-1].factor
    if not 1.0 <= factor <= last:
        raise ConfigError(
            f"thin(factor={factor:g}): expected 1 to {last:g}, as far as it was measured"
        )
    if factor == 1.0:
        return flow
    return apply_point(flow, point_at(factor))


def point_at(factor: float) -> ThinPoint:
    """The table's row for any factor it spans, logarithms interpolated."""
    at = np.log([point.factor for point in THIN_TABLE])
    names = [name for name in ThinPoint.model_fields if name != "factor"]
    values = {
        name: float(
            np.exp(np.interp(np.log(factor), at, np.log([getattr(p, name) for p in THIN_TABLE])))
        )
        for name in names
    }
    return ThinPoint(factor=factor, **values)


def apply_point(flow: FlowConfig, point: ThinPoint) -> FlowConfig:
    """`flow` changed by the multiples of `point`; volume a second stays by construction.

    Raises:
        ConfigError: limit and market orders would be all messages.
    """
    market_share = flow.market_share * point.market_share
    cancel_share = 1.0 - flow.limit_share - market_share
    if cancel_share <= 0.0:
        raise ConfigError(
            f"thin: limit_share {flow.limit_share:g} and {point.market_share:.3g} times"
            f" market_share {flow.market_share:g} leave {cancel_share:.3g} to cancels, expected"
            " more than 0; lower either"
        )
    growth = point.factor / point.market_share
    resting = flow.resting_orders * point.resting_quantity / growth
    arrivals = flow.arrivals.model_copy(
        update={"messages_per_second": flow.arrivals.messages_per_second / point.factor}
    )
    metaorders = flow.metaorders.model_copy(
        update={"lean": flow.metaorders.lean * point.metaorder_lean}
    )
    return flow.model_copy(
        update={
            "arrivals": arrivals,
            "metaorders": metaorders,
            "market_share": market_share,
            "cancel_share": cancel_share,
            "mean_size": flow.mean_size * growth,
            "size_dispersion": flow.size_dispersion * point.size_dispersion,
            "patient_share": min(flow.patient_share * point.patient_share, 1.0),
            "resting_orders": max(round(resting), _FEWEST_ORDERS),
            "placement_scale": flow.placement_scale * point.placement_scale,
            "placement_exponent": flow.placement_exponent * point.placement_exponent,
            "lean": flow.lean * point.lean,
        }
    )
