"""Arrays to try operators on: thin, prime and plain shapes, all kinds of dtypes."""

import numpy as np

SHAPES = [(1,), (17,), (23, 1), (7, 31), (1, 1, 13), (11, 13, 17), (16, 8, 24), (2, 3, 5, 7)]
INTEGERS = ["bool", "uint8", "int8", "uint16", "int32", "int64", "uint64"]
FLOATS = ["float16", "float32", "float64"]


def array(random, shape, dtype):
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return random.integers(0, 2, shape).astype(bool)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return random.integers(info.min, info.max, shape, dtype, endpoint=True)
    return (random.standard_normal(shape) * 50).astype(dtype)


def slots(operator, **values):
    """An operator with values on its inputs and parameters."""
    for name, value in values.items():
        operator.inputs[name].setValue(value)
    return operator
