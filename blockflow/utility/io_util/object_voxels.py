"""Voxels that are objects: pickled one by one, and read without running anything.

A pickle can name any function to be called. Here only those are found that make plain data: numbers, text,
containers, and numpy's arrays and scalars of numbers.
"""

import io
import pickle
from typing import Any

import numpy as np

from blockflow.errors import StorageError

__all__ = ["dump_voxels", "load_voxels"]

_BUILTINS = {"complex", "set", "frozenset", "bytearray", "range", "slice"}
_NUMPY = {
    "numpy": {"ndarray", "dtype"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
    "numpy._core.numeric": {"_frombuffer"},
}


class _PlainData(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module in ("builtins", "__builtin__") and name in _BUILTINS:
            return super().find_class("builtins", name)
        if name in _NUMPY.get(module, ()):
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        if (module, name) == ("collections", "OrderedDict"):
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):  # how pickles of old protocols hold bytes
            return _bytes_of
        raise StorageError(
            f"a voxel is an object of {module}.{name}; only plain data and numpy arrays are read"
        )


def _bytes_of(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise StorageError(f"a voxel holds bytes in the encoding {encoding!r}; only latin1 is read")
    return text.encode("latin1")


def dump_voxels(voxels: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Each voxel as an array of the bytes of its pickle."""
    pickled = np.empty(voxels.shape, dtype=object)
    for index in np.ndindex(*voxels.shape):
        pickled[index] = np.frombuffer(pickle.dumps(voxels[index], protocol=2), dtype=np.uint8)
    return pickled


def load_voxels(pickled: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """The objects of `dump_voxels`; a voxel that was never written is 0. StorageError if one is no plain data."""
    voxels = np.empty(pickled.shape, dtype=object)
    for index in np.ndindex(*pickled.shape):
        data = pickled[index]
        text = data if isinstance(data, bytes) else np.asarray(data, dtype=np.uint8).tobytes()
        try:
            voxels[index] = _PlainData(io.BytesIO(text)).load() if text else 0
        except StorageError:
            raise
        except Exception as error:
            raise StorageError(f"voxel {index} is no pickle: {error}") from error
    return voxels
