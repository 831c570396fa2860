"""Arithmetic of two arrays, or of an array and a number, voxel by voxel."""

from typing import Any, ClassVar

import numpy as np

from blockflow.graph import InputSlot, Slot
from blockflow.operators.bases import Array, LocalOperator, slab_voxels, slabs
from blockflow.rtype import SubRegion

__all__ = [
    "OpAbsoluteDifference",
    "OpAdd",
    "OpDivide",
    "OpFloorDivide",
    "OpMaximum",
    "OpMinimum",
    "OpModulo",
    "OpMultiply",
    "OpPower",
    "OpSubtract",
]


class Arithmetic(LocalOperator):
    """A function of two inputs. Either may be a number: set it by `setValue`, in a config under `params`.

    The dtype is numpy's: that of the array where the other input is a number, else what both promote to. Integers
    wrap around.
    """

    function: ClassVar[np.ufunc]

    A = InputSlot()
    B = InputSlot()

    def output_dtype(self, *dtypes: Any) -> Any:
        """What numpy gives."""
        with np.errstate(all="ignore"):
            made: Array = self.function(*(_one(dtype) for dtype in dtypes))
        return made.dtype

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """The function, straight into the result."""
        with np.errstate(all="ignore"):
            self.function(*data, out=result)


def _one(dtype: Any) -> Any:
    return np.ones(1, dtype) if isinstance(dtype, np.dtype) else dtype


class OpAdd(Arithmetic):
    """The sum of A and B: A + B."""

    function = np.add


class OpSubtract(Arithmetic):
    """The difference of A and B: A - B."""

    function = np.subtract


class OpMultiply(Arithmetic):
    """The product of A and B: A * B."""

    function = np.multiply


class OpDivide(Arithmetic):
    """A / B, as floats; a division by zero gives an infinity or NaN."""

    function = np.true_divide


class OpFloorDivide(Arithmetic):
    """A // B, rounded down; an integer divided by zero gives 0."""

    function = np.floor_divide


class OpModulo(Arithmetic):
    """What is left of A divided by B, with the sign of B."""

    function = np.remainder


class OpPower(Arithmetic):
    """A to the power of B."""

    function = np.power


class OpMaximum(Arithmetic):
    """The greater of A and B; NaN where either is."""

    function = np.maximum


class OpMinimum(Arithmetic):
    """The lesser of A and B; NaN where either is."""

    function = np.minimum


class OpAbsoluteDifference(Arithmetic):
    """|A - B|, without wrapping around: the difference of the greater and the lesser."""

    function = np.subtract

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """The greater minus the lesser."""
        with np.errstate(all="ignore"):
            np.maximum(data[0], data[1], out=result)
            for part in slabs(result.shape):
                lesser = [one if np.ndim(one) == 0 or one.shape == (1,) else one[part] for one in data]
                np.subtract(result[part], np.minimum(lesser[0], lesser[1]), out=result[part])

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> int:
        """The lesser, for a slab."""
        shape = [b - a for a, b in zip(roi.start, roi.stop, strict=True)]
        return slab_voxels(shape) * self.Output.dtype.itemsize
