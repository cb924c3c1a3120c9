"""The larger of two numbers in compiled loops, in a form that runs in vectors.

Python's ``max`` becomes a store under a mask, which takes some processors ten times as long as the
arithmetic beside it.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_TYPES = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}


@intrinsic
def larger(context, a, b):
    """The larger of two numbers of one type of float; neither is NaN.

    With ``fastmath`` a largest number of a line is found in vectors too.
    """
    if a != b or a not in _TYPES:
        return None
    kind = _TYPES[a]

    def generate(target, builder, signature, arguments):
        found = builder.module.declare_intrinsic(
            "llvm.maxnum", [kind], ir.FunctionType(kind, [kind, kind])
        )
        return builder.call(found, arguments, fastmath=("nnan", "nsz"))

    return a(a, b), generate
