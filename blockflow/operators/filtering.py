"""What filters share: boundary modes, the axes they run over, how far they look."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.graph import InputSlot, Slot
from blockflow.operators.bases import Array, LocalOperator, Region
from blockflow.operators.grid import named_axes
from blockflow.operators.parameters import Parameter, number, one_of
from blockflow.rtype import SubRegion

__all__ = ["BOUNDARY_MODES", "Filter", "FloatFilter", "inner_shape", "readable", "readable_bytes"]

#: what a filter sees beyond the border of the array, as in scipy.ndimage
BOUNDARY_MODES = ("reflect", "constant", "nearest", "mirror", "wrap")


class Filter(LocalOperator):
    """A filter of one image over some of its axes, each time and channel for itself.

    Beyond the border of the array it sees what `mode` says, as in scipy.ndimage: `reflect` (d c b a | a b c d),
    `constant` (the value `cval`), `nearest` (a a a a | a b c d), `mirror` (d c b | a b c d), `wrap` (a b c d |
    a b c d).

    `wrap` needs the other end of the array: a region whose context reaches beyond the array along an axis reads all of
    that axis. What lies around the region is then put together, as often around the array as the context is long.
    """

    Input = InputSlot()
    mode = Parameter(
        "reflect",
        one_of(*BOUNDARY_MODES),
        "what lies beyond the border of the array: reflect, constant, nearest, mirror or wrap",
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

    def _with_context(self, roi: SubRegion) -> Region:
        """With its context; whole along the axes that a region is wrapped around."""
        start, stop = super()._with_context(roi)
        return self._whole_where_wrapped(start, stop)

    def dirtied(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> Region | None:
        """Every voxel that has the region in its context: near one end of a wrapped axis, also those at the other."""
        region = super().dirtied(slot, subindex, roi)
        return None if region is None else self._whole_where_wrapped(*region)

    def _whole_where_wrapped(self, start: Sequence[int], stop: Sequence[int]) -> Region:
        first, last, shape = list(start), list(stop), self.Input.meta.shape
        for axis in self._wrapped(start, stop):
            first[axis], last[axis] = 0, shape[axis]
        return first, last

    def _wrapped(self, start: Sequence[int], stop: Sequence[int]) -> list[int]:
        """The axes along which a region that holds its context goes around the array, in mode `wrap`."""
        if self.mode.value != "wrap":
            return []
        sides = zip(start, stop, self.Input.meta.shape, self.context(), strict=True)
        return [axis for axis, (a, b, size, reach) in enumerate(sides) if any(reach) and (a < 0 or b > size)]

    def reads_around(self) -> bool:
        """In mode `wrap`."""
        return bool(self.mode.value == "wrap")

    def read_shape(self, roi: SubRegion) -> tuple[int, ...]:
        """The shape of what `compute` gets: of `read_region`, or of what is put together around the array."""
        shape = list(super().read_shape(roi))
        start, stop = super()._with_context(roi)
        for axis in self._wrapped(start, stop):
            shape[axis] = stop[axis] - start[axis]
        return tuple(shape)

    def image_around(self, roi: SubRegion) -> tuple[Array, tuple[slice, ...]]:
        """The image of a region with its context, and where the region lies in it."""
        low, high = self.read_region(roi)
        image: Array = self.Input.get(SubRegion(self.Input, low, high)).wait()
        start, stop = super()._with_context(roi)
        first, places = list(low), [np.arange(size) for size in image.shape]
        for axis in (wrapped := self._wrapped(start, stop)):
            first[axis] = start[axis]
            places[axis] = np.arange(start[axis], stop[axis]) % image.shape[axis]
        if wrapped:
            image = image[np.ix_(*places)]
        return image, tuple(
            slice(a - one, b - one) for a, b, one in zip(roi.start, roi.stop, first, strict=True)
        )

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion, result: Array) -> Any:
        """`compute`, with the image around the region."""
        image, core = self.image_around(roi)
        return self.compute(result, core, image)

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> int:
        """What `compute` takes, and the image where it is put together."""
        return self.wrapped_bytes(roi) + self.compute_bytes(roi)

    def wrapped_bytes(self, roi: SubRegion) -> int:
        """The size of the image around a region where it is put together, and of the places by which it is."""
        if not self._wrapped(*super()._with_context(roi)):
            return 0
        shape = self.read_shape(roi)
        return math.prod(shape) * self.Input.dtype.itemsize + 24 * sum(shape)

    def compute_bytes(self, roi: SubRegion) -> int:
        """Bytes that `compute` takes for a region, beside the image around it and the result."""
        return 0


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
