"""The distance to the nearest voxel of the background, up to a limit."""

import math
from typing import Any

import numpy as np

from blockflow.graph import InputSlot, Slot
from blockflow.operators.bases import Array, LocalOperator
from blockflow.operators.filtering import inner_shape
from blockflow.operators.grid import named_axes
from blockflow.operators.parameters import Parameter, each, more_than
from blockflow.rtype import SubRegion

__all__ = ["OpDistanceTransform"]


class OpDistanceTransform(LocalOperator):
    """For each voxel that is not 0, the Euclidean distance to the nearest voxel that is 0; at most `limit`.

    `spacing` is the size of a voxel, by default 1 along each axis; the distance is in its units. Beyond the border of
    the array there is no background. The square is the least sum, over the axes, of squared steps, taken axis by
    axis (Felzenszwalb and Huttenlocher, Theory of Computing 8, 2012) over all steps within the limit; float32. Equal
    to `np.minimum(scipy.ndimage.distance_transform_edt(mask, spacing), limit)`, but for rounding where spacings
    are no whole numbers.
    """

    Input = InputSlot()
    limit = Parameter(None, more_than(0), "the greatest distance, in units of the spacing")
    spacing = Parameter(1.0, each(more_than(0)), "size of a voxel, for all axes or each")
    axes = Parameter(
        None, None, "names or numbers of the axes it runs over; by default all of space", optional=True
    )

    parallel_inputs = False

    def output_dtype(self, *dtypes: Any) -> Any:
        """Always float32."""
        return np.dtype(np.float32)

    def _spacings(self) -> dict[int, float]:
        axes = sorted(named_axes(self.axes.value, self.Input.meta, self.axes.path))
        spacing = self.spacing.value
        values = spacing if isinstance(spacing, tuple) else (spacing,) * len(axes)
        return dict(zip(axes, values, strict=True))

    def _reach(self, spacing: float) -> int:
        return int(math.ceil(self.limit.value / spacing) - 1)

    def context(self) -> list[tuple[int, int]]:
        """As many voxels as are nearer than the limit."""
        spacings = self._spacings()
        reach = {axis: self._reach(spacing) for axis, spacing in spacings.items()}
        return [(reach.get(axis, 0),) * 2 for axis in range(len(self.Input.meta.shape))]

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """Axis by axis: the least of the squares so far, plus the square of the step to them."""
        limit = float(self.limit.value)
        squares = np.where(data[0] != 0, limit * limit, 0.0)
        for axis, spacing in self._spacings().items():
            least = squares[(slice(None),) * axis + (core[axis],)].copy()
            low, high = core[axis].start, core[axis].stop
            room = np.empty_like(least)
            for step in range(1, self._reach(spacing) + 1):
                square = (step * spacing) ** 2
                for shift in (-step, step):
                    first, last = max(low, -shift), min(high, squares.shape[axis] - shift)
                    if first < last:
                        lead = (slice(None),) * axis
                        part = (*lead, slice(first - low, last - low))
                        np.add(squares[(*lead, slice(first + shift, last + shift))], square, out=room[part])
                        np.minimum(least[part], room[part], out=least[part])
            squares = least
            del room
        np.sqrt(squares, out=squares)
        np.minimum(squares, limit, out=result, casting="same_kind")

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> int:
        """Squares before and after an axis, and room for those with a step."""
        current, inner = list(self.read_shape(roi)), inner_shape(roi)
        most = 9 * math.prod(current)
        for axis in self._spacings():
            before = math.prod(current)
            current[axis] = inner[axis]
            most = max(most, 8 * (before + 2 * math.prod(current)))
        return most
