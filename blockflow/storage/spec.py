"""The description of an array that is to be: checked against what is there, or created."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from blockflow.errors import StorageError
from blockflow.storage.array import OUR_ATTRIBUTE, Array
from blockflow.storage.formats import format_of, is_output, stored_at
from blockflow.storage.lattice import Lattice
from blockflow.storage.metadata import VolumeMetadata

__all__ = ["ArraySpec", "spec_like"]

_COMPRESSORS = ("zstd", "gzip", "blosc", "none")
_LEVELS = {"zstd": 22, "gzip": 9, "blosc": 9}


class _Unwritten(np.ndarray[Any, Any]):
    """The voxels of an array that is not there yet: all of them the fill value, in the memory of one."""

    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    fill_value: float


@dataclass(frozen=True)
class ArraySpec:
    """All that is needed to create an array. Shapes are in voxels, channels included.

    `shards`, where given, must be a multiple of `chunks` (zarr v3 only). `compressor` is `zstd`, `gzip`,
    `blosc` or `none`, with an optional level behind a colon (`zstd:5`); `auto` is `zstd` for zarr. A path that ends in
    `.json` makes a fileset, whose blocks are the chunks: it has neither shards nor a fill value, and is
    compressed by `gzip` or, by default, not at all.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    metadata: VolumeMetadata
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None = None
    compressor: str = "auto"
    fill_value: float = 0
    zarr_format: int = 3

    def __post_init__(self) -> None:
        try:
            dtype = np.dtype(self.dtype)
        except TypeError as error:
            raise StorageError(f"{self.path}: unknown dtype {self.dtype!r}: {error}") from None
        if dtype.kind not in "biufc":
            raise StorageError(f"{self.path}: dtype {self.dtype!r} is none of numbers or booleans")
        try:
            fits = (
                np.array(self.fill_value).astype(dtype).item() == self.fill_value
                or self.fill_value != self.fill_value
            )
        except (TypeError, ValueError, OverflowError):
            fits = False
        if not fits:
            raise StorageError(f"{self.path}: fill_value {self.fill_value!r} is no value of dtype {dtype}")
        object.__setattr__(self, "dtype", str(dtype.newbyteorder("=")))
        object.__setattr__(self, "shape", tuple(self.shape))
        for key in ("chunks", "shards"):
            value = getattr(self, key)
            if isinstance(value, Sequence) and all(isinstance(size, int) for size in value):
                object.__setattr__(self, key, tuple(value))
            elif value is not None:
                raise StorageError(f"{self.path}: {key} must be a list of whole numbers, not {value!r}")
        for key in ("chunks", "shards"):
            value = getattr(self, key)
            if value is not None and (len(value) != len(self.shape) or any(size < 1 for size in value)):
                raise StorageError(
                    f"{self.path}: {key} {list(value)} must be {len(self.shape)} positive numbers, "
                    f"one for each axis of shape {list(self.shape)}"
                )
        if self.shards is not None:
            if self.zarr_format != 3:
                raise StorageError(f"{self.path}: shards need zarr_format 3, not {self.zarr_format}")
            if any(shard % chunk for shard, chunk in zip(self.shards, self.chunks, strict=True)):
                raise StorageError(
                    f"{self.path}: shards {list(self.shards)} must be a multiple of chunks {list(self.chunks)}"
                )
        if self.zarr_format not in (2, 3):
            raise StorageError(f"{self.path}: zarr_format must be 2 or 3, not {self.zarr_format}")
        if self.compressor == "auto":
            object.__setattr__(self, "compressor", "zstd" if format_of(self.path) == "zarr" else "none")
        name, _, level = str(self.compressor).partition(":")
        if name not in _COMPRESSORS or (
            level and not (level.isdigit() and int(level) <= _LEVELS.get(name, -1))
        ):
            raise StorageError(
                f"{self.path}: unknown compressor {self.compressor!r}; valid are {', '.join(_COMPRESSORS)}, auto, "
                f"with an optional level (zstd up to {_LEVELS['zstd']}, gzip and blosc up to 9): zstd:5"
            )

    def describe(self) -> dict[str, Any]:
        """What the array is, without where it is, as JSON data: a part of a recipe."""
        description = asdict(self)
        del description["path"]
        return description

    def differences(self, array: Array) -> list[str]:
        """How `array` differs from this description: one line each, none if it can be used as it is."""
        found = {
            "shape": array.shape,
            "dtype": str(array.dtype),
            "chunks": array.chunks,
            "shards": getattr(array.data, "shards", None),
            "voxel_size": array.metadata.voxel_size,
            "offset": array.metadata.offset,
        }
        if format_of(self.path) == "zarr":
            found["zarr_format"] = array.data.metadata.zarr_format  # type: ignore[union-attr]
        wanted = {
            **asdict(self),
            "dtype": str(np.dtype(self.dtype)),
            "voxel_size": self.metadata.voxel_size,
            "offset": self.metadata.offset,
        }
        return [
            f"{key} is {value}, wanted {wanted[key]}" for key, value in found.items() if value != wanted[key]
        ]

    def planned(self, lattice: Lattice | None = None) -> Array:
        """An array with this description that holds no voxels and takes no memory."""
        voxels = np.broadcast_to(np.asarray(self.fill_value, dtype=self.dtype), self.shape).view(_Unwritten)
        voxels.chunks, voxels.shards, voxels.fill_value = self.chunks, self.shards, self.fill_value
        return Array(self.path, voxels, self.metadata, lattice)

    def is_there(self) -> bool:
        return stored_at(self.path).exists()

    def create(self) -> None:
        """Create the array. Raises `StorageError` if something is in its place already."""
        attributes = {**self.metadata.attributes(), OUR_ATTRIBUTE: {"generation": uuid.uuid4().hex}}
        if not is_output(self.path):
            raise StorageError(
                f"{self.path}: arrays are created as zarr arrays or filesets (.json). Write to one of these, then "
                "make this of it by `blockflow array convert`"
            )
        try:
            if format_of(self.path) == "described":
                from blockflow.storage.filesets import create_fileset

                create_fileset(self, attributes)
            else:
                self._create_zarr(attributes)
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be created: {error}") from error

    def _create_zarr(self, attributes: dict[str, Any]) -> None:
        import zarr
        from zarr.errors import ContainsArrayError, ContainsGroupError

        try:
            zarr.create_array(
                store=self.path,
                shape=self.shape,
                dtype=self.dtype,
                chunks=self.chunks,
                shards=self.shards,
                compressors=self._codec(),
                fill_value=self.fill_value,
                zarr_format=self.zarr_format,  # type: ignore[arg-type]
                attributes=attributes,
                overwrite=False,
            )
        except (ContainsArrayError, ContainsGroupError, FileExistsError) as error:
            raise StorageError(
                f"{self.path}: there is something already: {error}. Choose another path, or remove it"
            ) from None

    def _codec(self) -> Any:
        import zarr.codecs

        name, _, level = self.compressor.partition(":")
        if name == "none":
            return None
        options: dict[str, Any] = {"level": int(level)} if level else {}
        if self.zarr_format == 2:
            import numcodecs  # type: ignore[import-untyped]

            if name == "blosc":
                return numcodecs.Blosc(clevel=options.get("level", 5))
            return numcodecs.Zstd(**options) if name == "zstd" else numcodecs.GZip(**options)
        if name == "blosc":
            return zarr.codecs.BloscCodec(clevel=options.get("level", 5))
        return zarr.codecs.ZstdCodec(**options) if name == "zstd" else zarr.codecs.GzipCodec(**options)


def spec_like(
    source: Array,
    path: str | Path,
    *,
    dtype: Any = None,
    channels: int | None = -1,
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | None = None,
    compressor: str = "auto",
    fill_value: float = 0,
    zarr_format: int = 3,
) -> ArraySpec:
    """Describe an array that covers what `source` covers.

    Parameters
    ----------
    source : Array
        Gives shape, voxel size, offset, units, axis names, and what is not given below.
    path : str or Path
        Where the new array is to be.
    dtype : dtype-like, optional
    channels : int or None
        -1 keeps the axes of `source`; `None` leaves its channel axes out; a number puts one channel axis of
        that size in front.
    chunks, shards : sequence of int, optional
        In voxels, one per axis of the new array. Chunks default to those of `source`.
    compressor, fill_value, zarr_format
        As in `ArraySpec`.
    """
    kept = range(len(source.shape)) if channels == -1 else source.metadata.spatial_axes
    shape = [source.shape[axis] for axis in kept]
    default_chunks = [source.chunks[axis] for axis in kept]
    metadata = replace(
        source.metadata,
        axis_names=tuple(source.axis_names[axis] for axis in kept),
        types=tuple(source.metadata.types[axis] for axis in kept),
    )
    if channels is not None and channels != -1:
        shape.insert(0, channels)
        default_chunks.insert(0, channels)
        metadata = replace(
            metadata, axis_names=("c^", *metadata.axis_names), types=("channel", *metadata.types)
        )
    return ArraySpec(
        path=str(path),
        shape=tuple(shape),
        dtype=str(source.dtype if dtype is None else dtype if isinstance(dtype, str) else np.dtype(dtype)),
        metadata=metadata,
        chunks=chunks or tuple(default_chunks),  # type: ignore[arg-type]
        shards=shards or None,  # type: ignore[arg-type]
        compressor=compressor,
        fill_value=fill_value,
        zarr_format=zarr_format,
    )
