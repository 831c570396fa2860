"""Filters that run along one axis after the other: what each pass reads, and the memory they take together.

Fresh memory costs as much as the filters themselves when it is many times the data, since the system hands it out
page by page and zeroed. So one array of about the size of the data is all that is made: the first pass fills it, slab
by slab across its axis; the passes after it go over slabs of it together, each of which stays small.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Pass", "passes_bytes", "run_passes"]

Array = np.ndarray[Any, Any]

#: voxels that a pass works on at one time
_SLAB = 2**19


@dataclass(frozen=True)
class Pass:
    """A filter along `axis`: `run(data, output)` fills `output`, an array of the shape of `data`.

    It treats each line along the axis by itself, so lines may be given to it in portions.
    """

    axis: int
    run: Callable[[Array, Array], object]


def run_passes(data: Array, core: tuple[slice, ...], passes: Sequence[Pass], result: Array) -> None:
    """Run filters one after the other, in the dtype of `result`, and cut off what lies around `core`.

    After each pass what lies around `core` along its axis is not needed any more, and is left out. No two passes run
    along one axis.
    """
    axes = [one.axis for one in passes]
    data = data[tuple(slice(None) if axis in axes else part for axis, part in enumerate(core))]
    if not passes:
        result[...] = data
        return
    first, *others = passes
    made = np.empty(_after(data.shape, result.shape, first.axis), result.dtype) if others else result
    for slab in _slabs(data.shape, _across(data.shape, first.axis)):
        _run(first, data[slab], core, made[slab])
    if others:
        for slab in _slabs(made.shape, first.axis):
            _run_all(others, made[slab], core, result[slab])


def _run_all(passes: Sequence[Pass], data: Array, core: tuple[slice, ...], target: Array) -> None:
    for one in passes[:-1]:
        step = np.empty(_after(data.shape, target.shape, one.axis), target.dtype)
        _run(one, data, core, step)
        data = step
    _run(passes[-1], data, core, target)


def _run(one: Pass, data: Array, core: tuple[slice, ...], target: Array) -> None:
    """One pass, and what lies around `core` along its axis cut off."""
    if data.shape == target.shape:
        one.run(data, target)
        return
    made = np.empty(data.shape, target.dtype)
    one.run(data, made)
    target[...] = made[(slice(None),) * one.axis + (core[one.axis],)]


def _after(shape: Sequence[int], inner: Sequence[int], axis: int) -> tuple[int, ...]:
    """The shape that is left after a pass along `axis`."""
    return (*shape[:axis], inner[axis], *shape[axis + 1 :])


def _across(shape: Sequence[int], axis: int) -> int | None:
    """The first axis across which data for a pass along `axis` can be cut."""
    return next((other for other, size in enumerate(shape) if other != axis and size > 1), None)


def _rows(shape: Sequence[int], axis: int | None) -> int:
    """How many rows along an axis a slab has."""
    return max(1, _SLAB * shape[axis] // max(1, math.prod(shape))) if axis is not None else 0


def _slabs(shape: Sequence[int], axis: int | None) -> Iterator[tuple[slice, ...]]:
    """Parts of an array along an axis; without one, all of it."""
    if axis is None:
        yield ()
        return
    rows = _rows(shape, axis)
    for row in range(0, shape[axis], rows):
        yield (slice(None),) * axis + (slice(row, row + rows),)


def _slab_shape(shape: Sequence[int], axis: int | None) -> list[int]:
    slab = list(shape)
    if axis is not None:
        slab[axis] = min(_rows(shape, axis), slab[axis])
    return slab


def passes_bytes(
    shape: Sequence[int],
    inner: Sequence[int],
    axes: Sequence[int],
    itemsize: int,
    beside: Callable[[list[int], int], int] = lambda _shape, _axis: 0,
) -> int:
    """Bytes that `run_passes` takes for data of `shape`, of which a core of shape `inner` is kept.

    `beside(shape, axis)` gives the bytes that one pass itself takes.
    """
    if not axes:
        return 0
    first, *others = axes
    data = [size if axis in axes else inner[axis] for axis, size in enumerate(shape)]
    made = _after(data, inner, first)
    held = math.prod(made) * itemsize if others else 0
    slab = _slab_shape(data, _across(data, first))
    most = held + _pass_bytes(slab, inner, first, itemsize) + beside(slab, first)
    slab, before = _slab_shape(made, first), 0
    for axis in others:
        after = list(_after(slab, inner, axis))
        step = 0 if axis == others[-1] else math.prod(after) * itemsize
        taken = step + _pass_bytes(slab, inner, axis, itemsize) + beside(slab, axis)
        most = max(most, held + before + taken)
        slab, before = after, step
    return most


def _pass_bytes(slab: list[int], inner: Sequence[int], axis: int, itemsize: int) -> int:
    """What `_run` makes: nothing where nothing is cut off."""
    return 0 if slab[axis] == inner[axis] else math.prod(slab) * itemsize
