"""Reading and writing by ROI, against numpy slicing."""

import itertools

import numpy as np
import pytest
import zarr
import zarr.storage
from funlib.geometry import Coordinate, Roi
from hypothesis import given, settings
from hypothesis import strategies as st

from blockflow.errors import StorageError
from blockflow.storage import ArraySpec, Lattice, VolumeMetadata, on_commit, open_array
from blockflow.storage.array import Array

properties = settings(max_examples=120, deadline=None)
FILL = 7


@st.composite
def arrays(draw):
    """An Array of random scale and place, with channel axes anywhere, and its voxels as they are."""
    types = draw(st.lists(st.sampled_from(["space", "space", "channel"]), min_size=1, max_size=4))
    if "space" not in types:
        types.append("space")
    dims = types.count("space")
    shape = draw(st.lists(st.integers(1, 5), min_size=len(types), max_size=len(types)))
    numbers = st.integers(-20, 20) | st.sampled_from([0.108, -0.324, 2.5])
    metadata = VolumeMetadata(
        voxel_size=tuple(
            draw(st.lists(st.integers(1, 5) | st.sampled_from([0.108, 0.5]), min_size=dims, max_size=dims))
        ),
        offset=tuple(draw(st.lists(numbers, min_size=dims, max_size=dims))),
        units=("um",) * dims,
        axis_names=tuple(f"a{i}" for i in range(len(types))),
        types=tuple(types),
    )
    voxels = np.arange(np.prod(shape), dtype="int32").reshape(shape) + 100
    return Array("a", voxels.copy(), metadata), voxels


@st.composite
def arrays_and_rois(draw):
    """An array and a ROI of whole voxels inside, outside or partly inside of it, also an empty one."""
    array, voxels = draw(arrays())
    begin = Coordinate(draw(st.integers(-7, 7)) for _ in range(array.roi.dims))
    shape = Coordinate(draw(st.integers(0, 8)) for _ in range(array.roi.dims))
    return array, voxels, Roi(array.offset + begin * array.voxel_size, shape * array.voxel_size), begin, shape


def _window(array, voxels, begin, shape, fill):
    """The window by numpy alone: the voxels in a wide frame of fill, sliced."""
    margin = 20
    spatial = array.metadata.spatial_axes
    frame = np.pad(
        voxels,
        [(margin, margin) if axis in spatial else (0, 0) for axis in range(voxels.ndim)],
        constant_values=fill,
    )
    slices = [slice(None)] * voxels.ndim
    for axis, low, size in zip(spatial, begin, shape, strict=True):
        slices[axis] = slice(margin + low, margin + low + size)
    return frame, tuple(slices)


@properties
@given(arrays_and_rois())
def test_reading_a_roi_is_slicing_with_padding(case):
    """What is read is the slice of the voxels; what lies outside of the array is the fill value."""
    array, voxels, roi, begin, shape = case
    frame, window = _window(array, voxels, begin, shape, 0)
    assert np.array_equal(array[roi], frame[window])
    frame, window = _window(array, voxels, begin, shape, FILL)
    assert np.array_equal(array.to_ndarray(roi, fill_value=FILL), frame[window])


@properties
@given(arrays_and_rois())
def test_writing_a_roi_is_slicing_and_cutting_off(case):
    """What is written lands at its slice; what lies beyond the array is cut off; the rest stays."""
    array, voxels, roi, begin, shape = case
    frame, window = _window(array, voxels, begin, shape, 0)
    data = np.random.default_rng(0).integers(0, 50, frame[window].shape).astype("int32")
    frame[window] = data
    array[roi] = data
    spatial = array.metadata.spatial_axes
    inside = tuple(slice(20, -20) if axis in spatial else slice(None) for axis in range(voxels.ndim))
    assert np.array_equal(array.to_ndarray(), frame[inside])


@properties
@given(arrays_and_rois())
def test_one_number_fills_a_roi(case):
    """A scalar fills the ROI as far as the array reaches."""
    array, voxels, roi, begin, shape = case
    frame, window = _window(array, voxels, begin, shape, 0)
    frame[window] = 3
    array[roi] = 3
    spatial = array.metadata.spatial_axes
    inside = tuple(slice(20, -20) if axis in spatial else slice(None) for axis in range(voxels.ndim))
    assert np.array_equal(array.to_ndarray(), frame[inside])


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr_arrays_read_and_write_as_numpy_does(tmp_path, zarr_format):
    """For ROIs at all corners of a chunked zarr array with a fill value, reads and writes equal slicing."""
    metadata = VolumeMetadata((4, 2), (-8, 6), ("nm", "nm"), ("c^", "y", "x"), ("channel", "space", "space"))
    ArraySpec(
        str(tmp_path / "a"), (2, 7, 5), "int32", metadata, (1, 3, 2), fill_value=FILL, zarr_format=zarr_format
    ).create()
    array = open_array(tmp_path / "a", "r+")
    expected = np.full((2, 7, 5), FILL, dtype="int32")
    corners = itertools.product([(-2, 3), (1, 4), (5, 4), (7, 2), (3, 0)], [(-1, 3), (2, 2), (4, 5)])
    for number, ((y, height), (x, width)) in enumerate(corners, start=10):
        roi = Roi(
            array.offset + array.voxel_size * Coordinate(y, x), array.voxel_size * Coordinate(height, width)
        )
        array[roi] = np.full((2, height, width), number, dtype="int32")
        expected[:, max(y, 0) : y + height, max(x, 0) : x + width] = number
        frame, window = _window(array, expected, (y, x), (height, width), FILL)
        assert np.array_equal(array[roi], frame[window])
    assert np.array_equal(array[array.roi], expected)
    assert np.array_equal(array[:, 2], expected[:, 2])


@properties
@given(arrays(), st.data())
def test_rois_off_the_voxel_grid_are_refused(case, data):
    """A ROI that begins or ends inside a voxel is refused, for reading and for writing."""
    array, _ = case
    array = Array("a", array.data, array.metadata, Lattice(tuple(step / 2 for step in array.lattice.step)))
    axis = data.draw(st.integers(0, array.roi.dims - 1))
    nudge = Coordinate(int(i == axis) for i in range(array.roi.dims))
    for roi in (array.roi.shift(nudge), array.roi.grow(nudge * 0, nudge)):
        with pytest.raises(StorageError, match=r"off the voxel grid .*Move its borders to whole voxels"):
            array[roi]
        with pytest.raises(StorageError, match="off the voxel grid"):
            array[roi] = 1


def _plain_array(shape=(4, 6)):
    metadata = VolumeMetadata((2, 2), (10, 0), ("nm", "nm"), ("y", "x"), ("space", "space"))
    return Array("raw", np.zeros(shape, dtype="uint8"), metadata)


def test_data_of_another_shape_is_refused():
    """Data that does not fit the ROI is refused with both shapes, and nothing is broadcast."""
    array = _plain_array()
    with pytest.raises(
        StorageError, match=r"raw: data of shape \(1, 3\) cannot fill ROI .* needs \(2, 3\) voxels"
    ):
        array[Roi((10, 0), (4, 6))] = np.ones((1, 3))
    assert not array.data.any()


def test_rois_of_other_dimensions_are_refused():
    """A ROI with another number of axes than the array is refused with both numbers."""
    with pytest.raises(StorageError, match=r"raw: ROI \[0:2\] \(2\) has 1 axes, the array 2"):
        _plain_array()[Roi((0,), (2,))]


def test_commits_are_told_to_listeners_after_the_write():
    """A listener hears of each ROI once its voxels are there, until it is stopped."""
    array, heard = _plain_array(), []
    stop = on_commit(lambda path, extent, roi: heard.append((path, extent, roi, int(array.data.sum()))))
    roi = Roi((10, 0), (4, 4))
    try:
        array[roi] = 1
    finally:
        stop()
    array[roi] = 2
    assert heard == [(array.path, array.roi, roi, 4)]


def test_what_is_not_a_roi_goes_to_zarr():
    """Slices and numbers read and write the zarr array itself, in voxels."""
    array = _plain_array()
    array[1, 2:4] = 5
    assert array[1].tolist() == [0, 0, 5, 5, 0, 0]


def test_write_unit_is_the_shard_where_there_are_shards():
    """The smallest piece that is rewritten alone is a chunk, or a shard; along ROI axes in lattice units."""
    metadata = VolumeMetadata((4,), (0,), ("nm",), ("c^", "x"), ("channel", "space"))
    for shards, unit in (None, (1, 2)), ((2, 6), (2, 6)):
        data = zarr.create_array(
            zarr.storage.MemoryStore(), shape=(2, 12), chunks=(1, 2), shards=shards, dtype="uint8"
        )
        array = Array("a", data, metadata)
        assert (array.chunks, array.write_unit) == ((1, 2), unit)
        assert array.spatial_write_unit == Coordinate(unit[1] * 4)
