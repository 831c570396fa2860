"""Chunks of a zarr array on this file system, read and written by a few threads without zarr's event loop.

zarr-python takes each chunk through a loop in another thread and several hops to and from it, which costs more than
to decode a chunk of common size. This does the same for the common case (no shards, nothing but a compressor after the
bytes, whole chunks in a write), with the same codecs and the same files: a reader or writer cannot tell which it
was. All else is left to zarr.
"""

import itertools
import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from blockflow.utility.files import write_aside

__all__ = ["LocalChunks"]

#: threads of this process that read and write chunks: more than cores, since file systems keep them waiting
_THREADS = min(8, 2 * (os.cpu_count() or 4))

Index = tuple[int, ...]


@dataclass(frozen=True)
class LocalChunks:
    """The chunks of an array whose files are in the folder `root`.

    `name` gives the file of a chunk; `codec` is a numcodecs codec, if chunks are compressed. `empty` holds the bytes of
    a chunk that is not stored since it is all fill value, if there is such.
    """

    root: Path
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: Any
    codec: Any
    name: Callable[[Index], str]
    empty: bytes | None

    @classmethod
    def of(cls, data: Any) -> "LocalChunks | None":
        """Those of a zarr array; `None` if zarr is to read and write them itself."""
        import zarr
        from zarr.storage import LocalStore

        if not isinstance(data, zarr.Array) or not isinstance(data.store, LocalStore):
            return None
        metadata: Any = data.metadata
        codec = _codec_of_v3(metadata) if metadata.zarr_format == 3 else _codec_of_v2(metadata)
        config = getattr(data, "config", None)
        if codec is _OTHER or config is None or data.dtype.kind not in "biufc" or not data.dtype.isnative:
            return None
        if data.ndim == 0 or metadata.fill_value is None:
            return None
        fill = np.asarray(metadata.fill_value, data.dtype)
        return cls(
            root=Path(data.store.root) / data.path,
            shape=tuple(data.shape),
            chunks=tuple(data.chunks),
            dtype=data.dtype,
            fill=fill,
            codec=codec,
            name=metadata.encode_chunk_key,
            empty=None if config.write_empty_chunks else np.full(data.chunks, fill).tobytes(),
        )

    def read(self, begin: Sequence[int], end: Sequence[int]) -> np.ndarray[Any, Any]:
        """A region, in voxels; chunks that are not there are all fill value."""
        result = np.empty([high - low for low, high in zip(begin, end, strict=True)], self.dtype)

        def load(index: Index) -> None:
            corner = [place * size for place, size in zip(index, self.chunks, strict=True)]
            here = self._overlap(corner, begin, end)
            target = tuple(
                slice(one.start - low, one.stop - low) for one, low in zip(here, begin, strict=True)
            )
            voxels = self._decoded(index)
            if voxels is None:
                result[target] = self.fill
            else:
                source = (
                    slice(one.start - low, one.stop - low) for one, low in zip(here, corner, strict=True)
                )
                result[target] = voxels[tuple(source)]

        _for_each(load, self._touched(begin, end))
        return result

    def can_write(self, begin: Sequence[int], end: Sequence[int]) -> bool:
        """Whether a region has no chunk in part: parts need what is there already, and are left to zarr."""
        return all(
            low % chunk == 0 and (high % chunk == 0 or high == size)
            for low, high, chunk, size in zip(begin, end, self.chunks, self.shape, strict=True)
        )

    def write(self, begin: Sequence[int], end: Sequence[int], voxels: np.ndarray[Any, Any]) -> None:
        """Put voxels in the place of all chunks of a region, each renamed into its place when it is complete."""
        shape = [high - low for low, high in zip(begin, end, strict=True)]
        voxels = np.broadcast_to(voxels, shape)

        def store(index: Index) -> None:
            corner = [place * size for place, size in zip(index, self.chunks, strict=True)]
            here = self._overlap(corner, begin, end)
            part = voxels[
                tuple(slice(one.start - low, one.stop - low) for one, low in zip(here, begin, strict=True))
            ]
            chunk = np.empty(self.chunks, self.dtype)
            if part.shape != self.chunks:
                chunk[...] = self.fill
            chunk[tuple(slice(0, size) for size in part.shape)] = part
            self._store(self.root / self.name(index), chunk.tobytes())

        _for_each(store, self._touched(begin, end))

    def _store(self, file: Path, content: bytes) -> None:
        if content == self.empty:
            file.unlink(missing_ok=True)
            return
        encoded = content if self.codec is None else self.codec.encode(content)
        try:
            write_aside(file, encoded)
        except FileNotFoundError:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_aside(file, encoded)

    def _decoded(self, index: Index) -> np.ndarray[Any, Any] | None:
        try:
            with open(f"{self.root}/{self.name(index)}", "rb", buffering=0) as file:  # noqa: PTH123 (a hot loop)
                content: Any = file.read()
        except FileNotFoundError:
            return None
        if self.codec is not None:
            content = self.codec.decode(content)
        return np.frombuffer(content, self.dtype).reshape(self.chunks)

    def _overlap(self, corner: Sequence[int], begin: Sequence[int], end: Sequence[int]) -> tuple[slice, ...]:
        return tuple(
            slice(max(first, low), min(first + size, high))
            for first, size, low, high in zip(corner, self.chunks, begin, end, strict=True)
        )

    def _touched(self, begin: Sequence[int], end: Sequence[int]) -> list[Index]:
        ranges = (
            range(low // size, -(-high // size))
            for low, high, size in zip(begin, end, self.chunks, strict=True)
        )
        return list(itertools.product(*ranges))


_OTHER = object()


def _codec_of_v3(metadata: Any) -> Any:
    """The compressor after the bytes, as numcodecs has it; `None` without one, `_OTHER` for all else."""
    from zarr.codecs import BytesCodec, GzipCodec, ZstdCodec
    from zarr.core.chunk_grids import RegularChunkGrid

    first, *rest = metadata.codecs
    if (
        not isinstance(metadata.chunk_grid, RegularChunkGrid)
        or not isinstance(first, BytesCodec)
        or len(rest) > 1
    ):
        return _OTHER
    if first.endian is not None and first.endian.value != "little":
        return _OTHER
    if not rest:
        return None
    import numcodecs  # type: ignore[import-untyped]

    (last,) = rest
    if isinstance(last, ZstdCodec):
        return numcodecs.Zstd(level=last.level, checksum=last.checksum)
    return numcodecs.GZip(level=last.level) if isinstance(last, GzipCodec) else _OTHER


def _codec_of_v2(metadata: Any) -> Any:
    import numcodecs

    if metadata.filters or metadata.order != "C":
        return _OTHER
    known = (type(None), numcodecs.Zstd, numcodecs.GZip, numcodecs.Zlib)
    return metadata.compressor if isinstance(metadata.compressor, known) else _OTHER


def _for_each(function: Callable[[Index], None], indices: list[Index]) -> None:
    """Call a function for each index, in a few threads; raises what one of them raises, after all have ended."""
    if len(indices) == 1:
        function(indices[0])
        return
    count = min(_THREADS, math.ceil(len(indices) / 2))

    def portion(mine: Iterable[Index]) -> None:
        for index in mine:
            function(index)

    futures = [_threads().submit(portion, indices[number::count]) for number in range(count)]
    errors = [error for future in futures if (error := future.exception()) is not None]
    if errors:
        raise errors[0]


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="chunks")


os.register_at_fork(after_in_child=_threads.cache_clear)  # a child has none of its parent's threads
