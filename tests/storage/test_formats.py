"""Arrays of every format have one face: read by ROI, described, stamped, written where blocks can write them."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from hypothesis import given, settings
from hypothesis import strategies as st

from blockflow.errors import StorageError
from blockflow.storage import (
    ArraySpec,
    VolumeMetadata,
    array_stamp,
    claim,
    note_session,
    open_array,
    spec_like,
)
from blockflow.storage.formats import format_of, lock_place
from blockflow.storage.single_files import blocks_of_chunks, write_single_file
from blockflow.utility.io_util import BlockwiseFileset

METADATA = VolumeMetadata((40, 2.5, 32), (0, 5, 32), ("nm",) * 3, ("z", "y", "x"), ("space",) * 3)
CHANNELS = VolumeMetadata((40, 32), (0, 0), ("nm",) * 2, ("c^", "y", "x"), ("channel", "space", "space"))
PATHS = {"zarr": "a.zarr", "described": "a.json", "hdf5": "a.h5/volume/raw", "numpy": "a.npy"}


def voxels(shape=(12, 10, 8), dtype="u1"):
    return (np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype)


@pytest.fixture(params=PATHS)
def stored(request, tmp_path):
    """The path of an array of each format, with the same voxels and place in the world."""
    spec = ArraySpec(str(tmp_path / "source.zarr"), (12, 10, 8), "uint8", METADATA, chunks=(4, 5, 8))
    spec.create()
    source = open_array(spec.path, "r+")
    source[source.roi] = voxels()
    return write_as(source, request.param, tmp_path)


def write_as(source, kind, folder):
    path = str(folder / PATHS[kind])
    if kind in ("zarr", "described"):
        spec_like(source, path).create()
        target = open_array(path, "r+")
        target[target.roi] = source[source.roi]
    else:
        write_single_file(source, path)
    assert format_of(path) == kind
    return path


def test_every_format_is_read_as_an_array(stored):
    """Voxels, place in the world, ROIs and what lies outside are the same whatever the format."""
    array = open_array(stored)
    assert array.metadata == METADATA
    assert array.dtype == np.uint8
    assert array.shape == (12, 10, 8)
    np.testing.assert_array_equal(array.to_ndarray(), voxels())
    np.testing.assert_array_equal(array.data[3:5, ..., 2], voxels()[3:5, :, 2])
    np.testing.assert_array_equal(array.data[-1], voxels()[-1])
    begin = array.offset + array.voxel_size * Coordinate(2, 3, -1)
    np.testing.assert_array_equal(
        array[Roi(begin, array.voxel_size * Coordinate(5, 4, 3))],
        np.pad(voxels()[2:7, 3:7, :2], ((0, 0), (0, 0), (1, 0))),
    )


def test_every_format_is_written_as_an_array(stored):
    """An array that is open for writing takes a ROI; one that is open for reading does not."""
    array = open_array(stored, "r+")
    roi = Roi(array.offset + array.voxel_size * Coordinate(2, 3, 1), array.voxel_size * Coordinate(5, 4, 3))
    array[roi] = 7
    expected = voxels()
    expected[2:7, 3:7, 1:4] = 7
    np.testing.assert_array_equal(open_array(stored).to_ndarray(), expected)
    if format_of(stored) != "zarr":
        with pytest.raises(StorageError, match="mode"):
            open_array(stored)[roi] = 8


def test_notes_are_kept_in_every_format(stored):
    """Who writes an array is noted in it, and changes its stamp as an input; other attributes stay."""
    first = claim(open_array(stored, "r+"), "me")
    assert claim(open_array(stored, "r+"), "me") == first
    assert claim(open_array(stored, "r+"), "you") != first
    before = array_stamp(stored)
    assert array_stamp(stored) == before
    note_session(open_array(stored, "r+"), "a longer session")
    assert array_stamp(stored) != before
    assert open_array(stored).metadata == METADATA
    assert lock_place(stored).parent.is_dir()


@settings(max_examples=15, deadline=None)
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    dtype=st.sampled_from(["u1", "<i2", ">i4", "u8", "f4", "f8", "?"]),
    data=st.data(),
)
def test_conversions_keep_voxels(tmp_path_factory, shape, dtype, data):
    """From any format to any other and back, all voxels and the place in the world stay."""
    folder = tmp_path_factory.mktemp("formats")
    count = len(shape)
    metadata = VolumeMetadata(
        (4, 2.5, 1)[:count],
        (0, -3, 0.5)[:count],
        ("nm",) * count,
        ("z", "y", "x")[:count],
        ("space",) * count,
    )
    chunks = tuple(data.draw(st.integers(1, 5)) for _ in shape)
    spec = ArraySpec(str(folder / "source.zarr"), tuple(shape), dtype, metadata, chunks)
    spec.create()
    array = open_array(spec.path, "r+")
    original = voxels(shape).astype(array.dtype)
    array[array.roi] = original
    for number, kind in enumerate(data.draw(st.permutations(list(PATHS)))):
        (folder / str(number)).mkdir()
        array = open_array(write_as(array, kind, folder / str(number)))
        np.testing.assert_array_equal(array.to_ndarray(), original)
        assert array.metadata == metadata
        assert array.dtype == np.dtype(dtype).newbyteorder("=")


def test_channels_and_names_become_letters(tmp_path):
    """A fileset has a letter for each axis; the names are kept beside it."""
    spec = ArraySpec(
        str(tmp_path / "a.json"), (3, 10, 8), "float32", CHANNELS, (3, 5, 8), compressor="gzip:3"
    )
    spec.create()
    description = BlockwiseFileset.readDescription(tmp_path / "a.json")
    assert (description.axes, description.compression, description.compression_opts) == ("cyx", "gzip", 3)
    array = open_array(tmp_path / "a.json", "r+")
    assert array.metadata == CHANNELS
    assert array.spatial_shape == (10, 8)
    assert spec.differences(array) == []
    long_names = VolumeMetadata((1,) * 3, (0,) * 3, ("",) * 3, ("depth", "y", "y2"), ("space",) * 3)
    ArraySpec(str(tmp_path / "b.json"), (3, 10, 8), "u1", long_names, (3, 5, 8)).create()
    assert BlockwiseFileset.readDescription(tmp_path / "b.json").axes == "zyx"
    assert open_array(tmp_path / "b.json").axis_names == ("depth", "y", "y2")


def test_a_missing_block_is_an_error(tmp_path):
    """A fileset whose block is not available is not read as zeros."""
    ArraySpec(str(tmp_path / "a.json"), (12, 10, 8), "u1", METADATA, (4, 5, 8)).create()
    with pytest.raises(StorageError, match=r"the block that starts at \[\d+, \d, 0\] is not available"):
        open_array(tmp_path / "a.json").to_ndarray()


def test_an_hdf5_file_of_somebody_else(tmp_path):
    """A dataset with chunks and no attributes is an array with the defaults; groups are listed where none is named."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("group/raw", data=voxels(), chunks=(4, 5, 8), compression="gzip")
        file.create_dataset("text", data="words")
    array = open_array(tmp_path / "a.h5" / "group" / "raw")
    assert array.chunks == (4, 5, 8)
    assert array.axis_names == ("d0", "d1", "d2")
    np.testing.assert_array_equal(array[array.roi], voxels())
    for path, message in [
        ("a.h5", "name the dataset after the file.* Datasets in it: group/raw, text"),
        ("a.h5/group", "there is no dataset /group. Datasets in it: group/raw, text"),
        ("a.h5/text", "none of numbers or booleans"),
        ("b.h5/raw", "there is no such array"),
    ]:
        with pytest.raises(StorageError, match=message):
            open_array(tmp_path / path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{}", "describes neither a fileset nor a remote volume"),
        ("a.json", "[", "this is no JSON"),
        ("a.npy", "x", "cannot be opened as a .npy file"),
        ("a.h5/raw", "x", "cannot be opened as an HDF5 file"),
        ("a.json.attributes.json", "{}", "describes neither"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, name, content, message):
    """A file whose name promises a format that it has not is refused."""
    (tmp_path / name.partition("/")[0]).write_text(content)
    with pytest.raises(ValueError, match=message):
        open_array(tmp_path / name)


def test_a_pickle_is_not_loaded(tmp_path):
    """A .npy file of objects is refused, not unpickled."""
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(StorageError, match="cannot be opened"):
        open_array(tmp_path / "a.npy")


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_wrong_attributes_are_named(tmp_path, text):
    """A file of attributes that is none is named."""
    np.save(tmp_path / "a.npy", voxels())
    Path(f"{tmp_path}/a.npy.attributes.json").write_text(text)
    with pytest.raises(StorageError, match=r"a\.npy\.attributes\.json: "):
        open_array(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.json", {"shards": (8, 5, 8)}, "neither shards nor a fill_value"),
        ("a.json", {"fill_value": 3}, "neither shards nor a fill_value"),
        ("a.json", {"compressor": "zstd"}, "have 'gzip' and 'none'"),
        ("a.h5/raw", {}, "blockflow array convert"),
        ("a.npy", {}, "blockflow array convert"),
    ],
)
def test_what_a_format_cannot_be_is_refused(tmp_path, name, options, message):
    """An array that its format cannot hold, or that blocks cannot write, is not created."""
    spec = ArraySpec(str(tmp_path / name), (12, 10, 8), "u1", METADATA, (4, 5, 8), **options)
    with pytest.raises(StorageError, match=message):
        spec.create()
    assert list(tmp_path.iterdir()) == []


def test_a_fileset_is_not_created_over_another(tmp_path):
    """Neither a description nor blocks that are there are written over."""
    spec = ArraySpec(str(tmp_path / "a.json"), (12, 10, 8), "u1", METADATA, (4, 5, 8))
    (tmp_path / "a_blocks").mkdir()
    with pytest.raises(StorageError, match="blocks of another fileset"):
        spec.create()
    (tmp_path / "a_blocks").rmdir()
    spec.create()
    with pytest.raises(StorageError, match="something already"):
        spec.create()


@given(st.lists(st.integers(1, 20), min_size=1, max_size=3), st.data())
def test_blocks_of_chunks_tile(shape, data):
    """Blocks cover each voxel once, are whole chunks but at the end, and as large as the limit lets them."""
    chunks = tuple(data.draw(st.integers(1, 25)) for _ in shape)
    most = data.draw(st.integers(1, 2000))
    count = np.zeros(shape, int)
    for block in blocks_of_chunks(tuple(shape), chunks, 2, most):
        count[block] += 1
        assert all(one.start % min(chunk, size) == 0 for one, chunk, size in zip(block, chunks, shape))
        bytes_ = 2 * np.prod([one.stop - one.start for one in block])
        assert bytes_ <= max(most, 2 * np.prod([min(chunk, size) for chunk, size in zip(chunks, shape)]))
    assert (count == 1).all()


@pytest.mark.parametrize("kind", ["hdf5", "numpy"])
def test_an_interrupted_file_is_gone_on_with(tmp_path, kind, monkeypatch):
    """A file whose writing was ended is not there; the next attempt does what is left, unless the source changed."""
    monkeypatch.setattr("blockflow.storage.single_files.BLOCK_BYTES", 1)
    monkeypatch.setattr(blocks_of_chunks, "__defaults__", (1,))
    spec = ArraySpec(str(tmp_path / "source.zarr"), (12, 10, 8), "u1", METADATA, (4, 5, 8))
    spec.create()
    source = open_array(spec.path, "r+")
    source[source.roi] = voxels()
    path = str(tmp_path / PATHS[kind])

    def stop(done, blocks):
        assert blocks == 6
        if done == 4:
            raise KeyboardInterrupt

    for change in (False, True):
        with pytest.raises(KeyboardInterrupt):
            write_single_file(source, path, stop)
        with pytest.raises(StorageError, match="no such array"):
            open_array(path)
        if change:
            source.data.attrs["more"] = 1
        assert write_single_file(source, path) == (0 if change else 4)
        np.testing.assert_array_equal(open_array(path).to_ndarray(), voxels())
        with pytest.raises(StorageError, match="something already"):
            write_single_file(source, path)
        Path(path.removesuffix("/volume/raw")).unlink()
    assert json.loads((tmp_path / "source.zarr" / "zarr.json").read_text())["attributes"]["more"] == 1
