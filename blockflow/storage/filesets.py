"""Filesets of blocks and remote volumes, with the face of a zarr array.

A block of a fileset is a write unit. A write publishes the blocks that it touches; a block that is not available cannot
be read.
"""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from blockflow.errors import StorageError
from blockflow.roi import sliceToRoi
from blockflow.storage.metadata import VolumeMetadata
from blockflow.storage.sidecar import Sidecar
from blockflow.utility.files import write_json
from blockflow.utility.jsonConfig import Namespace, SchemaError
from blockflow.utility.lease import LockedError

if TYPE_CHECKING:
    from blockflow.storage.spec import ArraySpec

__all__ = ["FilesetData", "RemoteData", "create_fileset", "open_described"]

_TYPES = {"c": "channel", "t": "time"}

#: seconds that a write waits for another one of the same block: of a worker that is thought dead and is not
_PATIENCE = 600.0
_LOOK = 0.05

#: voxels along an axis of what is asked of a remote volume at one time, where the caller may choose
_REMOTE_CHUNK = 64


def open_described(path: str, mode: str) -> "FilesetData | RemoteData":
    """Open what a JSON file describes. StorageError if it describes neither a fileset nor a remote volume."""
    from blockflow.utility.io_util import BlockwiseFilesetFactory, RESTfulVolume

    try:
        return FilesetData(path, BlockwiseFilesetFactory.create(path, "r" if mode == "r" else "a"))
    except SchemaError as error:
        problem = error
    try:
        remote = RESTfulVolume(path)
    except SchemaError:
        raise StorageError(
            f"{path}: this describes neither a fileset nor a remote volume: {problem}"
        ) from None
    if mode != "r":
        raise StorageError(f"{path}: a remote volume can only be read")
    return RemoteData(path, remote)


class FilesetData:
    """A fileset: `shape` is that of its view, `chunks` are its blocks."""

    format = "fileset"
    shards = None
    fill_value = 0

    def __init__(self, path: str, fileset: Any) -> None:
        self.fileset = fileset
        layout, description = fileset.layout, fileset.description
        self.shape: tuple[int, ...] = layout.view_shape
        self.chunks: tuple[int, ...] = layout.block_shape
        self.dtype: np.dtype[Any] = description.dtype
        self.compression: str | None = getattr(description, "compression", None)
        if self.dtype.kind not in "biufc":
            raise StorageError(f"{path}: its voxels are objects; read them with BlockwiseFileset")
        self.attrs = Sidecar(path, _axes(description.axes))

    def __getitem__(self, key: Any) -> "np.ndarray[Any, Any]":
        roi, dropped = _region(key, self.shape)
        if any(a == b for a, b in zip(*roi, strict=True)):
            return _nothing(roi, dropped, self.dtype)
        voxels: np.ndarray[Any, Any] = self.fileset.readData(roi)
        return np.asarray(voxels[dropped])

    def __setitem__(self, key: Any, value: Any) -> None:
        roi, dropped = _region(key, self.shape)
        whole = np.empty([b - a for a, b in zip(*roi, strict=True)], self.dtype)
        if not whole.size:
            return
        whole[dropped] = value
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                self.fileset.writeData(roi, whole)
                break
            except LockedError:
                if time.monotonic() > end:
                    raise
                time.sleep(_LOOK)
        self.fileset.setBlockStatusesForRoi(roi, self.fileset.BLOCK_AVAILABLE)


class RemoteData:
    """A remote volume: each read downloads the region."""

    format = "remote volume"
    shards = None
    compression = None
    fill_value = 0

    def __init__(self, path: str, volume: Any) -> None:
        self._volume = volume
        self.shape: tuple[int, ...] = tuple(volume.description.shape.tolist())
        self.dtype: np.dtype[Any] = volume.description.dtype
        self.chunks = tuple(
            size if axis == "c" else 1 if axis == "t" else min(size, _REMOTE_CHUNK)
            for axis, size in zip(volume.description.axes, self.shape, strict=True)
        )
        self.attrs = Sidecar(path, _axes(volume.description.axes))

    def __getitem__(self, key: Any) -> "np.ndarray[Any, Any]":
        roi, dropped = _region(key, self.shape)
        if any(a == b for a, b in zip(*roi, strict=True)):
            return _nothing(roi, dropped, self.dtype)
        voxels: np.ndarray[Any, Any] = self._volume.read(roi)
        return np.asarray(voxels[dropped])


def _region(key: Any, shape: tuple[int, ...]) -> tuple[Any, tuple[Any, ...]]:
    """The region of a slicing, and how to index it so that axes given as ints are dropped."""
    start, stop = sliceToRoi(key, shape)
    keys = key if isinstance(key, tuple) else (key,)
    if Ellipsis in keys:
        place = keys.index(Ellipsis)
        keys = (*keys[:place], *[slice(None)] * (len(shape) - len(keys) + 1), *keys[place + 1 :])
    return (tuple(start), tuple(stop)), tuple(0 if hasattr(one, "__index__") else slice(None) for one in keys)


def _nothing(roi: Any, dropped: tuple[Any, ...], dtype: Any) -> "np.ndarray[Any, Any]":
    return np.asarray(np.empty([b - a for a, b in zip(*roi, strict=True)], dtype)[dropped])


def _axes(axes: str) -> dict[str, Any]:
    types = [_TYPES.get(axis, "space") for axis in axes]
    names = [f"{axis}^" if kind == "channel" else axis for axis, kind in zip(axes, types, strict=True)]
    return {"axis_names": names, "types": types}


def create_fileset(spec: "ArraySpec", attributes: dict[str, Any]) -> None:
    """Write the description of a fileset whose blocks are the chunks of `spec`, and its attributes.

    Raises
    ------
    StorageError
        If something is there already, or the spec says what a fileset cannot be.
    """
    from blockflow.utility.io_util import BlockwiseFileset
    from blockflow.utility.io_util.description import complete_description

    path = Path(spec.path)
    if path.exists():
        raise StorageError(f"{path}: there is something already. Choose another path, or remove it")
    name, _, level = spec.compressor.partition(":")
    if name not in ("none", "gzip"):
        raise StorageError(f"{path}: compressor is {spec.compressor!r}; filesets have 'gzip' and 'none'")
    if spec.shards is not None or spec.fill_value != 0:
        raise StorageError(f"{path}: filesets have neither shards nor a fill_value; leave them out")
    root = f"{path.stem}_blocks"
    fields = {
        "_schema_version": 1.1,
        "name": path.stem,
        "format": "hdf5",
        "axes": _letters(spec.metadata),
        "shape": list(spec.shape),
        "dtype": np.dtype(spec.dtype),
        "block_shape": list(spec.chunks),
        "compression": None if name == "none" else name,
        "compression_opts": int(level) if level else None,
        "dataset_root_dir": root,
        "block_file_name_format": "block-{roiString}.h5/volume/data",
    }
    description = Namespace({key: value for key, value in fields.items() if value is not None})
    complete_description(BlockwiseFileset.DescriptionSchema(json.loads(_dumps(description))), str(path))
    if (path.parent / root).exists():
        raise StorageError(
            f"{path.parent / root}: there are blocks of another fileset here. Choose another path, or remove them"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(Path(f"{path}.attributes.json"), attributes)
    BlockwiseFileset.writeDescription(path, description)


def _dumps(description: Namespace) -> str:
    from blockflow.utility.io_util import BlockwiseFileset

    return BlockwiseFileset.DescriptionSchema.dumps(description)


def _letters(metadata: VolumeMetadata) -> str:
    """A letter for each axis: its own name if that is one, else one that is free."""
    letters: list[str] = []
    for name, kind in zip(metadata.axis_names, metadata.types, strict=True):
        wanted = "c" if kind == "channel" else name
        free = [
            letter for letter in "zyxwvutsrqponmlkjihgfedba" if letter not in {*letters, *metadata.axis_names}
        ]
        letters.append(wanted if len(wanted) == 1 and wanted.isalpha() and wanted not in letters else free[0])
    return "".join(letters)
