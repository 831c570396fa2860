"""Which format an array has, by its path, and what follows from that.

========================== ====================================================
a folder                   zarr, v2 or v3
`FILE.h5/DATASET`          a dataset in an HDF5 file (also `.hdf5`, `.ilp`)
`FILE.json`                the description of a fileset or of a remote volume
`FILE.npy`                 a plain array of numpy
========================== ====================================================
"""

import os
from pathlib import Path
from typing import Any

from blockflow.errors import StorageError
from blockflow.utility.pathHelpers import PathComponents

__all__ = ["format_of", "is_output", "lock_place", "open_other", "stamped_files", "stored_at"]

_HDF5 = (".h5", ".hdf5", ".ilp")


def format_of(path: Any) -> str:
    """`zarr`, `hdf5`, `described` or `numpy`."""
    place = os.fspath(path)
    if place.endswith(".json"):
        return "described"
    if place.endswith(".npy"):
        return "numpy"
    components = PathComponents(place)
    if components.extension in _HDF5 and not os.path.isdir(components.externalPath):  # noqa: PTH112
        return "hdf5"
    return "zarr"


def is_output(path: Any) -> bool:
    """Whether blocks can write an array of this format."""
    return format_of(path) in ("zarr", "described")


def stored_at(path: Any) -> Path:
    """The file or folder of the file system that an array is in."""
    place = os.fspath(path)
    return Path(PathComponents(place).externalPath if format_of(place) == "hdf5" else place)


def lock_place(path: Any) -> Path:
    """Where the lock of an array is: in its folder, or beside its file."""
    place = stored_at(path)
    return (
        place / ".blockflow-lock"
        if format_of(path) == "zarr"
        else place.with_name(f".{place.name}.blockflow-lock")
    )


def stamped_files(path: Any) -> list[Path]:
    """The files whose size and time tell whether an array is still the one it was."""
    place = stored_at(path)
    if format_of(path) == "zarr":
        return [place / name for name in ("zarr.json", ".zarray", ".zattrs")]
    return [place, Path(f"{place}.attributes.json")]


def open_other(path: str, mode: str) -> Any:
    """Open the voxels of an array that is none of zarr's."""
    kind = format_of(path)
    if kind == "described":
        from blockflow.storage.filesets import open_described

        return open_described(path, mode)
    if kind == "numpy":
        from blockflow.storage.numpy_files import NumpyData

        return NumpyData(path, mode)
    if PathComponents(path).internalPath is None:
        raise StorageError(
            f"{path}: name the dataset after the file, as {path}/volume/data. {_datasets(path)}"
        )
    from blockflow.storage.hdf5 import Hdf5Data

    return Hdf5Data(path, mode)


def _datasets(path: str) -> str:
    import h5py

    from blockflow.utility.pathHelpers import lsH5N5

    try:
        with h5py.File(path, "r", locking=False) as file:
            names = [one["name"] for one in lsH5N5(file, 0, 32)]
    except OSError as error:
        return f"And it cannot be opened: {error}"
    return f"Datasets in it: {', '.join(names[:8]) or 'none'}"
