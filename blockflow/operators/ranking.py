"""Filters by the order or the mean of the values around a voxel: minimum, maximum, rank, median, uniform."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.operators.bases import Array
from blockflow.operators.filtering import Filter, FloatFilter, inner_shape, readable, readable_bytes
from blockflow.operators.parameters import Parameter, at_least, each, number, whole
from blockflow.operators.separable import Pass, passes_bytes, run_passes
from blockflow.rtype import SubRegion

__all__ = [
    "OpMaximumFilter",
    "OpMedian",
    "OpMinimumFilter",
    "OpRank",
    "OpUniform",
    "WindowFilter",
    "extremes",
    "extremes_bytes",
]

_PAD = {
    "reflect": "symmetric",
    "constant": "constant",
    "nearest": "edge",
    "mirror": "reflect",
    "wrap": "wrap",
}


class WindowFilter(Filter):
    """A filter over a box of `size` voxels around each voxel; of an even size, one voxel more before it."""

    size = Parameter(3, each(at_least(1, whole)), "edge of the box in voxels, for all axes or each")

    def sizes(self) -> dict[int, int]:
        """The size along each axis that has more than one voxel, in the order of the axes."""
        return {axis: size for axis, size in sorted(self.per_axis("size").items()) if size > 1}

    def context(self) -> Sequence[tuple[int, int]]:
        """What of the box lies before and after its voxel; mirrored at the first voxel, it reaches as far behind it."""
        sizes = self.sizes()
        mirrored = self.mode.value == "mirror"
        windows = (sizes.get(axis, 1) for axis in range(len(self.Input.meta.shape)))
        return [(size // 2, size // 2 if mirrored else (size - 1) // 2) for size in windows]

    def output_dtype(self, *dtypes: Any) -> Any:
        """The input's."""
        dtype = np.dtype(dtypes[0])
        if dtype.kind not in "biuf":
            raise OperatorError(f"{self.name} filters real numbers, not {dtype}")
        return dtype


def _extreme(
    function: np.ufunc, axis: int, size: int, mode: str, cval: float, data: Array, output: Array
) -> None:
    """The extreme of each window along an axis: of 1, 2, 4 ... voxels, by comparing windows of half the size.

    No comparison depends on where the data begin, so NaN goes into every window that has one, wherever that lies.
    """
    before = size // 2
    widths = [(0, 0)] * data.ndim
    widths[axis] = (before, size - before - 1)
    fill = {"constant_values": np.asarray(cval).astype(data.dtype)} if mode == "constant" else {}
    current = np.pad(data, widths, _PAD[mode], **fill)  # type: ignore[call-overload]
    have = 1
    lead = (slice(None),) * axis
    while have < size:
        step = min(have, size - have)
        have += step
        one, other = current[(*lead, slice(None, -step))], current[(*lead, slice(step, None))]
        current = function(one, other, out=output if have == size else None)


def extremes(function: np.ufunc, sizes: dict[int, int], mode: str, cval: float) -> list[Pass]:
    """Passes of a minimum or maximum over a box."""
    return [Pass(axis, partial(_extreme, function, axis, size, mode, cval)) for axis, size in sizes.items()]


def extremes_bytes(
    shape: list[int] | tuple[int, ...], inner: list[int], sizes: dict[int, int], itemsize: int
) -> int:
    """What `extremes` take: the padded data and one array of windows for each pass, beside what passes take."""
    return passes_bytes(
        shape,
        inner,
        list(sizes),
        itemsize,
        beside=lambda current, axis: _padded(current, axis, sizes[axis], itemsize),
    )


def _padded(current: list[int], axis: int, size: int, itemsize: int) -> int:
    voxels = math.prod(current) // max(1, current[axis])
    length = current[axis] + size - 1
    arrays = 1 if size == 2 else 2
    return voxels * length * itemsize * arrays


class Extreme(WindowFilter):
    """The least or the greatest value in a box."""

    function: np.ufunc

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """One pass for each axis."""
        passes = extremes(self.function, self.sizes(), self.mode.value, self.cval.value)
        run_passes(data[0], core, passes, result)

    def compute_bytes(self, roi: SubRegion) -> int:
        """Padded data and windows."""
        return extremes_bytes(self.read_shape(roi), inner_shape(roi), self.sizes(), self.Input.dtype.itemsize)


class OpMinimumFilter(Extreme):
    """The least value in a box around each voxel; NaN where the box has one.

    Equal to `scipy.ndimage.minimum_filter(image, size)` for data without NaN.
    """

    function = np.minimum


class OpMaximumFilter(Extreme):
    """The greatest value in a box around each voxel; NaN where the box has one.

    Equal to `scipy.ndimage.maximum_filter(image, size)` for data without NaN.
    """

    function = np.maximum


class Ranked(WindowFilter):
    """The value at a place in the sorted values of a box."""

    def rank_of(self, count: int) -> int:
        """The place, from 0, of `count` values."""
        raise NotImplementedError

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """Scipy's rank filter, over whole numbers in the order of the values: it compares in float64."""
        from scipy.ndimage import rank_filter

        sizes = self.sizes()
        window = [sizes.get(axis, 1) for axis in range(data[0].ndim)]
        rank = self.rank_of(math.prod(window))
        image, cval, values = _in_order(data[0], np.asarray(self.cval.value).astype(data[0].dtype))
        shape = image.shape
        if image.ndim == 1:  # scipy's filter for one axis is another one, which fails for short arrays
            image, window = image[:, np.newaxis], [*window, 1]
        made = rank_filter(image, rank, window, mode=self.mode.value, cval=float(cval)).reshape(shape)[core]
        result[...] = values(made)

    def compute_bytes(self, roi: SubRegion) -> int:
        """The filtered region with its context; numbers in the order of the values, where they are needed."""
        dtype = self.Input.dtype
        voxels, inner = math.prod(self.read_shape(roi)), math.prod(inner_shape(roi))
        if dtype.itemsize == 8:
            return voxels * 58
        if dtype.kind == "f":
            return voxels * (8 + 4 * (dtype == np.float16)) + inner * 8
        return voxels * dtype.itemsize


def _in_order(image: Array, cval: Any) -> tuple[Array, Any, Callable[[Array], Array]]:
    """Numbers that scipy holds exactly, in the order of the values of an image; and what leads back to the values.

    Small integers are such numbers. Of float32, the bits are, as whole numbers: NaN the greatest, -0 below 0. Of what
    has 64 bits, the places among the sorted distinct values are.
    """
    dtype = image.dtype
    if dtype.itemsize == 8:
        values, numbers = np.unique(np.append(image.ravel(), cval), return_inverse=True)
        numbers = numbers.astype(np.int32)
        return numbers[:-1].reshape(image.shape), numbers[-1], lambda found: values[found]
    if dtype.kind == "f":
        return _from_bits(image), _from_bits(cval), _to_floats
    return image, cval, lambda found: found


def _from_bits(floats: Any) -> Any:
    bits = np.array(floats, np.float32)
    bits[np.isnan(bits)] = np.nan
    whole: Any = bits.view(np.int32)
    np.copyto(whole, whole ^ np.iinfo(np.int32).max, where=whole < 0)
    return whole


def _to_floats(whole: Array) -> Array:
    bits = whole.copy()
    np.copyto(bits, bits ^ np.iinfo(np.int32).max, where=bits < 0)
    return bits.view(np.float32)


class OpMedian(Ranked):
    """The median of a box around each voxel: of an even number of values the upper one of the middle two.

    NaN counts as greatest. Equal to `scipy.ndimage.median_filter(image, size)` for data without NaN.
    """

    def rank_of(self, count: int) -> int:
        """The middle."""
        return count // 2


class OpRank(Ranked):
    """The value at a place in the sorted values of a box: `rank` percent of the way from the least to the greatest.

    The place is rank / 100 * count, rounded down, and no more than the last. NaN counts as greatest. Equal to
    `scipy.ndimage.percentile_filter(image, rank, size)` for data without NaN.
    """

    rank = Parameter(50.0, at_least(0, number), "percent: 0 the least, 50 the median, 100 the greatest")

    def rank_of(self, count: int) -> int:
        """The place of the percentage."""
        if self.rank.value > 100:
            raise OperatorError(f"{self.rank.path} is {self.rank.value}; give 0 to 100")
        return min(count - 1, int(count * self.rank.value / 100))


class OpUniform(FloatFilter, WindowFilter):
    """The mean of a box around each voxel, as float32 (float64 for an input of float64).

    Each sum is computed anew, in float64 and along one axis after the other. (`scipy.ndimage.uniform_filter` carries
    one sum along the line, and its rounding with it; the difference is that rounding.)
    """

    def output_dtype(self, *dtypes: Any) -> Any:
        """Floats."""
        return FloatFilter.output_dtype(self, *dtypes)

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """One pass for each axis."""
        from scipy.ndimage import correlate1d

        def run(axis: int, size: int, image: Array, output: Array) -> None:
            weights = np.full(size, 1 / size)
            correlate1d(image, weights, axis, output, mode=self.mode.value, cval=self.cval.value)

        passes = [Pass(axis, partial(run, axis, size)) for axis, size in self.sizes().items()]
        run_passes(readable(data[0]), core, passes, result)

    def compute_bytes(self, roi: SubRegion) -> int:
        """What lies between two passes."""
        shape = self.read_shape(roi)
        taken = passes_bytes(shape, inner_shape(roi), list(self.sizes()), self.Output.dtype.itemsize)
        return taken + readable_bytes(self.Input, shape)
