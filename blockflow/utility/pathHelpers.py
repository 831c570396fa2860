"""Paths that go on inside of a file, as `cells.h5/volume/data`, and other help with paths."""

import os
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from blockflow.errors import BlockflowError

__all__ = [
    "PathComponents",
    "PathError",
    "compressPathForDisplay",
    "getPathVariants",
    "globH5N5",
    "isUrl",
    "lsH5N5",
    "make_absolute",
    "mkdir_p",
    "splitPath",
]

#: a path may go on inside of files with these endings
EXTENSIONS = (".ilp", ".h5", ".hdf5", ".npz", ".n5", ".zarr")


class PathError(BlockflowError, ValueError):
    """A path has no such part, or cannot have it."""


class PathComponents:
    """The parts of a path: where a file is, and where in the file something is. All can be set, and agree.

    The file ends at the last segment of the path whose name ends in `.h5`, `.hdf5`, `.ilp`, `.npz`, `.n5` or
    `.zarr`; so `/a.h5_old/b.png` has no internal part. Backslashes count as slashes, URLs are taken too.

    ==================== ====================================
    of                   `/data/cells.h5/volume/raw`
    ==================== ====================================
    externalPath         `/data/cells.h5`
    externalDirectory    `/data`
    filename             `cells.h5`
    filenameBase         `cells`
    extension            `.h5`
    internalPath         `/volume/raw`; None where there is none
    internalDirectory    `/volume`
    internalDatasetName  `raw`
    ==================== ====================================

    Parameters
    ----------
    totalPath : str or Path
    cwd : str or Path, optional
        What a relative path counts from; without it, it stays relative.
    """

    HDF5_EXTS = [".ilp", ".h5", ".hdf5"]  # noqa: RUF012 - a list in old code

    __slots__ = ("_external", "_internal")

    def __init__(self, totalPath: str | Path, cwd: str | Path | None = None) -> None:
        path = os.fspath(totalPath)
        if not isUrl(path):
            path = path.replace("\\", "/")
        external, internal = splitPath(path)
        if cwd is not None:
            external = make_absolute(external, cwd)
        self._external = external
        self._internal = internal

    def totalPath(self) -> str:
        """The whole path."""
        return self._external + (self._internal or "")

    @property
    def externalPath(self) -> str:
        """The path of the file."""
        return self._external

    @externalPath.setter
    def externalPath(self, value: str) -> None:
        self._set(value.replace("\\", "/") if not isUrl(value) else value, self._internal)

    @property
    def externalDirectory(self) -> str:
        """The folder of the file."""
        folder, slash, _ = self._external.rpartition("/")
        return folder or slash

    @externalDirectory.setter
    def externalDirectory(self, value: str) -> None:
        folder = value.replace("\\", "/") if not isUrl(value) else value
        separator = "" if not folder or folder.endswith("/") else "/"
        self._set(folder + separator + self.filename, self._internal)

    @property
    def filename(self) -> str:
        """The name of the file."""
        return self._external.rpartition("/")[2]

    @filename.setter
    def filename(self, value: str) -> None:
        folder, slash, _ = self._external.rpartition("/")
        self._set(folder + slash + value, self._internal)

    @property
    def filenameBase(self) -> str:
        """The name of the file without its extension."""
        return os.path.splitext(self.filename)[0]  # noqa: PTH122 - of URLs, too

    @filenameBase.setter
    def filenameBase(self, value: str) -> None:
        self.filename = value + self.extension

    @property
    def extension(self) -> str:
        """The file's extension, with its dot."""
        return os.path.splitext(self.filename)[1]  # noqa: PTH122

    @extension.setter
    def extension(self, value: str) -> None:
        self.filename = self.filenameBase + value

    @property
    def internalPath(self) -> str | None:
        """Where in the file it is, beginning with a slash."""
        return self._internal

    @internalPath.setter
    def internalPath(self, value: str | None) -> None:
        self._set(self._external, _internal(value))

    @property
    def internalDirectory(self) -> str | None:
        """The group in the file."""
        return None if self._internal is None else self._internal.rpartition("/")[0] or "/"

    @internalDirectory.setter
    def internalDirectory(self, value: str) -> None:
        self._set(self._external, _internal(f"{value.rstrip('/')}/{self.internalDatasetName or ''}"))

    @property
    def internalDatasetName(self) -> str | None:
        """The name in that group."""
        return None if self._internal is None else self._internal.rpartition("/")[2]

    @internalDatasetName.setter
    def internalDatasetName(self, value: str) -> None:
        self._set(
            self._external, _internal(f"{(self.internalDirectory or '').rstrip('/')}/{value.strip('/')}")
        )

    def _set(self, external: str, internal: str | None) -> None:
        if internal is not None and not _may_go_on(external.rpartition("/")[2]):
            raise PathError(
                f"{external} is no file that {internal} can be in; such files end in {', '.join(EXTENSIONS)}"
            )
        self._external, self._internal = external, internal

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PathComponents):
            return NotImplemented
        return self.totalPath() == other.totalPath()

    def __hash__(self) -> int:
        return hash(self.totalPath())

    def __repr__(self) -> str:
        return f"PathComponents({self.totalPath()!r})"


def splitPath(path: str) -> tuple[str, str | None]:
    """The path of the file, and the path in the file, or None."""
    segments = path.split("/")
    for last in range(len(segments) - 1, -1, -1):
        if _may_go_on(segments[last]):
            return "/".join(segments[: last + 1]), _internal("/".join(segments[last + 1 :]))
    return path, None


def _may_go_on(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)


def _internal(path: str | None) -> str | None:
    inner = (path or "").replace("\\", "/").strip("/")
    return f"/{inner}" if inner else None


def isUrl(path: str | Path) -> bool:
    """Whether it is a URL: `SCHEME://...`."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", str(path)) is not None


def make_absolute(path: str | Path, cwd: str | Path | None = None) -> str:
    """The path, absolute and without `..`, counted from `cwd` (default: the current folder); a URL stays."""
    return getPathVariants(path, Path.cwd() if cwd is None else cwd)[0]


def getPathVariants(originalPath: str | Path, workingDirectory: str | Path) -> tuple[str, str | None]:
    """The path as an absolute one, and relative to a folder.

    A `~` stands for the home folder. The relative path is None where there is none: of URLs, and of other drives.
    """
    path = os.fspath(originalPath)
    if isUrl(path):
        return path, None
    folder = os.path.abspath(os.path.expanduser(workingDirectory))  # noqa: PTH100, PTH111 - not through links
    if not path:
        return folder, ""
    absolute = os.path.normpath(os.path.join(folder, os.path.expanduser(path)))  # noqa: PTH111, PTH118
    try:
        relative = os.path.relpath(absolute, folder)
    except ValueError:  # another drive
        return absolute.replace("\\", "/"), None
    return absolute.replace(os.sep, "/"), relative.replace(os.sep, "/")


def mkdir_p(path: str | Path) -> None:
    """Make a folder and those above it; nothing if it is there."""
    Path(path).mkdir(parents=True, exist_ok=True)


def lsH5N5(h5N5FileObject: Any, minShape: int = 2, maxShape: int = 5) -> list[dict[str, Any]]:
    """The datasets of an open HDF5 file, or a zarr group, of `minShape` to `maxShape` axes: name and object each."""
    found = [
        {"name": name, "object": item}
        for name, item in _items(h5N5FileObject)
        if minShape <= len(item.shape) <= maxShape
    ]
    return sorted(found, key=lambda one: str(one["name"]))


def globH5N5(fileObject: Any, globString: str) -> list[str]:
    """The names of the datasets of an open HDF5 file, or a zarr group, that match a pattern, in order.

    In a pattern `*` stands for any text without a slash.
    """
    wanted = globString.strip("/").split("/")
    return sorted(
        name
        for name, _ in _items(fileObject)
        if len(parts := name.split("/")) == len(wanted) and all(map(fnmatchcase, parts, wanted))
    )


def _items(group: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    members = group.members() if hasattr(group, "members") else group.items()
    for name, item in members:
        if hasattr(item, "shape") and hasattr(item, "dtype"):
            yield prefix + name, item
        elif hasattr(item, "items") or hasattr(item, "members"):
            yield from _items(item, f"{prefix}{name}/")


def compressPathForDisplay(pathstr: str, maxlength: int) -> str:
    """A path of at most `maxlength` characters, for people: folders in its middle become `...`.

    Of a name that does not fit even so, the end is kept; in less than four characters nothing can be said.
    """
    if len(pathstr) <= maxlength:
        return pathstr
    head, *folders = pathstr.split("/")
    if not head and folders:
        head = f"/{folders.pop(0)}"
    for first in range(1, len(folders)):
        short = "/".join([head, "...", *folders[first:]])
        if len(short) <= maxlength:
            return short
    name = pathstr.rpartition("/")[2]
    if len(name) + 4 <= maxlength:
        return f".../{name}"
    return f"...{pathstr[-(maxlength - 3) :]}" if maxlength > 3 else pathstr[:0]
