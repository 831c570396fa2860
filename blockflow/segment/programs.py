"""What the workers of the three tasks do with a block: label it, merge what all have left, number it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import blockflow.labels
from blockflow.errors import LabelError
from blockflow.labels import (
    Stitch,
    left_by_block,
    lookup,
    merge_blocks,
    number_by_first_voxel,
    own_labels,
)
from blockflow.labels.stitching import check_of
from blockflow.segment.function_file import Labels, SegmentFunctionFile, load_function_file
from blockflow.storage import Array, BlockResults, open_array, open_results
from blockflow.tasks.recipe import digest_of_file

__all__ = ["BlockLabeller", "MergeLabels", "NumberBlocks", "SegmentBlocks"]


def _own_code() -> dict[str, str]:
    """The code of this package's that decides what labels become."""
    folders = Path(blockflow.labels.__file__ or "").parent, Path(__file__).parent
    return {
        f"{folder.name}/{path.name}": digest_of_file(path)
        for folder in folders
        for path in sorted(folder.glob("*.py"))
    }


@dataclass(frozen=True)
class BlockLabeller:
    """Labels single blocks.

    Parameters
    ----------
    function_file : str
        The path of the segment-function file.
    parameters : mapping
        Of the function.
    input, output : str
        The paths of the arrays: what is segmented, and where the final labels go.
    stitch : Stitch
    context : tuple of int
        How much wider than the write ROI the read ROI is along each spatial axis, both sides together, in voxels.
    """

    function_file: str
    parameters: Mapping[str, Any]
    input: str
    output: str
    stitch: Stitch
    context: tuple[int, ...]

    def code(self) -> dict[str, Any]:
        """All that decides what the labels of a block are, but for its input and ROIs."""
        return {
            "function": digest_of_file(Path(self.function_file)),
            "parameters": dict(self.parameters),
            "stitch": asdict(self.stitch),
            "blockflow": _own_code(),
        }

    @cached_property
    def file(self) -> SegmentFunctionFile:
        return load_function_file(self.function_file)

    @cached_property
    def source(self) -> Array:
        return open_array(self.input)

    @cached_property
    def target(self) -> Array:
        return open_array(self.output)

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}

    def own(self, block: Any) -> Labels:
        """The block's own labels, where the output is."""
        labels, _ = self._label(block)
        return own_labels(labels, self._written(block), self.stitch, numbered=self.file.numbered)[0]

    def left(self, block: Any) -> tuple[Labels, dict[str, Labels]]:
        """The block's own labels, where the output is, and what it leaves for the merge."""
        labels, classes = self._label(block)
        begin, _ = self.target.voxels_of(block.write_roi)
        axes = spatial_axes(self.target)
        return left_by_block(
            labels,
            self._written(block),
            begin,
            axes,
            self.stitch,
            self.context,
            classes,
            numbered=self.file.numbered,
        )

    def _label(self, block: Any) -> tuple[Labels, Labels | None]:
        return self.file.label(self.source, block, self.parameters, self.target.shape_of(block.read_roi))

    def _written(self, block: Any) -> tuple[slice, ...]:
        begin, end = self.target.voxels_of(block.write_roi)
        corner = self.target.corner_of(block.read_roi)
        return tuple(
            slice(low - at, high - at) if high > low else slice(0, 0)
            for low, high, at in zip(begin, end, corner, strict=True)
        )


def spatial_axes(array: Array) -> tuple[int, ...]:
    """The axes along which labels are stitched: those that are space, of all axes of an array."""
    return tuple(axis for axis, kind in enumerate(array.metadata.types) if kind == "space")


@dataclass(frozen=True)
class SegmentBlocks:
    """The first task: labels a block, leaves what the merge needs, and stores the labels unless `labels` is None."""

    labeller: BlockLabeller
    results: str
    labels: str | None

    def recipe_code(self) -> dict[str, Any]:
        return {"segment": self.labeller.code(), "stored": self.labels is not None}

    @cached_property
    def _labels(self) -> Array | None:
        return None if self.labels is None else open_array(self.labels, "r+")

    @cached_property
    def _results(self) -> BlockResults:
        return open_results(self.results)

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}

    def __call__(self, block: Any) -> None:
        own, left = self.labeller.left(block)
        if self._labels is not None:
            self._labels[block.write_roi.intersect(self._labels.roi)] = own if own.size else 0
        self._results.write(self._results.index_of(block.write_roi.begin), **left)


@dataclass(frozen=True)
class MergeLabels:
    """The second task, of one block: merges what all blocks have left into one table."""

    output: str
    results: str
    merged: str
    stitch: Stitch
    context: tuple[int, ...]
    dtype: str

    def recipe_code(self) -> dict[str, Any]:
        return {"merge": asdict(self.stitch), "dtype": self.dtype, "blockflow": _own_code()}

    def __call__(self, block: Any) -> None:  # noqa: ARG002 - there is one
        target = open_array(self.output)
        axes = spatial_axes(target)
        results = open_results(self.results)
        grid_axes = [target.metadata.spatial_axes.index(axis) for axis in axes]
        merged = merge_blocks(
            results.spec.shape,
            results.read,
            self.stitch,
            axes,
            grid_axes,
            context=self.context,
            dtype=self.dtype,
        )
        open_results(self.merged).write(0, **merged)


@dataclass(frozen=True)
class NumberBlocks:
    """The third task: gives each block's labels, read or computed again, their final numbers.

    `renumber` says that the labels that are read have any numbers, since a worker file wrote them.
    """

    labeller: BlockLabeller
    results: str
    merged: str
    labels: str | None
    renumber: bool = False

    def recipe_code(self) -> dict[str, Any]:
        return {"number": self.labeller.code(), "stored": self.labels is not None}

    @cached_property
    def _labels(self) -> Array | None:
        return None if self.labels is None else open_array(self.labels)

    @cached_property
    def _results(self) -> BlockResults:
        return open_results(self.results)

    @cached_property
    def _target(self) -> Array:
        return open_array(self.labeller.output, "r+")

    @cached_property
    def _merged(self) -> Mapping[str, Labels]:
        return open_results(self.merged).read(0, mapped=True)

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}

    def __call__(self, block: Any) -> None:
        target = self._target
        roi = block.write_roi.intersect(target.roi)
        index = self._results.index_of(block.write_roi.begin)
        if roi.empty:
            own = np.zeros(0, np.uint32)
        elif self._labels is None:
            own = self.labeller.own(block)
        else:
            own = self._labels[roi]
            own = number_by_first_voxel(own) if self.renumber else own
        if own.size and int(self._results.read(index, "check")["check"]) != check_of(own):
            raise LabelError(
                f"block {index} ({block.write_roi}) has other labels now than those that were merged. "
                + (
                    f"{self.labeller.function_file} does not always give the same, so its labels cannot be computed "
                    "again: use recompute: false"
                    if self._labels is None
                    else f"Use `blockflow reset` on the run, so that {self.labels} is written anew"
                )
            )
        numbers = lookup(self._merged["offsets"], self._merged["table"], index, target.dtype)
        target[roi] = np.take(numbers, own) if own.size else 0
