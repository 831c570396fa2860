"""A cache of the very regions that were asked for."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from blockflow.graph import Slot
from blockflow.operators.cache_base import ArrayCache, Box
from blockflow.roi import is_fully_contained
from blockflow.rtype import SubRegion

__all__ = ["OpUnblockedArrayCache"]


class OpUnblockedArrayCache(ArrayCache):
    """Keeps each region that was asked for. A region within one that is kept is taken from it.

    Regions that only overlap are asked for and kept again. A change drops every region that it touches. Data that
    are pushed in (`op.Input[...] = data`) are kept as a region.
    """

    def setupOutputs(self) -> None:
        """As the input."""
        meta = self.Input.meta
        self.Output.meta.assignFrom(meta)
        self.CleanBlocks.meta.shape, self.CleanBlocks.meta.dtype = (1,), object
        self.configure((tuple(meta.shape), np.dtype(meta.dtype)))

    def touched(self, start: Sequence[int], stop: Sequence[int]) -> list[Hashable]:
        """The regions that share voxels with one."""
        return [key for key in self._store.keys() if self.touches(key, start, stop)]  # noqa: SIM118

    def touches(self, key: Any, start: Sequence[int], stop: Sequence[int]) -> bool:
        """Whether two regions share voxels."""
        return all(low < b and a < high for low, high, a, b in zip(*key, start, stop, strict=True))

    def box(self, key: Any) -> Box:
        """The key itself."""
        low, high = key
        return low, high

    def requiredInputRoi(self, slot: Slot, subindex: tuple[int, ...], roi: Any) -> Mapping[Slot, SubRegion]:
        """The region."""
        if slot is not self.Output or not isinstance(roi, SubRegion):
            return {}
        return {self.Input: SubRegion(self.Input, roi.start, roi.stop)}

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: Any, result: Any) -> Any:
        """From a region that is kept and holds this one, or asked for and kept."""
        if slot is self.CleanBlocks:
            return self.clean_blocks()
        wanted: Box = tuple(roi.start), tuple(roi.stop)
        if self.Input.meta.dontcache:
            return self.Input.get(SubRegion(self.Input, *wanted)).writeInto(result).wait()
        for key in (wanted, *self._store.keys()):
            if is_fully_contained(wanted, key):
                block = self._store.get(key)
                if block is not None:
                    inner = (slice(a - low, b - low) for a, b, low in zip(*wanted, key[0], strict=True))
                    result[...] = block[tuple(inner)]
                    return None
        if self.fixAtCurrent.value:
            result[...] = 0
            self._add_behind(wanted)
        else:
            result[...] = self.fetch(wanted)
        return None

    def setInSlot(self, slot: Slot, subindex: tuple[int, ...], roi: Any, value: Any) -> None:
        """Keep pushed data; regions that they touch are dropped."""
        if slot is self.Input:
            box: Box = tuple(roi.start), tuple(roi.stop)
            with self._work.lock:
                self._store.drop(self.touched(*box))
            self._put_in([(box, np.array(value, self.Output.dtype))], box)
