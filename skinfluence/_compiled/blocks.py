"""Blocks of displacements side by side, as explicit vector instructions."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from skinfluence._compiled.cached import compiled

# Displacements per block. A compile-time constant: with a runtime width the
# loops below are 2-3 times slower; 16 and 32 were slower too, 128 no faster.
BLOCK = 64


def _row_intrinsic(formula, name):
    """Make ``name(dst, i, src, j, value)``: ``dst[i] = formula(dst[i], src[j], value)``.

    Rows of C-contiguous arrays with ``BLOCK`` columns, as explicit vector instructions.
    The compiler cannot know that two rows do not overlap: its guarded loops were 2 to 3
    times slower, and a view per row costs atomic reference counts inside the tree walk.
    """

    def typing(typing_context, dst, i, src, j, value):
        signature = types.void(dst, types.intp, src, types.intp, dst.dtype)

        def codegen(context, builder, sig, args):
            scalar = context.get_data_type(sig.args[0].dtype)
            size = 8 if sig.args[0].dtype == types.float64 else 4
            lanes = 64 // size
            vector = ir.VectorType(scalar, lanes)
            undefined = ir.Constant(vector, ir.Undefined)
            zero = ir.Constant(ir.IntType(32), 0)
            mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
            value = builder.insert_element(undefined, args[4], zero)
            value = builder.shuffle_vector(value, undefined, mask)
            width = ir.Constant(ir.IntType(64), BLOCK)
            rows = []
            for array, row in ((0, 1), (2, 3)):
                make = context.make_array(sig.args[array])
                data = make(context, builder, args[array]).data
                rows.append(builder.gep(data, [builder.mul(args[row], width)]))
            for b in range(0, BLOCK, lanes):
                at = ir.Constant(ir.IntType(64), b)
                to, fro = (builder.bitcast(builder.gep(p, [at]), vector.as_pointer()) for p in rows)
                old, other = builder.load(to), builder.load(fro)
                # Rows need not be aligned to more than one element.
                old.align = other.align = size
                builder.store(formula(builder, old, other, value), to).align = size
            return context.get_dummy_value()

        return signature, codegen

    typing.__name__ = typing.__qualname__ = name
    return intrinsic(typing)


def _ir_add_scaled(builder, old, other, value):
    product = builder.fmul(value, other, flags=["contract"])
    return builder.fadd(old, product, flags=["contract"])


def _ir_scale(builder, old, other, value):
    return builder.fmul(other, value)


def _ir_fold_abs(builder, old, other, value):
    # value is -1: |x| as the larger of x and -x.
    negative = builder.fmul(other, value)
    a = builder.select(builder.fcmp_ordered(">", other, negative), other, negative)
    return builder.select(builder.fcmp_ordered(">", a, old), a, old)


add_scaled = _row_intrinsic(_ir_add_scaled, "add_scaled")
scale_row = _row_intrinsic(_ir_scale, "scale_row")
fold_abs = _row_intrinsic(_ir_fold_abs, "fold_abs")


@compiled()
def aligned(n_rows, like):
    """Zeros of shape (n_rows, BLOCK) on a cache line: split loads cost up to 2x."""
    raw = np.zeros(n_rows * BLOCK + 64 // like.itemsize, like.dtype)
    off = (-raw.ctypes.data % 64) // like.itemsize
    return raw[off : off + n_rows * BLOCK].reshape(n_rows, BLOCK)
