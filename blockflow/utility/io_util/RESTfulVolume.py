"""A volume behind a web service that gives any region of it as an HDF5 file."""

import copy
import math
import operator
import os
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from blockflow.errors import RoiError, StorageError
from blockflow.utility.io_util.description import as_integers, voxel_type
from blockflow.utility.io_util.downloads import DownloadError, Downloads
from blockflow.utility.jsonConfig import AutoEval, FormattedField, JsonConfigParser, Namespace
from blockflow.utility.pathHelpers import PathComponents

__all__ = ["RESTfulVolume"]

Bounds = tuple[Sequence[int], Sequence[int]]

_AXES = "txyzc"

#: bytes that an HDF5 file may have beyond its voxels
_OVERHEAD = 2**20


class RESTfulVolume:
    """A remote volume, of which regions are downloaded.

    All regions are in voxels from `origin_offset` on.

    Parameters
    ----------
    descriptionFilePath : str or Path
        A JSON file of schema `RESTful-volume-description`; the fields are those of `DescriptionFields`.
    preparsedDescription : Namespace, optional
        In place of the file.
    downloads : Downloads, optional
        Headers, time-outs and retries.

    Raises
    ------
    ParsingError
        If the file is no such description.
    StorageError
        If what it says cannot be.
    """

    DescriptionFields: dict[str, Any] = {  # noqa: RUF012 - an attribute of the class, as in old code
        "_schema_name": "RESTful-volume-description",
        "_schema_version": 1.0,
        "name": str,
        "format": str,
        "axes": str,
        "dtype": AutoEval(),
        "bounds": AutoEval(np.array),
        "origin_offset": AutoEval(np.array),
        "shape": AutoEval(np.array),
        "url_format": FormattedField(
            requiredFields=["x_start", "x_stop", "y_start", "y_stop", "z_start", "z_stop"],
            optionalFields=["t_start", "t_stop", "c_start", "c_stop"],
        ),
        "hdf5_dataset": str,
    }
    DescriptionSchema = JsonConfigParser(DescriptionFields)

    @classmethod
    def readDescription(cls, descriptionFilePath: str | Path) -> Namespace:
        """What a description file says, field by field, with its defaults."""
        parsed = cls.DescriptionSchema.parseConfigFile(descriptionFilePath)
        return cls.updateDescription(parsed, os.fspath(descriptionFilePath))

    @classmethod
    def writeDescription(cls, descriptionFilePath: str | Path, descriptionFields: Namespace) -> None:
        """Write a description file."""
        cls.DescriptionSchema.writeConfigFile(descriptionFilePath, descriptionFields)

    @staticmethod
    def updateDescription(description: Namespace, where: str = "remote description") -> Namespace:
        """A copy of a description with its defaults; StorageError if it cannot be."""
        whole = copy.copy(description)
        for name in ("axes", "dtype", "bounds", "url_format", "hdf5_dataset"):
            if getattr(whole, name, None) is None:
                raise StorageError(f"{where}: {name} is missing")
        if getattr(whole, "format", None) != "hdf5":
            raise StorageError(
                f"{where}: format is {getattr(whole, 'format', None)!r}; only 'hdf5' can be read"
            )
        axes = whole.axes
        if len(set(axes)) != len(axes) or not {"x", "y", "z"} <= set(axes) <= set(_AXES):
            raise StorageError(f"{where}: axes {axes!r} must be x, y, z, and perhaps t and c, in any order")
        whole.dtype = voxel_type(whole.dtype, where)
        if whole.dtype.kind not in "biufc":
            raise StorageError(f"{where}: dtype is {whole.dtype}; it must be of numbers or booleans")
        whole.bounds = as_integers(whole.bounds, len(axes), 1, f"{where}: bounds")
        offset = getattr(whole, "origin_offset", None)
        offset = np.zeros_like(whole.bounds) if offset is None else offset
        whole.origin_offset = as_integers(offset, len(axes), 0, f"{where}: origin_offset")
        shape = whole.bounds - whole.origin_offset
        if (shape < 1).any():
            raise StorageError(
                f"{where}: origin_offset {whole.origin_offset.tolist()} is not within bounds {whole.bounds.tolist()}"
            )
        given = getattr(whole, "shape", None)
        if given is not None and not np.array_equal(given, shape):
            raise StorageError(
                f"{where}: shape is {np.asarray(given).tolist()}, but bounds - origin_offset is {shape.tolist()}; "
                "remove the shape"
            )
        whole.shape = shape
        if not whole.url_format.startswith(("http://", "https://")):
            raise StorageError(
                f"{where}: url_format {whole.url_format!r} must begin with http:// or https://"
            )
        for axis in "tc":
            if f"{{{axis}_" in whole.url_format and axis not in axes:
                raise StorageError(
                    f"{where}: url_format has a field for {axis}, which is not in axes {axes!r}"
                )
        whole.hdf5_dataset = "/" + whole.hdf5_dataset.strip("/")
        return whole

    def __init__(
        self,
        descriptionFilePath: str | Path | None = None,
        preparsedDescription: Namespace | None = None,
        downloads: Downloads | None = None,
    ) -> None:
        if preparsedDescription is not None:
            self.description = self.updateDescription(preparsedDescription)
        elif descriptionFilePath is not None:
            self.description = self.readDescription(descriptionFilePath)
        else:
            raise StorageError("give the path of a description, or a description")
        self.downloads = downloads or Downloads()

    def url(self, roi: Bounds) -> str:
        """The URL of a region. RoiError if it is empty, or not within the volume."""
        start, stop = self._checked(roi)
        description = self.description
        bounds: dict[str, int] = {}
        for axis, offset, size, low, high in zip(
            description.axes,
            description.origin_offset.tolist(),
            description.shape.tolist(),
            start,
            stop,
            strict=True,
        ):
            if axis in "tc" and f"{{{axis}_" not in description.url_format and (low, high) != (0, size):
                raise RoiError(f"the server gives only all of axis {axis} (0 to {size}), not {low} to {high}")
            bounds[f"{axis}_start"], bounds[f"{axis}_stop"] = low + offset, high + offset
        return str(description.url_format.format(**bounds))

    def downloadSubVolume(self, roi: Bounds, outputDatasetPath: str | Path) -> None:
        """Download a region to a file, `FILE.h5/DATASET`; the dataset's name must be that of the description.

        A file that is there already is replaced, when the new one is there whole.

        Raises
        ------
        DownloadError
            If it could not be fetched, or is not what the description says.
        StorageError
            If the path names another dataset.
        """
        place = PathComponents(outputDatasetPath)
        if place.internalPath != self.description.hdf5_dataset:
            raise StorageError(
                f"{outputDatasetPath}: the server's files hold {self.description.hdf5_dataset}; "
                "give the path of a file with that behind it"
            )
        folder = place.externalDirectory or "."
        aside = f"{folder}/.{place.filename}.{uuid.uuid4().hex}.partial"
        self.fetch(roi, aside)
        os.replace(aside, place.externalPath)  # noqa: PTH105

    def read(self, roi: Bounds) -> "np.ndarray[Any, Any]":
        """Download a region into memory."""
        import h5py

        with tempfile.TemporaryDirectory(prefix="blockflow-") as folder:
            self.fetch(roi, f"{folder}/region.h5")
            with h5py.File(f"{folder}/region.h5", "r", locking=False) as file:
                voxels: np.ndarray[Any, Any] = file[self.description.hdf5_dataset][()]
        return voxels

    def fetch(self, roi: Bounds, place: str) -> None:
        """Download a region to the new file `place`, and check that it is what was asked for."""
        start, stop = self._checked(roi)
        shape = tuple(map(operator.sub, stop, start))
        size = math.prod(shape) * self.description.dtype.itemsize
        url = self.url(roi)
        self.downloads.fetch(url, place, 2 * size + _OVERHEAD)
        try:
            self._check(place, shape, url)
        except BaseException:
            os.unlink(place)  # noqa: PTH108
            raise

    def _check(self, place: str, shape: tuple[int, ...], url: str) -> None:
        import h5py

        description = self.description
        try:
            with h5py.File(place, "r", locking=False) as file:
                dataset = file.get(description.hdf5_dataset)
                if not isinstance(dataset, h5py.Dataset):
                    held = ", ".join(file) or "nothing"
                    raise DownloadError(
                        f"{url}: there is no dataset {description.hdf5_dataset}; it holds {held}"
                    )
                if dataset.shape != shape:
                    raise DownloadError(f"{url}: {dataset.shape} voxels came, not {shape}")
                if dataset.dtype != description.dtype:
                    raise DownloadError(f"{url}: voxels of {dataset.dtype} came, not {description.dtype}")
        except OSError as error:
            raise DownloadError(f"{url}: what came is no HDF5 file: {error}") from None

    def _checked(self, roi: Bounds) -> tuple[tuple[int, ...], tuple[int, ...]]:
        start, stop = (tuple(map(operator.index, side)) for side in roi)
        shape = self.description.shape.tolist()
        if len(start) != len(shape) or len(stop) != len(shape):
            raise RoiError(f"{start} to {stop} is no region of {len(shape)} axes ({self.description.axes})")
        if any(not 0 <= a < b <= size for a, b, size in zip(start, stop, shape, strict=True)):
            raise RoiError(
                f"{start} to {stop} is empty, or not within the remote volume of {tuple(shape)} voxels"
            )
        return start, stop
