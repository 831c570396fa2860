"""A cache that is read in slices of several directions."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from blockflow.errors import OperatorError
from blockflow.graph import InputSlot, Operator, OutputSlot, Slot
from blockflow.operators.blocked_caching import OpBlockedArrayCache
from blockflow.operators.parameters import Parameter, boolean
from blockflow.rtype import SubRegion

if TYPE_CHECKING:
    from blockflow.operators.cache_base import Box

__all__ = ["OpSlicedBlockedArrayCache"]


def _block_shapes(value: Any, where: str) -> tuple[tuple[int, ...], ...]:
    shapes = tuple(tuple(int(size or 0) for size in shape) for shape in value)
    if not shapes:
        raise OperatorError(f"{where} has no block shape; give one for each direction of slices")
    return shapes


class OpSlicedBlockedArrayCache(Operator):
    """Several caches of one input, each with blocks of another shape: flat ones for each direction of slices.

    A request goes to the cache whose block shape is nearest to its own shape (the sum of squared differences), so
    what is read in three directions is kept up to three times. `InnerOutputs` are the caches' own outputs.
    """

    Input = InputSlot()
    fixAtCurrent = Parameter(False, boolean, "as of OpBlockedArrayCache")
    BlockShape = Parameter(None, _block_shapes, "a list of block shapes, one for each inner cache")
    BypassModeEnabled = Parameter(False, boolean, "as of OpBlockedArrayCache")
    CompressionEnabled = Parameter(False, boolean, "as of OpBlockedArrayCache")

    Output = OutputSlot()
    InnerOutputs = OutputSlot(level=1)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._caches: list[OpBlockedArrayCache] = []
        self._dirty: Box | None = None

    def setupOutputs(self) -> None:
        """One inner cache for each block shape."""
        shapes = self.BlockShape.value
        while len(self._caches) > len(shapes):
            self.InnerOutputs.resize(len(self._caches) - 1)
            self._caches.pop().cleanUp()
        while len(self._caches) < len(shapes):
            cache = OpBlockedArrayCache(parent=self)
            cache.BlockShape.setValue(shapes[len(self._caches)])
            for name in ("fixAtCurrent", "BypassModeEnabled", "CompressionEnabled", "Input"):
                cache.inputs[name].connect(self.inputs[name])
            cache.Output.notifyDirty(self._on_inner_dirty)
            self._caches.append(cache)
            self.InnerOutputs.resize(len(self._caches))
            self.InnerOutputs[-1].connect(cache.Output)
        for cache, shape in zip(self._caches, shapes, strict=True):
            cache.BlockShape.setValue(shape)
        self.Output.meta.assignFrom(self._caches[0].Output.meta)
        reason = self._caches[0].Output.meta.NOTREADY
        if reason:
            self.Output.meta.NOTREADY = reason

    def _nearest(self, roi: Any) -> OpBlockedArrayCache:
        def distance(cache: OpBlockedArrayCache) -> int:
            sizes = zip(roi.start, roi.stop, cache.block_shape, strict=True)
            return sum((b - a - size) ** 2 for a, b, size in sizes)

        return min(self._caches, key=distance)

    def requiredInputRoi(self, slot: Slot, subindex: tuple[int, ...], roi: Any) -> Mapping[Slot, SubRegion]:
        """What the cache that is asked needs."""
        cache = self._nearest(roi)
        (region,) = cache.requiredInputRoi(cache.Output, (), roi).values()
        return {self.Input: SubRegion(self.Input, region.start, region.stop)}

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: Any, result: Any) -> Any:
        """Ask the nearest cache."""
        output = self._nearest(roi).Output
        return output.get(SubRegion(output, roi.start, roi.stop)).writeInto(result).wait()

    def propagateDirty(self, slot: Slot, subindex: tuple[int, ...], roi: Any) -> None:
        """The inner caches tell what is to be passed on."""

    def _on_inner_dirty(self, slot: Slot, roi: Any) -> None:
        """Announce what all caches tell in one edit, as one region."""
        if self._dirty is None:
            self._dirty = tuple(roi.start), tuple(roi.stop)
            self.graph.call_when_setup_finished(self._announce)
        else:
            start, stop = self._dirty
            self._dirty = tuple(map(min, start, roi.start)), tuple(map(max, stop, roi.stop))

    def _announce(self) -> None:
        box, self._dirty = self._dirty, None
        if box is not None:
            self.Output.setDirty(*box)

    def setInSlot(self, slot: Slot, subindex: tuple[int, ...], roi: Any, value: Any) -> None:
        """The inner caches take pushed data themselves."""

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: Any) -> int:
        """None, as of the inner caches."""
        return 0

    def usedMemory(self) -> int:
        """The bytes of all that is kept."""
        return sum(cache.usedMemory() for cache in self._caches)

    def freeMemory(self) -> int:
        """Let go of all that is kept; the number of bytes that became free."""
        return sum(cache.freeMemory() for cache in self._caches)
