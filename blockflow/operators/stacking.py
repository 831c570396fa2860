"""Lists of arrays made into one."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.graph import InputSlot, MetaDict, Slot
from blockflow.operators.bases import ArrayOperator, Region
from blockflow.operators.grid import AxisFrom, named_axes, regridded, same_grid
from blockflow.operators.parameters import Parameter, at_least, text, whole
from blockflow.rtype import SubRegion

__all__ = [
    "Joining",
    "OpConcatenate",
    "OpMultiArrayStacker",
    "OpStack",
]

Array = np.ndarray[Any, Any]


class Joining(ArrayOperator):
    """A list of arrays made into one, along an axis that they have, or a new one.

    `joint` says the axis, and whether it is new. The dtype is what theirs promote to.
    """

    Images = InputSlot(level=1)

    @abstractmethod
    def joint(self) -> tuple[int, str | None]:
        """The output's axis along which they follow each other, and its name if it is new."""

    def describe(self) -> MetaDict:
        """One shape but for the axis along which they are joined."""
        images = list(self.Images)
        axis, new = self.joint()
        first = images[0].meta
        for image in images:
            mine, its = list(first.shape), list(image.meta.shape)
            if new is None and len(mine) == len(its):
                mine[axis] = its[axis] = 0
            if mine != its:
                raise OperatorError(
                    f"{image.path} has shape {image.meta.shape}, {images[0].path} has {first.shape}; "
                    + (
                        "they must be the same"
                        if new is not None
                        else f"they must be the same but for axis {axis}"
                    )
                )
        if new is not None:
            same_grid({image.path: image.meta for image in images})
        dims = len(first.shape)
        axes = [AxisFrom(one) for one in range(dims)]
        shape = list(first.shape)
        if new is None:
            shape[axis] = sum(image.meta.shape[axis] for image in images)
        else:
            axes.insert(axis, AxisFrom(None, name=new))
            shape.insert(axis, len(images))
        meta = regridded(first, axes, tuple(shape), self.Images[0].path)
        meta.dtype = np.result_type(*(np.dtype(image.meta.dtype) for image in images)).type
        return meta

    def _parts(self, roi: SubRegion) -> list[tuple[Slot, SubRegion, tuple[slice, ...]]]:
        """For each array that has a part of a region: the part's region in it, and its place in the result."""
        axis, new = self.joint()
        parts = []
        at = 0
        for image in self.Images:
            size = 1 if new is not None else image.meta.shape[axis]
            low, high = max(roi.start[axis], at), min(roi.stop[axis], at + size)
            if low < high:
                part = roi.setDim(axis, low - at, high - at) if new is None else roi.popDim(axis)
                region = SubRegion(image, part.start, part.stop)
                place: list[Any] = [slice(None)] * roi.dim
                place[axis] = slice(low - roi.start[axis], high - roi.start[axis])
                if new is not None:
                    place[axis] = low - roi.start[axis]
                parts.append((image, region, tuple(place)))
            at += size
        return parts

    def requiredInputRoi(
        self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion
    ) -> Mapping[Slot, SubRegion]:
        """The parts."""
        return {image: region for image, region, _ in self._parts(roi)}

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion, result: Array) -> None:
        """Each part into its place."""
        for image, region, place in self._parts(roi):
            image.get(region).writeInto(result[place]).wait()

    def dirtied(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> Region:
        """The region's place."""
        axis, new = self.joint()
        (which,) = subindex
        start, stop = list(roi.start), list(roi.stop)
        if new is not None:
            start.insert(axis, which)
            stop.insert(axis, which + 1)
        else:
            before = sum(image.meta.shape[axis] for image in list(self.Images)[:which])
            start[axis] += before
            stop[axis] += before
        return start, stop


class OpMultiArrayStacker(Joining):
    """A list of arrays made into one along the axis named `AxisFlag`: joined if they have it, else as a new axis.

    A new axis stands at `AxisIndex`, by default last.
    """

    AxisFlag = Parameter(None, text, "the name of the axis")
    AxisIndex = Parameter(None, at_least(0, whole), "where a new axis stands; default last", optional=True)

    def joint(self) -> tuple[int, str | None]:
        """The axis of that name, or a new one."""
        meta = self.Images[0].meta
        flag, index = self.AxisFlag.value, self.AxisIndex.value
        try:
            (axis,) = named_axes((flag,), meta, self.AxisFlag.path)
        except OperatorError:
            place = len(meta.shape) if index is None else index
            if place > len(meta.shape):
                raise OperatorError(
                    f"{self.AxisIndex.path} is {index}; the arrays have {len(meta.shape)} axes"
                ) from None
            return place, flag
        return axis, None


class OpStack(Joining):
    """A list of arrays of one shape made into one array, along a new axis of channels, which stands at `axis`."""

    axis = Parameter(0, at_least(0, whole), "where the new axis stands")

    def joint(self) -> tuple[int, str | None]:
        """A new axis."""
        dims = len(self.Images[0].meta.shape)
        if self.axis.value > dims:
            raise OperatorError(f"{self.axis.path} is {self.axis.value}; the arrays have {dims} axes")
        return self.axis.value, "c^"


class OpConcatenate(Joining):
    """A list of arrays made into one, one after the other along an axis that they have; the place is the first's."""

    axis = Parameter(0, None, "name or number of the axis")

    def joint(self) -> tuple[int, str | None]:
        """The axis."""
        (axis,) = named_axes([self.axis.value], self.Images[0].meta, self.axis.path)
        return axis, None
