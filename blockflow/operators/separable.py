"""Filters that run along one axis after the other: what each pass reads, and the memory they take together."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Pass", "passes_bytes", "run_passes"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Pass:
    """A filter along `axis`: `run(data, output)` fills `output`, an array of the shape of `data`."""

    axis: int
    run: Callable[[Array, Array], object]


def run_passes(data: Array, core: tuple[slice, ...], passes: Sequence[Pass], result: Array) -> None:
    """Run filters one after the other, in the dtype of `result`, and cut off what lies around `core`.

    After each pass what lies around `core` along its axis is not needed any more, and is left out.
    """
    current = data
    for one in passes:
        if one is passes[-1] and current.shape == result.shape:
            one.run(current, result)
            return
        made = np.empty(current.shape, result.dtype)
        one.run(current, made)
        current = made[(slice(None),) * one.axis + (core[one.axis],)]
    rest = tuple(
        slice(None) if size == wanted else part
        for size, wanted, part in zip(current.shape, result.shape, core, strict=True)
    )
    result[...] = current[rest]


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
    current = list(shape)
    before = most = 0
    for axis in axes:
        last = axis == axes[-1] and current == list(inner)
        made = 0 if last else math.prod(current) * itemsize
        most = max(most, before + made + beside(current, axis))
        before = made
        current[axis] = inner[axis]
    return most
