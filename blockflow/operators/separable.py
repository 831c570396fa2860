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
        whole = current.shape[one.axis] == result.shape[one.axis]
        if one is passes[-1] and whole and current.shape == result.shape:
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


def passes_bytes(shape: Sequence[int], inner: Sequence[int], axes: Sequence[int], itemsize: int) -> int:
    """Bytes that `run_passes` takes for data of `shape`, of which a core of shape `inner` is kept."""
    current = list(shape)
    before = most = 0
    for position, axis in enumerate(axes):
        last = position == len(axes) - 1
        made = 0 if last and current == list(inner) else math.prod(current) * itemsize
        most = max(most, before + made)
        before = made
        current[axis] = inner[axis]
    return most
