"""y[i : i + n] += w x[k : k + n]: neighbouring numbers in one vector instruction, which numba does not find by itself.

Arrays are flat and of one floating type. Nothing is checked: the caller keeps the indices within them.
"""

from collections.abc import Callable, Iterable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

LANES = 8


def _add_scaled(context: Any, y: Any, i: Any, x: Any, k: Any, w: Any) -> tuple[Any, Callable[..., Any]]:
    """y[i : i + LANES] += w x[k : k + LANES]."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        target, source = (_place(context, builder, signature, values, at, LANES) for at in (0, 2))
        vector = target.type.pointee
        first = builder.insert_element(ir.Constant(vector, ir.Undefined), values[4], _INDEX(0))
        zeros = ir.Constant(ir.VectorType(_INDEX, LANES), None)
        factors = builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)
        size = x.dtype.bitwidth // 8
        term = builder.fmul(factors, builder.load(source, align=size))
        builder.store(builder.fadd(builder.load(target, align=size), term), target, align=size)
        return context.get_dummy_value()

    return types.void(y, types.intp, x, types.intp, x.dtype), generate


def _add_pair(context: Any, y: Any, i: Any, a: Any, b: Any) -> tuple[Any, Callable[..., Any]]:
    """y[i] += a, y[i + 1] += b."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        target = _place(context, builder, signature, values, 0, 2)
        pair = ir.Constant(target.type.pointee, ir.Undefined)
        for lane in (0, 1):
            pair = builder.insert_element(pair, values[2 + lane], _INDEX(lane))
        size = y.dtype.bitwidth // 8
        builder.store(builder.fadd(builder.load(target, align=size), pair), target, align=size)
        return context.get_dummy_value()

    return types.void(y, types.intp, y.dtype, y.dtype), generate


def _add_between(
    context: Any, y: Any, i: Any, x: Any, places: Any, shares: Any, n: Any
) -> tuple[Any, Callable[..., Any]]:
    """y[i + 2 m] += (1 - f) x[k], y[i + 2 m + 1] += f x[k + 1] for k, f of m = 0..3 in places[n + m], shares[n + m]."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        size, word = x.dtype.bitwidth // 8, context.get_value_type(types.intp)
        first, image, at, shared = (_data(context, builder, signature, values, arg) for arg in (0, 2, 3, 4))
        taps = []
        for m in range(4):
            place = builder.load(builder.gep(at, [builder.add(values[5], word(m))]))
            pair = builder.gep(image, [builder.sext(place, word)])
            taps.append(builder.load(_as_vector(builder, pair, 2), align=size))
        left, right = (_joined(builder, taps[m], taps[m + 1], range(4)) for m in (0, 2))
        f = builder.load(_as_vector(builder, builder.gep(shared, [values[5]]), 4), align=size)
        weights = _joined(builder, builder.fsub(ir.Constant(f.type, [1.0] * 4), f), f, (0, 4, 1, 5, 2, 6, 3, 7))
        term = builder.fmul(_joined(builder, left, right, range(8)), weights)
        target = _as_vector(builder, builder.gep(first, [values[1]]), 8)
        builder.store(builder.fadd(builder.load(target, align=size), term), target, align=size)
        return context.get_dummy_value()

    return types.void(y, types.intp, x, places, shares, types.intp), generate


_INDEX = ir.IntType(32)


def _joined(builder: Any, a: Any, b: Any, order: Iterable[int]) -> Any:
    """Lanes of a followed by b, in this order."""
    lanes = list(order)
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_INDEX, len(lanes)), lanes))


def _data(context: Any, builder: Any, signature: Any, values: Any, at: int) -> Any:
    """Pointer to the entries of the array that is argument `at`."""
    return context.make_array(signature.args[at])(context, builder, values[at]).data


def _as_vector(builder: Any, pointer: Any, lanes: int) -> Any:
    return builder.bitcast(pointer, ir.VectorType(pointer.type.pointee, lanes).as_pointer())


def _place(context: Any, builder: Any, signature: Any, values: Any, at: int, lanes: int) -> Any:
    """Pointer to `lanes` entries of the array that is argument `at`, from the index that follows it."""
    pointer = builder.gep(_data(context, builder, signature, values, at), [values[at + 1]])
    return _as_vector(builder, pointer, lanes)


add_scaled: Any = intrinsic(_add_scaled)
add_pair: Any = intrinsic(_add_pair)
add_between: Any = intrinsic(_add_between)
