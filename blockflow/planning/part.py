"""A part of a graph that one task computes, and what a block of it takes."""

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from funlib.geometry import Coordinate, Roi

from blockflow.graph import Slot, StagedOperator, StageGrid
from blockflow.graph.regions import Bounds, Step, walk_back
from blockflow.planning.target import Target
from blockflow.rtype import SubRegion
from blockflow.storage import Array, ArraySpec

__all__ = ["ApplyPart", "BlockCost", "Output", "Part", "PassPart", "held_bytes"]

#: units of work for a voxel that nothing beside it matters to
_LEAST_WORK = 3

#: a region that is so much wider is taken for one of other voxels, not one with context
_RESAMPLED = 1.8

#: workers keep freed memory for what comes next (`utility.freed_memory`), and not all of it fits: what is held at the
#: peak in proportion to what is in use, at most
_KEPT = 1.25

#: bytes that any block takes: stacks of threads, tables of codecs, what libraries keep after their first call
_ALWAYS = 12 * 2**20

#: chunks that are decoded, or encoded, at one time
_CHUNKS_AT_ONCE = 10


@dataclass(frozen=True, eq=False)
class Output:
    """A slot that is stored, and the array it is stored in."""

    slot: Slot
    target: Target
    spec: ArraySpec
    array: Array


@dataclass(frozen=True)
class BlockCost:
    """What one block takes: bytes of memory beyond the worker's start, bytes moved, voxels computed, and work.

    `work` counts for each voxel that an operator computes a few units, and one for each voxel beside it that it looks
    at along an axis: about nanoseconds.
    """

    memory: int
    bytes_read: int
    bytes_needed: int
    bytes_written: int
    computed: int
    work: float


@dataclass(frozen=True, eq=False)
class Part:
    """What a task computes. `stored` maps the slots that it reads to their arrays."""

    name: str
    stored: Mapping[Slot, Array]
    walks: dict[Any, list[Step]] = field(default_factory=dict, init=False, repr=False)

    @property
    def about(self) -> str:
        """What of the graph an error about this part is about: an output, or an operator."""
        return self.name

    @property
    @abstractmethod
    def frame(self) -> Array:
        """The array whose voxels and ROI the blocks cut up."""

    @abstractmethod
    def wanted(self, write_roi: Roi) -> dict[Slot, Bounds]:
        """The regions of slots that a block computes."""

    @abstractmethod
    def bytes_written(self, write_roi: Roi) -> int:
        """What a block writes, uncompressed."""

    def walk(self, write_roi: Roi, *, clip: bool = True) -> list[Step]:
        """All that a block reads and computes."""
        key = (write_roi.offset, write_roi.shape, clip)
        if key not in self.walks:
            self.walks[key] = walk_back(self.wanted(write_roi), self.stored, clip=clip)
        return self.walks[key]

    def read_rois(self, write_roi: Roi) -> dict[str, Roi]:
        """The lattice ROI that a block reads of each array, by path, as if arrays had no borders."""
        rois: dict[str, Roi] = {}
        for step in self.walk(write_roi, clip=False):
            array = self.stored.get(step.slot)
            if array is not None:
                roi = array.roi_of(step.start, step.stop)
                rois[array.path] = roi.union(rois[array.path]) if array.path in rois else roi
        return rois

    def operators(self, write_roi: Roi) -> list[Any]:
        """The operators that compute, upstream first."""
        computed = (step.slot.operator for step in self.walk(write_roi) if self.is_computed(step))
        return list(dict.fromkeys(computed))

    def is_computed(self, step: Step) -> bool:
        """Whether a step is a computation, not a read or a value."""
        return step.slot not in self.stored and step.is_computed

    def cost(self, write_roi: Roi) -> BlockCost:
        """What a block takes: each region at hand from when it is made until its last use."""
        steps = self.walk(write_roi)
        uses = Counter(source for step in steps for source in step.reads)
        kept = {slot.source for slot in self.wanted(write_roi)}
        held: dict[Slot, int] = {}
        live = peak = read = needed = computed = 0
        work = 0.0
        unclipped = {
            step.slot: (step.start, step.stop) for step in self.walk(write_roi, clip=False)
        }  # the work of a filter is the same at the border
        for step in steps:
            array = self.stored.get(step.slot)
            if array is None and not step.is_computed:
                continue
            voxels = math.prod(b - a for a, b in zip(step.start, step.stop, strict=True))
            size = voxels * np.dtype(step.slot.meta.dtype).itemsize
            if array is not None:
                decoded = _decoded_bytes(array, step)
                extra = min(decoded, _CHUNKS_AT_ONCE * _chunk_bytes(array))
                read += decoded
                needed += size
            else:
                extra = self._scratch(step)
                computed += voxels
                work += _work(step, voxels, unclipped)
            peak = max(peak, live + size + extra)
            live += size
            held[step.slot] = size
            for source in step.reads:
                uses[source] -= 1
                if not uses[source] and source not in kept:
                    live -= held.pop(source, 0)
        written = self.bytes_written(write_roi)
        peak = max(peak, live + self.finishing_bytes(write_roi))
        memory = held_bytes(peak) + self._held(write_roi)
        return BlockCost(memory, read, needed, written, computed, work)

    def _scratch(self, step: Step) -> int:
        slot = step.slot
        assert slot.operator is not None
        roi = SubRegion(slot, step.start, step.stop)
        return slot.operator.scratch_bytes(slot.top_level_slot, slot.subindex, roi)

    def _held(self, write_roi: Roi) -> int:
        """What the operators hold in a worker, between blocks too."""
        held: dict[str, int] = {}
        for operator in self.operators(write_roi):
            held |= operator.held_memory()
        return sum(held.values())

    def finishing_bytes(self, write_roi: Roi) -> int:  # noqa: ARG002
        """What is needed when all is computed, to leave the result."""
        return 0


def held_bytes(peak: int) -> int:
    """What a worker holds beyond its start where so much is in use at one time."""
    return math.ceil(_KEPT * peak) + _ALWAYS


@dataclass(frozen=True, eq=False)
class ApplyPart(Part):
    """Computes an output, block by block."""

    output: Any = None

    @property
    def frame(self) -> Array:
        array: Array = self.output.array
        return array

    def wanted(self, write_roi: Roi) -> dict[Slot, Bounds]:
        start, stop = self.frame.voxels_of(write_roi)
        if any(a >= b for a, b in zip(start, stop, strict=True)):
            return {}
        return {self.output.slot: (start, stop)}

    def bytes_written(self, write_roi: Roi) -> int:
        start, stop = self.frame.voxels_of(write_roi)
        return int(math.prod(b - a for a, b in zip(start, stop, strict=True))) * self.frame.dtype.itemsize

    def finishing_bytes(self, write_roi: Roi) -> int:
        """Chunks are encoded a few at a time; those of a shard all together."""
        unit = math.prod(self.frame.write_unit) * self.frame.dtype.itemsize
        return min(2 * self.bytes_written(write_roi), 2 * _CHUNKS_AT_ONCE * int(unit))


@dataclass(frozen=True, eq=False)
class PassPart(Part):
    """The pass of an operator in stages over its input; `layout` is the input as an array that is not stored.

    Without `write_shape` a ROI is taken for a whole block.
    """

    operator: Any = None
    layout: Any = None
    write_shape: Coordinate | None = None

    @property
    def about(self) -> str:
        return self.name.removesuffix("-pass")

    @property
    def frame(self) -> Array:
        array: Array = self.layout
        return array

    def grid(self, write_shape: Coordinate) -> StageGrid:
        """The blocks of a pass whose write ROIs have a shape."""
        shape = self.frame.shape
        block = list(shape)
        for axis, size in zip(
            self.frame.metadata.spatial_axes, write_shape / self.frame.voxel_size, strict=True
        ):
            block[axis] = min(int(size), shape[axis])
        return StageGrid(shape, tuple(block))

    def wanted(self, write_roi: Roi) -> dict[Slot, Bounds]:
        grid = self.grid(self.write_shape or write_roi.shape)
        start, _ = self.frame.voxels_of(write_roi)
        position = [a // size for a, size in zip(start, grid.block_shape, strict=True)]
        index = int(np.ravel_multi_index(position, grid.blocks))
        staged: StagedOperator = self.operator
        needed = staged.measureInputRoi(grid, index)
        return {slot: (tuple(roi.start), tuple(roi.stop)) for slot, roi in needed.items()}

    def bytes_written(self, write_roi: Roi) -> int:  # noqa: ARG002 - results are small
        return 0

    def finishing_bytes(self, write_roi: Roi) -> int:
        """What `measure` takes beside its input."""
        start, stop = self.frame.voxels_of(write_roi)
        slot = self.operator.inputs[self.operator.stage_input]
        bounds = (start, stop)
        return int(self.operator.measure_bytes(SubRegion(slot, *bounds)))


def _work(step: Step, voxels: int, regions: Mapping[Slot, Bounds]) -> float:
    """Units of work of a step: for its voxels and, since filters run over their context too, half of those around."""
    start, stop = regions[step.slot]
    shape = [b - a for a, b in zip(start, stop, strict=True)]
    reach, around = 0.0, 1.0
    for source in step.reads[:1]:
        wider = [b - a for a, b in zip(*regions[source], strict=True)]
        for large, small in zip(wider, shape, strict=False):
            scale = large / small
            reach += max(0, large - small) if scale < _RESAMPLED else scale
            around *= scale if 1 < scale < _RESAMPLED else 1
    return voxels * (1 + around) / 2 * (_LEAST_WORK + reach)


def _decoded_bytes(array: Array, step: Step) -> int:
    """Bytes of the chunks that a region touches."""
    voxels = math.prod(
        min(size, -(-b // chunk) * chunk) - a // chunk * chunk
        for a, b, chunk, size in zip(step.start, step.stop, array.chunks, array.shape, strict=True)
    )
    return int(voxels) * array.dtype.itemsize


def _chunk_bytes(array: Array) -> int:
    return math.prod(array.chunks) * array.dtype.itemsize
