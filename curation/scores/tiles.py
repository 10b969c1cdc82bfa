"""Small products of matrices in compiled loops. Importing it imports numba, so import it where it is used.

Belongs here: sixteen float32 side by side as a type of numba's, so that sums stay in registers, and the
product and the sums that are made of it. Does not belong here: large products, which torch's libraries do as well.

A compiler does not keep the sums of a loop over arrays in registers, since it cannot know that the arrays
do not overlap; that costs half of the speed, and more where rows are short.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic, models, register_model

#: Numbers in a vector, and rows that are multiplied together.
LANES, ROWS = 16, 4
_ZERO = np.float32(0)
_VECTOR, _LANE = ir.VectorType(ir.FloatType(), LANES), ir.IntType(32)


class _Vector(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


def _address(context: Any, builder: Any, kind: Any, array: Any, place: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [place]), _VECTOR.as_pointer())


def _spread(builder: Any, value: Any) -> Any:
    nothing = ir.Constant(_VECTOR, ir.Undefined)
    one = builder.insert_element(nothing, value, ir.Constant(_LANE, 0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(_LANE, LANES), [0] * LANES))


@intrinsic
def _load(_typing: Any, array: Any, place: Any) -> Any:
    """The vector at a place of a contiguous array; no other has a type."""
    if array.layout != "C":
        return None

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.load(_address(context, builder, signature.args[0], *given), align=4)

    return _Vector()(array, types.intp), code


@intrinsic
def _store(_typing: Any, array: Any, place: Any, vector: Any) -> Any:
    if array.layout != "C":
        return None

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        builder.store(given[2], _address(context, builder, signature.args[0], *given[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), code


@intrinsic
def _times(_typing: Any, vector: Any, value: Any) -> Any:
    def code(_context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        return builder.fmul(given[0], _spread(builder, given[1]), flags=("contract",))

    return _Vector()(_Vector(), types.float32), code


@intrinsic
def _by(_typing: Any, one: Any, other: Any) -> Any:
    def code(_context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        return builder.fmul(*given, flags=("contract",))

    return _Vector()(_Vector(), _Vector()), code


@intrinsic
def _across(_typing: Any, vector: Any) -> Any:
    """The sum of a vector: halves are added to each other until one number is left."""

    def code(_context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        parts = [builder.extract_element(given[0], ir.Constant(_LANE, lane)) for lane in range(LANES)]
        while len(parts) > 1:
            half = len(parts) // 2
            parts = [builder.fadd(one, other) for one, other in zip(parts[:half], parts[half:], strict=True)]
        return parts[0]

    return types.float32(_Vector()), code


@intrinsic
def _plus(_typing: Any, one: Any, other: Any) -> Any:
    def code(_context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        return builder.fadd(*given, flags=("contract",))

    return _Vector()(_Vector(), _Vector()), code


@njit(cache=True, nogil=True)
def total(row: np.ndarray, squared: bool) -> np.float32:
    """Sum of a contiguous row of float32, or of its squares, always in the same order."""
    whole = len(row) // LANES * LANES
    found = _ZERO
    if whole:
        sums: Any = _load(row, 0)  # type: ignore[call-arg]
        if squared:
            sums = _by(sums, sums)
        for column in range(LANES, whole, LANES):
            value: Any = _load(row, column)  # type: ignore[call-arg]
            sums = _plus(sums, _by(value, value) if squared else value)
        found = _across(sums)
    for column in range(whole, len(row)):
        found += row[column] * row[column] if squared else row[column]
    return found


@njit(cache=True, nogil=True)
def multiply(left: np.ndarray, right: np.ndarray, rows: int, columns: int, found: np.ndarray) -> None:
    """found[:, :columns] = left[:, :rows] · right[:rows, :columns], float32, contiguous.

    `left` and `found` have a multiple of `ROWS` rows, and `columns` is a multiple of `LANES`.
    """
    width, stride = right.shape[1], found.shape[1]
    for column in range(0, columns, LANES):
        for first in range(0, len(left), ROWS):
            one, two, three, four = left[first], left[first + 1], left[first + 2], left[first + 3]
            value: Any = _load(right, column)  # type: ignore[call-arg]
            a, b = _times(value, one[0]), _times(value, two[0])
            c, d = _times(value, three[0]), _times(value, four[0])
            for row in range(1, rows):
                value = _load(right, row * width + column)
                a, b = _plus(a, _times(value, one[row])), _plus(b, _times(value, two[row]))
                c, d = _plus(c, _times(value, three[row])), _plus(d, _times(value, four[row]))
            place = first * stride + column
            _store(found, place, a)
            _store(found, place + stride, b)
            _store(found, place + 2 * stride, c)
            _store(found, place + 3 * stride, d)
