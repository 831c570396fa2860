"""The same voxels at other places: crop, pad, flip, transpose."""

from abc import abstractmethod
from fractions import Fraction
from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.graph import MetaDict, Slot
from blockflow.operators.bases import Array, MappedOperator, Region, copied_bytes, copy_along_axes
from blockflow.operators.filtering import BOUNDARY_MODES
from blockflow.operators.grid import AxisFrom, carried, named_axes, regridded
from blockflow.operators.parameters import Parameter, at_least, each, number, one_of, or_none, whole
from blockflow.rtype import SubRegion

__all__ = ["Cropping", "OpCrop", "OpFlip", "OpPad", "OpTranspose"]


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


class OpFlip(MappedOperator):
    """The voxels in reverse order along some axes; the place of the volume in the world stays."""

    axes = Parameter(None, None, "names or numbers of the axes; default all of space", optional=True)

    parallel_inputs = False

    def _axes(self) -> tuple[int, ...]:
        return named_axes(self.axes.value, self.Input.meta, self.axes.path)

    def describe(self) -> MetaDict:
        """As the input."""
        self._axes()
        return carried(self.Input.meta, drange=self.Input.meta.drange)

    def source(self, roi: SubRegion) -> Region:
        """The region on the other side."""
        axes, shape = self._axes(), self.Input.meta.shape
        bounds = list(enumerate(zip(roi.start, roi.stop, shape, strict=True)))
        return (
            [size - b if axis in axes else a for axis, (a, b, size) in bounds],
            [size - a if axis in axes else b for axis, (a, b, size) in bounds],
        )

    def dirtied(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> Region:
        """The region on the other side."""
        return self.source(roi)

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion, result: Array) -> None:
        """The input's voxels, straight into the result, seen the other way round."""
        axes = self._axes()
        seen = result[tuple(slice(None, None, -1 if axis in axes else 1) for axis in range(result.ndim))]
        self.Input.get(SubRegion(self.Input, *self.source(roi))).writeInto(seen).wait()


class OpPad(MappedOperator):
    """The input with voxels around it: `before` and `after` it along each axis. The offset moves back.

    What is around is as `mode` says, as in scipy.ndimage: `constant` (the value `cval`), `nearest` (a a | a b c d),
    `reflect` (b a | a b c d), `mirror` (c b | a b c d), `wrap` (c d | a b c d).
    """

    before = Parameter(
        0, each(at_least(0, whole)), "voxels before the first, for all axes of space or each axis"
    )
    after = Parameter(
        0, each(at_least(0, whole)), "voxels after the last, for all axes of space or each axis"
    )
    mode = Parameter(
        "constant",
        one_of(*BOUNDARY_MODES),
        "what is around the input: constant, nearest, reflect, mirror or wrap",
    )
    cval = Parameter(0, number, "the value around the input, for mode constant")

    parallel_inputs = False

    def _widths(self, slot: Parameter) -> tuple[int, ...]:
        meta, value = self.Input.meta, slot.value
        if not isinstance(value, tuple):
            axes = named_axes(None, meta, slot.path)
            return tuple(value if axis in axes else 0 for axis in range(len(meta.shape)))
        if len(value) != len(meta.shape):
            raise OperatorError(
                f"{slot.path} is {list(value)}; give one number, or one for each of the {len(meta.shape)} axes"
            )
        return value

    def describe(self) -> MetaDict:
        """A larger shape; the offset is moved by `before` voxels."""
        before, after, shape = self._widths(self.before), self._widths(self.after), self.Input.meta.shape
        axes = [AxisFrom(axis, start=Fraction(-width)) for axis, width in enumerate(before)]
        larger = tuple(size + a + b for size, a, b in zip(shape, before, after, strict=True))
        return regridded(self.Input.meta, axes, larger, self.Input.path)

    def _places(self, roi: SubRegion) -> list[Array]:
        """For each axis, the voxel of the input that each voxel of a region is a copy of; -1: of none."""
        mode = self.mode.value
        return [
            _folded(np.arange(a, b) - width, size, mode)
            for a, b, width, size in zip(
                roi.start, roi.stop, self._widths(self.before), self.Input.meta.shape, strict=True
            )
        ]

    def source(self, roi: SubRegion) -> Region:
        """From the first to the last voxel that is copied."""
        within = [places[places >= 0] for places in self._places(roi)]
        if not all(map(len, within)):
            return [0] * roi.dim, [0] * roi.dim
        return [int(one.min()) for one in within], [int(one.max()) + 1 for one in within]

    def reads_around(self) -> bool:
        """In mode `wrap`, where a region has voxels of both ends."""
        return bool(self.mode.value == "wrap")

    def dirtied(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> Region:
        """The region and, if it may be seen around, all that is."""
        before, shape = self._widths(self.before), self.Output.meta.shape
        if self.mode.value != "constant":
            return [0] * len(shape), shape
        return (
            [a + width for a, width in zip(roi.start, before, strict=True)],
            [b + width for b, width in zip(roi.stop, before, strict=True)],
        )

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion, result: Array) -> None:
        """The inner part straight into the result, what is around by copying."""
        places, constant = self._places(roi), self.mode.value == "constant"
        start, stop = self.source(roi)
        if constant:
            result[...] = np.asarray(self.cval.value).astype(result.dtype)
            if all(a < b for a, b in zip(start, stop, strict=True)):
                inner = tuple(
                    slice(int(first := np.argmax(one >= 0)), int(first) + b - a)
                    for one, a, b in zip(places, start, stop, strict=True)
                )
                self.Input.get(SubRegion(self.Input, start, stop)).writeInto(result[inner]).wait()
            return
        data = self.Input.get(SubRegion(self.Input, start, stop)).wait()
        moved = [one - low for one, low in zip(places, start, strict=True)]
        copy_along_axes(data, moved, result)

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> int:
        """Voxels copied along all axes but the first."""
        if self.mode.value == "constant":
            return 0
        start, stop = self.read_region(roi)
        shape = [b - a for a, b in zip(start, stop, strict=True)]
        inner = [b - a for a, b in zip(roi.start, roi.stop, strict=True)]
        return copied_bytes(shape, inner, self.Output.dtype.itemsize)


def _folded(places: Array, size: int, mode: str) -> Array:
    """Where an index that may lie outside of an axis of `size` voxels is taken from."""
    if mode == "constant":
        return np.where((places >= 0) & (places < size), places, -1)
    if mode == "nearest" or size == 1:
        return np.clip(places, 0, size - 1)
    if mode == "wrap":
        return places % size
    period = 2 * size if mode == "reflect" else 2 * size - 2
    folded = places % period
    return np.where(folded < size, folded, (period - 1 if mode == "reflect" else period) - folded)
