"""Paths that go on inside of files: taken apart, put together, and changed part by part."""

from pathlib import Path

import h5py
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from blockflow.utility import PathComponents, getPathVariants
from blockflow.utility.pathHelpers import (
    PathError,
    compressPathForDisplay,
    globH5N5,
    isUrl,
    lsH5N5,
    make_absolute,
    mkdir_p,
)

PARTS = (
    "externalPath",
    "externalDirectory",
    "filename",
    "filenameBase",
    "extension",
    "internalPath",
    "internalDirectory",
    "internalDatasetName",
)


def parts(path):
    components = PathComponents(path)
    return tuple(getattr(components, part) for part in PARTS)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            "/a/b/cells.h5/volume/raw",
            ("/a/b/cells.h5", "/a/b", "cells.h5", "cells", ".h5", "/volume/raw", "/volume", "raw"),
        ),
        ("cells.h5/raw", ("cells.h5", "", "cells.h5", "cells", ".h5", "/raw", "/", "raw")),
        ("/a/cells.h5", ("/a/cells.h5", "/a", "cells.h5", "cells", ".h5", None, None, None)),
        ("/a/file.h5_x.h5/a", ("/a/file.h5_x.h5", "/a", "file.h5_x.h5", "file.h5_x", ".h5", "/a", "/", "a")),
        (
            "/data.h5_dir/img.png",
            ("/data.h5_dir/img.png", "/data.h5_dir", "img.png", "img", ".png", *[None] * 3),
        ),
        ("/a.n5/s0/b.n5/c", ("/a.n5/s0/b.n5", "/a.n5/s0", "b.n5", "b", ".n5", "/c", "/", "c")),
        ("C:\\x\\p.ilp\\y", ("C:/x/p.ilp", "C:/x", "p.ilp", "p", ".ilp", "/y", "/", "y")),
        ("/tmp/hello*.png", ("/tmp/hello*.png", "/tmp", "hello*.png", "hello*", ".png", *[None] * 3)),
        (
            "http://host:8000/a/with.ext",
            ("http://host:8000/a/with.ext", "http://host:8000/a", "with.ext", "with", ".ext", *[None] * 3),
        ),
        ("/file", ("/file", "/", "file", "file", "", None, None, None)),
    ],
)
def test_parts(path, expected):
    """A path is taken apart at the last segment that is a file with an inside, segment by segment."""
    assert parts(path) == expected
    assert PathComponents(path).totalPath() == path.replace("\\", "/")


def test_parts_can_be_set():
    """Each part that is set changes the whole, and only that part of it."""
    components = PathComponents("/some/path/to/file.h5/with/internal/path/to/data")
    for part, value, total in [
        ("extension", ".hdf5", "/some/path/to/file.hdf5/with/internal/path/to/data"),
        ("filenameBase", "base", "/some/path/to/base.hdf5/with/internal/path/to/data"),
        ("internalDirectory", "new/dir", "/some/path/to/base.hdf5/new/dir/data"),
        ("internalDatasetName", "newdata", "/some/path/to/base.hdf5/new/dir/newdata"),
        ("externalDirectory", "/ext/dir/", "/ext/dir/base.hdf5/new/dir/newdata"),
        ("externalDirectory", "/ext/dir", "/ext/dir/base.hdf5/new/dir/newdata"),
        ("externalPath", "/other/file.h5", "/other/file.h5/new/dir/newdata"),
        ("filename", "name.h5", "/other/name.h5/new/dir/newdata"),
        ("internalPath", "a/b", "/other/name.h5/a/b"),
        ("internalPath", None, "/other/name.h5"),
    ]:
        setattr(components, part, value)
        assert components.totalPath() == total


NAMES = st.text("abx._-0", min_size=1, max_size=8).filter(lambda name: name not in (".", ".."))
CHANGES = st.tuples(st.sampled_from(PARTS), NAMES)


@given(st.lists(NAMES, min_size=1, max_size=4), st.sampled_from([".h5", ".hdf5", ".ilp"]), st.lists(CHANGES))
def test_parts_agree(folders, extension, changes):
    """Whatever parts are set, the path taken apart anew has the same parts."""
    components = PathComponents(f"/{'/'.join(folders)}{extension}/group/data")
    for part, value in changes:
        try:
            setattr(components, part, value)
        except PathError:
            continue
        assert PathComponents(components.totalPath()) == components
        assert parts(components.totalPath()) == tuple(getattr(components, name) for name in PARTS)


def test_an_unknown_part_cannot_be_set():
    """A slip of the pen is an error, not a new attribute; so is an inside of a file that has none."""
    components = PathComponents("/a/image.png")
    with pytest.raises(AttributeError):
        components.internalpath = "/x"
    with pytest.raises(PathError, match=r"image\.png is no file that /x can be in"):
        components.internalPath = "x"


def test_relative_paths_count_from_cwd():
    """With a folder to count from, the file's path is absolute, and its inside is as before."""
    components = PathComponents("../b.h5/raw", "/data/a")
    assert (components.externalPath, components.internalPath) == ("/data/b.h5", "/raw")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/aaa/bbb/ccc/ddd.txt", ("/aaa/bbb/ccc/ddd.txt", "ddd.txt")),
        ("ddd.txt", ("/aaa/bbb/ccc/ddd.txt", "ddd.txt")),
        ("../ddd.txt", ("/aaa/bbb/ddd.txt", "../ddd.txt")),
        ("", ("/aaa/bbb/ccc", "")),
        ("http://host/x", ("http://host/x", None)),
    ],
)
def test_path_variants(path, expected):
    """A path is given as an absolute one, and relative to the folder."""
    assert getPathVariants(path, "/aaa/bbb/ccc") == expected


def test_home_is_expanded(monkeypatch):
    """A `~` is the home folder, in paths and in the folder they count from."""
    monkeypatch.setenv("HOME", "/home/ada")
    assert getPathVariants("~/x", "/data")[0] == "/home/ada/x"
    assert make_absolute("x", "~") == "/home/ada/x"
    assert make_absolute("http://host/~") == "http://host/~"


def test_urls_are_known():
    """A URL begins with a scheme; a path with a colon and slashes in its middle does not."""
    assert isUrl("https://host/x")
    assert not isUrl("/data/a://b")
    assert not isUrl(Path("C:/x"))


def test_folders_are_made_once_and_again(tmp_path):
    """`mkdir_p` makes all folders of a path, and is content with those that are there."""
    for _ in range(2):
        mkdir_p(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("kind", ["hdf5", "zarr"])
def test_datasets_are_listed(tmp_path, kind):
    """Datasets with a suitable number of axes are listed in order, and found by pattern, segment by segment."""
    with (
        h5py.File(tmp_path / "x.h5", "w")
        if kind == "hdf5"
        else _Closing(zarr.create_group(tmp_path / "x.zarr")) as file
    ):
        for name in ("b/raw", "a/raw", "a/flat", "c"):
            file.create_dataset(name, shape=(4,) if name == "a/flat" else (4, 4), dtype="u1")
        listed = lsH5N5(file)
        assert [one["name"] for one in listed] == ["a/raw", "b/raw", "c"]
        assert all(one["object"].shape == (4, 4) for one in listed)
        assert globH5N5(file, "*/raw") == ["a/raw", "b/raw"]
        assert globH5N5(file, "/a/*") == ["a/flat", "a/raw"]
        assert globH5N5(file, "*") == ["c"]


class _Closing:
    def __init__(self, group):
        self.group = group

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def members(self):
        return self.group.members()

    def create_dataset(self, name, shape, dtype):
        self.group.create_array(name, shape=shape, dtype=dtype)


@given(st.lists(NAMES, min_size=1, max_size=6), st.integers(0, 60))
def test_a_path_for_display_is_short_enough(segments, length):
    """A path for display is never too long, is the path itself if that fits, and keeps its last name if that fits."""
    path = "/" + "/".join(segments)
    short = compressPathForDisplay(path, length)
    assert len(short) <= length
    if len(path) <= length:
        assert short == path
    elif len(segments[-1]) + 4 <= length:
        assert short.endswith(segments[-1])
        assert "..." in short


def test_middle_folders_are_left_out():
    """The beginning and the end of a long path stay."""
    assert compressPathForDisplay("/home/ada/data/2026/cells.h5", 20) == "/home/.../cells.h5"
