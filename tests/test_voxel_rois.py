import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from blockflow.errors import RoiError
from blockflow.roi import (
    TinyVector,
    containing_rois,
    determine_optimal_request_blockshape,
    determineBlockShape,
    enlargeRoiForHalo,
    getBlockBounds,
    getIntersectingBlocks,
    getIntersectingRois,
    getIntersection,
    is_fully_contained,
    nonzero_bounding_box,
    roiFromShape,
    roiToSlice,
    sliceToRoi,
)

SHAPES = st.lists(st.integers(1, 12), min_size=1, max_size=4).map(tuple)


@st.composite
def rois(draw, shape):
    """A region within a shape, not empty."""
    start = tuple(draw(st.integers(0, size - 1)) for size in shape)
    stop = tuple(draw(st.integers(a + 1, size)) for a, size in zip(start, shape))
    return start, stop


@st.composite
def keys(draw, shape):
    """A slicing within a shape, with ints, negative indices, an Ellipsis and missing axes."""

    def one(size):
        kind = draw(st.sampled_from(["slice", "int", "all"]))
        if kind == "int":
            return draw(st.integers(-size, size - 1))
        if kind == "all":
            return slice(None)
        a, b = sorted(draw(st.tuples(st.integers(0, size), st.integers(0, size))))
        return slice(
            a - size if a and draw(st.booleans()) else a, b - size if b < size and draw(st.booleans()) else b
        )

    key = [one(size) for size in shape]
    cut = draw(st.integers(0, len(shape)))
    if draw(st.booleans()):
        return (*key[:cut], Ellipsis, *key[draw(st.integers(cut, len(shape))) :])
    return tuple(key[:cut])


# slicings


@given(st.data(), SHAPES)
def test_a_slicing_selects_what_numpy_selects(data, shape):
    """The region of a slicing holds the voxels that numpy's indexing gives, ints keeping their axis."""
    key = data.draw(keys(shape))
    array = np.arange(np.prod(shape)).reshape(shape)
    start, stop = sliceToRoi(key, shape)
    np.testing.assert_array_equal(array[roiToSlice(start, stop)].ravel(), array[key].ravel())
    assert len(start) == len(shape)
    assert all(type(value) is int for value in [*start, *stop])


@pytest.mark.parametrize(
    "everything", [(), None, Ellipsis, slice(None), (slice(None),), (Ellipsis, slice(None))]
)
def test_everything(everything):
    """(), None, an Ellipsis and a lone slice select everything."""
    assert sliceToRoi(everything, (3, 4)) == ([0, 0], [3, 4])


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (slice(None, None, 2), "no strides"),
        ((0, 0, 0), "3 indices.*2 axes"),
        ((Ellipsis, Ellipsis), "2 Ellipses"),
        (5, "index 5 is outside of the shape"),
        (-6, "index -6 is outside of the shape"),
        ("a", "neither a slice nor an int"),
        ((1.5, 0), "neither a slice nor an int"),
    ],
)
def test_what_is_no_slicing_is_refused(key, message):
    """Strides, too many or impossible indices are refused, and the message says which."""
    with pytest.raises(RoiError, match=message):
        sliceToRoi(key, (5, 5))


def test_ints_may_drop_their_axis():
    """Without `extendSingleton` an int takes its axis away."""
    assert sliceToRoi((1, slice(2, 4)), (5, 5), extendSingleton=False) == ([2], [4])
    assert sliceToRoi(np.int64(-1), (5,)) == ([4], [5])


def test_slices_beyond_the_shape_stay_as_they_are():
    """A slice that reaches outside is not clipped, so that who asks for too much can be told."""
    assert sliceToRoi((slice(2, 9), slice(4, 2)), (5, 5)) == ([2, 4], [9, 4])


def test_hard_bind():
    """With `hardBind` axes of size 1 are left out of what is selected."""
    assert roiToSlice((1, 2), (2, 5), hardBind=True) == (1, slice(2, 5))


# vectors


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=4), st.integers(1, 5))
def test_vectors_compute_elementwise(values, number):
    """Arithmetic and comparison are numpy's, with vectors, arrays and numbers on either side."""
    vector, array = TinyVector(values), np.array(values)
    for other in (number, [number] * len(values), np.full(len(values), number)):
        plain = np.array(other)
        for ours, theirs in (
            (vector + other, array + plain),
            (vector - other, array - plain),
            (vector * other, array * plain),
            (vector / other, array / plain),
            (vector // other, array // plain),
            (vector % other, array % plain),
            (vector < other, array < plain),
            (vector >= other, array >= plain),
            (vector == other, array == plain),
            (vector != other, array != plain),
        ):
            assert list(ours) == theirs.tolist()
    assert list(number - vector) == (number - array).tolist()
    assert list([number] * len(values) + vector) == (number + array).tolist()
    assert list(-vector) == (-array).tolist()
    assert list(abs(vector)) == abs(array).tolist()


@given(
    st.lists(st.integers(0, 2), min_size=2, max_size=3), st.lists(st.integers(0, 2), min_size=2, max_size=3)
)
def test_a_comparison_is_true_if_it_is_for_all_elements(one, other):
    """`assert a >= b` holds for all elements or fails; `!=` is true if any element differs."""
    a = TinyVector(one)
    if len(one) != len(other):
        equal = a == other
        assert not equal
        assert a != other
        with pytest.raises(RoiError, match=r"has [23] elements"):
            _ = a >= other
        return
    assert bool(a >= other) == all(x >= y for x, y in zip(one, other))
    assert bool(a == other) == (one == other)
    assert bool(a != other) == (one != other)
    assert (a <= other).all() == all(x <= y for x, y in zip(one, other))
    assert (a <= other).any() == any(x <= y for x, y in zip(one, other))


def test_rounding():
    """ceil and floor give whole numbers."""
    assert TinyVector([1.2, -1.2]).ceil() == [2, -1]
    assert TinyVector([1.2, -1.2]).floor() == [1, -2]


# regions and blocks


@given(st.data(), SHAPES)
def test_intersections_hold_what_both_hold(data, shape):
    """A voxel is in the intersection if it is in both; regions that share none are told."""
    one, other = data.draw(rois(shape)), data.draw(rois(shape))
    mark = np.zeros(shape, int)
    mark[roiToSlice(*one)] += 1
    mark[roiToSlice(*other)] += 1
    shared = getIntersection(one, other, assertIntersect=False)
    if shared is None:
        assert not (mark == 2).any()
        with pytest.raises(RoiError, match="share nothing"):
            getIntersection(one, other)
    else:
        assert shared == nonzero_bounding_box(mark == 2)
        assert is_fully_contained(shared, one)
        assert is_fully_contained(shared, other)
    assert (containing_rois([one], other) == [one]) == is_fully_contained(other, one)


@given(st.data(), SHAPES)
def test_blocks_tile_a_region(data, shape):
    """Clipped blocks cover each voxel of the region once; whole ones are those of the grid that touch it."""
    block = tuple(data.draw(st.integers(1, 6)) for _ in shape)
    roi = data.draw(rois(shape))
    count = np.zeros(shape, int)
    for start, stop in getIntersectingRois(shape, block, roi):
        count[roiToSlice(start, stop)] += 1
    expected = np.zeros(shape, int)
    expected[roiToSlice(*roi)] = 1
    np.testing.assert_array_equal(count, expected)
    starts = getIntersectingBlocks(block, roi)
    assert starts == sorted(starts)
    np.testing.assert_array_equal(getIntersectingBlocks(block, roi, asarray=True), np.array(starts))
    for start, whole in zip(starts, getIntersectingRois(shape, block, roi, clip=False), strict=True):
        assert whole == getBlockBounds(shape, block, start)
        assert getIntersection(whole, roi) is not None


def test_blocks_before_the_origin():
    """The grid goes on below 0."""
    assert getIntersectingBlocks((10,), ((-15,), (5,))) == [(-20,), (-10,), (0,)]
    assert getIntersectingBlocks((10,), ((5,), (5,))) == []


def test_blocks_that_are_none():
    """A block shape without size, and a start that is no block's, are refused."""
    with pytest.raises(RoiError, match="without size"):
        getIntersectingBlocks((10, 0), ((0, 0), (5, 5)))
    with pytest.raises(RoiError, match="no block of shape"):
        getBlockBounds((100,), (10,), (5,))


@given(st.data(), SHAPES, st.floats(0, 3))
def test_halo(data, shape, sigma):
    """A grown region reaches `ceil(sigma * window)` further, within the shape, and says where the region lies in it."""
    roi = data.draw(rois(shape))
    axes = [data.draw(st.booleans()) for _ in shape]
    grown, inside = enlargeRoiForHalo(*roi, shape, sigma, 2, enlarge_axes=axes, return_result_roi=True)
    halo = [int(np.ceil(sigma * 2)) * axis for axis in axes]
    assert list(grown[0]) == [max(0, a - h) for a, h in zip(roi[0], halo)]
    assert list(grown[1]) == [min(s, b + h) for b, h, s in zip(roi[1], halo, shape)]
    array = np.arange(np.prod(shape)).reshape(shape)
    np.testing.assert_array_equal(array[roiToSlice(*grown)][roiToSlice(*inside)], array[roiToSlice(*roi)])
    assert enlargeRoiForHalo(*roi, shape, [sigma] * len(shape), 2, axes) == grown


def test_bounding_box():
    """The smallest region with all that is not zero; None where there is nothing."""
    data = np.zeros((5, 6))
    assert nonzero_bounding_box(data) is None
    data[1, 2] = data[3, 4] = 1
    assert nonzero_bounding_box(data) == ([1, 2], [4, 5])
    assert roiFromShape((5, 6)) == ([0, 0], [5, 6])


@given(SHAPES, st.integers(1, 3000))
def test_block_shapes_hold_at_most_the_target(shape, volume):
    """A block shape fits the volume and the shape, and cannot grow by doubling along all axes that have room."""
    block = determineBlockShape(shape, volume)
    assert np.prod(block) <= max(1, volume)
    assert all(1 <= one <= size for one, size in zip(block, shape))
    if np.prod(shape) <= volume:
        assert block == shape


def test_block_shapes_that_are_none():
    """A volume of less than a voxel is refused."""
    with pytest.raises(RoiError, match="has a voxel"):
        determineBlockShape((10, 10), 0)


@given(st.data(), SHAPES)
def test_request_block_shapes_fit_the_memory(data, shape):
    """Each thread's block fits its share of the memory, and is a multiple of the ideal shape where that fits."""
    ideal = tuple(data.draw(st.one_of(st.none(), st.integers(0, size))) for size in shape)
    threads, voxels = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5000))
    block = determine_optimal_request_blockshape(shape, ideal, 8, threads, 8 * threads * voxels)
    assert np.prod(block) <= voxels
    assert all(1 <= one <= size for one, size in zip(block, shape))
    base = [one or 1 for one in ideal]
    assume(np.prod(base) <= voxels)
    assert all(one % step == 0 for one, step in zip(block, base))
