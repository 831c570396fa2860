"""Worker file: copy an array into another: with other chunks, as another type, or a part of it.

blockflow run configs/copy.yaml
python workers/copy.py start-worker --help
"""

import sys

sys.path[:] = [
    entry for entry in sys.path if entry != __file__.rpartition("/")[0]
]  # this is not Python's `copy`

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import click
import numpy as np
from funlib.geometry import Roi

import blockflow
from blockflow import compute
from blockflow.errors import StorageError
from blockflow.execution.client import is_committed
from blockflow.storage import ArraySpec, open_array, spec_like

fit = "shrink"
read_write_conflict = False
check_function = is_committed


def arrays(
    input: str,
    output: str,
    dtype: str | None = None,
    crop: Mapping[str, Any] | None = None,
    **storage: Any,
) -> Mapping[str, Any]:
    """What is read, and what is written: the input, or the part of it in `crop`, as `dtype`.

    `crop` has `offset` and `shape` in lattice units, as any ROI; `storage` may have `chunks`, `shards`,
    `compressor`, `fill_value` and `zarr_format`.
    """
    spec = spec_like(open_array(input), output, dtype=dtype, **storage)
    if crop is not None:
        spec = _cropped(spec, input, Roi(crop["offset"], crop["shape"]))
    return {"inputs": {"input": input}, "outputs": {"output": spec}}


def _cropped(spec: ArraySpec, input: str, roi: Roi) -> ArraySpec:
    source = open_array(input)
    if not source.roi.contains(roi) or roi.empty:
        raise StorageError(f"crop {roi} must lie within {input}, which covers {source.roi}")
    if any(
        value % size
        for edge in (roi.offset - source.offset, roi.shape)
        for value, size in zip(edge, source.voxel_size, strict=True)
    ):
        raise StorageError(
            f"crop {roi} is off the voxels of {input} (offset {source.offset}, voxel size {source.voxel_size})"
        )
    skipped = (roi.offset - source.offset) / source.voxel_size
    shape = list(spec.shape)
    for axis, size in zip(source.metadata.spatial_axes, roi.shape / source.voxel_size, strict=True):
        shape[axis] = size
    offset = tuple(
        source.lattice.world(low + count * size, axis)
        for axis, (low, count, size) in enumerate(zip(source.offset, skipped, source.voxel_size, strict=True))
    )
    return replace(spec, shape=tuple(shape), metadata=replace(spec.metadata, offset=offset))


def spawn_worker(input: str, output: str, **_options: Any) -> Callable[[], None]:
    """A function that runs this file's `start-worker`."""
    command = [sys.executable, __file__, "start-worker", "--input", input, "--output", output]
    return lambda: compute.current().execute(command)


@click.group(help=__doc__)
def cli() -> None:
    pass


@cli.command()
@click.option("--input", required=True, help="The array to read.")
@click.option("--output", required=True, help="The array to write; it must exist, and gives the type.")
def start_worker(input: str, output: str) -> None:
    """Do blocks until none is left."""
    source, target = open_array(input), open_array(output, "r+")
    for block in blockflow.blocks():
        target[block.write_roi] = cast(source[block.write_roi], target.dtype, block.write_roi)


def cast(data: np.ndarray, dtype: Any, roi: Roi) -> np.ndarray:
    """`data` as `dtype`; raises `OverflowError` where an integer type cannot hold a value."""
    if np.issubdtype(dtype, np.integer) and not np.can_cast(data.dtype, dtype):
        limits = np.iinfo(dtype)
        low, high = data.min(), data.max()
        # the limits as floats: the greatest integer itself may not be one, the one behind it is
        if not (
            low >= limits.min and high < float(limits.max) + 1
            if data.dtype.kind == "f"
            else low >= limits.min and high <= limits.max
        ):
            raise OverflowError(
                f"{roi} holds values from {low} to {high}; {dtype} holds {limits.min} to {limits.max}"
            )
    return data.astype(dtype, copy=False)


if __name__ == "__main__":
    cli()
