"""The segmentations of a config: what they name, and the tasks that they become."""

import os
from collections.abc import Sequence
from pathlib import Path

from funlib.geometry import Coordinate, Roi

from blockflow.config.loader import LoadedConfig
from blockflow.config.problems import Location
from blockflow.config.schema import SegmentationConfig
from blockflow.errors import TaskError
from blockflow.segment import Segmentation, segmentation_tasks
from blockflow.storage import Array, open_array
from blockflow.tasks import BlockwiseTask, find_worker_file

__all__ = ["function_file_of", "segmentation_references", "tasks_of_segmentation"]


def segmentation_references(name: str, segmentation: SegmentationConfig) -> list[tuple[Location, str]]:
    """Where a segmentation names something else, and what it names: its input first."""
    return [
        (("segmentations", name, "input"), segmentation.input),
        *(
            (("segmentations", name, "upstream", index), given)
            for index, given in enumerate(segmentation.upstream)
        ),
    ]


def function_file_of(loaded: LoadedConfig, segmentation: SegmentationConfig) -> Path:
    """The segment-function file. Raises `WorkerFileError` if it is not there."""
    return find_worker_file(os.path.expanduser(segmentation.function_file), loaded.folder)  # noqa: PTH111


def tasks_of_segmentation(
    loaded: LoadedConfig, name: str, input: str, upstream: tuple[BlockwiseTask, ...]
) -> list[BlockwiseTask]:
    """The tasks of a segmentation, the one that writes the output last; its input must be there, or planned."""
    config, compute = loaded.config.segmentations[name], loaded.config.compute
    source = open_array(input)
    block = _lattice_units(source, config.block_shape, "block_shape")
    context = _lattice_units(source, config.context or [0] * len(config.block_shape), "context")
    write_roi = Roi([0] * block.dims, block)
    return segmentation_tasks(
        Segmentation(
            name=name,
            function_file=function_file_of(loaded, config),
            input=input,
            output=loaded.absolute(config.output),
            work_dir=loaded.run_dir / "segmentations" / name,
            read_roi=write_roi.grow(context, context),
            write_roi=write_roi,
            fit=config.fit,
            parameters=config.parameters,
            stitch=config.stitch,
            recompute=config.recompute,
            dtype=config.dtype,
            chunks=config.chunks,
            shards=config.shards,
            compressor=config.compressor,
            num_workers=min(config.num_workers or compute.num_workers, compute.num_workers),
            max_retries=config.max_retries,
            timeout=config.timeout,
            upstream=upstream,
            lattice=source.lattice,
        )
    )


def _lattice_units(array: Array, voxels: Sequence[int], what: str) -> Coordinate:
    if len(voxels) != array.voxel_size.dims:
        raise TaskError(
            f"{what} {list(voxels)} has {len(voxels)} numbers; {array.path} needs {array.voxel_size.dims}, one for "
            "each axis of space or time"
        )
    return Coordinate(voxels) * array.voxel_size
