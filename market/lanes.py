"""Four decays at once.

numba keeps scalars scalar, and the four kernels of the arrivals are the larger part of what
a background message computes: in the four lanes of one register they cost a quarter.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from market.kernels import inlined
from market.state import DECAY, EXCITATIONS, JUMP, LAW_FIELDS

SERIES_LIMIT = 1.0
_QUARTER, _HALF = 0.25, 0.5
_SIXTH, _24TH, _120TH = 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0
_WORD = ir.IntType(32)
_DOUBLE = ir.DoubleType()
_LANES = ir.VectorType(_DOUBLE, EXCITATIONS)
_BYTES = 8  # as which numpy aligns a float64


@inlined
def short_decay(exponent: float) -> float:
    """exp(-exponent) for exponents of at most SERIES_LIMIT: the series of a quarter of it."""
    x = _QUARTER * exponent
    square = x * x
    tail = (_SIXTH - x * _24TH) + square * _120TH
    root = ((1.0 - x) + _HALF * square) - square * x * tail
    root *= root
    return root * root


@inlined
def decayed(exponent: float) -> float:
    """exp(-exponent) for exponent >= 0, to 2e-6 relative."""
    return math.exp(-exponent) if exponent > SERIES_LIMIT else short_decay(exponent)


def _every(number: float) -> Any:
    return ir.Constant(_LANES, [number] * EXCITATIONS)


def _spread(builder: Any, number: Any) -> Any:
    """The number in every lane."""
    empty = ir.Constant(_LANES, ir.Undefined)
    first = builder.insert_element(empty, number, ir.Constant(_WORD, 0))
    return builder.shuffle_vector(
        first, empty, ir.Constant(ir.VectorType(_WORD, EXCITATIONS), [0] * EXCITATIONS)
    )


def _fields(builder: Any, law: Any, field: int) -> Any:
    """One field of each row of a law [EXCITATIONS, LAW_FIELDS]."""
    whole = ir.VectorType(_DOUBLE, EXCITATIONS * LAW_FIELDS)
    rows = builder.load(builder.bitcast(law, whole.as_pointer()), align=_BYTES)
    places = [field + LAW_FIELDS * lane for lane in range(EXCITATIONS)]
    return builder.shuffle_vector(
        rows,
        ir.Constant(whole, ir.Undefined),
        ir.Constant(ir.VectorType(_WORD, EXCITATIONS), places),
    )


@intrinsic
def fade_short(typingctx: Any, amounts: Any, law: Any, seconds: Any) -> Any:
    """Each of EXCITATIONS amounts times the `short_decay` of its rate. Returns their sum.

    Args:
        amounts: pointer to float64 [EXCITATIONS], written.
        law: pointer to float64 [EXCITATIONS, LAW_FIELDS].
        seconds: of which no rate makes more than SERIES_LIMIT.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.bitcast(args[0], _LANES.as_pointer())
        quarter = builder.fmul(args[2], ir.Constant(_DOUBLE, _QUARTER))
        x = builder.fmul(_fields(builder, args[1], DECAY), _spread(builder, quarter))
        square = builder.fmul(x, x)
        tail = builder.fsub(_every(_SIXTH), builder.fmul(x, _every(_24TH)))
        tail = builder.fadd(tail, builder.fmul(square, _every(_120TH)))
        head = builder.fadd(builder.fsub(_every(1.0), x), builder.fmul(_every(_HALF), square))
        root = builder.fsub(head, builder.fmul(builder.fmul(square, x), tail))
        root = builder.fmul(root, root)
        left = builder.fmul(builder.load(place, align=_BYTES), builder.fmul(root, root))
        builder.store(left, place, align=_BYTES)
        one, two, three, four = (
            builder.extract_element(left, ir.Constant(_WORD, lane)) for lane in range(EXCITATIONS)
        )
        return builder.fadd(builder.fadd(one, two), builder.fadd(three, four))

    return types.float64(amounts, law, types.float64), codegen


@intrinsic
def excite(typingctx: Any, amounts: Any, law: Any) -> Any:
    """Add the jump of its row of the law [EXCITATIONS, LAW_FIELDS] to each of the amounts."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.bitcast(args[0], _LANES.as_pointer())
        before = builder.load(place, align=_BYTES)
        builder.store(builder.fadd(before, _fields(builder, args[1], JUMP)), place, align=_BYTES)
        return context.get_dummy_value()

    return types.none(amounts, law), codegen
