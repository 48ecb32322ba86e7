"""Raw pointers and bit scans for hot loops.

An array handed through inlined helpers makes numba count references on every
call, which costs eight times the work of an order message. A pointer taken from
the array once, outside the loop, carries no count. The caller keeps the array
alive for as long as the pointer is used.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic
def pointer(typingctx: Any, array: Any) -> Any:
    """`CPointer(dtype)` to the first element of a C-contiguous array."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


@intrinsic
def shifted(typingctx: Any, base: Any, offset: Any) -> Any:
    """The pointer `offset` elements after `base`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        start, count = args
        return builder.gep(start, [context.cast(builder, count, signature.args[1], types.intp)])

    return base(base, offset), codegen


@intrinsic
def trailing_zeros(typingctx: Any, word: Any) -> Any:
    """Index of the lowest set bit of a uint64; the word must not be zero."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), codegen


@intrinsic
def leading_zeros(typingctx: Any, word: Any) -> Any:
    """Number of clear bits above the highest set bit of a uint64; not for zero."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), codegen


@intrinsic
def record(typingctx: Any, base: Any) -> Any:
    """The record that a `CPointer(Record)` points to, to read and write its fields in place."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(signature.return_type))

    return base.dtype(base), codegen
