"""The same voxels at other places: crop, transpose."""

from abc import abstractmethod
from fractions import Fraction
from typing import Any

from blockflow.errors import OperatorError
from blockflow.graph import MetaDict, Slot
from blockflow.operators.bases import Array, MappedOperator, Region
from blockflow.operators.grid import AxisFrom, named_axes, regridded
from blockflow.operators.parameters import Parameter, each, or_none, whole
from blockflow.rtype import SubRegion

__all__ = ["Cropping", "OpCrop", "OpTranspose"]


class Cropping(MappedOperator):
    """A part of the input; `bounds` says which one. The offset moves with it."""

    parallel_inputs = False

    @abstractmethod
    def bounds(self) -> Region:
        """Start and stop, as voxels of the input from 0. OperatorError if they leave nothing."""

    def describe(self) -> MetaDict:
        """The shape of the part; the offset is moved by `start` voxels."""
        start, stop = self.bounds()
        axes = [AxisFrom(axis, start=Fraction(a)) for axis, a in enumerate(start)]
        shape = tuple(b - a for a, b in zip(start, stop, strict=True))
        return regridded(self.Input.meta, axes, shape, self.Input.path)

    def source(self, roi: SubRegion) -> Region:
        """The region, moved."""
        start, _ = self.bounds()
        return (
            [a + shift for a, shift in zip(roi.start, start, strict=True)],
            [b + shift for b, shift in zip(roi.stop, start, strict=True)],
        )

    def dirtied(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> Region:
        """The region, moved back."""
        start, _ = self.bounds()
        return (
            [a - shift for a, shift in zip(roi.start, start, strict=True)],
            [b - shift for b, shift in zip(roi.stop, start, strict=True)],
        )

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion, result: Array) -> Any:
        """The input's voxels, straight into the result."""
        return self.Input.get(SubRegion(self.Input, *self.source(roi))).writeInto(result).wait()


class OpCrop(Cropping):
    """A part of the input: voxels `start` to `stop`, `stop` not included. The offset moves with it.

    Negative numbers count from the end, as in slicings of numpy; None, or a parameter that is not given, is the
    border of the array.
    """

    start = Parameter(None, each(or_none(whole)), "first voxel of each axis; default 0", optional=True)
    stop = Parameter(
        None, each(or_none(whole)), "voxel after the last of each axis; default the end", optional=True
    )

    def bounds(self) -> Region:
        """Start and stop as voxels from 0."""
        shape = self.Input.meta.shape
        starts, stops = (
            self._per_axis(slot.value, slot.path, len(shape)) for slot in (self.start, self.stop)
        )
        parts = [slice(a, b).indices(size) for a, b, size in zip(starts, stops, shape, strict=True)]
        start, stop = [part[0] for part in parts], [part[1] for part in parts]
        if any(a >= b for a, b in zip(start, stop, strict=True)):
            raise OperatorError(
                f"{self.name}: start {list(starts)} and stop {list(stops)} leave nothing of the shape {shape}"
            )
        return start, stop

    def _per_axis(self, value: Any, where: str, dims: int) -> tuple[int | None, ...]:
        values = value if isinstance(value, tuple) else (value,) * dims
        if len(values) != dims:
            raise OperatorError(f"{where} is {list(values)}; give one number for each of the {dims} axes")
        return values


class OpTranspose(MappedOperator):
    """The axes in another order: `order` names the input's axes, or numbers them, as the output has them.

    By default they are reversed, as by numpy. Voxel sizes, offsets and names go with their axes.
    """

    order = Parameter(
        None, None, "names or numbers of all axes of the input; default reversed", optional=True
    )

    parallel_inputs = False

    def axes(self) -> tuple[int, ...]:
        """The input's axis for each axis of the output."""
        dims = len(self.Input.meta.shape)
        order = self.order.value
        axes = (
            tuple(reversed(range(dims)))
            if order is None
            else named_axes(order, self.Input.meta, self.order.path)
        )
        if len(axes) != dims:
            raise OperatorError(f"{self.order.path} is {order!r}; name each of the {dims} axes once")
        return axes

    def describe(self) -> MetaDict:
        """Shape and grid in the new order."""
        axes = self.axes()
        shape = tuple(self.Input.meta.shape[axis] for axis in axes)
        return regridded(self.Input.meta, [AxisFrom(axis) for axis in axes], shape, self.Input.path)

    def source(self, roi: SubRegion) -> Region:
        """The region's axes in the order of the input."""
        axes = self.axes()
        places = [axes.index(axis) for axis in range(len(axes))]
        return [roi.start[place] for place in places], [roi.stop[place] for place in places]

    def dirtied(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> Region:
        """The region's axes in the order of the output."""
        axes = self.axes()
        return [roi.start[axis] for axis in axes], [roi.stop[axis] for axis in axes]

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion, result: Array) -> None:
        """The input's voxels, straight into the result, seen in the input's order."""
        axes = self.axes()
        seen = result.transpose([axes.index(axis) for axis in range(len(axes))])
        self.Input.get(SubRegion(self.Input, *self.source(roi))).writeInto(seen).wait()
