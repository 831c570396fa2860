"""One array made into a list of its slices, or into some of its channels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.graph import InputSlot, MetaDict, Operator, OutputSlot, Slot
from blockflow.operators.bases import ArrayOperator, Region
from blockflow.operators.grid import AxisFrom, channel_axis, named_axes, regridded
from blockflow.operators.parameters import Parameter, at_least, whole
from blockflow.rtype import SubRegion

__all__ = ["OpMultiArraySlicer", "OpMultiArraySlicer2", "OpSelectChannels", "OpSingleChannelSelector"]

Array = np.ndarray[Any, Any]


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


def _channels(value: Any, where: str) -> tuple[int, ...]:
    several = value if isinstance(value, list | tuple | range) else (value,)
    numbers = tuple(at_least(0, whole)(one, where) for one in several)
    if not numbers:
        raise OperatorError(f"{where} has no channel; give numbers from 0")
    return numbers


class Selecting(ArrayOperator):
    """Some channels of an array, in any order; the axis stays."""

    Input = InputSlot()

    parallel_inputs = False

    def chosen(self) -> tuple[int, ...]:
        """The numbers of the channels."""
        raise NotImplementedError

    def channel_axis(self) -> int:
        """The axis that the metadata name as that of channels; without any, the last."""
        return channel_axis(self.Input.meta, self.Input.path)

    def describe(self) -> MetaDict:
        """As the input, with as many channels as are chosen."""
        meta, axis, chosen = self.Input.meta, self.channel_axis(), self.chosen()
        if max(chosen) >= meta.shape[axis]:
            raise OperatorError(
                f"{self.name} is to give channel {max(chosen)}; there are {meta.shape[axis]} channels"
            )
        shape = tuple(len(chosen) if one == axis else size for one, size in enumerate(meta.shape))
        return regridded(meta, [AxisFrom(one) for one in range(len(shape))], shape, self.Input.path)

    def _region(self, roi: SubRegion, channels: Sequence[int]) -> SubRegion:
        region = roi.setDim(self.channel_axis(), min(channels), max(channels) + 1)
        return SubRegion(self.Input, region.start, region.stop)

    def requiredInputRoi(
        self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion
    ) -> Mapping[Slot, SubRegion]:
        """The region, from the first to the last of its channels."""
        axis = self.channel_axis()
        return {self.Input: self._region(roi, self.chosen()[roi.start[axis] : roi.stop[axis]])}

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion, result: Array) -> None:
        """Channel by channel, straight into the result."""
        axis = self.channel_axis()
        for place, channel in enumerate(self.chosen()[roi.start[axis] : roi.stop[axis]]):
            row = (slice(None),) * axis + (slice(place, place + 1),)
            self.Input.get(self._region(roi, [channel])).writeInto(result[row]).wait()

    def dirtied(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> Region | None:
        """The region, from the first to the last of the channels that it has."""
        axis = self.channel_axis()
        places = [place for place, one in enumerate(self.chosen()) if roi.start[axis] <= one < roi.stop[axis]]
        if not places:
            return None
        part = roi.setDim(axis, min(places), max(places) + 1)
        return part.start, part.stop


class OpSingleChannelSelector(Selecting):
    """One channel of an array: its slice `Index` along the channel axis, which it keeps with size 1.

    The channel axis is the one that the metadata name as such; without any, it is the last.
    """

    Index = Parameter(None, at_least(0, whole), "the number of the channel, from 0")

    def chosen(self) -> tuple[int, ...]:
        """The one."""
        return (self.Index.value,)


class OpSelectChannels(Selecting):
    """Some channels of an array, in the order given; a number may come twice. The axis stays, also for one channel."""

    channels = Parameter(None, _channels, "numbers of the channels, from 0")
    axis = Parameter(
        None, None, "name or number of the channel axis; default the only one, or the last", optional=True
    )

    def chosen(self) -> tuple[int, ...]:
        """Those given."""
        numbers: tuple[int, ...] = self.channels.value
        return numbers

    def channel_axis(self) -> int:
        """The one given, or the only one."""
        if self.axis.value is None:
            return super().channel_axis()
        (axis,) = named_axes([self.axis.value], self.Input.meta, self.axis.path)
        return axis
