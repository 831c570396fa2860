"""Operators whose every voxel depends on the whole of an input: statistics, normalisation, connected components.

They work in three stages: a pass over the blocks of the input, in which each leaves a small result; a merge of
these; and then any region of an output, computed with what was merged. Lazily, the first request makes the pass and
the merge, and what came out is kept until the input changes. On a cluster the pass and the merge are tasks, and
workers are given what came out. Both ways call the same functions, so the voxels are the same.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from blockflow.graph.operator import Operator
from blockflow.graph.slot import Slot
from blockflow.request import Request, RequestLock, RequestPool
from blockflow.roi import determineBlockShape
from blockflow.rtype import SubRegion

__all__ = ["StageGrid", "StagedOperator"]

#: what a block leaves, and what is merged of it
Arrays = Mapping[str, np.ndarray[Any, Any]]

#: voxels of a block of a lazy pass
_LAZY_BLOCK = 2**21


@dataclass(frozen=True)
class StageGrid:
    """The blocks of a pass: all of an array of `shape`, in blocks of `block_shape` from 0, smaller at the end.

    Blocks are numbered from 0 in C order of their positions.
    """

    shape: tuple[int, ...]
    block_shape: tuple[int, ...]

    @property
    def blocks(self) -> tuple[int, ...]:
        """The number of blocks along each axis."""
        return tuple(-(-size // block) for size, block in zip(self.shape, self.block_shape, strict=True))

    def __len__(self) -> int:
        return math.prod(self.blocks)

    def bounds(self, index: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Start and stop of a block, in voxels."""
        position = np.unravel_index(index, self.blocks)
        start = tuple(int(at) * block for at, block in zip(position, self.block_shape, strict=True))
        stop = tuple(min(a + b, size) for a, b, size in zip(start, self.block_shape, self.shape, strict=True))
        return start, stop


class StagedOperator(Operator):
    """An operator in stages; a subclass defines `measure`, `merge` and `apply` in place of `execute`.

    `requiredInputRoi` tells what `apply` needs of the inputs (nothing, for a statistic). The pass reads the input
    called `stage_input`.
    """

    exactness = "exact as stages"

    #: the name of the input that the pass goes over
    stage_input: ClassVar[str] = "Input"

    _given: tuple[StageGrid, Arrays] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._merged: tuple[StageGrid, Arrays] | None = None
        self._generation = 0
        self._merging = RequestLock()

    def measure(self, grid: StageGrid, index: int) -> Arrays:
        """What a block of the pass leaves: small arrays by name. It asks the inputs for what it needs."""
        raise NotImplementedError(f"{type(self).__name__} must define measure")

    def measureInputRoi(self, grid: StageGrid, index: int) -> Mapping[Slot, SubRegion]:
        """What `measure` asks of the inputs: by default the block."""
        start, stop = grid.bounds(index)
        slot = self.inputs[self.stage_input]
        return {slot: SubRegion(slot, start, stop)}

    def measure_bytes(self, roi: SubRegion) -> int:  # noqa: ARG002 - for subclasses
        """Bytes that `measure` needs for a block, `roi` of the input, beside the arrays of its inputs."""
        return 0

    def merge(self, grid: StageGrid, results: Sequence[Arrays]) -> Arrays:
        """One result of those of all blocks, in their order; each is read when it is asked for."""
        raise NotImplementedError(f"{type(self).__name__} must define merge")

    def merge_bytes(self, grid: StageGrid) -> int:  # noqa: ARG002 - for subclasses
        """Bytes that `merge` needs, for a pass in these blocks."""
        return 0

    def apply(
        self, slot: Slot, subindex: tuple[int, ...], roi: Any, result: Any, grid: StageGrid, merged: Arrays
    ) -> Any:
        """As `execute`, with the grid of the pass and what was merged."""
        raise NotImplementedError(f"{type(self).__name__} must define apply")

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: Any, result: Any) -> Any:
        """`apply`, after the pass and the merge."""
        grid, merged = self._given or self.merged_lazily()
        return self.apply(slot, subindex, roi, result, grid, merged)

    def propagateDirty(self, slot: Slot, subindex: tuple[int, ...], roi: Any) -> None:  # noqa: ARG002
        """Any change of an input may change everything."""
        self._generation += 1
        self._merged = None
        for output in self.outputs.values():
            output.setDirty()

    def give_merged(self, grid: StageGrid, merged: Arrays) -> None:
        """Use what was merged elsewhere; the operator makes no pass of its own."""
        self._given = (grid, merged)

    def lazy_grid(self) -> StageGrid:
        """The blocks of a pass that is made here."""
        slot = self.inputs[self.stage_input]
        shape = tuple(slot.meta.shape)
        return StageGrid(shape, determineBlockShape([max(1, size) for size in shape], _LAZY_BLOCK))

    def merged_lazily(self) -> tuple[StageGrid, Arrays]:
        """The grid of a pass that is made here, and what was merged; made once, until an input changes."""
        known = self._merged
        if known is not None:
            return known
        with self._merging:
            if self._merged is not None:
                return self._merged
            generation = self._generation
            grid = self.lazy_grid()
            results: list[Arrays] = [{}] * len(grid)
            with RequestPool() as pool:
                for index in range(len(grid)):
                    pool.add(Request(partial(self._measure_into, results, grid, index)))
            known = grid, self.merge(grid, results)
            if generation == self._generation:
                self._merged = known
            return known

    def _measure_into(self, results: list[Arrays], grid: StageGrid, index: int) -> None:
        results[index] = self.measure(grid, index)
