"""Axes brought into a given order, by name."""

from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.graph import MetaDict, Slot
from blockflow.operators.bases import Array, MappedOperator, Region
from blockflow.operators.grid import AxisFrom, regridded
from blockflow.operators.parameters import Parameter
from blockflow.rtype import SubRegion

__all__ = ["OpReorderAxes"]


def _order(value: Any, where: str) -> tuple[str, ...]:
    names = tuple(value)
    if (
        not names
        or not all(isinstance(name, str) and name for name in names)
        or len(set(names)) != len(names)
    ):
        raise OperatorError(
            f"{where} is {value!r}; give a name for each axis of the output, each once, as 'tzyxc'"
        )
    return names


class OpReorderAxes(MappedOperator):
    """The axes in the order of `AxisOrder`, such as `"tzyxc"`: axes that are missing are added with size 1.

    Axes of size 1 that the order does not name are dropped. The output's metadata tell what the axes were before,
    as `original_axistags` and `original_shape`. An added axis counts as one of channels.
    """

    AxisOrder = Parameter(None, _order, "the names of the output's axes, in order")

    parallel_inputs = False

    def axes(self) -> list[int | None]:
        """For each axis of the output that of the input, or None for one that is added."""
        meta = self.Input.meta
        if meta.axistags is None and meta.axis_names is None:
            raise OperatorError(f"the axes of {self.Input.path} have no names; set meta.axistags, as 'zyx'")
        names, order = self._names(), self.AxisOrder.value
        dropped = [name for name in names if name not in order]
        long = [name for name in dropped if meta.shape[names.index(name)] != 1]
        if long:
            raise OperatorError(
                f"{self.AxisOrder.path} {order} leaves out {', '.join(long)}, which has more than one voxel "
                f"(axes {', '.join(names)}, shape {meta.shape})"
            )
        return [names.index(name) if name in names else None for name in order]

    def _names(self) -> list[str]:
        meta = self.Input.meta
        return meta.getAxisKeys() if meta.axistags is not None else list(meta.axis_names)

    def describe(self) -> MetaDict:
        """Shape and grid in the new order."""
        meta, axes, order = self.Input.meta, self.axes(), self.AxisOrder.value
        shape = tuple(1 if axis is None else meta.shape[axis] for axis in axes)
        kept = [AxisFrom(axis, name=name) for axis, name in zip(axes, order, strict=True)]
        result = regridded(meta, kept, shape, self.Input.path)
        result.original_axistags = tuple(self._names())
        result.original_shape = meta.shape
        if meta.axistags is not None:
            result.axistags = order if any(len(name) > 1 for name in order) else "".join(order)
        return result

    def source(self, roi: SubRegion) -> Region:
        """The region's axes in the order of the input; all of those that are dropped."""
        axes = self.axes()
        start, stop = [0] * len(self.Input.meta.shape), [1] * len(self.Input.meta.shape)
        for place, axis in enumerate(axes):
            if axis is not None:
                start[axis], stop[axis] = roi.start[place], roi.stop[place]
        return start, stop

    def dirtied(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> Region:
        """The region's axes in the order of the output."""
        axes = self.axes()
        return (
            [0 if axis is None else roi.start[axis] for axis in axes],
            [1 if axis is None else roi.stop[axis] for axis in axes],
        )

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion, result: Array) -> None:
        """The input's voxels, straight into the result, seen in the input's order."""
        axes = self.axes()
        seen = result[tuple(0 if axis is None else slice(None) for axis in axes)]
        there = [axis for axis in axes if axis is not None]
        seen = seen.transpose([there.index(axis) for axis in sorted(there)])
        for axis in range(len(self.Input.meta.shape)):
            if axis not in there:
                seen = np.expand_dims(seen, axis)
        self.Input.get(SubRegion(self.Input, *self.source(roi))).writeInto(seen).wait()
