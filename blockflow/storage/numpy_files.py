"""Arrays in `.npy` files, with the face of a zarr array. They are read and written in place, so no output of blocks."""

from typing import Any

import numpy as np

from blockflow.errors import StorageError
from blockflow.storage.sidecar import Sidecar

__all__ = ["NumpyData"]


class NumpyData:
    """A `.npy` file, read piece by piece; its attributes are in a file beside it."""

    format = "numpy"
    shards = None
    compression = None
    fill_value = 0

    def __init__(self, path: str, mode: str) -> None:
        try:
            self._voxels = np.load(path, mmap_mode="r" if mode == "r" else "r+", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise StorageError(f"{path}: cannot be opened as a .npy file: {error}") from None
        if not isinstance(self._voxels, np.memmap) or self._voxels.dtype.kind not in "biufc":
            raise StorageError(f"{path}: this is no .npy file of numbers or booleans")
        self._path = path
        self.shape: tuple[int, ...] = self._voxels.shape
        self.chunks = self.shape
        self.dtype: np.dtype[Any] = self._voxels.dtype
        self.attrs = Sidecar(path)

    def __getitem__(self, key: Any) -> "np.ndarray[Any, Any]":
        return np.array(self._voxels[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        if self._voxels.mode == "r":
            raise StorageError(f"{self._path}: the array was opened to read; open it with mode 'r+' to write")
        self._voxels[key] = value
