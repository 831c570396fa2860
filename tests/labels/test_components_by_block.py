"""Connected components, block by block, have the very numbers that cc3d gives those of the whole array."""

import itertools
import math

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from blockflow.errors import LabelError
from blockflow.labels import Stitch, connected_components, left_by_block, lookup, merge_blocks

CONNECTIVITIES = [(2, 4), (2, 8), (3, 6), (3, 18), (3, 26)]


def whole(image, connectivity, multi_label):
    plain = image if multi_label else (image != 0).astype(np.uint8)
    return cc3d.connected_components(plain, connectivity=connectivity)


def blockwise(image, block_shape, connectivity, multi_label, axes=None, order=None):
    """The components of an image as three passes over its blocks give them; `order` is that of the first pass."""
    axes = tuple(range(image.ndim)) if axes is None else axes
    stitch = Stitch("touching", connectivity, equal=multi_label)
    cuts = [range(0, size, step) for size, step in zip(image.shape, block_shape)]
    grid = [len(cut) for cut in cuts]
    blocks = [
        tuple(slice(low, min(low + step, size)) for low, step, size in zip(begin, block_shape, image.shape))
        for begin in itertools.product(*cuts)
    ]
    own, left = {}, {}
    for index in order or range(len(blocks)):
        part = image[blocks[index]]
        labels = connected_components(part, connectivity, multi_label=multi_label, axes=axes)
        every = tuple(map(slice, part.shape))
        begin = [along.start for along in blocks[index]]
        own[index], left[index] = left_by_block(labels, every, begin, axes, stitch, classes=part)
    merged = merge_blocks(
        grid, lambda index, *names: {name: left[index][name] for name in names}, stitch, axes, axes
    )
    result = np.empty(image.shape, np.uint64)
    for index, block in enumerate(blocks):
        result[block] = lookup(merged["offsets"], merged["table"], index, np.uint64)[own[index]]
    return result


@st.composite
def cases(draw):
    dims, connectivity = draw(st.sampled_from(CONNECTIVITIES))
    shape = draw(st.tuples(*[st.integers(1, 9 if dims == 3 else 24)] * dims))
    values = draw(st.integers(1, 3))
    density = draw(st.sampled_from([0.2, 0.4, 0.6, 0.9]))
    seed = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seed)
    image = generator.integers(1, values + 1, shape) * (generator.random(shape) < density)
    block = draw(st.tuples(*[st.integers(1, 10)] * dims))
    return image.astype(draw(st.sampled_from(["u1", "i4", "u8", ">u2"]))), block, connectivity


@settings(max_examples=120, deadline=None)
@given(cases(), st.booleans(), st.randoms(use_true_random=False))
def test_any_blocks_give_the_numbers_of_the_whole(case, multi_label, random):
    """Whatever the image, its axes, the connectivity, the block shape and the order of blocks: cc3d's own numbers."""
    image, block, connectivity = case
    count = math.prod(-(-size // step) for size, step in zip(image.shape, block))
    order = list(range(count))
    random.shuffle(order)
    native = image.astype(image.dtype.newbyteorder("="))
    np.testing.assert_array_equal(
        blockwise(image, block, connectivity, multi_label, order=order),
        whole(native, connectivity, multi_label),
    )


@settings(max_examples=100, deadline=None)
@given(cases(), st.booleans())
def test_the_whole_has_the_numbers_of_cc3d(case, multi_label):
    """In one piece, booleans among them, components are numbered as cc3d numbers those of integers."""
    image, _, connectivity = case
    native = image.astype(image.dtype.newbyteorder("="))
    expected = whole(native, connectivity, multi_label)
    np.testing.assert_array_equal(
        connected_components(image, connectivity, multi_label=multi_label), expected
    )
    for order in ("F", "C"):
        foreground = np.asarray(image != 0, order=order)
        foreground.flags.writeable = False
        found = connected_components(foreground, connectivity)
        np.testing.assert_array_equal(found, whole(native, connectivity, multi_label=False))
        assert (found.dtype, found.flags.c_contiguous) == (np.uint32, True)


def spiral(size):
    """One line that winds through all of a square, two voxels apart."""
    image = np.zeros((size, size), np.uint8)
    y, x, dy, dx = 0, 0, 0, 1
    while True:
        image[y, x] = 1
        ny, nx = y + dy, x + dx
        ahead = ny + dy, nx + dx
        blocked = not (0 <= ny < size and 0 <= nx < size) or image[ny, nx]
        near = 0 <= ahead[0] < size and 0 <= ahead[1] < size and image[ahead]
        if blocked or near:
            dy, dx = dx, -dy
            ny, nx = y + dy, x + dx
            ahead = ny + dy, nx + dx
            if image[ny, nx] or (0 <= ahead[0] < size and 0 <= ahead[1] < size and image[ahead]):
                return image
        y, x = ny, nx


def images(dims):
    size = 33 if dims == 2 else 13
    shape = (size,) * dims
    parity = np.indices(shape).sum(axis=0) % 2
    winding = spiral(size)
    if dims == 3:
        levels = np.zeros(shape, np.uint8)
        levels[::2] = winding
        levels[1::4, 0, 0] = levels[3::4][
            (slice(None), *np.argwhere(winding)[len(np.argwhere(winding)) // 2])
        ] = 1
        winding = levels
    return {
        "empty": np.zeros(shape, np.uint8),
        "full": np.ones(shape, np.uint8),
        "checkerboard": parity.astype(np.uint8),
        "checkerboard of two labels": (parity + 1).astype(np.uint8),
        "spiral": winding,
        "spiral and its inverse": (winding + 1).astype(np.uint8),
        "every voxel another": np.arange(1, size**dims + 1, dtype=np.uint32).reshape(shape),
    }


@pytest.mark.parametrize(("dims", "connectivity"), CONNECTIVITIES)
@pytest.mark.parametrize("multi_label", [False, True], ids=["binary", "multi-label"])
def test_what_winds_through_many_blocks_is_one(dims, connectivity, multi_label):
    """Spirals, checkerboards, empty and full volumes, in blocks of one voxel, of odd shapes, and of everything."""
    for name, image in images(dims).items():
        expected = whole(image, connectivity, multi_label)
        for block in ((4, 5, 3), (1, 7, 2), (40, 2, 40), (40, 40, 40)):
            found = blockwise(image, block[:dims], connectivity, multi_label)
            np.testing.assert_array_equal(found, expected, err_msg=f"{name} in blocks of {block}")


def test_a_spiral_is_one_component():
    """The spiral of these tests is a single component that enters every block; otherwise they prove little."""
    image = spiral(33)
    assert cc3d.connected_components(image, connectivity=4).max() == 1
    assert all(image[y : y + 4, x : x + 4].any() for y in range(0, 33, 4) for x in range(0, 33, 4))
    assert image.sum() > 400


@settings(deadline=None, max_examples=50)
@given(
    arrays.arrays(np.uint8, (3, 5, 6, 2), elements=st.integers(0, 2)),
    st.sampled_from([(1, 2), (0, 1), (1, 3), (0, 1, 2), (1, 2, 3)]),
    st.booleans(),
)
def test_other_axes_are_labelled_one_by_one(image, axes, multi_label):
    """Along axes that are no space, each index is an image of its own; numbers go on, in C order of the whole."""
    connectivity = {2: 8, 3: 18}[len(axes)]
    found = connected_components(image, connectivity, multi_label=multi_label, axes=axes)
    others = [axis for axis in range(4) if axis not in axes]
    frames = image.transpose(*others, *axes)
    expected = np.zeros(frames.shape, np.int64)
    count = 0
    for index in np.ndindex(*frames.shape[: len(others)]):
        labels = whole(np.ascontiguousarray(frames[index]), connectivity, multi_label).astype(np.int64)
        expected[index] = np.where(labels, labels + count, 0)
        count += labels.max()
    expected = expected.transpose(np.argsort([*others, *axes]))
    values, first = np.unique(expected, return_index=True)
    ranks = dict(zip([v for _, v in sorted(zip(first, values)) if v], itertools.count(1))) | {0: 0}
    np.testing.assert_array_equal(found, np.vectorize(ranks.__getitem__)(expected))
    block = tuple(2 if axis in axes else image.shape[axis] for axis in range(4))
    np.testing.assert_array_equal(blockwise(image, block, connectivity, multi_label, axes), found)


@pytest.mark.parametrize(
    ("shape", "connectivity", "message"),
    [
        ((3, 3), 6, "connectivity is 6; with 2 spatial axes it is one of 4, 8"),
        ((3, 3, 3), 4, "connectivity is 4; with 3 spatial axes it is one of 6, 18, 26"),
        ((3, 3), True, "connectivity is True"),
        ((3,), 4, "along 2 or 3 spatial axes, not 1"),
        ((3, 3, 3, 3), 6, "along 2 or 3 spatial axes, not 4"),
    ],
)
def test_a_connectivity_of_other_axes_is_refused(shape, connectivity, message):
    """What cannot be asked is answered with what can."""
    with pytest.raises(LabelError, match=message):
        connected_components(np.zeros(shape, np.uint8), connectivity)


def test_multi_label_needs_labels():
    """Floats are no labels; where only the background matters, they will do."""
    image = np.array([[0.0, 0.5], [np.nan, 0.0]])
    with pytest.raises(LabelError, match="need whole numbers, not float64"):
        connected_components(image, 4, multi_label=True)
    np.testing.assert_array_equal(connected_components(image, 4), [[0, 1], [2, 0]])
