"""Lists of arrays made into one, and one array made into a list."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.graph import InputSlot, MetaDict, Operator, OutputSlot, Slot
from blockflow.operators.bases import ArrayOperator, Region
from blockflow.operators.grid import AxisFrom, channel_axis, named_axes, regridded, same_grid
from blockflow.operators.parameters import Parameter, at_least, text, whole
from blockflow.rtype import SubRegion

__all__ = [
    "Joining",
    "OpMultiArraySlicer",
    "OpMultiArraySlicer2",
    "OpMultiArrayStacker",
    "OpSingleChannelSelector",
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


class Slicing(Operator):
    """An array made into a list of its slices along an axis."""

    Input = InputSlot()
    AxisFlag = Parameter(None, None, "the name or number of the axis")

    Slices = OutputSlot(level=1)

    #: whether the slices keep the axis, with size 1
    keeps_axis = False

    def axis(self) -> int:
        """The axis along which it is cut."""
        (axis,) = named_axes((self.AxisFlag.value,), self.Input.meta, self.AxisFlag.path)
        return axis

    def indices(self) -> Sequence[int]:
        """Which slices there are."""
        return range(self.Input.meta.shape[self.axis()])

    def setupOutputs(self) -> None:
        """One slot for each slice."""
        meta = self.Input.meta
        try:
            axis, indices = self.axis(), self.indices()
        except OperatorError:
            self.Slices.resize(0)
            raise
        axes = [AxisFrom(one) for one in range(len(meta.shape)) if self.keeps_axis or one != axis]
        shape = [
            1 if one == axis else size
            for one, size in enumerate(meta.shape)
            if self.keeps_axis or one != axis
        ]
        described = regridded(meta, axes, tuple(shape), self.Input.path)
        self.Slices.resize(len(indices))
        for slot in self.Slices:
            slot.meta.assignFrom(described)

    def _region(self, subindex: tuple[int, ...], roi: SubRegion) -> SubRegion:
        axis = self.axis()
        index = self.indices()[subindex[0]]
        region = (
            roi.setDim(axis, index, index + 1) if self.keeps_axis else roi.insertDim(axis, index, index + 1)
        )
        return SubRegion(self.Input, region.start, region.stop)

    def requiredInputRoi(
        self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion
    ) -> Mapping[Slot, SubRegion]:
        """The region, in its slice."""
        return {self.Input: self._region(subindex, roi)}

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion, result: Array) -> None:
        """The input's data, straight into the result."""
        axis = self.axis()
        seen = result if self.keeps_axis else np.expand_dims(result, axis)
        self.Input.get(self._region(subindex, roi)).writeInto(seen).wait()

    def propagateDirty(self, slot: Slot, subindex: tuple[int, ...], roi: Any) -> None:
        """The slices that a region touches."""
        if slot is not self.Input:
            self.Slices.setDirty()
            return
        axis = self.axis()
        for one, index in zip(self.Slices, self.indices(), strict=True):
            if roi.start[axis] <= index < roi.stop[axis]:
                part = roi.setDim(axis, 0, 1) if self.keeps_axis else roi.popDim(axis)
                one.setDirty(part.start, part.stop)


class OpMultiArraySlicer(Slicing):
    """The slices of an array along `AxisFlag`, without that axis, as the list `Slices`."""


class OpMultiArraySlicer2(Slicing):
    """The slices of an array along `AxisFlag`, which they keep with size 1, as the list `Slices`.

    `SliceIndexes` says which slices, by default all.
    """

    keeps_axis = True

    SliceIndexes = Parameter(
        None,
        lambda value, where: tuple(at_least(0, whole)(one, where) for one in value),
        "which slices",
        optional=True,
    )

    def indices(self) -> Sequence[int]:
        """Those of `SliceIndexes`."""
        size = self.Input.meta.shape[self.axis()]
        given = self.SliceIndexes.value
        if given is not None and any(index >= size for index in given):
            raise OperatorError(f"{self.SliceIndexes.path} is {given}; the axis has {size} slices, from 0 on")
        return range(size) if given is None else tuple(given)


class OpSingleChannelSelector(ArrayOperator):
    """One channel of an array: its slice `Index` along the channel axis, which it keeps with size 1.

    The channel axis is the one that the metadata name as such; without any, it is the last.
    """

    Input = InputSlot()
    Index = Parameter(None, at_least(0, whole), "the number of the channel, from 0")

    parallel_inputs = False

    def describe(self) -> MetaDict:
        """The size of the channel axis is 1."""
        meta, axis = self.Input.meta, self._axis()
        if self.Index.value >= meta.shape[axis]:
            raise OperatorError(
                f"{self.Index.path} is {self.Index.value}; there are {meta.shape[axis]} channels"
            )
        shape = tuple(1 if one == axis else size for one, size in enumerate(meta.shape))
        return regridded(meta, [AxisFrom(one) for one in range(len(shape))], shape, self.Input.path)

    def _axis(self) -> int:
        return channel_axis(self.Input.meta, self.Input.path)

    def _region(self, roi: SubRegion) -> SubRegion:
        index = self.Index.value
        region = roi.setDim(self._axis(), index, index + 1)
        return SubRegion(self.Input, region.start, region.stop)

    def requiredInputRoi(
        self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion
    ) -> Mapping[Slot, SubRegion]:
        """The region, in that channel."""
        return {self.Input: self._region(roi)}

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion, result: Array) -> Any:
        """The input's data, straight into the result."""
        return self.Input.get(self._region(roi)).writeInto(result).wait()

    def dirtied(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> Region | None:
        """The region, if it has that channel."""
        axis = self._axis()
        if not roi.start[axis] <= self.Index.value < roi.stop[axis]:
            return None
        part = roi.setDim(axis, 0, 1)
        return part.start, part.stop
