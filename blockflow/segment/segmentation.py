"""A segmentation as three tasks: segment the blocks, merge what they left, number the labels of each block."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Coordinate, Roi

from blockflow.errors import TaskError
from blockflow.labels import Stitch
from blockflow.segment.function_file import SegmentFunctionFile, load_function_file
from blockflow.segment.programs import (
    BlockLabeller,
    MergeLabels,
    NumberBlocks,
    SegmentBlocks,
    spatial_axes,
)
from blockflow.segment.worker_labels import Worker, worker_task
from blockflow.storage import Array, ArraySpec, Lattice, ResultsSpec, open_array, open_results, spec_like
from blockflow.tasks import BlockGrid, BlockwiseTask, Check

__all__ = ["Segmentation", "segmentation_tasks"]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What is to be segmented, and how.

    Parameters
    ----------
    name : str
        The tasks are called `NAME-segment`, `NAME-merge` and `NAME-number`.
    function_file : Path
        The segment-function file.
    input, output : str
        The paths of the arrays.
    work_dir : Path
        A folder for what the tasks hand on to each other.
    read_roi, write_roi : Roi
        What one block reads and writes, as templates, in lattice units.
    total_roi : Roi, optional
        What is read in all, context included; by default what the output covers, grown by the context.
    fit : str, optional
        As in `BlockGrid`; by default `shrink`, or what a worker file says.
    parameters : mapping, optional
        Of the function.
    stitch : Stitch, str or mapping, optional
        By default what the file says, or else `touching`.
    recompute : bool, optional
        Whether the last task computes the blocks' labels again, instead of the first one storing them. By default
        what the file says, or else no.
    exists : bool
        Whether the output is an array that is there, to be used as it is; else it is created, with the next four.
    dtype : str
        uint64 or uint32.
    chunks, shards, compressor
        As in `ArraySpec`; chunks are by default those of the input where they divide the blocks.
    check_function, init_callback_fn
        Of the first task; by default those of the file.
    worker : Worker, optional
        How a file with `spawn_worker` is called; by default with `input`, `output` and the parameters.
    num_workers, max_retries, timeout, upstream, lattice
        As in `BlockwiseTask`.
    """

    name: str
    function_file: Path
    input: str
    output: str
    work_dir: Path
    read_roi: Roi
    write_roi: Roi
    total_roi: Roi | None = None
    fit: str | None = None
    parameters: Mapping[str, Any] | None = None
    stitch: Stitch | str | Mapping[str, Any] | None = None
    recompute: bool | None = None
    exists: bool = False
    dtype: str = "uint64"
    chunks: Sequence[int] | None = None
    shards: Sequence[int] | None = None
    compressor: str = "zstd"
    check_function: Check | tuple[Check, Check] | None = None
    init_callback_fn: Any = None
    worker: Worker | None = None
    num_workers: int = 1
    max_retries: int = 2
    timeout: float | None = None
    upstream: tuple[BlockwiseTask, ...] = ()
    lattice: Lattice | None = None


def segmentation_tasks(wanted: Segmentation) -> list[BlockwiseTask]:
    """The three tasks of a segmentation, each after those that it depends on.

    Raises
    ------
    BlockflowError
        If something is wrong with the file, the arrays or the rule, before anything has been written.
    """
    file = load_function_file(wanted.function_file)
    source = open_array(wanted.input)
    spec = None if wanted.exists else _output_spec(wanted, file, source)
    target = open_array(wanted.output) if spec is None else spec.planned(source.lattice)
    if target.dtype not in (np.uint32, np.uint64):
        raise TaskError(
            f"{wanted.name}: labels are uint32 or uint64; {target.path} is to hold {target.dtype}"
        )
    grid = _grid(wanted, target, file)
    axes = spatial_axes(target)
    parameters = file.parameters(wanted.parameters)
    stitch = file.stitch(wanted.stitch, parameters, len(axes))
    context = _context(wanted, stitch, grid, target)
    if stitch.rule != "none":
        stitch.rank(len(axes))
    recompute = file.recompute if wanted.recompute is None else wanted.recompute
    if file.is_worker and (recompute or stitch.rule == "overlap"):
        raise TaskError(
            f"{wanted.name}: {file.path} is a worker file, which writes what is in its write ROI: recompute and stitch "
            "'overlap' need a file with segment_function"
        )
    labels = None if recompute else _labels_spec(wanted, target, np.uint64 if file.is_worker else np.uint32)
    stored = None if labels is None else labels.path
    blocks, merged = str(wanted.work_dir / "blocks"), str(wanted.work_dir / "merged")
    labeller = BlockLabeller(str(file.path), parameters, wanted.input, wanted.output, stitch, context)

    common: dict[str, Any] = {"max_retries": wanted.max_retries, "timeout": wanted.timeout}
    common |= {"lattice": wanted.lattice, "read_write_conflict": False}
    rois = {"total_roi": grid.total_roi, "read_roi": grid.read_roi, "write_roi": grid.write_roi}
    given = wanted.check_function or file.check_function
    segment = BlockwiseTask(
        name=f"{wanted.name}-segment",
        **rois,
        **common,
        fit=grid.fit,
        process_function=SegmentBlocks(labeller, blocks, stored),
        check_function=None if given is None else _checks(given, blocks),
        init_callback_fn=wanted.init_callback_fn or file.init_callback_fn,
        num_workers=wanted.num_workers,
        upstream=wanted.upstream,
        inputs={"input": wanted.input},
        outputs={
            "blocks": ResultsSpec(blocks, compress=True),
            **({} if labels is None else {"labels": labels}),
        },
    )
    if file.is_worker and labels is not None:
        worker = wanted.worker or Worker("input", "output", (), {"input": wanted.input, **parameters})
        segment = worker_task(segment, file.path, worker, labels.path, blocks, given)
    merge = BlockwiseTask(
        name=f"{wanted.name}-merge",
        total_roi=grid.covered,
        read_roi=grid.covered,
        write_roi=grid.covered,
        **common,
        fit="shrink",
        process_function=MergeLabels(wanted.output, blocks, merged, stitch, context, str(target.dtype)),
        upstream=(segment,),
        inputs={"blocks": blocks},
        outputs={"merged": ResultsSpec(merged)},
    )
    if stored is not None:
        rois = {
            "total_roi": grid.writable,
            "read_roi": Roi(grid.write_roi.offset, grid.write_roi.shape),
            "write_roi": grid.write_roi,
        }
    number = BlockwiseTask(
        name=f"{wanted.name}-number",
        **rois,
        **common,
        fit=grid.fit,
        process_function=NumberBlocks(labeller, blocks, merged, stored, renumber=file.is_worker),
        num_workers=wanted.num_workers,
        upstream=(segment, merge, *(wanted.upstream if stored is None else ())),
        inputs={"blocks": blocks, "merged": merged, "labels": wanted.input if stored is None else stored},
        outputs={"output": spec or wanted.output},
    )
    return [segment, merge, number]


def _output_spec(wanted: Segmentation, file: SegmentFunctionFile, source: Array) -> ArraySpec:
    channels = -1 if file.keep_channels else None
    spec = spec_like(
        source,
        wanted.output,
        dtype=wanted.dtype,
        channels=channels,
        chunks=wanted.chunks,
        shards=wanted.shards,
        compressor=wanted.compressor,
    )
    if wanted.chunks is not None or wanted.shards is not None:
        return spec
    chunks = list(spec.chunks)
    for axis, size in zip(
        spec.metadata.spatial_axes, wanted.write_roi.shape / source.voxel_size, strict=True
    ):
        if size % chunks[axis]:
            chunks[axis] = size
    return replace(spec, chunks=tuple(chunks))


def _labels_spec(wanted: Segmentation, target: Array, dtype: Any) -> ArraySpec:
    """The array for the blocks' own labels: cut up like the output, and named by what it is like."""
    spec = spec_like(
        target, "", dtype=dtype, chunks=target.chunks, shards=getattr(target.data, "shards", None)
    )
    content = json.dumps(spec.describe(), sort_keys=True, default=str)
    name = f"labels-{hashlib.sha256(content.encode()).hexdigest()[:10]}.zarr"
    return replace(spec, path=str(wanted.work_dir / name))


def _grid(wanted: Segmentation, target: Array, file: SegmentFunctionFile) -> BlockGrid:
    margin = (
        wanted.write_roi.begin - wanted.read_roi.begin,
        wanted.read_roi.end - wanted.write_roi.end,
    )
    total = wanted.total_roi if wanted.total_roi is not None else target.roi.grow(*margin)
    return BlockGrid(total, wanted.read_roi, wanted.write_roi, wanted.fit or file.fit)


def _context(wanted: Segmentation, stitch: Stitch, grid: BlockGrid, target: Array) -> tuple[int, ...]:
    """How much wider a block's read ROI is than its write ROI, along each spatial axis, in voxels."""
    both = Coordinate(grid.context[0] + grid.context[1]) / target.voxel_size
    places = [target.metadata.spatial_axes.index(axis) for axis in spatial_axes(target)]
    context = tuple(int(both[place]) for place in places)
    lacking = [
        place for place, size in zip(places, context, strict=True) if grid.shape[place] > 1 and not size
    ]
    if stitch.rule == "overlap" and lacking:
        raise TaskError(
            f"{wanted.name}: stitch 'overlap' compares labels where the contexts of blocks overlap, but along axis "
            f"{lacking[0]} there is none. Give a context there, or stitch: touching"
        )
    return context


@dataclass(frozen=True)
class _IsLeft:
    """A check before a block, which holds only where the block has left its result, too."""

    results: str
    check: Check

    def __call__(self, block: Any) -> bool:
        results = open_results(self.results)
        return results.index_of(block.write_roi.begin) in results and bool(self.check(block))


def _checks(given: Any, results: str) -> tuple[Check, Check]:
    before, after = given if isinstance(given, tuple) and len(given) == 2 else (given, given)
    return _IsLeft(results, before), after
