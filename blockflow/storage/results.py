"""Block results: a folder in which each block of a grid leaves one small result, some arrays by name.

The result of a block is one `.npz` file, named by where the block's write ROI begins and by the shape of write
ROIs, so it stays that of the same block when the volume grows. It is written aside and renamed: whoever reads
sees a whole result, and a block that is done twice replaces its result by an equal one.
"""

import io
import math
import struct
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from funlib.geometry import Coordinate, Roi

from blockflow.errors import StorageError
from blockflow.storage.commits import committed
from blockflow.utility.files import read_json, write_aside, write_json

__all__ = ["BlockResults", "ResultsSpec", "are_results", "open_results"]

FORMAT = 1

_ABOUT = "results.json"

#: the part of a zip entry before its name and extra field, whose lengths stand at its end
_ENTRY = struct.Struct("<26xHH")


@dataclass(frozen=True)
class ResultsSpec:
    """All that is needed to create block results.

    A task's description gives `path` (and `compress`: whether the files are compressed); the grid is put in
    when the task is prepared.

    Parameters
    ----------
    path : str
        The folder.
    origin, step, shape : tuple of int
        Where the first block's write ROI begins, the shape of a write ROI, and how many blocks there are along
        each axis; the first two in lattice units.
    """

    path: str
    origin: tuple[int, ...] = ()
    step: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()
    compress: bool = False

    def describe(self) -> dict[str, Any]:
        """What the results are, without where they and their blocks are: a part of a recipe."""
        return {"results": FORMAT, "compress": self.compress}

    def is_there(self) -> bool:
        return are_results(self.path)

    def create(self) -> None:
        """Create the folder. Raises `StorageError` if something else is in its place already."""
        place = Path(self.path)
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise StorageError(
                f"{place}: there is something already that is no block results. Choose another path, or remove it"
            )
        try:
            place.mkdir(parents=True, exist_ok=True)
            notes = {"generation": uuid.uuid4().hex}
            with suppress(FileExistsError):
                write_json(place / _ABOUT, self._about(notes), exclusive=True)
        except OSError as error:
            raise StorageError(f"{place}: cannot be created: {error}") from error

    def adopt(self) -> None:
        """Let results that are there be about this grid from now on; those of other blocks are not seen any more."""
        there = open_results(self.path)
        if there.spec != self:
            write_json(Path(self.path) / _ABOUT, self._about(there.notes))

    def planned(self) -> "BlockResults":
        """Results with this description that hold nothing and are not there."""
        return BlockResults(self, {})

    def _about(self, notes: Mapping[str, Any]) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self), "blockflow": dict(notes)} | {"path": None}


class BlockResults:
    """The results that blocks have left in a folder, addressed by the number of the block in C order."""

    def __init__(self, spec: ResultsSpec, notes: Mapping[str, Any]) -> None:
        self.spec = spec
        self.notes = dict(notes)

    @property
    def path(self) -> str:
        return self.spec.path

    @property
    def roi(self) -> Roi:
        """All that the blocks write, in lattice units."""
        return Roi(self.spec.origin, Coordinate(self.spec.step) * Coordinate(self.spec.shape))

    def __len__(self) -> int:
        """How many blocks there are, whether they have left a result or not."""
        return math.prod(self.spec.shape)

    def keep_notes(self, notes: Mapping[str, Any]) -> None:
        """Put `notes` (who writes, and the like) in the place of those that are there."""
        self.notes = dict(notes)
        write_json(Path(self.path) / _ABOUT, self.spec._about(self.notes))

    def index_of(self, write_begin: Sequence[int]) -> int:
        """The number of the block whose write ROI begins there."""
        index = 0
        for begin, origin, step, count in zip(
            write_begin, self.spec.origin, self.spec.step, self.spec.shape, strict=True
        ):
            along, rest = divmod(begin - origin, step)
            if rest or not 0 <= along < count:
                raise StorageError(f"{self.path}: no block's write ROI begins at {tuple(write_begin)}")
            index = index * count + along
        return index

    def begin_of(self, index: int) -> Coordinate:
        """Where the write ROI of the block with this number begins."""
        if not 0 <= index < len(self):
            raise StorageError(f"{self.path}: there is no block {index}; there are {len(self)}, from 0 on")
        position = np.unravel_index(index, self.spec.shape)
        return Coordinate(
            int(origin + along * step)
            for origin, along, step in zip(self.spec.origin, position, self.spec.step, strict=True)
        )

    def write(self, index: int, /, **arrays: Any) -> None:
        """Put the result of a block in place, instead of an earlier one; a commit of the block.

        Raises `StorageError` if an array holds Python objects, which would have to be pickled.
        """
        path = self._file(index)
        buffer = io.BytesIO()
        method = zipfile.ZIP_DEFLATED if self.spec.compress else zipfile.ZIP_STORED
        with zipfile.ZipFile(buffer, "w", method, compresslevel=1) as archive:
            for name, value in arrays.items():
                array = np.asarray(value)
                if array.dtype.hasobject:
                    raise StorageError(
                        f"{self.path}: {name!r} of block {index} holds Python objects; give numbers, booleans or "
                        "fixed-size text"
                    )
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, array, allow_pickle=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_aside(path, buffer.getbuffer())
        committed(self.path, self.roi, Roi(self.begin_of(index), self.spec.step))

    def read(self, index: int, *names: str, mapped: bool = False) -> dict[str, np.ndarray]:
        """The arrays that a block has left: all of them, or those that are named.

        With `mapped` they are read from the file as they are used (which takes results that are not compressed).

        Raises
        ------
        StorageError
            If the block has left no result, it lacks one of the names, or the file is damaged.
        """
        path = self._file(index)
        try:
            with path.open("rb") as file, zipfile.ZipFile(file) as archive:
                entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
                if missing := [name for name in names if name not in entries]:
                    raise StorageError(
                        f"{path}: the result has no {', '.join(missing)}; it has {', '.join(entries)}"
                    )
                wanted = {name: entries[name] for name in names or entries}
                if mapped and not self.spec.compress:
                    return {name: _map(path, file, entry) for name, entry in wanted.items()}
                result = {}
                for name, entry in wanted.items():
                    with archive.open(entry) as content:
                        result[name] = np.lib.format.read_array(content, allow_pickle=False)
                return result
        except FileNotFoundError:
            raise StorageError(
                f"{self.path}: block {index} has left no result ({path} is not there). Run the task that writes it; if "
                "its blocks count as done, use `blockflow reset` first"
            ) from None
        except (zipfile.BadZipFile, zipfile.zlib.error, ValueError, EOFError, struct.error) as error:  # type: ignore[attr-defined]
            if isinstance(error, StorageError):
                raise
            raise StorageError(
                f"{path}: the result of block {index} is damaged: {error}. Remove the file, use `blockflow reset`, and "
                "run again"
            ) from error

    def __contains__(self, index: int) -> bool:
        return self._file(index).exists()

    def __iter__(self) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Number and arrays of each block that has left a result, in the order of the numbers."""
        for index in range(len(self)):
            if index in self:
                yield index, self.read(index)

    def _file(self, index: int) -> Path:
        *folders, last = map(str, self.begin_of(index))
        return Path(self.path, "x".join(map(str, self.spec.step)), *folders, f"{last}.npz")

    def __repr__(self) -> str:
        return f"<BlockResults {self.path} of {' x '.join(map(str, self.spec.shape))} blocks>"


def _map(path: Path, file: BinaryIO, entry: zipfile.ZipInfo) -> np.ndarray:
    """An array of an uncompressed archive, mapped from where it lies in the file."""
    file.seek(entry.header_offset)
    file.seek(sum(_ENTRY.unpack(file.read(_ENTRY.size))), io.SEEK_CUR)
    version = np.lib.format.read_magic(file)
    read_header = (
        np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    )
    shape, fortran, dtype = read_header(file)
    if not math.prod(shape):
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")


def are_results(path: Any) -> bool:
    """Whether block results are there."""
    return (Path(path) / _ABOUT).is_file()


def open_results(path: Any) -> BlockResults:
    """Open block results by their folder. Raises `StorageError` if there are none, or they cannot be read."""
    place = Path(path)
    try:
        about = read_json(place / _ABOUT)
        if about["format"] != FORMAT:
            raise StorageError(
                f"{place}: these block results have format {about['format']}, this blockflow reads format {FORMAT}. "
                "Remove the folder, or use the version that made it"
            )
        grid = {key: tuple(map(int, about[key])) for key in ("origin", "step", "shape")}
        return BlockResults(
            ResultsSpec(str(place), **grid, compress=bool(about["compress"])), about["blockflow"]
        )
    except (FileNotFoundError, NotADirectoryError):
        raise StorageError(f"{place}: there are no block results (no {_ABOUT})") from None
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"{place / _ABOUT}: cannot be read: {error!r}. Remove the folder: its blocks are done again then"
        ) from error
