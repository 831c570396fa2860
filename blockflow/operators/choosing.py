"""One of several values for each voxel: where, mask, argmax."""

from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.graph import InputSlot, MetaDict, Slot
from blockflow.operators.bases import Array, LocalOperator, MappedOperator, Region, slab_voxels, slabs
from blockflow.operators.grid import AxisFrom, channel_axis, named_axes, regridded
from blockflow.operators.parameters import Parameter, number
from blockflow.rtype import SubRegion

__all__ = ["OpArgmax", "OpMask", "OpWhere"]


class OpWhere(LocalOperator):
    """A where the condition is not 0, else B. A and B may be numbers; the dtype is what they promote to."""

    Condition = InputSlot()
    A = InputSlot()
    B = InputSlot()

    def output_dtype(self, *dtypes: Any) -> Any:
        """What A and B promote to."""
        return np.result_type(*dtypes[1:])

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """B, and A over it."""
        condition, a, b = data
        np.copyto(result, b)
        np.copyto(result, a, where=_truth(condition))

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> int:
        """The truth values of the condition."""
        return _truth_bytes(self.Condition, roi)


class OpMask(LocalOperator):
    """The input where the mask is not 0, and `fill` elsewhere."""

    Input = InputSlot()
    Mask = InputSlot()
    fill = Parameter(0, number, "the value where the mask is 0")

    def output_dtype(self, *dtypes: Any) -> Any:
        """The input's; the fill value must be one of it."""
        dtype, fill = np.dtype(dtypes[0]), self.fill.value
        if dtype.kind in "biu" and not (float(fill).is_integer() and _holds(dtype, int(fill))):
            raise OperatorError(f"{self.fill.path} is {fill}, which is no value of {dtype}")
        return dtype

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """The fill value, and the input over it."""
        image, mask = data
        result[...] = self.fill.value
        np.copyto(result, image, where=_truth(mask))

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> int:
        """The truth values of the mask."""
        return _truth_bytes(self.Mask, roi)


def _holds(dtype: np.dtype[Any], value: int) -> bool:
    if dtype.kind == "b":
        return value in (0, 1)
    return bool(np.iinfo(dtype).min <= value <= np.iinfo(dtype).max)


def _truth(mask: Any) -> Any:
    return mask if getattr(mask, "dtype", None) == np.bool_ else np.not_equal(mask, 0)


def _truth_bytes(slot: Slot, roi: SubRegion) -> int:
    if slot.dtype == np.bool_:
        return 0
    return int(np.prod([b - a for a, b in zip(roi.start, roi.stop, strict=True)]))


class OpArgmax(MappedOperator):
    """The number of the channel with the greatest value, the first one where several have it.

    The channel axis is left out. NaN counts as greatest, as in numpy. The dtype is the smallest unsigned one that
    holds the channels' numbers.
    """

    axis = Parameter(None, None, "name or number of the channel axis; default the only one", optional=True)

    parallel_inputs = False

    def _axis(self) -> int:
        if self.axis.value is None:
            return channel_axis(self.Input.meta, self.Input.path)
        (axis,) = named_axes([self.axis.value], self.Input.meta, self.axis.path)
        return axis

    def describe(self) -> MetaDict:
        """Without the channel axis."""
        meta, axis = self.Input.meta, self._axis()
        if len(meta.shape) < 2:
            raise OperatorError(
                f"{self.Input.path} has shape {meta.shape}; a channel axis and others are needed"
            )
        kept = [one for one in range(len(meta.shape)) if one != axis]
        result = regridded(
            meta, [AxisFrom(one) for one in kept], tuple(meta.shape[one] for one in kept), self.Input.path
        )
        result.dtype = np.min_scalar_type(max(0, meta.shape[axis] - 1)).type
        return result

    def source(self, roi: SubRegion) -> Region:
        """The region, all channels."""
        axis = self._axis()
        whole = roi.insertDim(axis, 0, self.Input.meta.shape[axis])
        return whole.start, whole.stop

    def dirtied(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> Region:
        """The region, without the channels."""
        part = roi.popDim(self._axis())
        return part.start, part.stop

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion, result: Array) -> None:
        """Channel by channel, slab by slab: the one that beats the best so far."""
        data = self.Input.get(SubRegion(self.Input, *self.source(roi))).wait()
        channels = np.moveaxis(data, self._axis(), 0)
        floats = data.dtype.kind == "f"
        for part in slabs(result.shape):
            best = channels[0][part].copy()
            winner = result[part]
            winner[...] = 0
            for number_of, whole in enumerate(channels[1:], start=1):
                channel = whole[part]
                better = channel > best
                if floats:
                    better |= np.isnan(channel) & ~np.isnan(best)
                # the greater of two, not a copy where one is greater: that branches at each voxel
                np.maximum(best, channel, out=best)
                np.maximum(winner, better * winner.dtype.type(number_of), out=winner)

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> int:
        """The best so far, where it is beaten, and by which channel."""
        voxels = slab_voxels([b - a for a, b in zip(roi.start, roi.stop, strict=True)])
        beaten = 1 + self.Output.dtype.itemsize
        if self.Input.dtype.kind == "f":
            beaten = max(beaten, 4)
        return voxels * (self.Input.dtype.itemsize + beaten)
