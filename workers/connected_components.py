"""Connected components, exactly those of the whole: a segment-function file, and a worker file for one block.

blockflow run configs/connected_components.yaml
python workers/connected_components.py start-worker --help

Under `segmentations:` or `segment_blockwise` it labels a volume of any size across blocks. As a worker file by
itself it labels a volume that fits into one block.
"""

import sys

sys.path[:] = [
    entry for entry in sys.path if entry != __file__.rpartition("/")[0]
]  # its `copy.py` is not Python's

from collections.abc import Callable, Mapping
from typing import Any

import click
import numpy as np

import blockflow
from blockflow import compute
from blockflow.errors import TaskError
from blockflow.execution.client import is_committed
from blockflow.labels import connected_components, rank_of
from blockflow.storage import Array, open_array, spec_like

fit = "shrink"
read_write_conflict = False
check_function = is_committed

default_parameters = {"connectivity": None, "multi_label": False, "threshold": None}
recompute = True
numbered = True
keep_channels = True


def stitch(
    axes: int, *, connectivity: int | None, multi_label: bool, threshold: float | None
) -> Mapping[str, Any]:
    """Components touch across a border as they do within a block."""
    return {"rule": "touching", "connectivity": connectivity or full(axes), "equal": multi_label}


def full(axes: int) -> int:
    """The connectivity of all neighbours: 8 in 2-D, 26 in 3-D."""
    return 8 if axes == 2 else 26


def spatial_axes(array: Array) -> list[int]:
    """The axes that are space; along others, each index is a volume of its own."""
    return [axis for axis, kind in enumerate(array.metadata.types) if kind == "space"]


def segment_function(
    input_array: Array, block: Any, *, connectivity: int | None, multi_label: bool, threshold: float | None
) -> Any:
    """Labels from 1 on: of voxels above `threshold`, or that are not 0; `multi_label`: of equal values."""
    image = input_array[block.read_roi]
    if threshold is not None:
        image = image > threshold
    axes = spatial_axes(input_array)
    labels = connected_components(image, connectivity or full(len(axes)), multi_label=multi_label, axes=axes)
    return (labels, image) if multi_label else labels


def arrays(
    input: str,
    output: str,
    connectivity: int | None = None,
    *,
    multi_label: bool = False,
    threshold: float | None = None,
    dtype: str = "uint64",
    **storage: Any,
) -> Mapping[str, Any]:
    """What is read, and what is written: labels as `dtype`, stored like the input unless `storage` says otherwise."""
    source = open_array(input)
    if connectivity is not None:
        rank_of(connectivity, len(spatial_axes(source)))
    if np.dtype(dtype) not in (np.uint32, np.uint64):
        raise TaskError(f"dtype of labels must be uint32 or uint64, not {dtype!r}")
    return {
        "inputs": {"input": input},
        "outputs": {"output": spec_like(source, output, dtype=dtype, **storage)},
    }


def spawn_worker(
    input: str,
    output: str,
    connectivity: int | None = None,
    *,
    multi_label: bool = False,
    threshold: float | None = None,
    **_storage: Any,
) -> Callable[[], None]:
    """A function that runs this file's `start-worker`."""
    command = [sys.executable, __file__, "start-worker", "--input", input, "--output", output]
    if connectivity is not None:
        command += ["--connectivity", str(connectivity)]
    if threshold is not None:
        command += ["--threshold", repr(threshold)]
    command += ["--multi-label"] if multi_label else []
    return lambda: compute.current().execute(command)


@click.group(help=__doc__)
def cli() -> None:
    pass


@cli.command()
@click.option("--input", required=True, help="The array to read.")
@click.option("--output", required=True, help="The array to write; it must exist, and fit into one block.")
@click.option("--connectivity", type=int, help="4 or 8 in 2-D; 6, 18 or 26 in 3-D; by default 8 or 26.")
@click.option("--threshold", type=float, help="Label what is above it; by default what is not 0.")
@click.option("--multi-label", is_flag=True, help="Components are of voxels of equal value.")
def start_worker(
    input: str, output: str, connectivity: int | None, threshold: float | None, *, multi_label: bool
) -> None:
    """Do the block."""
    source, target = open_array(input), open_array(output, "r+")
    options = {"connectivity": connectivity, "threshold": threshold, "multi_label": multi_label}
    for block in blockflow.blocks():
        if not block.write_roi.contains(target.roi.intersect(source.roi)):
            raise TaskError(
                f"components would be cut where blocks end: {block.write_roi} is not all of {output}. Use "
                "segment_blockwise, or `segmentations:` in the config; or one block"
            )
        labels = segment_function(source, block, **options)
        target[block.read_roi] = labels[0] if multi_label else labels


if __name__ == "__main__":
    cli()
