"""What filters share: boundary modes, the axes they run over, how far they look."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.graph import InputSlot, Slot
from blockflow.operators.bases import Array, LocalOperator
from blockflow.operators.grid import named_axes
from blockflow.operators.parameters import Parameter, number, one_of
from blockflow.rtype import SubRegion

__all__ = ["BOUNDARY_MODES", "Filter", "FloatFilter", "inner_shape", "readable", "readable_bytes"]

#: what a filter sees beyond the border of the array, as in scipy.ndimage
BOUNDARY_MODES = ("reflect", "constant", "nearest", "mirror")


class Filter(LocalOperator):
    """A filter of one image over some of its axes, each time and channel for itself.

    Beyond the border of the array it sees what `mode` says, as in scipy.ndimage: `reflect` (d c b a | a b c d),
    `constant` (the value `cval`), `nearest` (a a a a | a b c d), `mirror` (d c b | a b c d).
    """

    Input = InputSlot()
    mode = Parameter(
        "reflect",
        one_of(*BOUNDARY_MODES),
        "what lies beyond the border of the array: reflect, constant, nearest or mirror",
    )
    cval = Parameter(0.0, number, "the value beyond the border, for mode constant")
    axes = Parameter(
        None, None, "names or numbers of the axes it runs over; by default all of space", optional=True
    )

    parallel_inputs = False

    def filtered_axes(self) -> tuple[int, ...]:
        """The axes it runs over, as numbers."""
        return named_axes(self.axes.value, self.Input.meta, self.axes.path)

    def per_axis(self, name: str) -> dict[int, Any]:
        """A parameter for each axis that it runs over: one value for all of them, or one for each in order."""
        value = self.inputs[name].value
        axes = self.filtered_axes()
        if not isinstance(value, tuple):
            return dict.fromkeys(axes, value)
        if len(value) != len(axes):
            raise OperatorError(
                f"{self.inputs[name].path} is {list(value)}: {len(value)} values for {len(axes)} axes; "
                "give one value, or one for each axis that the operator runs over"
            )
        return dict(zip(axes, value, strict=True))

    def radii(self) -> dict[int, int]:
        """How far it looks along each axis it runs over, in voxels."""
        raise NotImplementedError

    def context(self) -> Sequence[tuple[int, int]]:
        """`radii`, on both sides."""
        radii = self.radii()
        return [(radii.get(axis, 0),) * 2 for axis in range(len(self.Input.meta.shape))]


class FloatFilter(Filter):
    """A filter whose output is float32, or float64 for an input of float64."""

    def output_dtype(self, *dtypes: Any) -> Any:
        """float64 stays; all else is float32."""
        (dtype,) = map(np.dtype, dtypes)
        if dtype.kind not in "biuf":
            raise OperatorError(f"{self.name} filters real numbers, not {dtype}")
        return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def readable(image: Array) -> Array:
    """An image of a dtype that scipy's filters take: half floats become float32."""
    return image.astype(np.float32) if image.dtype == np.float16 else image


def readable_bytes(slot: Slot, shape: Sequence[int]) -> int:
    """What `readable` takes."""
    return int(np.prod(shape)) * 4 if slot.dtype == np.float16 else 0


def inner_shape(roi: SubRegion) -> list[int]:
    """The shape of a region."""
    return [b - a for a, b in zip(roi.start, roi.stop, strict=True)]
