"""One block of a fileset, as a file: read while others write it, and published whole or not at all.

A block is published when its file is in place and `STATUS.txt` stands beside it. Nobody ever writes into a file that
is in place: a writer takes the block's lock, writes a working copy, and renames it. So a block that is published
stays so, with its old voxels, until its new ones are there; and a writer that is killed leaves a working copy that
nobody reads and the next writer removes.

A reader opens the file, then looks for the status, then looks whether what it opened is still in place. Since the
status is removed before an unpublished file is renamed into place, and made after a published one, what it
has opened was in place while the block was published.
"""

import os
import shutil
import threading
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from blockflow.errors import StorageError
from blockflow.utility.io_util.datasets import create_dataset
from blockflow.utility.io_util.object_voxels import dump_voxels, load_voxels
from blockflow.utility.io_util.plain_file import PlainFile, PlainLayout, plain_layout
from blockflow.utility.lease import Lease

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import h5py

    from blockflow.utility.jsonConfig import Namespace

__all__ = [
    "STATUS_FILE",
    "BlockNotReadyError",
    "WorkingCopy",
    "create_dataset",
    "is_published",
    "open_published",
]

STATUS_FILE = "STATUS.txt"


class BlockNotReadyError(StorageError):
    """A block that is read was not published."""

    def __init__(self, block_start: Any, path: str = "") -> None:
        self.block_start = tuple(int(start) for start in block_start)
        super().__init__(f"{path}: the block that starts at {list(self.block_start)} is not available yet")

    def __reduce__(self) -> Any:
        return (type(self), (self.block_start, str(self).partition(":")[0]))


def is_published(file: str) -> bool:
    """Whether the block in `file` is available."""
    return os.path.exists(f"{os.path.dirname(file)}/{STATUS_FILE}")  # noqa: PTH110, PTH120 (made for speed)


@contextmanager
def open_published(
    file: str, dataset: str, layout: PlainLayout | None
) -> "Iterator[h5py.Dataset | PlainFile | None]":
    """The dataset of a published block, as it was published last; None if it is not.

    `layout`, where there is one, is the one that its file may have.

    Raises
    ------
    StorageError
        If it is published, but its file is no HDF5 file or holds no such dataset.
    """
    while (opened := _open_in_place(file)) is not None:
        try:
            if layout is not None and layout.is_layout_of(opened):
                yield PlainFile(opened, layout)
                return
            found = _open_hdf5(file, opened)
            if found is None:  # another file is in place by now
                continue
            with found:
                yield _dataset(found, file, dataset)
                return
        finally:
            os.close(opened)
    yield None


def _open_in_place(file: str) -> int | None:
    """The published file, open; None if the block is not published."""
    while True:
        try:
            opened = os.open(file, os.O_RDONLY)
        except FileNotFoundError:
            if not is_published(file):
                return None
            if not os.path.exists(file):  # noqa: PTH110
                raise StorageError(
                    f"{file}: the block is marked as available, but there is no such file. Write it again"
                ) from None
            continue
        published = is_published(file)
        if _is_in_place(opened, file):
            if published:
                return opened
            os.close(opened)
            return None
        os.close(opened)


def _is_in_place(opened: int, file: str) -> bool:
    try:
        return os.path.samestat(os.fstat(opened), os.stat(file))  # noqa: PTH116 (made for speed)
    except FileNotFoundError:
        return False


def _open_hdf5(file: str, opened: int) -> "h5py.File | None":
    """The file as HDF5 opens it; None if it is not the one that is `opened`."""
    import h5py

    try:
        found = h5py.File(file, "r", locking=False)
    except OSError as error:
        if not _is_in_place(opened, file):
            return None
        raise StorageError(f"{file}: this is no HDF5 file: {error}") from None
    if _is_in_place(opened, file):
        return found
    found.close()
    return None


def _dataset(found: "h5py.File", file: str, name: str) -> "h5py.Dataset":
    import h5py

    dataset = found.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise StorageError(f"{file}: there is no dataset {name}; it holds {', '.join(found) or 'nothing'}")
    return dataset


def read_voxels(
    dataset: "h5py.Dataset | PlainFile", slices: tuple[slice, ...], dtype: "np.dtype[Any]"
) -> "np.ndarray[Any, Any]":
    """Voxels of a dataset; objects are unpickled."""
    voxels = dataset[slices]
    return load_voxels(voxels) if dtype == np.dtype(object) else voxels


class WorkingCopy:
    """A block that is being written: its lock, and its new content beside the old.

    Parameters
    ----------
    file, dataset : str
        The path of the block's file, and the name in it.
    shape : tuple of int
        Of this block.
    description : Namespace
        Of the fileset, complete.
    description_text : str
        For the copy in the block's folder, which gets the name `description_name`.

    Raises
    ------
    LockedError
        If somebody else writes the block. Then nothing is changed.
    """

    def __init__(
        self,
        file: str,
        dataset: str,
        shape: tuple[int, ...],
        description: "Namespace",
        description_name: str,
        description_text: bytes,
    ) -> None:
        self.file = file
        self.dataset = dataset
        self.shape = shape
        self._description = description
        self._opened: h5py.File | None = None
        self._lock = threading.Lock()
        self._failed = False
        folder, name = os.path.split(file)
        self._begun = False
        fresh = not os.path.isdir(folder)  # noqa: PTH112
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        self._lease = Lease(Path(f"{file}.lock"), f"block {file}")
        self._lease.acquire()
        self._place = f"{folder}/.{name}.copy.{uuid.uuid4().hex}.partial"
        try:
            if not fresh:
                self._remove_leftovers(folder, name)
            if fresh or not os.path.exists(f"{folder}/{description_name}"):  # noqa: PTH110
                Path(folder, description_name).write_bytes(description_text)
        except BaseException:
            self._lease.release()
            raise

    def _remove_leftovers(self, folder: str, name: str) -> None:
        """Working copies of writers that were killed: the lock is ours, so they are nobody's."""
        for entry in os.listdir(folder):  # noqa: PTH208
            if entry.startswith(f".{name}.copy.") and entry.endswith(".partial"):
                with suppress(FileNotFoundError):
                    os.unlink(f"{folder}/{entry}")  # noqa: PTH108

    def write(self, slices: tuple[slice, ...], voxels: "np.ndarray[Any, Any]") -> None:
        """Write a part of the block, or all of it."""
        if self._description.dtype == np.dtype(object):
            voxels = dump_voxels(voxels)
        with self._lock:
            try:
                self._write(slices, voxels)
            except BaseException:
                self._failed = True
                raise

    def _write(self, slices: tuple[slice, ...], voxels: "np.ndarray[Any, Any]") -> None:
        import h5py

        if self._opened is not None:
            self._opened[self.dataset][slices] = voxels
        elif voxels.shape == self.shape:
            self._create(voxels)
            self._begun, self._failed = True, False
        else:
            self._begin()
            with h5py.File(self._place, "r+", locking=False) as file:
                file[self.dataset][slices] = voxels

    def fill(self, make: "Callable[[str], None]") -> None:
        """Have the whole file made by `make(place)`."""
        with self._lock:
            make(self._place)
            self._begun = True

    def _create(self, voxels: "np.ndarray[Any, Any] | None") -> None:
        layout = plain_layout(self._description, self.dataset, self.shape)
        if layout is not None and voxels is not None:
            layout.write(self._place, voxels)
            return
        import h5py

        with h5py.File(self._place, "w", locking=False) as file:
            create_dataset(file, self.dataset, self.shape, self._description, voxels)

    def _begin(self) -> None:
        """Have a working copy, of what is in place or empty."""
        if self._begun:
            return
        if os.path.exists(self.file):  # noqa: PTH110
            shutil.copyfile(self.file, self._place)
        else:
            self._create(None)
        self._begun = True

    def open(self) -> "h5py.File":
        """The working copy as an open file; it is closed when the block is published or left."""
        import h5py

        with self._lock:
            if self._opened is None:
                self._begin()
                self._opened = h5py.File(self._place, "r+", locking=False)
            return self._opened

    def publish(self) -> None:
        """Put the new content into place, for all to read, and give the lock back.

        Raises
        ------
        StorageError
            If there is no content, or a write of it failed. Then the block is left as it was.
        """
        self._close()
        if self._failed or not (self._begun or os.path.exists(self.file)):  # noqa: PTH110
            failed = self._failed
            self.discard()
            raise StorageError(
                f"{self.file}: {'a write to this block failed' if failed else 'nothing was written to this block'}, "
                "so it cannot be made available; write it first"
            )
        if self._begun:
            os.replace(self._place, self.file)  # noqa: PTH105
        status = Path(os.path.dirname(self.file), STATUS_FILE)  # noqa: PTH120
        if not self._lease.release(leave_as=status):
            status.touch()

    def withdraw(self) -> None:
        """Put the new content into place without publishing it, so that the block is not available any more.

        What was written in part only by a write that failed is dropped.
        """
        if self._failed:
            self.discard()
            return
        self._close()
        with suppress(FileNotFoundError):
            os.unlink(f"{os.path.dirname(self.file)}/{STATUS_FILE}")  # noqa: PTH108, PTH120
        if self._begun:
            os.replace(self._place, self.file)  # noqa: PTH105
        self._lease.release()

    def discard(self) -> None:
        """Leave the block as it was."""
        self._close()
        with suppress(FileNotFoundError):
            os.unlink(self._place)  # noqa: PTH108
        self._lease.release()

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None
