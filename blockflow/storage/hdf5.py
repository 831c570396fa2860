"""Datasets in HDF5 files, with the face of a zarr array.

One process at a time can write a file, and what it writes in place is not whole if it dies meanwhile. So a dataset is
no output of blocks: they write zarr arrays or filesets, which `blockflow array convert` makes one file of.
"""

import json
import threading
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

import numpy as np

from blockflow.errors import StorageError
from blockflow.utility.pathHelpers import PathComponents, lsH5N5

if TYPE_CHECKING:
    import h5py

__all__ = ["Hdf5Data"]


class Hdf5Data:
    """A dataset: `shape`, `dtype`, `chunks`, `attrs`, and its voxels by slices.

    Parameters
    ----------
    path : str
        `FILE.h5/DATASET`.
    mode : {"r", "r+"}
    """

    format = "HDF5"
    shards = None

    def __init__(self, path: str, mode: str) -> None:
        place = PathComponents(path)
        self._file, self._name = place.externalPath, str(place.internalPath)
        self._writable = mode == "r+"
        self._lock = threading.Lock()
        self._opened: h5py.File | None = None if self._writable else _open(self._file, "r")
        with _Dataset(self) as dataset:
            self.shape: tuple[int, ...] = dataset.shape
            self.dtype: np.dtype[Any] = dataset.dtype
            self.chunks: tuple[int, ...] = dataset.chunks or dataset.shape
            self.compression: str | None = dataset.compression
            self.fill_value = dataset.fillvalue
        if self.dtype.kind not in "biufc":
            raise StorageError(f"{path}: its dtype is {self.dtype}, none of numbers or booleans")

    @property
    def attrs(self) -> "_Attributes":
        return _Attributes(self)

    def __getitem__(self, key: Any) -> "np.ndarray[Any, Any]":
        with _Dataset(self) as dataset:
            return np.asarray(dataset[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        with _Dataset(self, write=True) as dataset:
            dataset[key] = value


class _Dataset:
    """The open dataset for one access: for readers of a file that stays open, else of one that is opened for it."""

    def __init__(self, data: Hdf5Data, *, write: bool = False) -> None:
        self._data = data
        if write and not data._writable:
            raise StorageError(f"{data._file}: the array was opened to read; open it with mode 'r+' to write")
        self._mode = "r+" if write else "r"

    def __enter__(self) -> Any:
        self._data._lock.acquire()
        try:
            self._file = self._data._opened or _open(self._data._file, self._mode)
            return _find(self._file, self._data)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        file = getattr(self, "_file", None)
        if file is not None and file is not self._data._opened:
            file.close()
        self._data._lock.release()


def _find(file: "h5py.File", data: Hdf5Data) -> Any:
    import h5py

    dataset = file.get(data._name)
    if isinstance(dataset, h5py.Dataset):
        return dataset
    names = [one["name"] for one in lsH5N5(file, 0, 32)]
    raise StorageError(
        f"{data._file}: there is no dataset {data._name}. Datasets in it: {', '.join(names[:8]) or 'none'}"
    )


def _open(path: str, mode: str) -> "h5py.File":
    import h5py

    try:
        return h5py.File(path, mode, locking=mode != "r")
    except FileNotFoundError:
        raise StorageError(f"{path}: there is no such file") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be opened as an HDF5 file: {error}") from None


class _Attributes(MutableMapping[str, Any]):
    """Attributes as plain values: lists as lists, and what HDF5 has no type for as JSON."""

    def __init__(self, data: Hdf5Data) -> None:
        self._data = data

    def asdict(self) -> dict[str, Any]:
        """All of them."""
        with _Dataset(self._data) as dataset:
            return {name: _plain(value) for name, value in dataset.attrs.items()}

    def __getitem__(self, name: str) -> Any:
        return self.asdict()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        with _Dataset(self._data, write=True) as dataset:
            dataset.attrs[name] = _JSON + json.dumps(value) if isinstance(value, dict) else value

    def __delitem__(self, name: str) -> None:
        with _Dataset(self._data, write=True) as dataset:
            del dataset.attrs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.asdict())

    def __len__(self) -> int:
        return len(self.asdict())


#: before the text of an attribute that is an object
_JSON = "json:"


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_plain(one) for one in value.tolist()]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, str) and value.startswith(_JSON):
        return json.loads(value[len(_JSON) :])
    return value
