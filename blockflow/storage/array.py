"""Arrays with a place in the world: read and written by ROI."""

import math
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from funlib.geometry import Coordinate, Roi

from blockflow.errors import StorageError
from blockflow.storage.chunks import LocalChunks
from blockflow.storage.commits import committed
from blockflow.storage.lattice import Lattice
from blockflow.storage.metadata import VolumeMetadata

if TYPE_CHECKING:
    import zarr

__all__ = ["Array"]

#: the attribute that holds what blockflow notes about an array
OUR_ATTRIBUTE = "blockflow"


class Array:
    """An array with `voxel_size`, `offset`, `units` and `axis_names`, indexed by `Roi` in lattice units.

    `array[roi]` reads a ROI as an ndarray of shape (channels..., *voxels). What lies outside of the array
    reads as its fill value. `array[roi] = data` writes a ROI; what lies outside is cut off. A ROI must fall
    on voxel borders. Any other key goes to `data` as it is.

    Parameters
    ----------
    path : str
        Where the array is, for messages and records.
    data : zarr.Array, numpy.ndarray, or what has `shape`, `dtype`, `chunks`, `attrs` and slices like one
        The voxels.
    metadata : VolumeMetadata
    lattice : Lattice, optional
        The lattice of the ROIs; by default that of this array alone.

    Raises
    ------
    StorageError
        If voxel size or offset are no whole number of lattice steps, or a ROI is off the voxel grid.
    """

    def __init__(
        self,
        path: str,
        data: "zarr.Array[Any] | np.ndarray | Any",
        metadata: VolumeMetadata,
        lattice: Lattice | None = None,
    ) -> None:
        self.path = path
        self.data = data
        self.metadata = metadata
        self.lattice = lattice or Lattice.of([(metadata.voxel_size, metadata.offset)])
        self.voxel_size = self.lattice.coordinate(metadata.voxel_size, f"{path}: voxel_size")
        self.offset = self.lattice.coordinate(metadata.offset, f"{path}: offset")
        self._axes = metadata.spatial_axes

    @property
    def units(self) -> tuple[str, ...]:
        return self.metadata.units

    @property
    def axis_names(self) -> tuple[str, ...]:
        return self.metadata.axis_names

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in voxels, channels included."""
        return tuple(self.data.shape)

    @property
    def spatial_shape(self) -> Coordinate:
        """Shape in voxels of the axes that a ROI speaks of."""
        return Coordinate(self.data.shape[axis] for axis in self._axes)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype

    @property
    def fill_value(self) -> Any:
        """What unwritten and outside voxels read as."""
        value = getattr(self.data, "fill_value", None)
        return 0 if value is None else value

    @property
    def roi(self) -> Roi:
        """The whole array, in lattice units."""
        return Roi(self.offset, self.spatial_shape * self.voxel_size)

    @property
    def slot_meta(self) -> dict[str, Any]:
        """What a slot of an operator graph tells of this array, beside shape and dtype."""
        return {"storage": self.path, **self.metadata.slot_meta()}

    def voxels_of(self, roi: Roi) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Start and stop of what the array has of a ROI, in voxels, all axes; may be empty."""
        begin, end = self._clip(*self._voxels(roi))
        slices = self._slices(begin, end)
        bounds = [one.indices(size)[:2] for one, size in zip(slices, self.shape, strict=True)]
        return tuple(first for first, _ in bounds), tuple(last for _, last in bounds)

    def roi_of(self, start: Sequence[int], stop: Sequence[int]) -> Roi:
        """The ROI of a region in voxels, all axes given."""
        first, last = (
            Coordinate(edge[axis] for axis in self._axes) * self.voxel_size for edge in (start, stop)
        )
        return Roi(self.offset + first, last - first)

    def shape_of(self, roi: Roi) -> tuple[int, ...]:
        """The shape of what is read of a ROI, all axes."""
        begin, end = self._voxels(roi)
        return self._full_shape(end - begin)

    def corner_of(self, roi: Roi) -> tuple[int, ...]:
        """Where a ROI begins in voxels, all axes; negative if that is before the array."""
        corner = [0] * len(self.shape)
        for axis, at in zip(self._axes, self._voxels(roi)[0], strict=True):
            corner[axis] = at
        return tuple(corner)

    @property
    def chunks(self) -> tuple[int, ...]:
        return tuple(getattr(self.data, "chunks", self.shape))

    @property
    def write_unit(self) -> tuple[int, ...]:
        """Shape in voxels of the smallest piece that is rewritten alone: a shard, or a chunk without shards."""
        return tuple(getattr(self.data, "shards", None) or self.chunks)

    @property
    def spatial_write_unit(self) -> Coordinate:
        """The write unit along the axes that a ROI speaks of, in lattice units."""
        return Coordinate(self.write_unit[axis] for axis in self._axes) * self.voxel_size

    @property
    def notes(self) -> dict[str, Any]:
        """What blockflow notes about the array: who writes it, and the like."""
        return dict(self.data.attrs.get(OUR_ATTRIBUTE, {}))  # type: ignore[union-attr,arg-type]

    def keep_notes(self, notes: Mapping[str, Any]) -> None:
        """Put `notes` in the place of those that are there; the array must be open for writing."""
        self.data.attrs[OUR_ATTRIBUTE] = dict(notes)  # type: ignore[union-attr]

    def __getitem__(self, key: Any) -> np.ndarray:
        return self.to_ndarray(key) if isinstance(key, Roi) else self._read(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(key, Roi):
            self.data[key] = value
            return
        begin, end = self._voxels(key)
        value = np.asarray(value)
        wanted = self._full_shape(end - begin)
        if value.ndim and value.shape != wanted:
            raise StorageError(
                f"{self.path}: data of shape {value.shape} cannot fill ROI {key}, which needs {wanted} voxels"
            )
        inner_begin, inner_end = self._clip(begin, end)
        if all(low < high for low, high in zip(inner_begin, inner_end, strict=True)):
            if value.ndim:
                value = value[self._slices(inner_begin - begin, inner_end - begin)]
            self._write(self._slices(inner_begin, inner_end), value)
        committed(self.path, self.roi, key)

    def to_ndarray(self, roi: Roi | None = None, fill_value: Any = None) -> np.ndarray:
        """Read `roi` (default: all); voxels outside of the array get `fill_value` (default: the array's)."""
        begin, end = self._voxels(self.roi if roi is None else roi)
        inner_begin, inner_end = self._clip(begin, end)
        if (inner_begin, inner_end) == (begin, end):
            return self._read(self._slices(begin, end))
        fill_value = self.fill_value if fill_value is None else fill_value
        result = np.full(self._full_shape(end - begin), fill_value, dtype=self.dtype)
        if all(low < high for low, high in zip(inner_begin, inner_end, strict=True)):
            target = self._slices(inner_begin - begin, inner_end - begin)
            result[target] = self._read(self._slices(inner_begin, inner_end))
        return result

    def _read(self, key: Any) -> np.ndarray:
        """Read from the zarr array, which gives its fill value for all that is not there: even if all of it is gone."""
        chunks, bounds = self._chunks, self._bounds(key)
        voxels = np.asarray(self.data[key]) if chunks is None or bounds is None else chunks.read(*bounds)
        root = getattr(getattr(self.data, "store", None), "root", None)
        if root is not None:
            place = os.path.join(root, self.data.path)  # type: ignore[union-attr]  # noqa: PTH118 (made for speed)
            if not any(os.path.exists(f"{place}/{name}") for name in ("zarr.json", ".zarray")):  # noqa: PTH110
                raise StorageError(
                    f"{self.path}: the array is gone while it is read. Put it back, then run again"
                )
        return voxels

    def _write(self, key: tuple[slice, ...], value: np.ndarray) -> None:
        chunks, bounds = self._chunks, self._bounds(key)
        if chunks is None or bounds is None or self.data.read_only or not chunks.can_write(*bounds):  # type: ignore[union-attr]
            self.data[key] = value
        else:
            chunks.write(*bounds, value)

    @cached_property
    def _chunks(self) -> LocalChunks | None:
        """The way to the chunks past zarr, where there is one."""
        return None if isinstance(self.data, np.ndarray) else LocalChunks.of(self.data)

    def _bounds(self, key: Any) -> tuple[list[int], list[int]] | None:
        """Start and stop in voxels of a key that is a plain region, not an empty one."""
        if not isinstance(key, tuple) or len(key) != len(self.shape):
            return None
        if not all(isinstance(one, slice) and one.step in (None, 1) for one in key):
            return None
        bounds = [one.indices(size)[:2] for one, size in zip(key, self.shape, strict=True)]
        if any(low >= high for low, high in bounds):
            return None
        return [low for low, _ in bounds], [high for _, high in bounds]

    def _voxels(self, roi: Roi) -> tuple[Coordinate, Coordinate]:
        if roi.dims != len(self._axes):
            raise StorageError(f"{self.path}: ROI {roi} has {roi.dims} axes, the array {len(self._axes)}")
        begin, end = roi.offset - self.offset, roi.end - self.offset
        if any(
            edge % size for edges in (begin, end) for edge, size in zip(edges, self.voxel_size, strict=True)
        ):
            raise StorageError(
                f"{self.path}: ROI {roi} is off the voxel grid (offset {self.offset}, voxel size "
                f"{self.voxel_size}, in lattice steps of {self.lattice}). Move its borders to whole voxels"
            )
        return begin / self.voxel_size, end / self.voxel_size

    def _clip(self, begin: Coordinate, end: Coordinate) -> tuple[Coordinate, Coordinate]:
        shape = self.spatial_shape
        return (
            Coordinate(min(max(low, 0), size) for low, size in zip(begin, shape, strict=True)),
            Coordinate(max(min(high, size), 0) for high, size in zip(end, shape, strict=True)),
        )

    def _slices(self, begin: Sequence[int], end: Sequence[int]) -> tuple[slice, ...]:
        slices = [slice(None)] * len(self.shape)
        for axis, low, high in zip(self._axes, begin, end, strict=True):
            slices[axis] = slice(low, high)
        return tuple(slices)

    def _full_shape(self, spatial: Sequence[int]) -> tuple[int, ...]:
        shape = list(self.shape)
        for axis, size in zip(self._axes, spatial, strict=True):
            shape[axis] = size
        return tuple(shape)

    def __repr__(self) -> str:
        mebibytes = math.prod(self.shape) * self.dtype.itemsize / 2**20
        return f"<Array {self.path} {self.shape} {self.dtype} roi={self.roi} {mebibytes:.1f} MiB>"
