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
from numba.core import cgutils
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


@intrinsic
def either(typingctx: Any, condition: Any, first: Any, second: Any) -> Any:
    """The pointer `first` where `condition` holds, else `second`, chosen without a branch."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        chosen = context.cast(builder, args[0], signature.args[0], types.boolean)
        return builder.select(chosen, args[1], args[2])

    return first(condition, first, second), codegen


@intrinsic
def opaque(typingctx: Any, number: Any) -> Any:
    """An int64 of which the compiler knows nothing, so that it builds no branch on it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = context.cast(builder, args[0], signature.args[0], types.int64)
        kind = ir.FunctionType(whole.type, [whole.type])
        return builder.asm(kind, "", "=r,0", [whole], False)

    return types.int64(number), codegen


@intrinsic
def prefetch(typingctx: Any, base: Any, offset: Any) -> Any:
    """Ask for the cache line of element `offset`; never faults, whatever the offset."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        start, count = args
        address = builder.gep(start, [context.cast(builder, count, signature.args[1], types.intp)])
        word = ir.IntType(32)
        address = builder.bitcast(address, ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [address.type, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        # For writing, to be kept in every cache, data.
        hints = [ir.Constant(word, value) for value in (1, 3, 1)]
        builder.call(function, [address, *hints])
        return context.get_dummy_value()

    return types.void(base, offset), codegen
