"""What arrays say of themselves, and that funlib.persistence understands it, both ways."""

import json

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from hypothesis import given, settings
from hypothesis import strategies as st

from blockflow.errors import StorageError
from blockflow.storage import ArraySpec, VolumeMetadata, open_array

#: importing funlib.persistence defines pydantic models in a style that pydantic 2 deprecates
funlib_models = pytest.mark.filterwarnings("ignore:Support for class-based `config` is deprecated")
#: funlib.persistence deprecates its own convention that a channel axis is named `c^`; we must still read it
funlib_channels = pytest.mark.filterwarnings("ignore:using axis names to define which axes are channels")

SPATIAL = VolumeMetadata((40, 4, 4), (-80, 8, 0), ("nm", "nm", "nm"), ("z", "y", "x"), ("space",) * 3)
CHANNELS = VolumeMetadata((4, 4), (8, -12), ("nm", "nm"), ("c^", "y", "x"), ("channel", "space", "space"))
TIME = VolumeMetadata((2, 4), (6, 0), ("s", "nm"), ("t", "x"), ("time", "space"))
TRAILING = VolumeMetadata((3,), (6,), ("um",), ("x", "rgb^"), ("space", "channel"))
ALL = pytest.mark.parametrize(
    "metadata", [SPATIAL, CHANNELS, TIME, TRAILING], ids=["spatial", "channels", "time", "trailing-channel"]
)
FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])


def _shape(metadata):
    return tuple(range(4, 4 + len(metadata.types)))


@FORMATS
@ALL
@funlib_models
def test_funlib_reads_what_we_write(tmp_path, metadata, zarr_format):
    """funlib.persistence opens our arrays with the same metadata, and its ROIs hold the same voxels."""
    from funlib.persistence import open_ds

    shape = _shape(metadata)
    spec = ArraySpec(str(tmp_path / "a"), shape, "uint16", metadata, shape, zarr_format=zarr_format)
    spec.create()
    ours = open_array(spec.path, "r+")
    ours[ours.roi] = np.arange(np.prod(shape), dtype="uint16").reshape(shape)

    theirs = open_ds(spec.path)
    assert theirs.voxel_size == Coordinate(metadata.voxel_size)
    assert theirs.offset == Coordinate(metadata.offset)
    assert tuple(theirs.units) == metadata.units
    assert tuple(theirs.axis_names) == metadata.axis_names
    assert tuple(theirs.types) == metadata.types
    assert theirs.roi == ours.roi
    part = Roi(ours.offset + ours.voxel_size, ours.voxel_size * 2)
    assert np.array_equal(theirs[part], ours[part])


@FORMATS
@ALL
@funlib_models
@funlib_channels
def test_we_read_what_funlib_prepares(tmp_path, metadata, zarr_format):
    """An array made by funlib's `prepare_ds` opens with the same metadata and voxels."""
    from funlib.persistence import prepare_ds

    shape = _shape(metadata)
    theirs = prepare_ds(
        tmp_path / "a",
        shape,
        offset=Coordinate(metadata.offset),
        voxel_size=Coordinate(metadata.voxel_size),
        axis_names=metadata.axis_names,
        units=metadata.units,
        types=metadata.types,
        dtype=np.uint16,
        mode="w",
        zarr_format=zarr_format,
    )
    theirs[theirs.roi] = np.arange(np.prod(shape), dtype="uint16").reshape(shape)
    ours = open_array(tmp_path / "a")
    assert ours.metadata == metadata
    assert ours.roi == theirs.roi
    assert np.array_equal(ours[ours.roi], theirs[theirs.roi])


@FORMATS
@funlib_models
@funlib_channels
def test_we_read_channels_that_only_their_name_tells(tmp_path, zarr_format):
    """An axis `c^` without `types` is a channel for funlib and for us."""
    from funlib.persistence import prepare_ds

    theirs = prepare_ds(
        tmp_path / "a",
        (2, 6, 5),
        offset=Coordinate(8, 4),
        voxel_size=Coordinate(4, 4),
        axis_names=["c^", "y", "x"],
        dtype=np.uint8,
        mode="w",
        zarr_format=zarr_format,
    )
    ours = open_array(tmp_path / "a")
    assert ours.metadata.types == ("channel", "space", "space")
    assert ours.metadata.spatial_axes == (1, 2)
    assert ours.roi == theirs.roi


@funlib_models
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"voxel_size": [4, 4]},
        {"offset": [8, 8]},
        {"units": ["nm", "nm"]},
        {"voxel_size": [4, 4, 4], "offset": [8, 8, 8]},
        {"types": ["space", "channel", "time"], "voxel_size": [4, 2]},
        {"types": ["channel", "space", "space"], "voxel_size": [1, 4, 4], "offset": [0, 8, 8]},
        {"axis_names": ["c^", "y", "x"], "voxel_size": [1, 4, 4]},
    ],
)
def test_sparse_metadata_means_the_same_to_funlib(attributes):
    """Attributes that leave things out are completed as funlib.persistence completes them."""
    from funlib.persistence.arrays.metadata import MetaDataFormat

    theirs = MetaDataFormat().parse((3, 4, 5), attributes)
    ours = VolumeMetadata.parse(attributes, 3, "a")
    assert ours.voxel_size == tuple(theirs.voxel_size)
    assert ours.offset == tuple(theirs.offset)
    assert ours.units == tuple(theirs.units)
    assert ours.axis_names == tuple(theirs.axis_names)
    assert ours.types == tuple(theirs.types)


@settings(max_examples=60, deadline=None)
@given(
    voxel_size=st.lists(st.floats(1e-9, 1e9) | st.integers(1, 10**6), min_size=1, max_size=4),
    offset=st.floats(-1e9, 1e9) | st.integers(-(10**6), 10**6),
    channels=st.integers(0, 2),
)
def test_metadata_survives_json(voxel_size, offset, channels):
    """Any metadata is the same after JSON: no float is rounded, no axis moves."""
    dims = len(voxel_size)
    metadata = VolumeMetadata(
        voxel_size=tuple(voxel_size),
        offset=(offset,) * dims,
        units=("um",) * dims,
        axis_names=tuple([f"c{i}^" for i in range(channels)] + [f"d{i}" for i in range(dims)]),
        types=("channel",) * channels + ("space",) * dims,
    )
    attributes = json.loads(json.dumps(metadata.attributes()))
    assert VolumeMetadata.parse(attributes, dims + channels, "a") == metadata


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"voxel_size": [4, 4, 4]}, r"a: metadata of 3 spatial axes, but the array has only 2"),
        ({"axis_names": ["x"]}, r"a: axis_names \['x'\] has 1 entries for 2 axes"),
        ({"types": ["space"]}, r"a: types \['space'\] has 1 entries for 2 axes"),
        ({"voxel_size": [4, 4], "offset": [1]}, r"a: offset \[1\] has 1 entries for 2 spatial axes"),
        ({"voxel_size": [4, 0]}, r"a: voxel_size must be positive, not \[4, 0\]"),
        ({"voxel_size": "xy"}, r"a: voxel_size must be a list of numbers, not 'xy'"),
        ({"voxel_size": 4}, r"a: voxel_size must be a list of numbers, not 4"),
        ({"offset": [0, float("nan")]}, r"a: offset must be a list of numbers, not \[0, nan\]"),
        ({"voxel_size": [1, float("inf")]}, r"a: voxel_size must be a list of numbers, not \[1, inf\]"),
    ],
)
def test_contradicting_metadata_is_refused(attributes, message):
    """Metadata that contradicts itself or the array is refused with the array, the key and the numbers."""
    with pytest.raises(StorageError, match=message):
        VolumeMetadata.parse(attributes, 2, "a")
