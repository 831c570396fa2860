"""A cache of blocks on a grid."""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from blockflow.graph import Slot
from blockflow.operators.cache_base import Array, ArrayCache, Box
from blockflow.operators.grid import carried
from blockflow.operators.parameters import Parameter, at_least, boolean, each, or_none, whole
from blockflow.request import Request, RequestPool
from blockflow.roi import determineBlockShape
from blockflow.rtype import SubRegion

__all__ = ["OpBlockedArrayCache", "pieces"]

#: voxels of a block where nothing else is said
_DEFAULT_VOXELS = 64**3


class OpBlockedArrayCache(ArrayCache):
    """Keeps the input in blocks of `BlockShape`, from 0 on: each is asked for whole, once, and kept.

    All caches of a process share one budget of memory (`set_cache_budget`); when a block is stored and there is no
    room, those used least recently go. `CleanBlocks` holds the slicings of the blocks that are kept; ask it anew,
    as blocks that come and go on their own are not announced. With `BypassModeEnabled` blocks are still asked for
    whole, but not kept. Data that are pushed in (`op.Input[...] = data`) are kept where they fill whole blocks.
    """

    BlockShape = Parameter(
        None,
        each(or_none(at_least(0, whole))),
        "voxels for each axis, 0 or None for all of it; default: the input's ideal block shape, or about 64^3 voxels",
        optional=True,
    )
    BypassModeEnabled = Parameter(False, boolean, "do not keep anything")

    def setupOutputs(self) -> None:
        """As the input, with the block shape as the ideal one; not ready if the block shape has other axes."""
        meta, output = self.Input.meta, self.Output.meta
        output.assignFrom(carried(meta, drange=meta.drange, has_mask=meta.has_mask))
        self.CleanBlocks.meta.shape, self.CleanBlocks.meta.dtype = (1,), object
        given = self.BlockShape.value
        shape = tuple(meta.shape)
        if isinstance(given, tuple) and len(given) != len(shape):
            output.NOTREADY = f"BlockShape is {given}, but the input has shape {shape}"
            return
        output.pop("NOTREADY", None)
        self.block_shape = _block_shape(given, shape, meta.ideal_blockshape)
        output.ideal_blockshape = self.block_shape
        itemsize = np.dtype(meta.dtype).itemsize
        output.ram_usage_per_requested_pixel = max(meta.ram_usage_per_requested_pixel or 0, itemsize)
        self.configure((shape, np.dtype(meta.dtype), self.block_shape))

    def touched(self, start: Sequence[int], stop: Sequence[int]) -> list[Hashable]:
        """The blocks that are kept of a region."""
        if not len(self._store):
            return []
        indices = [
            range(a // size, -(-b // size)) for a, b, size in zip(start, stop, self.block_shape, strict=True)
        ]
        if math.prod(map(len, indices)) < len(self._store):
            return [key for key in product(*indices) if key in self._store]
        return [key for key in self._store.keys() if self.touches(key, start, stop)]  # noqa: SIM118

    def touches(self, key: Any, start: Sequence[int], stop: Sequence[int]) -> bool:
        """Whether the block with an index shares voxels with a region."""
        return all(
            i * size < b and a < (i + 1) * size
            for i, size, a, b in zip(key, self.block_shape, start, stop, strict=True)
        )

    def box(self, key: Any) -> Box:
        """The block with an index, clipped to the input."""
        shape = self.Input.meta.shape
        start = tuple(i * size for i, size in zip(key, self.block_shape, strict=True))
        return start, tuple(map(min, (a + b for a, b in zip(start, self.block_shape, strict=True)), shape))

    def requiredInputRoi(self, slot: Slot, subindex: tuple[int, ...], roi: Any) -> Mapping[Slot, SubRegion]:
        """The whole blocks that the region touches."""
        if slot is not self.Output or not isinstance(roi, SubRegion):
            return {}
        blocks = self.block_shape
        start = [a // size * size for a, size in zip(roi.start, blocks, strict=True)]
        stop = [-(-b // size) * size for b, size in zip(roi.stop, blocks, strict=True)]
        return {self.Input: SubRegion(self.Input, start, stop)}

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: Any, result: Any) -> Any:
        """Copy what is kept; ask for what is not, several blocks at a time."""
        if slot is self.CleanBlocks:
            return self.clean_blocks()
        if self.Input.meta.dontcache:
            return self.Input.get(SubRegion(self.Input, roi.start, roi.stop)).writeInto(result).wait()
        missing = []
        for key, inner, outer in pieces(self.block_shape, roi.start, roi.stop):
            block = self._store.get(key)
            if block is not None:
                result[outer] = block[inner]
            else:
                missing.append((key, inner, outer))
        if not missing:
            return None
        if self.fixAtCurrent.value:
            self._leave_zero(missing, result)
        elif len(missing) == 1:
            self._fill(result, *missing[0])
        else:
            with RequestPool() as pool:
                for piece in missing:
                    pool.add(Request(partial(self._fill, result, *piece)))
        return None

    def _fill(self, result: Array, key: Hashable, inner: Any, outer: Any) -> None:
        block = self._ask(*self.box(key)) if self.BypassModeEnabled.value else self.fetch(key)
        result[outer] = block[inner]

    def _leave_zero(self, missing: Sequence[tuple[Any, Any, Any]], result: Array) -> None:
        for key, _, outer in missing:
            result[outer] = 0
            self._add_behind(self.box(key))

    def setInSlot(self, slot: Slot, subindex: tuple[int, ...], roi: Any, value: Any) -> None:
        """Keep pushed data where they fill whole blocks, and in blocks that are kept already."""
        if slot is not self.Input:
            return
        start, stop = tuple(roi.start), tuple(roi.stop)
        blocks = []
        for key, inner, outer in pieces(self.block_shape, start, stop):
            low, high = self.box(key)
            size = [b - a for a, b in zip(low, high, strict=True)]
            if [part.stop - part.start for part in inner] == size:
                blocks.append((key, np.array(value[outer], self.Output.dtype)))
                continue
            known = self._store.get(key)
            if known is not None:
                changed = known.copy()
                changed[inner] = value[outer]
                blocks.append((key, changed))
        self._put_in(blocks, (start, stop))


def _block_shape(given: Any, shape: tuple[int, ...], ideal: Any) -> tuple[int, ...]:
    """A positive size for each axis, none longer than the array."""
    if given is None and ideal is None:
        return determineBlockShape([max(1, size) for size in shape], _DEFAULT_VOXELS)
    wanted = ideal if given is None else given if isinstance(given, tuple) else (given,) * len(shape)
    return tuple(max(1, min(size or length, length)) for size, length in zip(wanted, shape, strict=True))


def pieces(
    blocks: Sequence[int], start: Sequence[int], stop: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...], tuple[slice, ...]]]:
    """For each block that a region touches: its index, and the part they share as a slicing of either."""
    axes = []
    for size, a, b in zip(blocks, start, stop, strict=True):
        axes.append(
            [
                (
                    i,
                    slice(max(a - i * size, 0), min(b - i * size, size)),
                    slice(max(i * size - a, 0), min((i + 1) * size - a, b - a)),
                )
                for i in range(a // size, -(-b // size) if b > a else a // size)
            ]
        )
    for combination in product(*axes):
        key, inner, outer = zip(*combination, strict=True) if combination else ((), (), ())
        yield key, inner, outer
