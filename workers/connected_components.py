"""Segment-function file: the connected components of a volume, exactly those of the whole.

blockflow run configs/connected_components.yaml
"""

from collections.abc import Mapping
from typing import Any

from blockflow.labels import connected_components

default_parameters = {"connectivity": None, "multi_label": False, "threshold": None}
recompute = True
keep_channels = True


def stitch(
    axes: int, *, connectivity: int | None, multi_label: bool, threshold: float | None
) -> Mapping[str, Any]:
    """Components touch across a border as they do within a block."""
    return {"rule": "touching", "connectivity": connectivity or full(axes), "equal": multi_label}


def full(axes: int) -> int:
    """The connectivity of all neighbours: 8 in 2-D, 26 in 3-D."""
    return 8 if axes == 2 else 26


def segment_function(
    input_array: Any, block: Any, *, connectivity: int | None, multi_label: bool, threshold: float | None
) -> Any:
    """Labels from 1 on: of voxels above `threshold`, or that are not 0; `multi_label`: of equal values."""
    image = input_array[block.read_roi]
    if threshold is not None:
        image = image > threshold
    axes = [axis for axis, kind in enumerate(input_array.metadata.types) if kind == "space"]
    labels = connected_components(image, connectivity or full(len(axes)), multi_label=multi_label, axes=axes)
    return (labels, image) if multi_label else labels
