"""What a server has to give, path by path: zarr hierarchies with OME-NGFF metadata, and regions as HDF5 files.

====================================== ====================================================================
`/`                                    what there is, as a page
`/NAME/zarr.json`                      a group with OME-NGFF metadata
`/NAME/0/zarr.json`, `/NAME/0/c/0/0/0` its level: a zarr v3 array, chunk by chunk
`/NAME/restful.json`                   the description of a `RESTfulVolume`
`/NAME/region/X-X/Y-Y/Z-Z/T-T/C-C.h5`  a region of it, as an HDF5 file
====================================== ====================================================================
"""

import html
import io
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np

from blockflow.storage.ngff import multiscales
from blockflow.utility.quantity import format_bytes
from blockflow.web.cache import ByteCache
from blockflow.web.volume import ServedVolume

__all__ = ["Answer", "Refusal", "Site"]

_DATASET = "/volume/data"


class Refusal(Exception):
    """A request that is not answered: an HTTP status, and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """What is sent: bytes and their type."""

    body: bytes
    content_type: str


class Site:
    """Volumes by name, and the answers to requests for parts of them.

    Parameters
    ----------
    volumes : iterable of ServedVolume
    cache : ByteCache
    largest : int
        Bytes of a region that is given at one time, at most.
    """

    def __init__(self, volumes: Iterable[ServedVolume], cache: ByteCache, largest: int) -> None:
        self.volumes = {volume.name: volume for volume in volumes}
        self._cache = cache
        self._largest = largest
        self._documents = {name: _zarr_documents(volume) for name, volume in self.volumes.items()}

    def answer(self, path: str, base: str) -> Answer:
        """The answer to a request.

        Parameters
        ----------
        path : str
            Decoded, without what stands behind a `?`.
        base : str
            The URL that `/` has for the visitor, without a slash at its end.

        Raises
        ------
        Refusal
            If there is nothing there, or it is not given.
        """
        name, _, rest = path.strip("/").partition("/")
        if not name:
            return Answer(self._page(base), "text/html; charset=utf-8")
        volume = self.volumes.get(name)
        if volume is None:
            raise Refusal(404, f"there is no {name!r} here; there are {', '.join(self.volumes)}")
        if rest in self._documents[name]:
            return Answer(self._documents[name][rest], "application/json")
        if rest == "restful.json":
            return Answer(_restful_description(volume, base), "application/json")
        if match := re.fullmatch(r"0/c((?:/\d{1,12})*)", rest):
            return Answer(self._chunk(volume, match[1]), "application/octet-stream")
        if match := re.fullmatch(r"region/((?:\d{1,12}-\d{1,12}/){4}\d{1,12}-\d{1,12})\.h5", rest):
            return Answer(self._region(volume, match[1]), "application/x-hdf5")
        raise Refusal(404, f"there is no {rest!r} in {name}")

    def _chunk(self, volume: ServedVolume, index: str) -> bytes:
        numbers = tuple(map(int, filter(None, index.split("/"))))
        start = tuple(number * size for number, size in zip(numbers, volume.chunks, strict=False))
        if len(numbers) != len(volume.shape) or any(a >= b for a, b in zip(start, volume.shape, strict=True)):
            raise Refusal(404, f"{volume.name} has no chunk {index}")
        stop = tuple(
            min(a + size, end) for a, size, end in zip(start, volume.chunks, volume.shape, strict=True)
        )

        def compute() -> bytes:
            voxels = volume.read(start, stop)
            if voxels.shape != volume.chunks:
                missing = [(0, size - one) for size, one in zip(volume.chunks, voxels.shape, strict=True)]
                voxels = np.pad(voxels, missing)
            return np.ascontiguousarray(voxels, volume.dtype.newbyteorder("<")).tobytes()

        return self._cache.get((volume.name, "chunk", numbers), compute)

    def _region(self, volume: ServedVolume, text: str) -> bytes:
        axes = _restful_axes(volume)
        bounds = {
            axis: tuple(map(int, part.split("-")))
            for axis, part in zip("xyztc", text.split("/"), strict=True)
        }
        start = tuple(bounds[axis][0] for axis in axes)
        stop = tuple(bounds[axis][1] for axis in axes)
        if any(not a < b <= size for a, b, size in zip(start, stop, volume.shape, strict=True)):
            raise Refusal(
                400, f"{start} to {stop} is empty, or not within {volume.name}, which has {volume.shape}"
            )
        size = math.prod(b - a for a, b in zip(start, stop, strict=True)) * volume.dtype.itemsize
        if size > self._largest:
            raise Refusal(
                413,
                f"the region has {size} bytes; at most {self._largest} are given at one time: ask for smaller ones",
            )
        key = (volume.name, "region", start, stop)
        return self._cache.get(key, lambda: _hdf5(volume.read(start, stop).astype(volume.dtype, copy=False)))

    def _page(self, base: str) -> bytes:
        rows = "".join(_row(volume, base) for volume in self.volumes.values())
        return (
            "<!doctype html><meta charset=utf-8><title>blockflow</title>"
            "<style>body{font:15px/1.5 system-ui;margin:2em}td,th{text-align:left;padding:.2em 1em .2em 0;"
            "vertical-align:top}code{background:#eee}</style><h1>blockflow</h1>"
            "<p>Computed when looked at. Open a zarr URL with zarr, napari or neuroglancer, the description with "
            f"<code>RESTfulVolume</code>.</p><table><tr><th>name<th>voxels<th>dtype<th>size<th>where</tr>{rows}</table>"
        ).encode()


def _row(volume: ServedVolume, base: str) -> str:
    url = html.escape(f"{base}/{quote(volume.name)}")
    shape = " x ".join(map(str, volume.shape))
    size = format_bytes(math.prod(volume.shape) * volume.dtype.itemsize)
    where = f"zarr: <code>{url}/</code>"
    if volume.letters() is not None:
        where += f"<br>description: <a href='{url}/restful.json'>{url}/restful.json</a>"
    return f"<tr><td>{html.escape(volume.name)}<td>{shape}<td>{volume.dtype}<td>{size}<td>{where}</tr>"


def _zarr_documents(volume: ServedVolume) -> dict[str, bytes]:
    """The metadata documents of a group with one array, as zarr itself writes them."""
    import asyncio

    import zarr
    from zarr.core.buffer import default_buffer_prototype
    from zarr.storage import MemoryStore

    store = MemoryStore()
    group = zarr.create_group(store, attributes=multiscales(volume.name, [("0", volume.metadata)]))
    group.create_array(
        "0",
        shape=volume.shape,
        dtype=volume.dtype.newbyteorder("="),
        chunks=volume.chunks,
        compressors=None,
        fill_value=0,
        attributes=dict(volume.metadata.attributes()),
        dimension_names=[name.removesuffix("^") for name in volume.metadata.axis_names],
    )

    async def read(key: str) -> bytes:
        buffer = await store.get(key, default_buffer_prototype())
        assert buffer is not None
        return buffer.to_bytes()

    return {key: asyncio.run(read(key)) for key in ("zarr.json", "0/zarr.json")}


def _restful_axes(volume: ServedVolume) -> str:
    letters = volume.letters()
    if letters is None:
        raise Refusal(
            404,
            f"{volume.name} has axes {', '.join(volume.metadata.axis_names)}; a remote volume needs x, y and z",
        )
    return letters


def _restful_description(volume: ServedVolume, base: str) -> bytes:
    axes = _restful_axes(volume)
    fields = (f"{{{axis}_start}}-{{{axis}_stop}}" if axis in axes else "0-1" for axis in "xyztc")
    description = {
        "_schema_name": "RESTful-volume-description",
        "_schema_version": 1.0,
        "name": volume.name,
        "format": "hdf5",
        "axes": axes,
        "dtype": f"numpy.{volume.dtype.type.__name__}",
        "bounds": list(volume.shape),
        "url_format": f"{base}/{quote(volume.name)}/region/{'/'.join(fields)}.h5",
        "hdf5_dataset": _DATASET,
    }
    return json.dumps(description, indent=4).encode()


def _hdf5(voxels: "np.ndarray[Any, Any]") -> bytes:
    import h5py

    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        file.create_dataset(_DATASET, data=voxels)
    return image.getvalue()
