"""Fewer or more voxels, by whole factors."""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import product

import numpy as np

from blockflow.errors import OperatorError
from blockflow.graph import MetaDict, Slot
from blockflow.operators.bases import Array, MappedOperator, Region, copied_bytes, copy_along_axes
from blockflow.operators.grey_values import saturated
from blockflow.operators.grid import AxisFrom, named_axes, regridded
from blockflow.operators.parameters import Parameter, at_least, each, one_of, whole
from blockflow.operators.reducing import reduce_windows, reduced_bytes
from blockflow.rtype import SubRegion

__all__ = ["OpDownsample", "OpUpsample"]


class Resampling(MappedOperator):
    """An operator that changes the number of voxels by a whole factor for each axis."""

    factor = Parameter(2, each(at_least(1, whole)), "for all axes of space, or for each axis of the array")

    parallel_inputs = False

    def factors(self) -> tuple[int, ...]:
        """The factor of each axis of the array."""
        meta = self.Input.meta
        dims = len(meta.shape)
        factor = self.factor.value
        if not isinstance(factor, tuple):
            axes = named_axes(None, meta, self.factor.path)
            return tuple(factor if axis in axes else 1 for axis in range(dims))
        if len(factor) != dims:
            raise OperatorError(
                f"{self.factor.path} is {list(factor)}; give one number, or one for each of the {dims} axes"
            )
        return factor


class OpDownsample(Resampling):
    """Each window of `factor` voxels becomes one.

    `method` says how: `mean` (integers are rounded to the nearest, ties to even), `max`, `min`, `mode` (the most
    frequent value, the least of several such: for labels) or `stride` (the window's first voxel). Where the factor
    does not divide the shape, the last windows are of the voxels that are there. Voxel sizes are multiplied by the
    factor, the offset stays. Floats are summed in float64, in one order.
    """

    method = Parameter(
        "mean",
        one_of("mean", "max", "min", "mode", "stride"),
        "what becomes of a window: mean, max, min, mode, stride",
    )

    def describe(self) -> MetaDict:
        """The shape divided by the factors and rounded up; the dtype of the input."""
        meta, factors = self.Input.meta, self.factors()
        if self.method.value in ("mean", "max", "min") and np.dtype(meta.dtype).kind not in "biufc":
            raise OperatorError(f"there is no {self.method.value} of {np.dtype(meta.dtype)}")
        shape = tuple(-(-size // factor) for size, factor in zip(meta.shape, factors, strict=True))
        axes = [AxisFrom(axis, Fraction(factor)) for axis, factor in enumerate(factors)]
        return regridded(meta, axes, shape, self.Input.path)

    def source(self, roi: SubRegion) -> Region:
        """The windows."""
        factors = self.factors()
        return (
            [a * factor for a, factor in zip(roi.start, factors, strict=True)],
            [b * factor for b, factor in zip(roi.stop, factors, strict=True)],
        )

    def dirtied(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> Region:
        """The voxels whose windows it touches."""
        factors = self.factors()
        return (
            [a // factor for a, factor in zip(roi.start, factors, strict=True)],
            [-(-b // factor) for b, factor in zip(roi.stop, factors, strict=True)],
        )

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion, result: Array) -> None:
        """Whole windows at once, then those at the end of the array, which are smaller."""
        region = SubRegion(self.Input, *self.read_region(roi))
        data = self.Input.get(region).wait()
        method = self.method.value
        for windows, place, window in _equal_windows(data.shape, self.factors()):
            reduce_windows(method, data[windows], window, result[place])

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> int:
        """What the largest set of equal windows takes."""
        start, stop = self.read_region(roi)
        shape = tuple(b - a for a, b in zip(start, stop, strict=True))
        method, dtype = self.method.value, self.Input.dtype
        return max(
            (
                reduced_bytes(method, [(part.stop - part.start) for part in place], window, dtype)
                for _, place, window in _equal_windows(shape, self.factors())
            ),
            default=0,
        )


def _equal_windows(
    shape: tuple[int, ...], factors: tuple[int, ...]
) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...], tuple[int, ...]]]:
    """Parts of data in which all windows have one shape: their place in data and result, and that shape."""
    axes = []
    for size, factor in zip(shape, factors, strict=True):
        whole_windows, rest = divmod(size, factor)
        parts = []
        if whole_windows:
            parts.append((slice(0, whole_windows * factor), slice(0, whole_windows), factor))
        if rest:
            parts.append((slice(size - rest, size), slice(whole_windows, whole_windows + 1), rest))
        axes.append(parts)
    for combination in product(*axes):
        windows, place, window = zip(*combination, strict=True)
        yield windows, place, window


class OpUpsample(Resampling):
    """Each voxel becomes `factor` along each axis. Voxel sizes are divided by the factor, the offset stays.

    `method` says how: `nearest` (equal ones, also for labels) or `linear` (between the middles of voxels; beyond the
    first and the last middle, the value there; in float64, integers are rounded, ties to even).
    """

    method = Parameter("nearest", one_of("nearest", "linear"), "what the new voxels are: nearest, linear")

    def describe(self) -> MetaDict:
        """The shape multiplied by the factors."""
        meta, factors = self.Input.meta, self.factors()
        if self.method.value == "linear" and np.dtype(meta.dtype).kind not in "iuf":
            raise OperatorError(
                f"there is nothing between two values of {np.dtype(meta.dtype)}; use method nearest"
            )
        shape = tuple(size * factor for size, factor in zip(meta.shape, factors, strict=True))
        axes = [AxisFrom(axis, Fraction(1, factor)) for axis, factor in enumerate(factors)]
        return regridded(meta, axes, shape, self.Input.path)

    def _more(self) -> list[int]:
        """Voxels more that are read on each side."""
        linear = self.method.value == "linear"
        return [int(linear and factor > 1) for factor in self.factors()]

    def source(self, roi: SubRegion) -> Region:
        """The voxels that the region's voxels are copies of, or lie between."""
        factors, more = self.factors(), self._more()
        return (
            [a // factor - one for a, factor, one in zip(roi.start, factors, more, strict=True)],
            [-(-b // factor) + one for b, factor, one in zip(roi.stop, factors, more, strict=True)],
        )

    def dirtied(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> Region:
        """All voxels that it becomes, or that are nearer to it than to the one after next."""
        factors, more = self.factors(), self._more()
        return (
            [(a - one) * factor for a, factor, one in zip(roi.start, factors, more, strict=True)],
            [(b + one) * factor for b, factor, one in zip(roi.stop, factors, more, strict=True)],
        )

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion, result: Array) -> None:
        """By copies, or by weights along one axis after the other."""
        start, stop = self.read_region(roi)
        data = self.Input.get(SubRegion(self.Input, start, stop)).wait()
        if self.method.value == "linear":
            self._between(data, start, roi, result)
            return
        places = [
            np.arange(a, b) // factor - low
            for a, b, factor, low in zip(roi.start, roi.stop, self.factors(), start, strict=True)
        ]
        copy_along_axes(data, places, result)

    def _between(self, data: Array, start: Sequence[int], roi: SubRegion, result: Array) -> None:
        current = data.astype(np.float64)
        shape = self.Input.meta.shape
        for axis, (factor, low) in enumerate(zip(self.factors(), start, strict=True)):
            if factor == 1:
                continue
            place = (np.arange(roi.start[axis], roi.stop[axis]) * 2 + 1 - factor) / (2 * factor)
            place = np.clip(place, 0, shape[axis] - 1)
            before = np.floor(place).astype(int)
            after = np.minimum(before + 1, shape[axis] - 1)
            weight = (place - before).reshape([-1 if one == axis else 1 for one in range(data.ndim)])
            made = np.take(current, after - low, axis)
            made *= weight
            lower = np.take(current, before - low, axis)
            lower *= 1 - weight
            made += lower
            current = made
            del made, lower
        saturated(current, result)

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> int:
        """Voxels copied along all axes but the first; or the data in float64 before and after an axis."""
        start, stop = self.read_region(roi)
        current = [b - a for a, b in zip(start, stop, strict=True)]
        if self.method.value == "nearest":
            inner = [b - a for a, b in zip(roi.start, roi.stop, strict=True)]
            return copied_bytes(current, inner, self.Output.dtype.itemsize)
        most = math.prod(current)
        for axis, factor in enumerate(self.factors()):
            if factor > 1:
                before = math.prod(current)
                current[axis] = roi.stop[axis] - roi.start[axis]
                most = max(most, before + 2 * math.prod(current))
        return 8 * most
