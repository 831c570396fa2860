"""Datasets in HDF5 files as descriptions of filesets have them."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import h5py

    from blockflow.utility.jsonConfig import Namespace

__all__ = ["axistags_json", "create_dataset", "set_attributes"]

#: vigra's flags for kinds of axes: 1 for channels, 2 for space, 8 for time
_AXIS_FLAGS = {"c": 1, "t": 8}


def create_dataset(
    file: "h5py.File",
    name: str,
    shape: tuple[int, ...],
    description: "Namespace",
    voxels: "np.ndarray[Any, Any] | None",
) -> None:
    """A dataset as the description has it, with its attributes; without `voxels` it holds zeros."""
    import h5py

    storage: dict[str, Any] = {}
    if description.chunks is not None:
        storage["chunks"] = tuple(int(size) for size in np.minimum(description.chunks, shape))
    if getattr(description, "compression", None) is not None:
        storage["compression"] = description.compression
        storage["compression_opts"] = getattr(description, "compression_opts", None)
    dtype = h5py.vlen_dtype(np.uint8) if description.dtype == object else description.dtype
    dataset = file.create_dataset(name, shape=shape, dtype=dtype, data=voxels, **storage)
    set_attributes(dataset, description.axes, getattr(description, "drange", None))


def set_attributes(dataset: "h5py.Dataset", axes: str, drange: "Sequence[float] | None") -> None:
    """Say on a dataset what its axes are, and between which values its voxels lie."""
    if drange is not None:
        dataset.attrs["drange"] = drange
    dataset.attrs["axistags"] = axistags_json(axes)


def axistags_json(axes: str) -> str:
    """Axis names as vigra writes them."""
    tags = [
        {"key": axis, "typeFlags": _AXIS_FLAGS.get(axis, 2), "resolution": 0, "description": ""}
        for axis in axes
    ]
    return json.dumps({"axes": tags}, indent=2)
