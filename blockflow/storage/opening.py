"""Opening arrays by path, and the names that DaCapo's worker files use for it."""

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockflow.errors import StorageError
from blockflow.storage.array import Array
from blockflow.storage.formats import format_of, open_other, stamped_files, stored_at
from blockflow.storage.lattice import Lattice
from blockflow.storage.metadata import VolumeMetadata
from blockflow.storage.results import BlockResults, ResultsSpec, are_results, open_results
from blockflow.storage.spec import ArraySpec

__all__ = [
    "LocalArrayIdentifier",
    "array_stamp",
    "claim",
    "note_session",
    "open_array",
    "open_from_identifier",
    "open_stored",
    "planned_arrays",
    "use_lattice",
]

#: of the whole process, its threads and its children, so that all read and write on the run's lattice
_LATTICE = "BLOCKFLOW_LATTICE"

_planned: ContextVar[dict[str, ArraySpec | ResultsSpec]] = ContextVar("planned", default={})  # noqa: B039 (never mutated)


@contextmanager
def use_lattice(lattice: Lattice | None) -> Iterator[None]:
    """Open every array on `lattice` for as long as the context lasts, in all threads and in child processes."""
    before = os.environ.pop(_LATTICE, None)
    if lattice is not None:
        os.environ[_LATTICE] = " ".join(lattice.texts())
    try:
        yield
    finally:
        os.environ.pop(_LATTICE, None)
        if before is not None:
            os.environ[_LATTICE] = before


def _current_lattice() -> Lattice | None:
    steps = os.environ.get(_LATTICE)
    return Lattice.parse(steps.split()) if steps else None


@contextmanager
def planned_arrays(specs: Iterable[ArraySpec | ResultsSpec]) -> Iterator[None]:
    """Let `open_array` and `open_stored` answer for what is described but not created yet."""
    token = _planned.set({str(Path(spec.path).absolute()): spec for spec in specs})
    try:
        yield
    finally:
        _planned.reset(token)


@dataclass(frozen=True)
class LocalArrayIdentifier:
    """An array as DaCapo's worker files name it: a container (a folder) and a dataset in it."""

    container: Path
    dataset: str

    def __fspath__(self) -> str:
        return str(Path(self.container) / self.dataset)


def open_from_identifier(identifier: Any, mode: str = "r+") -> Array:
    """Open the array of a `LocalArrayIdentifier` (or a path), writable unless `mode` is `r`."""
    return open_array(identifier, mode)


def open_array(path: Any, mode: str = "r") -> Array:
    """Open an array by its path.

    Parameters
    ----------
    path : path-like
        Of a zarr array (v2 or v3): its folder, or that of a group followed by the name of the array in it. Or
        `FILE.h5/DATASET`, the JSON description of a fileset or of a remote volume, or a `.npy` file.
    mode : str
        `r` to read, `r+` to read and write.

    Raises
    ------
    StorageError
        If nothing is there, it is no array, or its metadata is wrong.
    """
    if mode not in ("r", "r+"):
        raise StorageError(f"{path}: mode is {mode!r}; valid are 'r' (read) and 'r+' (read and write)")
    if isinstance(path, str) and "://" in path:
        raise StorageError(f"{path}: only arrays on a file system can be opened, not a URL")
    place = Path(path)
    planned = _planned.get().get(str(place.absolute())) if mode == "r" else None
    if isinstance(planned, ResultsSpec) or (planned is None and are_results(place)):
        raise StorageError(f"{place}: these are block results, not an array")
    if planned is not None:
        return planned.planned(_current_lattice())
    if not stored_at(place).exists():
        raise StorageError(f"{place}: there is no such array. {_nearest(place)}")
    data = _open_zarr(place, mode) if format_of(place) == "zarr" else open_other(str(place), mode)
    metadata = VolumeMetadata.parse(data.attrs.asdict(), len(data.shape), str(place))
    return Array(str(place), data, metadata, _current_lattice())


def _open_zarr(place: Path, mode: str) -> Any:
    import zarr

    if not place.is_dir():
        raise StorageError(
            f"{place}: this is a file; a zarr array is a folder, and other formats end in .h5/DATASET, .json or .npy"
        )
    try:
        data = zarr.open(str(place), mode=mode)  # type: ignore[arg-type]
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise StorageError(f"{place}: cannot be opened as a zarr array: {error}") from error
    if not isinstance(data, zarr.Array):
        members = ", ".join(sorted(name for name, _ in data.arrays())) or "none"
        raise StorageError(f"{place}: this is a group, not an array. Arrays in it: {members}")
    return data


def _nearest(place: Path) -> str:
    parent = place
    while not parent.exists():
        parent = parent.parent
    names = sorted(entry.name for entry in parent.iterdir())[:8] if parent.is_dir() else []
    return f"{parent} exists and holds: {', '.join(names) or 'nothing'}"


def open_stored(path: Any, mode: str = "r") -> Array | BlockResults:
    """Open what a task reads or writes, an array or block results. Raises `StorageError` if it is neither."""
    planned = (
        None if isinstance(path, str) and "://" in path else _planned.get().get(str(Path(path).absolute()))
    )
    if mode == "r" and isinstance(planned, ResultsSpec):
        return planned.planned()
    if planned is None and are_results(path):
        return open_results(path)
    return open_array(path, mode)


def claim(stored: Array | BlockResults, writer: str) -> str:
    """Note who writes an array or block results from now on; returns the stamp that they have while nobody else does.

    The stamp is a new one whenever they are new or their last writer was another, so what a writer knows to
    have written under an older stamp may not be there any more. An array must be open for writing.
    """
    ours = stored.notes
    if "generation" not in ours or ours.get("writer") != writer:
        ours |= {"generation": uuid.uuid4().hex, "writer": writer}
        stored.keep_notes(ours)
    return str(ours["generation"])


def note_session(stored: Array | BlockResults, session: str) -> None:
    """Note in an array or block results that a session writes them, or has: their stamp as an input is another then.

    An array must be open for writing.
    """
    stored.keep_notes({**stored.notes, "session": session})


def array_stamp(path: Any) -> dict[str, Any]:
    """What tells cheaply whether the array (or block results) at `path` is still the one it was."""
    place = Path(path)
    array = open_stored(path)
    if isinstance(array, BlockResults):
        return {"path": str(place.absolute()), **array.notes}
    stamp: dict[str, Any] = {
        "path": str(place.absolute()),
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "voxel_size": list(array.metadata.voxel_size),
        "offset": list(array.metadata.offset),
    }
    for file in stamped_files(place):
        if file.exists():
            status = file.stat()
            stamp[file.name] = [status.st_size, status.st_mtime_ns]
    return stamp
