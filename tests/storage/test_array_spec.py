"""Descriptions of arrays: created as described, compared with what is there."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import zarr

from blockflow.errors import StorageError
from blockflow.storage import Array, ArraySpec, VolumeMetadata, open_array, spec_like

METADATA = VolumeMetadata((4, 2), (8, -6), ("nm", "nm"), ("y", "x"), ("space", "space"))
COMPRESSORS = ("zstd", "zstd:5", "gzip", "gzip:2", "blosc", "blosc:7", "none")


@pytest.fixture
def spec(tmp_path):
    return ArraySpec(str(tmp_path / "a"), (10, 7), "uint16", METADATA, (4, 3))


@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize(("zarr_format", "shards"), [(2, None), (3, None), (3, (8, 3))])
def test_what_is_created_is_what_was_described(spec, zarr_format, shards, compressor):
    """Each format, sharding and compressor gives the described array, and voxels come back from it."""
    spec = replace(spec, zarr_format=zarr_format, shards=shards, compressor=compressor, fill_value=9)
    spec.create()
    array = open_array(spec.path, "r+")
    assert spec.differences(array) == []
    assert (array.shape, array.dtype, array.chunks) == ((10, 7), np.dtype("uint16"), (4, 3))
    assert array.write_unit == (shards or (4, 3))
    assert array.metadata == METADATA
    assert (array[array.roi] == 9).all()
    voxels = np.arange(70, dtype="uint16").reshape(10, 7)
    array[array.roi] = voxels
    assert np.array_equal(open_array(spec.path)[array.roi], voxels)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(
    ("compressor", "codec"), [("zstd:5", "zstd"), ("gzip:5", "gzip"), ("blosc:5", "blosc"), ("none", None)]
)
def test_the_compressor_is_the_one_asked_for(spec, zarr_format, compressor, codec):
    """The stored metadata names the compressor and its level, or none."""
    spec = replace(spec, zarr_format=zarr_format, compressor=compressor)
    spec.create()
    found = [json.loads(json.dumps(_codec_json(codec))) for codec in zarr.open_array(spec.path).compressors]
    assert [name for name, _ in found] == ([codec] if codec else [])
    assert [level for _, level in found] == ([5] if codec else [])


def _codec_json(codec):
    if hasattr(codec, "to_dict"):
        described = codec.to_dict()
        settings = described["configuration"]
        return described["name"], settings.get("level", settings.get("clevel"))
    settings = codec.get_config()
    return settings["id"], settings.get("level", settings.get("clevel"))


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(
    ("dtype", "fill_value"),
    [
        ("uint8", 255),
        ("int64", -1),
        ("float32", 0.5),
        ("float64", math.inf),
        ("float32", math.nan),
        ("bool", 1),
    ],
)
def test_fill_values_come_back(spec, dtype, fill_value, zarr_format):
    """The fill value is kept exactly and read where nothing was written, inside the array and outside."""
    spec = replace(spec, dtype=dtype, fill_value=fill_value, zarr_format=zarr_format)
    spec.create()
    array = open_array(spec.path)
    expected = np.full((12, 9), fill_value, dtype=dtype)
    found = array[array.roi.grow(array.voxel_size, array.voxel_size)]
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected, equal_nan=dtype.startswith("float"))


def test_shards_need_zarr_3(spec):
    """Shards in zarr v2 are refused with the format that has them."""
    with pytest.raises(StorageError, match="shards need zarr_format 3, not 2"):
        replace(spec, zarr_format=2, shards=(8, 6))


def test_shards_must_be_whole_chunks(spec):
    """Shards that are no multiple of the chunks are refused with both shapes."""
    with pytest.raises(StorageError, match=r"shards \[8, 4\] must be a multiple of chunks \[4, 3\]"):
        replace(spec, shards=(8, 4))


@pytest.mark.parametrize("key", ["chunks", "shards"])
@pytest.mark.parametrize("value", [(4,), (4, 3, 1), (0, 3)])
def test_chunks_and_shards_must_fit_the_axes(spec, key, value):
    """Chunks and shards need a positive number per axis; the error names them and the shape."""
    with pytest.raises(StorageError, match=rf"{key} \[.*\] must be 2 positive numbers.*shape \[10, 7\]"):
        replace(spec, **{key: value})


@pytest.mark.parametrize("compressor", ["lz5", "zstd:high", ""])
def test_unknown_compressors_are_answered_with_the_valid_ones(spec, compressor):
    """A wrong compressor names itself and the valid ones."""
    with pytest.raises(
        StorageError, match=f"unknown compressor '{compressor}'; valid are zstd, gzip, blosc, none"
    ):
        replace(spec, compressor=compressor)


def test_unknown_formats_are_refused(spec):
    """Only zarr formats 2 and 3 can be made."""
    with pytest.raises(StorageError, match="zarr_format must be 2 or 3, not 4"):
        replace(spec, zarr_format=4)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_creating_twice_is_refused(spec, zarr_format):
    """What is there already stays as it is, and the error says where and what to do."""
    spec = replace(spec, zarr_format=zarr_format)
    spec.create()
    array = open_array(spec.path, "r+")
    array[array.roi] = 5
    with pytest.raises(
        StorageError, match=r"a: there is something already: .*array exists.*Choose another path"
    ):
        spec.create()
    assert (open_array(spec.path)[array.roi] == 5).all()


def test_creating_over_a_group_or_a_file_is_refused(spec, tmp_path):
    """A group or a file in the array's place is refused and not touched."""
    zarr.create_group(str(tmp_path / "group"))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="group: there is something already: A group exists"):
        replace(spec, path=str(tmp_path / "group")).create()
    with pytest.raises(StorageError, match="file: there is something already"):
        replace(spec, path=str(tmp_path / "file")).create()
    with pytest.raises(StorageError, match="file/a: cannot be created"):
        replace(spec, path=str(tmp_path / "file" / "a")).create()
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"shape": (10, 8)}, "shape is (10, 7), wanted (10, 8)"),
        ({"dtype": "uint8"}, "dtype is uint16, wanted uint8"),
        ({"chunks": (5, 7)}, "chunks is (4, 3), wanted (5, 7)"),
        ({"shards": (4, 6)}, "shards is None, wanted (4, 6)"),
        ({"zarr_format": 2}, "zarr_format is 3, wanted 2"),
        ({"metadata": replace(METADATA, voxel_size=(4, 0.5))}, "voxel_size is (4, 2), wanted (4, 0.5)"),
        ({"metadata": replace(METADATA, offset=(0, 0))}, "offset is (8, -6), wanted (0, 0)"),
    ],
)
def test_differences_name_what_is_and_what_was_wanted(spec, change, line):
    """A description that an array does not meet gets one line for each thing that differs."""
    spec.create()
    assert replace(spec, **change).differences(open_array(spec.path)) == [line]


@pytest.mark.parametrize("dtype", ["u2", "<u2", "H"])
def test_other_names_of_a_dtype_are_no_difference(spec, dtype):
    """A dtype is compared by what it is, not by how it is spelled."""
    spec.create()
    assert replace(spec, dtype=dtype).differences(open_array(spec.path)) == []


def test_a_planned_array_tells_what_the_created_one_will(spec):
    """Before it exists, an array answers as it will once created, and reads as its fill value."""
    spec = replace(spec, shards=(8, 6), fill_value=3)
    planned = spec.planned()
    spec.create()
    created = open_array(spec.path)
    for name in (
        "shape",
        "dtype",
        "roi",
        "chunks",
        "write_unit",
        "spatial_write_unit",
        "fill_value",
        "metadata",
    ):
        assert getattr(planned, name) == getattr(created, name), name
    outside = planned.roi.grow(planned.voxel_size, planned.voxel_size)
    assert np.array_equal(planned[outside], created[outside])


def test_a_planned_array_takes_no_memory(spec):
    """A planned array of a petavoxel is described, and any ROI of it is read."""
    planned = replace(spec, shape=(2**25, 2**25), fill_value=3).planned()
    assert planned.shape == (2**25, 2**25)
    corner = planned.roi
    assert (planned[type(corner)(corner.offset, planned.voxel_size * 4)] == 3).all()


def test_descriptions_leave_out_the_place(spec):
    """A description is the same wherever the array is, and is JSON data."""
    assert spec.describe() == replace(spec, path="elsewhere").describe()
    assert "path" not in json.loads(json.dumps(spec.describe()))


def test_spec_like_keeps_what_is_not_changed(spec, tmp_path):
    """By default the new array is like its source in all but its place."""
    spec.create()
    like = spec_like(open_array(spec.path), tmp_path / "b")
    assert replace(like, path=spec.path) == spec


def test_spec_like_puts_channels_in_front_or_leaves_them_out(spec, tmp_path):
    """A number of channels becomes an axis `c^` in front; `None` leaves all channel axes out again."""
    with_channels = spec_like(spec.planned(), tmp_path / "b", channels=3, dtype="float32", chunks=(1, 5, 7))
    assert (with_channels.shape, with_channels.chunks) == ((3, 10, 7), (1, 5, 7))
    assert with_channels.metadata.axis_names == ("c^", "y", "x")
    assert with_channels.metadata.types == ("channel", "space", "space")
    assert with_channels.dtype == "float32"
    with_channels.create()
    array = open_array(tmp_path / "b")
    assert array.roi == spec.planned().roi
    without = spec_like(array, tmp_path / "c", channels=None)
    assert (without.shape, without.chunks, without.metadata) == ((10, 7), (5, 7), METADATA)
    replaced = spec_like(array, tmp_path / "d", channels=2)
    assert (replaced.shape, replaced.chunks) == ((2, 10, 7), (2, 5, 7))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chunks": "8"}, "list of whole numbers"),
        ({"chunks": [8.5]}, "list of whole numbers"),
        ({"dtype": "object"}, "none of numbers"),
        ({"fill_value": 300}, "no value of dtype uint8"),
        ({"fill_value": "x"}, "no value of dtype uint8"),
        ({"compressor": "zstd:99"}, "zstd up to 22"),
        ({"compressor": 5}, "unknown compressor"),
    ],
)
def test_what_zarr_would_choke_on_is_refused_before(changes, message):
    """Wrong types and values of a description are errors that name the value and what is valid."""
    with pytest.raises(StorageError, match=message):
        spec_like(_source(), "new", **{"dtype": "uint8", **changes})


def _source():
    voxels = np.zeros((16,), np.uint8)
    return Array("source", voxels, VolumeMetadata((1,), (0,), ("",), ("x",), ("space",)))
