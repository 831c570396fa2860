"""Windows of an array made into one value each: mean, maximum, minimum, most frequent value, first value."""

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from blockflow.operators.bases import slab_voxels, slabs

__all__ = ["reduce_windows", "reduced_bytes"]

Array = np.ndarray[Any, Any]


def reduce_windows(method: str, data: Array, window: tuple[int, ...], result: Array) -> None:
    """Fill `result` with one value for each window of `data`, whose shape is that of `result` times `window`.

    Parameters
    ----------
    method : "mean", "max", "min", "mode" or "stride"
    data : ndarray
    window : tuple of int
    result : ndarray
        Of the dtype of `data`.
    """
    if method == "stride" or math.prod(window) == 1:
        result[...] = next(_voxels(data, window))
    elif method in ("mode", "mean"):
        reduce_slab = _mode if method == "mode" else _mean
        for part in slabs(result.shape):
            rows = slice(part.start * window[0], part.stop * window[0])
            reduce_slab(data[rows], window, result[part])
    else:
        reduce = np.maximum if method == "max" else np.minimum
        voxels = _voxels(data, window)
        result[...] = next(voxels)
        for voxel in voxels:
            reduce(result, voxel, out=result)


def _voxels(data: Array, window: tuple[int, ...]) -> Iterator[Array]:
    """For each place in a window: the voxels at that place of all windows."""
    for place in product(*map(range, window)):
        yield data[tuple(slice(at, None, step) for at, step in zip(place, window, strict=True))]


def _mean(data: Array, window: tuple[int, ...], result: Array) -> None:
    count = math.prod(window)
    dtype = data.dtype
    if dtype.kind in "fc":
        total = np.zeros(result.shape, np.result_type(dtype, np.float64))
        for voxel in _voxels(data, window):
            total += voxel
        np.divide(total, count, out=total)
        result[...] = total
        return
    # a mean of integers is exact: the whole parts of voxel / count, and what is left of them
    wide = np.dtype(np.uint64 if dtype.kind in "bu" else np.int64)
    divisor, two = wide.type(count), wide.type(2)
    whole, rest = np.zeros(result.shape, wide), np.zeros(result.shape, wide)
    if dtype.itemsize < 8:
        for voxel in _voxels(data, window):
            rest += voxel
        np.divmod(rest, divisor, out=(whole, rest))
    else:
        part, left = np.empty(result.shape, wide), np.empty(result.shape, wide)
        for voxel in _voxels(data, window):
            np.divmod(voxel, divisor, out=(part, left))
            whole += part
            rest += left
        np.divmod(rest, divisor, out=(part, rest))
        whole += part
    rest *= two
    up, tie = rest > divisor, rest == divisor
    np.bitwise_and(whole, wide.type(1), out=rest)
    tie &= rest.astype(bool)
    whole += up | tie
    result[...] = whole


def _mode(data: Array, window: tuple[int, ...], result: Array) -> None:
    count = math.prod(window)
    values = np.empty((count, *result.shape), data.dtype)
    for row, voxel in zip(values, _voxels(data, window), strict=True):
        row[...] = voxel
    values.sort(axis=0)
    result[...] = values[0]
    run = np.ones(result.shape, np.uint32)
    longest = np.ones(result.shape, np.uint32)
    for place in range(1, count):
        np.multiply(run, values[place] == values[place - 1], out=run)
        run += 1
        longer = run > longest
        np.copyto(longest, run, where=longer)
        np.copyto(result, values[place], where=longer)


def reduced_bytes(method: str, shape: Sequence[int], window: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Bytes that `reduce_windows` takes for a result of `shape`."""
    voxels, count = slab_voxels(shape), math.prod(window)
    if method in ("stride", "max", "min") or count == 1:
        return 0
    if method == "mode":
        return voxels * (count * dtype.itemsize + 11)
    if dtype.kind in "fc":
        return voxels * (16 if dtype.kind == "c" else 8)
    return voxels * (36 if dtype.itemsize == 8 else 20)
