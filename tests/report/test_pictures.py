"""Pictures of single slices."""

import numpy as np
import pytest
from PIL import Image

from blockflow.errors import StorageError
from blockflow.report.pictures import save_slice, slice_picture
from blockflow.storage import Array, VolumeMetadata


def volume(voxels, names="zyx", **attributes):
    """An Array over `voxels`; a name `c` is a channel axis."""
    names = [f"{name}^" if name == "c" else name for name in names]
    metadata = VolumeMetadata.parse({"axis_names": names, **attributes}, voxels.ndim, "test")
    return Array("test.zarr", voxels, metadata)


def pixels(image, shape):
    """The picture at one pixel per voxel."""
    return np.asarray(image.resize(shape[::-1], Image.Resampling.NEAREST))


def test_grey_values_are_stretched():
    """The 1st percentile and below is black, the 99th and above white, in the order of the values."""
    values = np.random.default_rng(0).permutation(400).reshape(1, 20, 20)
    for dtype in (np.float32, np.uint16, np.int16):
        picture = pixels(slice_picture(volume(values.astype(dtype))), (20, 20))
        order = np.argsort(values[0], axis=None)
        assert (np.diff(picture.ravel()[order].astype(int)) >= 0).all()
        assert picture.min() == 0
        assert picture.max() == 255
        assert 110 < np.median(picture) < 145


def test_masks_are_black_and_white():
    """Booleans, 0 and 1 of any integer type, and 8-bit masks of one value are black and white."""
    mask = np.arange(100).reshape(1, 10, 10) % 3 == 0
    wanted = np.where(mask[0], 255, 0)
    for voxels in (mask, mask.astype(np.uint8), mask.astype(np.uint64), mask.astype(np.uint8) * 255):
        assert np.array_equal(pixels(slice_picture(volume(voxels)), (10, 10)), wanted)
    assert not np.asarray(slice_picture(volume(np.zeros((1, 10, 10), bool)))).any()


@pytest.mark.parametrize("dtype", [np.uint64, np.int32, np.uint16])
def test_labels_have_fixed_colours(dtype):
    """Each label has one colour, the same in every picture and type; background is black, no label is."""
    blocks = np.kron(np.arange(16).reshape(4, 4), np.ones((5, 5)))[None]
    picture = pixels(slice_picture(volume(blocks.astype(dtype))), (20, 20))
    assert picture.shape == (20, 20, 3)
    assert not picture[:5, :5].any()
    colours = {label: {tuple(colour) for colour in picture[blocks[0] == label]} for label in range(16)}
    assert all(len(found) == 1 for found in colours.values())
    assert len(set.union(*colours.values())) == 16
    assert all(max(*found) > 60 for label in range(1, 16) for found in colours[label])
    flipped = pixels(slice_picture(volume(blocks[:, ::-1].astype(np.uint32))), (20, 20))
    assert np.array_equal(flipped[::-1], picture)


def test_negative_and_huge_labels_are_labels_too():
    """Labels at the ends of their type are drawn without a warning."""
    ends = np.array([[[-(2**63), 2**63 - 1], [-1, 0]]])
    assert slice_picture(volume(ends)).mode == "RGB"
    assert slice_picture(volume(np.array([[[2**64 - 1, 5], [0, 3]]], np.uint64))).mode == "RGB"


@pytest.mark.parametrize("names", ["czyx", "zcyx", "zyxc"])
def test_three_channels_are_colours(names):
    """Three channels of grey values are red, green and blue, wherever their axis is."""
    values = np.zeros((3, 5, 10, 12), np.float32)
    for channel in range(3):
        values[channel, :, :, channel * 4 : channel * 4 + 4] = 1
    picture = pixels(slice_picture(volume(np.moveaxis(values, 0, names.index("c")), names)), (10, 12))
    for channel in range(3):
        assert (picture[:, channel * 4 : channel * 4 + 4] == np.eye(3)[channel] * 255).all()


def test_of_other_channels_the_first_is_drawn():
    """Two channels, or channels of labels, show the first one."""
    first = np.random.default_rng(0).random((3, 10, 12))
    alone = np.asarray(slice_picture(volume(first)))
    assert np.array_equal(np.asarray(slice_picture(volume(np.stack([first, first * 0]), "czyx"))), alone)
    labels = np.arange(3 * 360, dtype=np.uint32).reshape(3, 3, 10, 12)
    picture, alone = slice_picture(volume(labels, "czyx")), slice_picture(volume(labels[0]))
    assert np.array_equal(np.asarray(picture), np.asarray(alone))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_axis_and_index_choose_the_slice(axis):
    """A slice across an axis, by number or name, is that plane of voxels; by default the middle one."""
    voxels = np.random.default_rng(1).random((6, 8, 10)) < 0.5
    array = volume(voxels)
    for index in (0, 5, None):
        plane = np.take(voxels, voxels.shape[axis] // 2 if index is None else index, axis)
        for name in (axis, "zyx"[axis]):
            picture = pixels(slice_picture(array, name, index), plane.shape)
            assert np.array_equal(picture, np.where(plane, 255, 0))


def test_only_the_slice_is_read():
    """The voxels asked of the store are those of one slice, and of a huge one no more than can be seen."""
    asked = []

    class Store:
        dtype = np.dtype(np.uint8)

        def __init__(self, *shape):
            self.shape = shape

        def __getitem__(self, key):
            result = np.broadcast_to(np.uint8(0), self.shape)[key]
            asked.append(result.shape)
            return result

    metadata = volume(np.zeros((1, 1, 1))).metadata
    slice_picture(Array("a", Store(30, 40, 50), metadata))
    image = slice_picture(Array("a", Store(9, 100_000, 50), metadata))
    assert asked[0] == (40, 50)
    assert asked[1] == (4000, 2)
    assert image.size == (2, 4000)


def test_pictures_are_large_enough_and_in_proportion():
    """The longer side has at least 384 pixels; voxels that are higher than wide are drawn so."""
    plane = np.zeros((1, 10, 20), bool)
    assert slice_picture(volume(plane)).size == (400, 200)
    units = {"units": ["nm"] * 3}
    assert slice_picture(volume(plane, voxel_size=[40, 40, 10], **units)).size == (200, 400)
    assert slice_picture(volume(plane, voxel_size=[40, 10, 40], **units)).size == (400, 50)
    assert slice_picture(volume(plane, voxel_size=[40, 40, 10], units=["nm", "s", "nm"])).size == (400, 200)
    assert slice_picture(volume(np.zeros((1, 500, 100), bool))).size == (100, 500)


def test_strange_values_are_drawn():
    """Constants, values that are not finite, and pictures of a flat volume need no special care."""
    strange = np.array([[np.nan, np.inf, -np.inf, 1.0, 2.0]])
    picture = pixels(slice_picture(volume(strange, "yx")), (1, 5))
    assert picture.tolist() == [[0, 0, 0, 0, 255]]
    assert not np.asarray(slice_picture(volume(np.full((1, 4, 4), np.nan)))).any()
    assert (np.asarray(slice_picture(volume(np.full((1, 4, 4), 7.5)))) == 128).all()
    assert slice_picture(volume(np.random.default_rng(0).random((2, 3, 4, 4)), "tzyx")).size == (384, 384)


def test_a_picture_is_written_whole_or_not_at_all(tmp_path):
    """The file is the PNG of the picture, nothing else is left, and what cannot be written is named."""
    array = volume(np.random.default_rng(0).random((4, 10, 12)))
    image = save_slice(array, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as written:
        assert written.format == "PNG"
        assert np.array_equal(np.asarray(written), np.asarray(image))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(StorageError, match=r"missing.a\.png: the picture cannot be written"):
        save_slice(array, tmp_path / "missing" / "a.png")
    with pytest.raises(StorageError, match=r"let the name end in \.png"):
        save_slice(array, tmp_path / "a.jpg")


def test_a_slice_that_is_not_there_is_refused():
    """Errors name the array, what was asked and what there is."""
    array = volume(np.zeros((4, 5, 6)))
    with pytest.raises(StorageError, match=r"test\.zarr: there is no slice 4 along axis 'z', only 0 to 3"):
        slice_picture(array, 0, 4)
    with pytest.raises(StorageError, match="no spatial axis 'w'; it has z, y, x, or 0 to 2"):
        slice_picture(array, "w")
    with pytest.raises(StorageError, match="no spatial axis 3"):
        slice_picture(array, 3)
    with pytest.raises(StorageError, match="two spatial axes"):
        slice_picture(volume(np.zeros((3, 4)), "cx"))
    with pytest.raises(StorageError, match="no voxels"):
        slice_picture(volume(np.zeros((0, 4, 4))))
