"""Chunks read and written past zarr: the same voxels, the same files."""

import os

import numpy as np
import pytest
import zarr
from funlib.geometry import Roi
from hypothesis import given, settings
from hypothesis import strategies as st

from blockflow.storage import ArraySpec, VolumeMetadata, open_array
from blockflow.storage.chunks import LocalChunks

METADATA = VolumeMetadata((1, 1), (0, 0), ("", ""), ("y", "x"), ("space", "space"))


def made(folder, name, **options):
    given = {"shape": (10, 7), "dtype": "u1", "chunks": (4, 3), **options}
    ArraySpec(str(folder / name), metadata=METADATA, **given).create()
    return open_array(folder / name, "r+")


def files(folder):
    names = (
        file for file in folder.rglob("*") if file.is_file() and file.name not in ("zarr.json", ".zarray")
    )
    return {str(file.relative_to(folder)): file.read_bytes() for file in names if file.name != ".zattrs"}


@st.composite
def layouts(draw):
    shape = draw(st.tuples(*[st.integers(1, 20)] * 2))
    return {
        "shape": shape,
        "chunks": tuple(draw(st.integers(1, size)) for size in shape),
        "dtype": draw(st.sampled_from(["u1", "i2", "u8", "f2", "f4", "f8", "c8", "bool"])),
        "compressor": draw(st.sampled_from(["zstd", "zstd:3", "gzip:1", "none", "blosc"])),
        "zarr_format": draw(st.sampled_from([2, 3])),
        "fill_value": draw(st.sampled_from([0, 1])),
    }


@settings(deadline=None, max_examples=60)
@given(layouts(), st.data())
def test_the_same_voxels_and_files_as_by_zarr(tmp_path_factory, layout, data):
    """After any writes of regions, whole chunks or not, files and voxels are those that zarr alone leaves."""
    folder = tmp_path_factory.mktemp("arrays")
    ours, theirs = (made(folder, name, **layout) for name in ("ours", "theirs"))
    shape = layout["shape"]
    for _ in range(data.draw(st.integers(1, 3))):
        bounds = [sorted(data.draw(st.tuples(*[st.integers(0, size)] * 2))) for size in shape]
        if data.draw(st.booleans()):  # to the borders of chunks
            bounds = [
                (low // chunk * chunk, min(size, -(-high // chunk) * chunk))
                for (low, high), chunk, size in zip(bounds, layout["chunks"], shape)
            ]
        key = tuple(slice(low, high) for low, high in bounds)
        values = np.random.default_rng(1).integers(0, data.draw(st.sampled_from([1, 2, 100])), shape)
        values = values.astype(layout["dtype"])[key]
        begin, end = zip(*bounds)
        ours[Roi(begin, np.subtract(end, begin))] = values
        theirs.data[key] = values
        np.testing.assert_array_equal(ours[key], theirs.data[key])
        assert ours[key].dtype == theirs.data.dtype
    assert files(folder / "ours") == files(folder / "theirs")
    np.testing.assert_array_equal(ours.to_ndarray(), zarr.open_array(str(folder / "ours"), mode="r")[...])


@pytest.mark.parametrize("value", [0.0, -0.0, np.nan])
def test_what_equals_the_fill_value_bit_by_bit_is_not_stored(tmp_path, value):
    """Where the fill value is 0.0, a chunk of -0.0 is stored, one of 0.0 not; nor NaN where that is the fill value."""
    array = made(tmp_path, "a", dtype="f4", fill_value=np.nan if value != value else 0.0)
    array[array.roi] = np.full(array.shape, 5, "f4")
    assert len(files(tmp_path / "a")) == 9
    array[array.roi] = np.full(array.shape, value, "f4")
    assert bool(files(tmp_path / "a")) == bool(np.signbit(value))
    np.testing.assert_array_equal(np.signbit(array.to_ndarray()), np.signbit(np.full(array.shape, value)))


@pytest.mark.parametrize(
    ("options", "direct"),
    [
        ({}, True),
        ({"compressor": "none", "dtype": "i4", "zarr_format": 2}, True),
        ({"compressor": "blosc"}, False),
        ({"shards": (8, 6)}, False),
    ],
)
def test_what_is_left_to_zarr(tmp_path, options, direct):
    """Plain chunks go past zarr; shards and codecs that are not known here do not."""
    assert (LocalChunks.of(made(tmp_path, "a", **options).data) is not None) == direct


def test_bytes_in_another_order_are_left_to_zarr(tmp_path):
    """An array of big-endian numbers is read as such."""
    big = zarr.create_array(str(tmp_path / "v2"), shape=(4, 4), dtype=">u2", chunks=(2, 2), zarr_format=2)
    codec = zarr.codecs.BytesCodec(endian="big")
    other = zarr.create_array(str(tmp_path / "v3"), shape=(4, 4), dtype="u2", chunks=(2, 2), serializer=codec)
    for name, array in (("v2", big), ("v3", other)):
        array[...] = np.arange(16).reshape(4, 4)
        read = open_array(tmp_path / name)
        np.testing.assert_array_equal(read[read.roi], np.arange(16).reshape(4, 4))


@pytest.mark.parametrize("content", [b"", b"no zstd", None])
def test_a_damaged_chunk_is_an_error(tmp_path, content):
    """A chunk whose file is cut off, or holds something else, is not read as voxels."""
    array = made(tmp_path, "a")
    array[array.roi] = np.arange(70, dtype="u1").reshape(10, 7)
    file = tmp_path / "a" / "c" / "1" / "1"
    file.write_bytes(file.read_bytes()[:-3] if content is None else content)
    with pytest.raises((RuntimeError, ValueError)):
        array.to_ndarray()


def test_a_forked_child_reads(tmp_path):
    """A child that was forked when the threads were there already has threads of its own."""
    array = made(tmp_path, "a")
    array[array.roi] = np.ones((10, 7), "u1")
    pipe = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(pipe[1], str(int(LocalChunks.of(array.data).read((0, 0), (10, 7)).sum())).encode())
        finally:
            os._exit(0)
    os.close(pipe[1])
    assert os.read(pipe[0], 10) == b"70"
    os.waitpid(child, 0)
    os.close(pipe[0])
