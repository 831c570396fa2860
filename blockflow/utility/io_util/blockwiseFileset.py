"""Filesets: a volume as blocks in HDF5 files in a tree of folders, described by a JSON file."""

import operator
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from blockflow.errors import RoiError, StorageError
from blockflow.request import RequestPool
from blockflow.roi import getBlockBounds
from blockflow.utility.io_util.block_file import (
    BlockNotReadyError,
    WorkingCopy,
    is_published,
    open_published,
    read_voxels,
)
from blockflow.utility.io_util.description import (
    FILESET_FIELDS,
    FILESET_SCHEMA,
    complete_description,
)
from blockflow.utility.io_util.layout import Bounds, FilesetLayout, Start, within
from blockflow.utility.io_util.plain_file import plain_layout
from blockflow.utility.jsonConfig import Namespace
from blockflow.utility.lease import Lease
from blockflow.utility.pathHelpers import PathComponents

if TYPE_CHECKING:
    import h5py

__all__ = ["BlockwiseFileset"]


class BlockwiseFileset:
    """A volume stored as blocks, each in an HDF5 file of its own, published one by one.

    All regions and block starts are in voxels of the view: from `view_origin` on, `view_shape` large. Any number of
    threads and processes may read and write at the same time; a block is written by one at a time. What is
    read is, of each block, what was published last.

    What is written stays a working copy, which nobody reads, until `setBlockStatus` publishes it. `close` puts
    what was not published into place as not available; a `with` body that raises leaves such blocks as they were.

    Parameters
    ----------
    descriptionFilePath : str or Path
        A JSON file of schema `blockwise-fileset-description`; the fields are those of `DescriptionFields`.
    mode : {"r", "a"}
        To read, or to read and write.
    preparsedDescription : Namespace, optional
        In place of what is in the file. The path still says where the blocks are.

    Raises
    ------
    ParsingError
        If the file is no such description; `SchemaError` if it is another kind of file.
    StorageError
        If what it says cannot be.
    """

    DescriptionFields = FILESET_FIELDS
    DescriptionSchema = FILESET_SCHEMA

    BLOCK_NOT_AVAILABLE = 0
    BLOCK_AVAILABLE = 1

    BlockNotReadyError = BlockNotReadyError

    @classmethod
    def readDescription(cls, descriptionFilePath: str | Path) -> Namespace:
        """What a description file says, field by field."""
        return cls.DescriptionSchema.parseConfigFile(descriptionFilePath)

    @classmethod
    def writeDescription(cls, descriptionFilePath: str | Path, descriptionFields: Namespace) -> None:
        """Write a description file."""
        cls.DescriptionSchema.writeConfigFile(descriptionFilePath, descriptionFields)

    def __init__(
        self,
        descriptionFilePath: str | Path,
        mode: str = "r",
        preparsedDescription: Namespace | None = None,
    ) -> None:
        self._path = os.fspath(descriptionFilePath)
        if preparsedDescription is None:
            self._description = complete_description(BlockwiseFileset.readDescription(self._path), self._path)
            self._description_text = Path(self._path).read_bytes()
        else:
            self._description = complete_description(preparsedDescription, self._path)
            self._description_text = FILESET_SCHEMA.dumps(preparsedDescription).encode() + b"\n"
        self.layout = FilesetLayout(self._path, self._description)
        self._making = [
            threading.Lock() for _ in range(16)
        ]  # so that a block's copy is made once; by its hash
        self._copies: dict[Start, WorkingCopy] = {}
        self._closed = True
        self.reopen(mode)

    @property
    def description(self) -> Namespace:
        """What the description file says, with its defaults."""
        return self._description

    # open and closed

    def reopen(self, mode: str) -> None:
        """Open it again after `close`."""
        if mode not in ("r", "a"):
            raise StorageError(
                f"{self._path}: mode is {mode!r}; valid are 'r' (read) and 'a' (read and write)"
            )
        if not self._closed:
            raise StorageError(f"{self._path}: the fileset is open; close it before you reopen it")
        self.mode = mode
        self._closed = False

    def close(self) -> None:
        """End writing: blocks that were written and not published are in place then, but not available."""
        self._end(WorkingCopy.withdraw)

    def _end(self, how: Callable[[WorkingCopy], None]) -> None:
        copies, self._copies = self._copies, {}
        self._closed = True
        with ExitStack() as ending:  # all of them, also if one fails
            for copy in copies.values():
                ending.callback(how, copy)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(WorkingCopy.withdraw if kind is None else WorkingCopy.discard)

    def __del__(self) -> None:
        if self.__dict__.get("_copies"):
            self._end(WorkingCopy.discard)

    # data

    def readData(self, roi: Bounds, out_array: Any = None) -> Any:
        """Read a region.

        Parameters
        ----------
        roi : (start, stop)
        out_array : ndarray or h5py dataset of the region's shape, optional
            Where to write it; returned.

        Raises
        ------
        BlockNotReadyError
            If one of its blocks is not available.
        RoiError
            If it is empty, or not within the view.
        """
        roi = self.layout.checked(roi)
        shape = tuple(map(operator.sub, roi[1], roi[0]))
        if out_array is None:
            out_array = np.empty(shape, dtype=self._description.dtype)
        elif tuple(out_array.shape) != shape:
            raise RoiError(f"out_array has shape {tuple(out_array.shape)}; {roi[0]} to {roi[1]} has {shape}")

        def read(part: Bounds) -> None:
            out_array[within(part, roi[0])] = self._read_part(part)

        self._for_each_part(roi, read)
        return out_array

    def _read_part(self, part: Bounds) -> "np.ndarray[Any, Any]":
        """A region within one block."""
        start = self.layout.block_of(part[0])
        if start not in self._copies:
            with self._open(start) as dataset:
                if dataset is not None:
                    self._check_stored(dataset, start)
                    return read_voxels(dataset, within(part, start), self._description.dtype)
        raise BlockNotReadyError(start, self._path)

    def _open(self, start: Start) -> Any:
        layout = plain_layout(self._description, self.layout.dataset, self.layout.disk_shape(start))
        return open_published(self.layout.file(start), self.layout.dataset, layout)

    def _check_stored(self, dataset: "h5py.Dataset", start: Start) -> None:
        if dataset.shape != (wanted := self.layout.disk_shape(start)):
            raise StorageError(
                f"{self.layout.file(start)}: the block has {dataset.shape} voxels, the description says {wanted}"
            )

    def writeData(self, roi: Bounds, data: Any) -> None:
        """Write a region; it can be read when its blocks are published, by `setBlockStatus`.

        Raises
        ------
        LockedError
            If somebody else writes one of its blocks. Then nothing is written, and the block stays as it is.
        RoiError
            If the region is empty, not within the view, or `data` has another shape.
        StorageError
            If the fileset was opened to read.
        """
        self._refuse_reader()
        roi = self.layout.checked(roi)
        data = np.asarray(data) if not hasattr(data, "shape") else data
        shape = tuple(map(operator.sub, roi[1], roi[0]))
        if tuple(data.shape) != shape:
            raise RoiError(
                f"data of shape {tuple(data.shape)} cannot fill {roi[0]} to {roi[1]}, which has {shape}"
            )
        self._take(list(self.layout.starts(roi)))

        def write(part: Bounds) -> None:
            start = self.layout.block_of(part[0])
            voxels = np.asarray(data[within(part, roi[0])])
            if self._description.dtype != object:
                voxels = voxels.astype(self._description.dtype, copy=False)
            self._copy(start).write(within(part, start), voxels)

        self._for_each_part(roi, write)

    def _take(self, starts: list[Start]) -> None:
        """Have working copies of all these blocks, or, if somebody else has one of them, no more than before."""
        made: list[Start] = []
        try:
            self._run([partial(self._copy, start, made) for start in starts])
        except BaseException:
            for start in made:
                self._copies.pop(start).discard()
            raise

    def _copy(self, start: Start, made: list[Start] | None = None) -> WorkingCopy:
        """The working copy of a block; `made` notes those that are new. LockedError if somebody else has one."""
        with self._making[hash(start) % len(self._making)]:
            if self._closed:
                raise StorageError(f"{self._path}: the fileset is closed; reopen it")
            if start not in self._copies:
                self._copies[start] = WorkingCopy(
                    self.layout.file(start),
                    self.layout.dataset,
                    self.layout.disk_shape(start),
                    self._description,
                    os.path.basename(self._path),  # noqa: PTH119
                    self._description_text,
                )
                if made is not None:
                    made.append(start)
            return self._copies[start]

    def getOpenHdf5FileForBlock(self, block_start: Sequence[int]) -> "h5py.File":
        """The open HDF5 file of a block.

        To read: what is published; close it when you are done. To write: the working copy, closed by `close` and by
        `setBlockStatus`.
        """
        start = self.layout.checked_start(block_start)
        if self.mode == "a":
            return self._copy(start).open()
        import h5py

        with self._open(start) as dataset:
            if dataset is None:
                raise BlockNotReadyError(start, self._path)
            return h5py.File(self.layout.file(start), "r", locking=False)

    # status

    def getBlockStatus(self, blockstart: Sequence[int]) -> int:
        """`BLOCK_AVAILABLE` or `BLOCK_NOT_AVAILABLE`; the latter for a block of which we have a working copy."""
        start = self.layout.checked_start(blockstart)
        published = start not in self._copies and is_published(self.layout.file(start))
        return self.BLOCK_AVAILABLE if published else self.BLOCK_NOT_AVAILABLE

    def setBlockStatus(self, blockstart: Sequence[int], status: int) -> None:
        """Publish a block, with what was written to it, or make it not available any more.

        Raises
        ------
        LockedError
            If somebody else writes the block.
        StorageError
            If a block is to be published that nobody has written, or the fileset was opened to read.
        """
        self._refuse_reader()
        if status not in (self.BLOCK_AVAILABLE, self.BLOCK_NOT_AVAILABLE):
            raise StorageError(
                f"{self._path}: status is {status!r}; it is BLOCK_AVAILABLE or BLOCK_NOT_AVAILABLE"
            )
        start = self.layout.checked_start(blockstart)
        copy = self._copy(start)
        try:
            if status == self.BLOCK_AVAILABLE:
                copy.publish()
            else:
                copy.withdraw()
        finally:
            self._copies.pop(start, None)

    def setBlockStatusesForRoi(self, roi: Bounds, status: int) -> None:
        """`setBlockStatus` for all blocks that a region touches."""
        starts = list(self.layout.starts(self.layout.checked(roi)))
        self._run([partial(self.setBlockStatus, start, status) for start in starts])

    def isBlockLocked(self, blockstart: Sequence[int]) -> bool:
        """Whether somebody writes the block, whether it is available or not."""
        file = self.layout.file(self.layout.checked_start(blockstart))
        return Lease(Path(f"{file}.lock"), file).holder() is not None

    def purgeAllLocks(self) -> bool:
        """Remove the locks of all blocks of the view, whoever has them; whether there were any.

        Only where nobody else uses the fileset. Locks of processes that do not live any more need no purge.
        """
        found = [
            Lease(Path(f"{self.layout.file(start)}.lock"), "").purge()
            for start in self.layout.starts(self.layout.view)
        ]
        return any(found)

    # blocks and places

    def getEntireBlockRoi(self, block_start: Sequence[int]) -> Bounds:
        """The region of a block, clipped to the view."""
        return getBlockBounds(
            self.layout.view_shape, self.layout.block_shape, self.layout.checked_start(block_start)
        )

    def getAllBlockRois(self) -> list[Bounds]:
        """The regions of all blocks of the view, in C order."""
        return [self.getEntireBlockRoi(start) for start in self.layout.starts(self.layout.view)]

    def getDatasetDirectory(self, blockstart: Sequence[int]) -> str:
        """The folder of a block."""
        return os.path.dirname(self.layout.file(self.layout.checked_start(blockstart)))  # noqa: PTH120

    def getDatasetPathComponents(self, block_start: Sequence[int]) -> PathComponents:
        """The path of a block's file, and of the dataset in it."""
        return PathComponents(self.layout.file(self.layout.checked_start(block_start)) + self.layout.dataset)

    def exportRoiToHdf5(
        self, roi: Bounds, exportDirectory: str | Path, use_view_coordinates: bool = True
    ) -> str:
        """Write a region into one HDF5 file, named after its place on disk; returns its path and that in it."""
        from blockflow.utility.io_util.exporting import export_roi

        return export_roi(self, self.layout.to_view(roi, use_view_coordinates), Path(exportDirectory))

    def exportSubset(
        self, roi: Bounds, exportDirectory: str | Path, use_view_coordinates: bool = True
    ) -> str:
        """Copy the blocks of a region into another folder, as a fileset of the same coordinates.

        The region must begin and end at borders of blocks or of the dataset. An export that is there already is
        added to. Blocks that are not available are left out.

        Returns
        -------
        str
            The path of its description.
        """
        from blockflow.utility.io_util.exporting import export_subset

        if self.mode != "r":
            raise StorageError(f"{self._path}: open the fileset with mode 'r' to export a part of it")
        return export_subset(self, self.layout.to_view(roi, use_view_coordinates), Path(exportDirectory))

    def _for_each_part(self, roi: Bounds, do: Callable[[Bounds], None]) -> None:
        """Do something with what each block has of a region, several at a time."""
        self._run([partial(do, part) for part in self.layout.parts(roi)])

    @staticmethod
    def _run(work: list[Callable[[], Any]]) -> None:
        if len(work) == 1:
            work[0]()
            return
        pool = RequestPool()
        for one in work:
            pool.request(one)
        pool.wait()

    def _refuse_reader(self) -> None:
        if self.mode != "a":
            raise StorageError(
                f"{self._path}: the fileset was opened to read; open it with mode 'a' to write"
            )
