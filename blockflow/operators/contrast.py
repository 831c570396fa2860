"""Contrast brought to one level everywhere: local normalisation, equalised histograms of tiles."""

import math
from itertools import product
from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.graph import InputSlot, MetaDict, Slot
from blockflow.operators.bases import Array, MappedOperator, Region, slab_voxels, slabs
from blockflow.operators.filtering import inner_shape
from blockflow.operators.grid import carried, named_axes
from blockflow.operators.parameters import Parameter, at_least, each, more_than, whole
from blockflow.operators.separable import passes_bytes
from blockflow.operators.smoothing import GaussianFilter
from blockflow.rtype import SubRegion

__all__ = ["OpLocalNormalization", "OpTiledClahe"]


class OpLocalNormalization(GaussianFilter):
    """(x - mean) / (deviation + epsilon), mean and standard deviation weighted by a Gaussian around each voxel.

    The variance is the mean of the squares minus the square of the mean, in float64, and no less than 0. float32.
    """

    sigma = Parameter(
        5.0, each(at_least(0)), "standard deviation of the weights in voxels, for all axes or each"
    )
    epsilon = Parameter(1e-6, more_than(0), "added to the deviation, in units of the input")

    def output_dtype(self, *dtypes: Any) -> Any:
        """float32."""
        super().output_dtype(*dtypes)
        return np.dtype(np.float32)

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """Means of the input and of its square."""
        image = data[0].astype(np.float64)
        mean, square = np.empty(result.shape), np.empty(result.shape)
        self.smooth(image, core, mean, {})
        inner = image[core]
        difference = inner - mean
        np.multiply(image, image, out=image)
        self.smooth(image, core, square, {})
        np.multiply(mean, mean, out=mean)
        square -= mean
        np.maximum(square, 0, out=square)
        np.sqrt(square, out=square)
        square += self.epsilon.value
        np.divide(difference, square, out=result, casting="same_kind")

    def compute_bytes(self, roi: SubRegion) -> int:
        """The image in float64, three arrays of the region, and passes."""
        shape, inner = self.read_shape(roi), inner_shape(roi)
        passes = passes_bytes(shape, inner, list(self.sigmas()), 8)
        return 8 * (math.prod(shape) + 3 * math.prod(inner)) + passes


class OpTiledClahe(MappedOperator):
    """Contrast-limited adaptive histogram equalisation (Zuiderveld, Graphics Gems IV, 1994), in any number of axes.

    The array is cut into tiles from its first voxel on. Each tile's histogram of `bins` bins, no bin of which counts
    more than `clip_limit` times the mean count (what is above is spread evenly over all bins), gives a mapping of
    grey values to the full range; a voxel gets what the mappings of the tiles around it give, weighted linearly by
    the distance to their middles. For uint8 and uint16; computed in float64 and rounded.
    """

    Input = InputSlot()
    tile = Parameter(64, each(at_least(2, whole)), "edge of a tile in voxels, for all axes or each")
    clip_limit = Parameter(4.0, at_least(1), "how often the mean count of a bin, at most")
    bins = Parameter(256, at_least(2, whole), "number of bins of a histogram")
    axes = Parameter(
        None, None, "names or numbers of the axes it runs over; by default all of space", optional=True
    )

    parallel_inputs = False

    def describe(self) -> MetaDict:
        """As the input."""
        dtype = np.dtype(self.Input.meta.dtype)
        if dtype not in (np.uint8, np.uint16):
            raise OperatorError(
                f"histograms are equalised of uint8 and uint16, not of {dtype}; use Rescale before"
            )
        self.tiles()
        return carried(self.Input.meta, dtype=self.Input.meta.dtype)

    def tiles(self) -> tuple[int, ...]:
        """The shape of a tile: 1 along axes that it does not run over."""
        axes = sorted(named_axes(self.axes.value, self.Input.meta, self.axes.path))
        value = self.tile.value
        sizes = value if isinstance(value, tuple) else (value,) * len(axes)
        if len(sizes) != len(axes):
            raise OperatorError(
                f"{self.tile.path} is {list(sizes)}; give one number, or one for each of {len(axes)} axes"
            )
        given = dict(zip(axes, sizes, strict=True))
        return tuple(given.get(axis, 1) for axis in range(len(self.Input.meta.shape)))

    def source(self, roi: SubRegion) -> Region:
        """All tiles whose middles are nearest to a voxel of the region, on either side."""
        start, stop = [], []
        for a, b, size, length in zip(roi.start, roi.stop, self.tiles(), self.Input.meta.shape, strict=True):
            low, high, _ = _neighbours(np.array([a, b - 1]), size, length)
            start.append(int(low[0]) * size)
            stop.append((int(high[-1]) + 1) * size)
        return start, stop

    def dirtied(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> Region:
        """The tiles that the region touches, and one more on each side."""
        tiles = self.tiles()
        return (
            [a if size == 1 else (a // size - 1) * size for a, size in zip(roi.start, tiles, strict=True)],
            [b if size == 1 else (-(-b // size) + 1) * size for b, size in zip(roi.stop, tiles, strict=True)],
        )

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion, result: Array) -> None:
        """The mapping of each tile, then each voxel by those around it."""
        tiles, shape = self.tiles(), self.Input.meta.shape
        start, stop = self.read_region(roi)
        data = self.Input.get(SubRegion(self.Input, start, stop)).wait()
        first = [a // size for a, size in zip(start, tiles, strict=True)]
        counts = [-(-b // size) - one for b, size, one in zip(stop, tiles, first, strict=True)]
        mappings = np.empty((*counts, self.bins.value))
        for place in np.ndindex(*counts):
            part = tuple(slice(i * size, (i + 1) * size) for i, size in zip(place, tiles, strict=True))
            mappings[place] = self._mapping(data[part])
        around = [
            _neighbours(np.arange(a, b), size, length)
            for a, b, size, length in zip(roi.start, roi.stop, tiles, shape, strict=True)
        ]
        core = tuple(slice(a - low, b - low) for a, b, low in zip(roi.start, roi.stop, start, strict=True))
        image = data[core]
        for rows in slabs(result.shape):
            bins = self._bins(image[rows])
            total = np.zeros(bins.shape)
            for sides in product((0, 1), repeat=len(tiles)):
                if any(side and size == 1 for side, size in zip(sides, tiles, strict=True)):
                    continue
                weight: Any = 1.0
                places = []
                for axis, (side, one) in enumerate(zip(sides, around, strict=True)):
                    here = rows if axis == 0 else slice(None)
                    reach = one[side][here] - first[axis]
                    along = (1 - one[2][here]) if side == 0 else one[2][here]
                    open_axes = [1] * bins.ndim
                    open_axes[axis] = -1
                    places.append(reach.reshape(open_axes))
                    weight = weight * along.reshape(open_axes)
                found = mappings[(*places, bins)]
                found *= weight
                total += found
                del found, weight
            np.rint(total, out=total)
            result[rows] = total

    def _bins(self, image: Array) -> Array:
        """The number of the bin of each voxel."""
        levels = int(np.iinfo(image.dtype).max) + 1
        numbers = image.astype(np.int64)
        numbers *= self.bins.value
        numbers //= levels
        return numbers

    def _mapping(self, tile: Array) -> Array:
        """The grey value that each bin becomes: from the summed histogram, clipped."""
        count = tile.size
        histogram = np.bincount(self._bins(tile).ravel(), minlength=self.bins.value).astype(np.float64)
        limit = self.clip_limit.value * count / self.bins.value
        excess = np.maximum(histogram - limit, 0).sum()
        np.minimum(histogram, limit, out=histogram)
        histogram += excess / self.bins.value
        mapped: Array = np.cumsum(histogram) * (float(np.iinfo(tile.dtype).max) / count)
        return mapped

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> int:
        """The mappings, the bins of the largest tile, and what a slab takes."""
        tiles = self.tiles()
        start, stop = self.read_region(roi)
        counts = (-(-b // size) - a // size for a, b, size in zip(start, stop, tiles, strict=True))
        largest = math.prod(min(size, b - a) for a, b, size in zip(start, stop, tiles, strict=True))
        return int(
            8 * (math.prod(counts) * self.bins.value + max(largest, 4 * slab_voxels(inner_shape(roi))))
        )


def _neighbours(at: Array, size: int, length: int) -> tuple[Array, Array, Array]:
    """For places along an axis: the tiles whose middles are next before and after, and the weight of the latter.

    The last tile may be shorter; its middle then lies nearer. Before the first middle and after the last there is
    one tile.
    """
    if size == 1:
        return at, at, np.zeros(at.shape)
    count = -(-length // size)
    begins = np.arange(count) * size
    middles = (begins + np.minimum(begins + size, length) - 1) / 2
    high = np.searchsorted(middles, at, side="left")
    low = np.clip(high - 1, 0, count - 1)
    high = np.clip(high, 0, count - 1)
    width = middles[high] - middles[low]
    weight = np.where(width > 0, (at - middles[low]) / np.where(width > 0, width, 1), 0.0)
    return low, high, weight
