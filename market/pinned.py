"""A kernel's arrays handed over once, by the address at which they lie.

A compiled function takes every array argument apart on every call, and counts the
references of those it passes on. The arrays of an environment live as long as it does
and are written in place: taken apart once, they are read by a kernel that is called
with one number, and are not counted. A step reads some forty of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from configs.errors import SimulatorError


@intrinsic
def _size_of(typingctx: Any, value: Any) -> Any:
    """Bytes that the compiled form of `value` takes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        size = context.get_abi_sizeof(context.get_value_type(signature.args[0]))
        return context.get_constant(types.intp, size)

    return types.intp(value), codegen


@intrinsic
def _store(typingctx: Any, value: Any, address: Any) -> Any:
    """Write the compiled form of `value` to `address`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        form = context.get_value_type(signature.args[0])
        builder.store(args[0], builder.inttoptr(args[1], form.as_pointer()))
        return context.get_dummy_value()

    return types.none(value, types.intp), codegen


def _load(context: Any, builder: Any, kind: Any, place: Any) -> Any:
    """The value of numba type `kind` at `place`; its arrays name no owner to be counted."""
    if isinstance(kind, types.BaseTuple):
        value = ir.Constant(context.get_value_type(kind), ir.Undefined)
        for index, member in enumerate(kind.types):
            part = _load(context, builder, member, cgutils.gep_inbounds(builder, place, 0, index))
            value = builder.insert_value(value, part, index)
        return value
    if not isinstance(kind, types.Array):
        return builder.load(place)
    array = context.make_array(kind)(context, builder, builder.load(place))
    array.meminfo = cgutils.get_null_value(array.meminfo.type)
    array.parent = cgutils.get_null_value(array.parent.type)
    return array._getvalue()


def pinned_as(kind: Callable[[], Any]) -> Any:
    """A function for kernels: the arguments that `Pinned` put at an address.

    `kind` gives their numba type; it is asked when a kernel is compiled.
    """

    @intrinsic
    def arguments_at(typingctx: Any, address: Any) -> Any:
        loaded = kind()

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            form = context.get_value_type(loaded)
            return _load(context, builder, loaded, builder.inttoptr(args[0], form.as_pointer()))

        return loaded(types.intp), codegen

    return arguments_at


@register_jitable  # type: ignore[untyped-decorator, unused-ignore]
def compiled_form(arguments: Any) -> Any:
    """`arguments` as a kernel holds them, uint8 [bytes].

    For a kernel of whoever pins them. A kernel of this module would be kept with the types
    of all who do, and loading one of them would load the environments.
    """
    out = np.empty(_size_of(arguments), np.uint8)
    _store(arguments, out.ctypes.data)
    return out


class Pinned:
    """Arguments of kernels that stay where they are, and the address of their compiled form.

    A copy of it, deep or pickled, holds the copied arrays and an address of its own.

    Args:
        arguments: a NamedTuple of arrays, numbers and such tuples.
        kind: gives the numba type that kernels read at the address, as in `pinned_as`.
        form: calls a kernel of the same module that returns their `compiled_form`.

    Raises:
        SimulatorError: the arguments are of another type, so that a kernel would misread them.
    """

    def __init__(self, arguments: Any, kind: Callable[[], Any], form: Callable[[Any], Any]) -> None:
        found, expected = numba.typeof(arguments), kind()
        if found != expected:
            raise SimulatorError(
                f"pinned arguments are {found}, expected {expected}; "
                "make them as this version of the environment does"
            )
        self.arguments = arguments
        self._kind, self._form = kind, form
        self._compiled = form(arguments)
        self.address = int(self._compiled.ctypes.data)

    def __reduce__(self) -> tuple[Any, ...]:
        return Pinned, (self.arguments, self._kind, self._form)
