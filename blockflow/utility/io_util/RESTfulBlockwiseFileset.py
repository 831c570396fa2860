"""A remote volume that is kept as a local fileset: blocks are downloaded when they are first read."""

import operator
import os
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from blockflow.errors import StorageError
from blockflow.request import Request, RequestLock, RequestPool
from blockflow.utility.io_util.blockwiseFileset import BlockwiseFileset
from blockflow.utility.io_util.description import FILESET_SCHEMA, complete_description
from blockflow.utility.io_util.downloads import DownloadError, Downloads
from blockflow.utility.io_util.layout import Bounds, Start
from blockflow.utility.io_util.RESTfulVolume import RESTfulVolume
from blockflow.utility.jsonConfig import JsonConfigParser, Namespace
from blockflow.utility.lease import LockedError
from blockflow.utility.pathHelpers import PathComponents

__all__ = ["RESTfulBlockwiseFileset"]

#: seconds between two looks at a block that somebody else downloads
_LOOK = 0.2


class RESTfulBlockwiseFileset(BlockwiseFileset):
    """A remote volume, read through a fileset that fills as it is read. It cannot be written to.

    Blocks are downloaded whole. Several processes may share one fileset: of those that need a block, one downloads
    it and the others wait, and if it fails or dies another one goes on.

    Parameters
    ----------
    descriptionFilePath : str or Path
        A JSON file of schema `RESTful-blockwise-fileset-description`, with a `remote_description` and a
        `local_description`.
    mode : {"r"}
    downloads : Downloads, optional
        Headers, time-outs and retries.
    max_parallel : int
        How many blocks are downloaded at one time.
    patience : float
        Seconds to wait for a block that somebody else downloads.

    Raises
    ------
    ParsingError
        If the file is no such description; `SchemaError` if it is another kind of file.
    StorageError
        If its two parts do not fit each other.
    """

    DescriptionFields: dict[str, Any] = {  # noqa: RUF012 - an attribute of the class, as in old code
        "_schema_name": "RESTful-blockwise-fileset-description",
        "_schema_version": 1.0,
        "remote_description": RESTfulVolume.DescriptionSchema,
        "local_description": FILESET_SCHEMA,
    }
    DescriptionSchema = JsonConfigParser(DescriptionFields)

    def __init__(
        self,
        descriptionFilePath: str | Path,
        mode: str = "r",
        downloads: Downloads | None = None,
        max_parallel: int = 4,
        patience: float = 3600.0,
    ) -> None:
        path = os.fspath(descriptionFilePath)
        if mode != "r":
            raise StorageError(f"{path}: a remote volume can only be read; open it with mode 'r'")
        if max_parallel < 1:
            raise StorageError(f"{path}: max_parallel is {max_parallel}; give 1 or more")
        self.compositeDescription = self.DescriptionSchema.parseConfigFile(path)
        remote, local = (self._part(path, name) for name in ("remote_description", "local_description"))
        self.remote = RESTfulVolume(
            preparsedDescription=RESTfulVolume.updateDescription(remote, f"{path}: remote_description"),
            downloads=downloads,
        )
        _check_parts(path, self.remote.description, complete_description(local, f"{path}: local_description"))
        super().__init__(path, mode, preparsedDescription=local)
        self._max_parallel = max_parallel
        self._patience = patience
        self._downloading = [
            RequestLock() for _ in range(64)
        ]  # so that no thread downloads what another does

    def _part(self, path: str, name: str) -> Namespace:
        part = getattr(self.compositeDescription, name)
        if part is None:
            raise StorageError(f"{path}: {name} is missing")
        return part  # type: ignore[no-any-return]

    def readData(self, roi: Bounds, out_array: Any = None) -> Any:
        """Read a region; what is not here yet is downloaded first.

        Raises
        ------
        DownloadError
            If a block could not be fetched. Those that were, stay.
        """
        self.downloadBlocks(self.layout.starts(self.layout.checked(roi)))
        return super().readData(roi, out_array)

    def downloadAllBlocks(self, max_parallel: int | None = None) -> None:
        """Download all blocks of the view that are not here yet, `max_parallel` at a time."""
        self.downloadBlocks(self.layout.starts(self.layout.view), max_parallel)

    def downloadBlocks(self, starts: Iterable[Start], max_parallel: int | None = None) -> None:
        """Download those of these blocks that are not here yet. The first that fails ends it."""
        missing = [start for start in starts if self.getBlockStatus(start) == self.BLOCK_NOT_AVAILABLE]
        if not missing:
            return
        pool = RequestPool(max_parallel or self._max_parallel)
        for start in missing:
            pool.add(Request(partial(self._download, start)))
        pool.wait()

    def _download(self, start: Start) -> None:
        end = time.monotonic() + self._patience
        with self._downloading[hash(start) % len(self._downloading)]:
            while self.getBlockStatus(start) == self.BLOCK_NOT_AVAILABLE:
                try:
                    copy = self._copy(start)
                except LockedError as error:
                    if time.monotonic() > end:
                        raise DownloadError(
                            f"waited {self._patience:g} s for a block that somebody else downloads: {error}"
                        ) from None
                    Request.raise_if_cancelled()
                    time.sleep(_LOOK)
                    continue
                try:
                    if self.getBlockStatus(start) != self.BLOCK_NOT_AVAILABLE:
                        copy.discard()  # somebody else has published it since we looked
                        return
                    stop = map(operator.add, start, self.layout.disk_shape(start))
                    origin = self.layout.view_origin
                    roi = (
                        tuple(map(operator.add, start, origin)),
                        tuple(map(operator.add, stop, origin)),
                    )
                    copy.fill(partial(self.remote.fetch, roi))
                    copy.publish()
                except BaseException:
                    copy.discard()
                    raise
                finally:
                    self._copies.pop(start, None)


def _check_parts(path: str, remote: Namespace, local: Namespace) -> None:
    """Refuse a local fileset that cannot hold the remote volume's blocks as they come."""
    inside = PathComponents(local.block_file_name_format).internalPath
    if inside != remote.hdf5_dataset:
        raise StorageError(
            f"{path}: block_file_name_format {local.block_file_name_format!r} must end in the remote hdf5_dataset, "
            f"{remote.hdf5_dataset}, since files are kept as they come"
        )
    if local.axes != remote.axes:
        raise StorageError(
            f"{path}: the local axes are {local.axes}, the remote ones {remote.axes}; they must be equal"
        )
    if local.dtype != remote.dtype:
        raise StorageError(
            f"{path}: the local dtype is {local.dtype}, the remote one {remote.dtype}; they must be equal"
        )
    if (local.shape > remote.shape).any():
        raise StorageError(
            f"{path}: the local shape {local.shape.tolist()} exceeds the remote one, {remote.shape.tolist()}"
        )
