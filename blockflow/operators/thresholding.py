"""From grey values to a mask."""

import math
from typing import Any

import numpy as np

from blockflow.graph import InputSlot
from blockflow.operators.bases import Array, LocalOperator
from blockflow.operators.parameters import Parameter, number

__all__ = ["OpThreshold"]


class OpThreshold(LocalOperator):
    """1 where the input is above `threshold`, else 0, as uint8. NaN is not above anything.

    Integers are compared exactly, also with a threshold that is none, or beyond their range. For floats the threshold
    is rounded to their dtype, as by numpy.
    """

    Input = InputSlot()
    threshold = Parameter(0, number, "in units of the input")

    parallel_inputs = False

    def output_dtype(self, *dtypes: Any) -> Any:
        """Always uint8, of real numbers."""
        np.greater(np.ones(1, dtypes[0]), 0)
        return np.dtype(np.uint8)

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """A comparison, straight into the result."""
        image, threshold = data[0], self.threshold.value
        if image.dtype.kind in "biu":
            image = image.view(np.uint8) if image.dtype == np.bool_ else image
            limits = np.iinfo(image.dtype)
            if not limits.min <= threshold < limits.max:
                result[...] = threshold < limits.min
                return
            threshold = math.floor(threshold)  # an integer is above 1.5 where it is above 1
        with np.errstate(over="ignore"):
            np.greater(image, threshold, out=result.view(np.bool_))
