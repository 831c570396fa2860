"""Regions of voxels: from slicings to start and stop, and what is asked of such pairs."""

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import Any

from blockflow.errors import RoiError

__all__ = [
    "RoiError",
    "TinyVector",
    "containing_rois",
    "determineBlockShape",
    "determine_optimal_request_blockshape",
    "enlargeRoiForHalo",
    "getBlockBounds",
    "getIntersectingBlocks",
    "getIntersectingRois",
    "getIntersection",
    "is_fully_contained",
    "nonzero_bounding_box",
    "roiFromShape",
    "roiToSlice",
    "sliceToRoi",
]

Bounds = tuple[Sequence[int], Sequence[int]]


def _elementwise(
    function: Callable[[Any, Any], Any], *, reflected: bool = False
) -> Callable[[Any, Any], Any]:
    def apply(self: "TinyVector", other: Any) -> Any:
        others = self._matching(other)
        if others is None:
            return NotImplemented
        if reflected:
            return TinyVector(map(function, others, self))
        return TinyVector(map(function, self, others))

    return apply


def _compare(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def apply(self: "TinyVector", other: Any) -> Any:
        if function in (operator.eq, operator.ne) and _length(other) not in (None, len(self)):
            return function is operator.ne
        others = self._matching(other)
        if others is None:
            return NotImplemented
        return _Truths(map(function, self, others), every=function is not operator.ne)

    return apply


def _length(other: Any) -> int | None:
    return len(other) if hasattr(other, "__len__") and getattr(other, "ndim", 1) != 0 else None


class TinyVector(list[Any]):
    """A short list of numbers with elementwise arithmetic.

    Comparisons give a vector of truths, which is itself true if all of them are (for `!=`: if any is).
    """

    __slots__ = ()
    __hash__ = None

    def _matching(self, other: Any) -> Iterable[Any] | None:
        length = _length(other)
        if length is None:
            return [other] * len(self) if hasattr(other, "__index__") or isinstance(other, float) else None
        if length != len(self):
            raise RoiError(f"{list(self)} has {len(self)} elements, {list(other)} has {length}")
        return list(other)

    __add__ = _elementwise(operator.add)
    __radd__ = _elementwise(operator.add, reflected=True)
    __iadd__ = __add__
    __sub__ = _elementwise(operator.sub)
    __rsub__ = _elementwise(operator.sub, reflected=True)
    __mul__ = _elementwise(operator.mul)
    __rmul__ = _elementwise(operator.mul, reflected=True)
    __imul__ = __mul__
    __truediv__ = _elementwise(operator.truediv)
    __rtruediv__ = _elementwise(operator.truediv, reflected=True)
    __floordiv__ = _elementwise(operator.floordiv)
    __rfloordiv__ = _elementwise(operator.floordiv, reflected=True)
    __mod__ = _elementwise(operator.mod)
    __rmod__ = _elementwise(operator.mod, reflected=True)
    __pow__ = _elementwise(operator.pow)
    __rpow__ = _elementwise(operator.pow, reflected=True)
    __eq__ = _compare(operator.eq)
    __ne__ = _compare(operator.ne)
    __lt__ = _compare(operator.lt)
    __le__ = _compare(operator.le)
    __gt__ = _compare(operator.gt)
    __ge__ = _compare(operator.ge)

    def __neg__(self) -> "TinyVector":
        return TinyVector(-value for value in self)

    def __abs__(self) -> "TinyVector":
        return TinyVector(abs(value) for value in self)

    def all(self) -> bool:
        """Whether all elements are true."""
        return all(iter(self))

    def any(self) -> bool:
        """Whether any element is true."""
        return any(iter(self))

    def ceil(self) -> "TinyVector":
        """Each element rounded up."""
        return TinyVector(math.ceil(value) for value in self)

    def floor(self) -> "TinyVector":
        """Each element rounded down."""
        return TinyVector(math.floor(value) for value in self)

    def copy(self) -> "TinyVector":
        return TinyVector(self)


class _Truths(TinyVector):
    """What a comparison of vectors gives."""

    __slots__ = ("_every",)

    def __init__(self, values: Iterable[bool], *, every: bool) -> None:
        super().__init__(values)
        self._every = every

    def __bool__(self) -> bool:
        return all(iter(self)) if self._every else any(iter(self))


def sliceToRoi(key: Any, shape: Sequence[int], extendSingleton: bool = True) -> tuple[TinyVector, TinyVector]:
    """The start and stop of a slicing of an array.

    Parameters
    ----------
    key : slice, int, Ellipsis, None or tuple of slices, ints and at most one Ellipsis
        Axes that are left out are taken whole, as by `()` and None. Negative indices count from the end.
    shape : sequence of int
    extendSingleton : bool
        An int keeps its axis, with size 1; else the axis is left out.

    Raises
    ------
    RoiError
        For strides, too many indices, and ints outside of the shape. Slices may reach outside of it.
    """
    keys = key if type(key) is tuple else () if key is None else (key,)
    if len(keys) != len(shape) or Ellipsis in keys:
        keys = _expanded(keys, shape)
    start, stop = TinyVector(), TinyVector()
    for one, size in zip(keys, shape, strict=True):
        if type(one) is slice or isinstance(one, slice):
            if one.step not in (None, 1):
                raise RoiError(f"{key} has a step of {one.step}; regions have no strides")
            first = 0 if one.start is None else operator.index(one.start)
            last = size if one.stop is None else operator.index(one.stop)
            if first < 0:
                first += size
            if last < 0:
                last += size
            start.append(first)
            stop.append(max(first, last))
        else:
            try:
                index = operator.index(one)
            except TypeError:
                raise RoiError(f"{key}: {one!r} is neither a slice nor an int") from None
            if not -size <= index < size:
                raise RoiError(f"{key}: index {index} is outside of the shape {tuple(shape)}")
            if extendSingleton:
                start.append(index % size)
                stop.append(index % size + 1)
    return start, stop


def _expanded(keys: tuple[Any, ...], shape: Sequence[int]) -> tuple[Any, ...]:
    places = [place for place, one in enumerate(keys) if one is Ellipsis]
    if len(places) > 1:
        raise RoiError(f"{keys} has {len(places)} Ellipses; at most one has a meaning")
    missing = len(shape) - len(keys) + len(places)
    if missing < 0:
        raise RoiError(
            f"{keys} has {len(keys) - len(places)} indices; the shape {tuple(shape)} has {len(shape)} axes"
        )
    place = places[0] if places else len(keys)
    return (*keys[:place], *[slice(None)] * missing, *keys[place + len(places) :])


def roiToSlice(start: Sequence[int], stop: Sequence[int], hardBind: bool = False) -> tuple[Any, ...]:
    """The slicing of a region; with `hardBind`, axes of size 1 become ints."""
    if hardBind:
        return tuple(a if b - a == 1 else slice(a, b) for a, b in zip(start, stop, strict=True))
    return tuple(map(slice, start, stop))


def roiFromShape(shape: Sequence[int]) -> tuple[TinyVector, TinyVector]:
    """All of an array of this shape."""
    return TinyVector([0] * len(shape)), TinyVector(shape)


def getIntersection(
    roiA: Bounds, roiB: Bounds, assertIntersect: bool = True
) -> tuple[TinyVector, TinyVector] | None:
    """What two regions share. If they share nothing: RoiError, or None without `assertIntersect`."""
    start = TinyVector(map(max, roiA[0], roiB[0]))
    stop = TinyVector(map(min, roiA[1], roiB[1]))
    if all(map(operator.lt, start, stop)):
        return start, stop
    if assertIntersect:
        raise RoiError(f"{_text(roiA)} and {_text(roiB)} share nothing")
    return None


def is_fully_contained(inner: Bounds, outer: Bounds) -> bool:
    """Whether a region lies within another."""
    return all(map(operator.ge, inner[0], outer[0])) and all(map(operator.le, inner[1], outer[1]))


def containing_rois(rois: Iterable[Bounds], roi: Bounds) -> list[Bounds]:
    """Those of the regions that `roi` lies within."""
    return [one for one in rois if is_fully_contained(roi, one)]


def getIntersectingBlocks(blockshape: Sequence[int], roi: Bounds, asarray: bool = False) -> Any:
    """The starts of all blocks that a region touches, of a grid of blocks from 0, in C order.

    Returns
    -------
    list of tuples, or an array of shape (number of blocks, axes) with `asarray`.
    """
    if any(size < 1 for size in blockshape):
        raise RoiError(f"the block shape {tuple(blockshape)} has an axis without size")
    starts: Iterator[tuple[int, ...]] = product(
        *(range(a // size * size, b, size) for a, b, size in zip(roi[0], roi[1], blockshape, strict=True))
    )
    if any(a >= b for a, b in zip(*roi, strict=True)):
        starts = iter(())
    if asarray:
        import numpy as np

        return np.array(list(starts), dtype=int).reshape(-1, len(blockshape))
    return list(starts)


def getBlockBounds(
    dataset_shape: Sequence[int], block_shape: Sequence[int], block_start: Sequence[int]
) -> tuple[TinyVector, TinyVector]:
    """The region of the block that starts at `block_start`, clipped to the dataset."""
    if any(start % size for start, size in zip(block_start, block_shape, strict=True)):
        raise RoiError(f"no block of shape {tuple(block_shape)} starts at {tuple(block_start)}")
    stop = TinyVector(map(min, map(operator.add, block_start, block_shape), dataset_shape))
    return TinyVector(block_start), stop


def getIntersectingRois(
    dataset_shape: Sequence[int], block_shape: Sequence[int], roi: Bounds, clip: bool = True
) -> list[tuple[TinyVector, TinyVector]]:
    """The regions of all blocks that a region touches, whole or clipped to it."""
    blocks = [
        getBlockBounds(dataset_shape, block_shape, start) for start in getIntersectingBlocks(block_shape, roi)
    ]
    if not clip:
        return blocks
    clipped = (getIntersection(block, roi, assertIntersect=False) for block in blocks)
    return [block for block in clipped if block is not None]


def enlargeRoiForHalo(
    start: Sequence[int],
    stop: Sequence[int],
    shape: Sequence[int],
    sigma: float | Sequence[float],
    window: float = 3.5,
    enlarge_axes: Sequence[bool] | None = None,
    return_result_roi: bool = False,
) -> Any:
    """A region grown by what a filter of `sigma` reads around it, `ceil(sigma * window)`, clipped to the shape.

    Parameters
    ----------
    sigma : float or sequence
        In voxels, for all axes or each.
    enlarge_axes : sequence of bool, optional
        Which axes grow; all by default.
    return_result_roi : bool
        Also return where the region lies in the grown one.

    Returns
    -------
    (start, stop), or ((start, stop), (start, stop)) with `return_result_roi`.
    """
    sigmas = list(sigma) if isinstance(sigma, Iterable) else [sigma] * len(shape)
    halo = [
        math.ceil(one * window) if grown else 0
        for one, grown in zip(sigmas, enlarge_axes or [True] * len(shape), strict=True)
    ]
    first = TinyVector(max(0, a - h) for a, h in zip(start, halo, strict=True))
    last = TinyVector(min(size, b + h) for b, h, size in zip(stop, halo, shape, strict=True))
    if return_result_roi:
        return (first, last), (TinyVector(start) - first, TinyVector(stop) - first)
    return first, last


def nonzero_bounding_box(data: Any) -> tuple[TinyVector, TinyVector] | None:
    """The smallest region that holds all voxels that are not zero, or None if there are none."""
    import numpy as np

    found = np.nonzero(data)
    if not found[0].size:
        return None
    return TinyVector(int(axis.min()) for axis in found), TinyVector(int(axis.max()) + 1 for axis in found)


def determineBlockShape(max_shape: Sequence[int], target_block_volume: float) -> tuple[int, ...]:
    """The block shape nearest to a cube of at most `target_block_volume` voxels, no axis longer than `max_shape`."""
    if target_block_volume < 1 or any(size < 1 for size in max_shape):
        raise RoiError(
            f"no block of at most {target_block_volume} voxels and shape {tuple(max_shape)} has a voxel"
        )
    shape = [0] * len(max_shape)
    volume = float(target_block_volume)
    left = len(max_shape)
    for axis in sorted(range(len(max_shape)), key=lambda axis: max_shape[axis]):
        edge = int(volume ** (1 / left) * (1 + 1e-12))
        shape[axis] = max(1, min(max_shape[axis], edge))
        volume /= shape[axis]
        left -= 1
    return tuple(shape)


def determine_optimal_request_blockshape(
    max_blockshape: Sequence[int],
    ideal_blockshape: Sequence[int | None],
    ram_usage_per_requested_pixel: float,
    num_threads: int,
    available_ram: float,
) -> tuple[int, ...]:
    """The largest block shape of which each thread can have one in memory.

    Parameters
    ----------
    max_blockshape : sequence of int
    ideal_blockshape : sequence of int
        The shape is a multiple of it where that fits; 0 or None: any size.
    ram_usage_per_requested_pixel : float
        Bytes.
    num_threads : int
    available_ram : float
        Bytes, for all threads together.
    """
    volume = max(1.0, available_ram / num_threads / ram_usage_per_requested_pixel)
    fixed = [
        min(int(ideal or 0), largest) for ideal, largest in zip(ideal_blockshape, max_blockshape, strict=True)
    ]
    base = [size or 1 for size in fixed]
    if math.prod(base) > volume:
        return determineBlockShape(base, volume)
    steps = [largest // one for largest, one in zip(max_blockshape, base, strict=True)]
    times = determineBlockShape(steps, max(1.0, volume / math.prod(base)))
    return tuple(one * count for one, count in zip(base, times, strict=True))


def _text(roi: Bounds) -> str:
    return f"{tuple(roi[0])} to {tuple(roi[1])}"
