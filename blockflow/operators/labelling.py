"""Connected components of a whole volume, as an operator: in memory, or in stages over blocks."""

import itertools
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from blockflow.errors import LabelError, OperatorError
from blockflow.graph import InputSlot, MetaDict, OutputSlot, Slot, StagedOperator, StageGrid
from blockflow.labels import Stitch, connected_components, left_by_block, lookup, merge_blocks, rank_of
from blockflow.operators.bases import slabs
from blockflow.operators.grid import carried, volume_of
from blockflow.operators.parameters import Parameter, boolean, or_none, whole
from blockflow.rtype import SubRegion

__all__ = ["OpConnectedComponents", "Pieces"]

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]

#: voxels along an axis of a piece, by number of spatial axes
_EDGE = {2: 512, 3: 64}

#: results of blocks that a merge keeps at hand
_BLOCKS_AT_HAND = 64


@dataclass(frozen=True)
class Pieces:
    """The parts that are labelled one by one: cubes from 0 on, cut where the blocks of a pass end.

    Along axes that are no space a piece is one voxel thick. A piece lies within one block and one cube, so whoever
    has the cubes that a region meets can label each of its pieces as the pass did, whatever the blocks were.
    """

    grid: StageGrid
    axes: tuple[int, ...]

    @cached_property
    def cuts(self) -> list[list[int]]:
        """Where pieces begin along each axis, and where the last one ends."""
        return [
            sorted({*range(0, size, cube), *range(0, size, block), size})
            for size, cube, block in zip(
                self.grid.shape,
                cube_of(len(self.grid.shape), self.axes),
                self.grid.block_shape,
                strict=True,
            )
        ]

    @property
    def shape(self) -> tuple[int, ...]:
        """How many there are along each axis."""
        return tuple(len(cuts) - 1 for cuts in self.cuts)

    def within(self, start: Sequence[int], stop: Sequence[int]) -> Iterator[tuple[int, tuple[slice, ...]]]:
        """Number and place of each piece that meets a region, in C order."""
        along = [
            [at for at in range(len(cuts) - 1) if cuts[at] < high and cuts[at + 1] > low]
            for cuts, low, high in zip(self.cuts, start, stop, strict=True)
        ]
        for position in itertools.product(*along):
            place = tuple(slice(cuts[at], cuts[at + 1]) for cuts, at in zip(self.cuts, position, strict=True))
            yield int(np.ravel_multi_index(position, self.shape)), place

    def block_of(self, number: int) -> tuple[int, int]:
        """The block of the pass that a piece is in, and which of its pieces it is."""
        position = np.unravel_index(number, self.shape)
        begin = [cuts[at] for cuts, at in zip(self.cuts, position, strict=True)]
        block = [at // size for at, size in zip(begin, self.grid.block_shape, strict=True)]
        index = int(np.ravel_multi_index(block, self.grid.blocks))
        start, stop = self.grid.bounds(index)
        first = [cuts.index(low) for cuts, low in zip(self.cuts, start, strict=True)]
        last = [cuts.index(high) for cuts, high in zip(self.cuts, stop, strict=True)]
        inner = [int(at) - low for at, low in zip(position, first, strict=True)]
        counts = [high - low for low, high in zip(first, last, strict=True)]
        return index, int(np.ravel_multi_index(inner, counts))


def cube_of(dims: int, axes: Sequence[int]) -> tuple[int, ...]:
    """The shape of a cube: of pieces that no block cuts."""
    return tuple(_EDGE[len(axes)] if axis in axes else 1 for axis in range(dims))


class OpConnectedComponents(StagedOperator):
    """The connected components of the whole input, from 1 on by their first voxel in C order; 0 is background.

    The numbers are those of `cc3d.connected_components`. Along axes of time and channels each index is a volume of
    its own, and the numbers go on. Lazily the whole input is labelled at once and kept; in a run each block is.
    """

    Input = InputSlot()
    Output = OutputSlot()

    connectivity = Parameter(
        None, or_none(whole), "4 or 8 in 2-D, 6, 18 or 26 in 3-D; by default all neighbours", optional=True
    )
    multi_label = Parameter(
        False, boolean, "whether components are of equal values, not of all that is not 0"
    )

    @property
    def axes(self) -> tuple[int, ...]:
        """The spatial axes."""
        types = volume_of(self.Input.meta, self.Input.path).types
        return tuple(axis for axis, kind in enumerate(types) if kind == "space")

    @property
    def stitch(self) -> Stitch:
        """How components go on from piece to piece."""
        return Stitch("touching", self._connectivity, equal=self.multi_label.value)

    @property
    def _connectivity(self) -> int:
        given = self.connectivity.value
        return (8 if len(self.axes) == 2 else 26) if given is None else int(given)

    def setupOutputs(self) -> None:
        """As the input, in uint64."""
        meta = self.Output.meta
        try:
            self._check()
        except (LabelError, OperatorError) as error:
            meta.assignFrom(MetaDict())
            meta.NOTREADY = str(error)
            return
        meta.assignFrom(carried(self.Input.meta, dtype=np.uint64))

    def _check(self) -> None:
        rank_of(self._connectivity, len(self.axes))
        dtype = np.dtype(self.Input.meta.dtype)
        if self.multi_label.value and dtype.kind not in "biu":
            raise OperatorError(f"multi-label components need whole numbers, not {dtype}")
        if dtype.kind not in "biuf":
            raise OperatorError(f"components are of real numbers, not of {dtype}")

    def requiredInputRoi(
        self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion
    ) -> Mapping[Slot, SubRegion]:
        """The cubes that the region meets."""
        cube = cube_of(len(roi.start), self.axes)
        start = [low // size * size for low, size in zip(roi.start, cube, strict=True)]
        stop = [
            min(-(-high // size) * size, whole)
            for high, size, whole in zip(roi.stop, cube, self.Input.meta.shape, strict=True)
        ]
        return {self.Input: SubRegion(self.Input, start, stop)}

    def lazy_grid(self) -> StageGrid:
        """All in one block: lazily, everything is labelled at once."""
        shape = tuple(self.Input.meta.shape)
        return StageGrid(shape, tuple(max(1, size) for size in shape))

    def measure(self, grid: StageGrid, index: int) -> Arrays:
        """What each piece of a block leaves, its names behind its number; a single block leaves its labels."""
        start, stop = grid.bounds(index)
        image = self._image(SubRegion(self.Input, start, stop))
        if len(grid) == 1:
            return {"labels": self._labels(image)}
        left: dict[str, Array] = {}
        for piece, (_, place) in enumerate(Pieces(grid, self.axes).within(start, stop)):
            part = image[_inside(place, start)]
            every = tuple(slice(0, size) for size in part.shape)
            begin = [along.start for along in place]
            _, found = left_by_block(
                self._labels(part), every, begin, self.axes, self.stitch, classes=part, numbered=True
            )
            left |= {f"{piece}.{name}": array for name, array in found.items()}
        return left

    def merge(self, grid: StageGrid, results: Sequence[Arrays]) -> Arrays:
        """The final numbers of the labels of each piece; of a single block, its labels."""
        if len(grid) == 1:
            return results[0]
        pieces = Pieces(grid, self.axes)
        kept: OrderedDict[int, Arrays] = OrderedDict()

        def read(number: int, *names: str) -> Arrays:
            block, piece = pieces.block_of(number)
            if block not in kept:
                kept[block] = results[block]
                if len(kept) > _BLOCKS_AT_HAND:
                    kept.popitem(last=False)
            kept.move_to_end(block)
            return {name: kept[block][f"{piece}.{name}"] for name in names}

        return merge_blocks(pieces.shape, read, self.stitch, self.axes, self.axes)

    def apply(
        self, slot: Slot, subindex: tuple[int, ...], roi: Any, result: Array, grid: StageGrid, merged: Arrays
    ) -> None:
        """Labels each piece again, and gives its labels their final numbers."""
        start, stop = tuple(roi.start), tuple(roi.stop)
        if "labels" in merged:
            result[...] = merged["labels"][tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
            return
        region = self.requiredInputRoi(slot, subindex, SubRegion(self.Input, start, stop))[self.Input]
        image = self._image(region)
        for number, place in Pieces(grid, self.axes).within(start, stop):
            common = tuple(
                slice(max(along.start, low), min(along.stop, high))
                for along, low, high in zip(place, start, stop, strict=True)
            )
            labels = self._labels(image[_inside(place, region.start)])
            numbers = lookup(merged["offsets"], merged["table"], number, result.dtype)
            own = labels[_inside(common, [along.start for along in place])]
            target = result[_inside(common, start)]
            for part in slabs(own.shape):
                target[part] = numbers[own[part]]

    def measure_bytes(self, roi: SubRegion) -> int:
        """The labels of a piece, of a few kinds at one time, and its faces."""
        return self._piece_bytes(roi) * 3

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> int:
        """Lazily nothing but what is kept; in a run the labels of a piece."""
        return 0 if self._given is None else self._piece_bytes(roi)

    def _piece_bytes(self, roi: SubRegion) -> int:
        cube = cube_of(len(roi.start), self.axes)
        sizes = [b - a for a, b in zip(roi.start, roi.stop, strict=True)]
        return int(np.prod([min(a, b) for a, b in zip(sizes, cube, strict=True)])) * 8

    def _image(self, region: SubRegion) -> Array:
        image: Array = self.Input.get(region).wait()
        return image

    def _labels(self, image: Array) -> Array:
        return connected_components(
            image, self._connectivity, multi_label=self.multi_label.value, axes=self.axes
        )


def _inside(place: Sequence[slice], start: Sequence[int]) -> tuple[slice, ...]:
    """A place as slices of an array that begins at `start`."""
    return tuple(slice(along.start - low, along.stop - low) for along, low in zip(place, start, strict=True))
