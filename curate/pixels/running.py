"""Running sums of integers by vectors, as undoing the predictors of TIFF needs them.

A loop that adds one number after the other stores each of them alone: a step of the processor's clock for every byte.
Within a vector of 16 bytes the sums take a few steps together: each step adds to every number the one 1, 2, 4, … places
before it. What precedes the vector is then added to all of it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic

from curate.compiled import compiled

_BYTES = 16  # of a vector: every processor has them


@intrinsic
def _vector(typing: Any, values: Any, out: Any, start: Any, before: Any) -> Any:
    """Put *before* plus the running sums of the vector of *values* at *start* into *out*; the sum of the vector."""
    number = values.dtype
    lanes = 8 * _BYTES // number.bitwidth

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector, index = (ir.VectorType(ir.IntType(bits), lanes) for bits in (number.bitwidth, 32))
        nothing = ir.Constant(vector, [0] * lanes)
        source, target = (
            builder.bitcast(
                builder.gep(context.make_array(kind)(context, builder, array).data, [args[2]]),
                vector.as_pointer(),
            )
            for kind, array in zip(signature.args[:2], args[:2], strict=True)
        )
        sums, step = builder.load(source, align=1), 1
        while step < lanes:  # of (nothing, sums) one after the other, those *step* places before
            places = ir.Constant(index, [lanes - step + i for i in range(lanes)])
            sums = builder.add(sums, builder.shuffle_vector(nothing, sums, places))
            step *= 2
        first = builder.insert_element(nothing, args[3], ir.Constant(ir.IntType(32), 0))
        everywhere = builder.shuffle_vector(first, nothing, ir.Constant(index, [0] * lanes))
        builder.store(builder.add(sums, everywhere), target, align=1)
        return builder.extract_element(sums, ir.Constant(ir.IntType(32), lanes - 1))

    return number(values, out, types.intp, number), code


@compiled
def running_sum(values: Any, out: Any) -> None:
    """Put the sum of all numbers up to each into *out*.

    Args:
        values, out: unsigned integers of one type, one-dimensional, each number beside the next.
    """
    lanes = _BYTES // values.itemsize
    whole = len(values) // lanes * lanes
    total = values.dtype.type(0)
    for start in range(0, whole, lanes):
        total = values.dtype.type(total + _vector(values, out, start, total))  # type: ignore[call-arg]
    for k in range(whole, len(values)):
        total = values.dtype.type(total + values[k])
        out[k] = total
