"""The block grid, against brute force on small volumes and against Daisy itself."""

import itertools

import daisy.v2 as daisy
import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from blockflow.errors import TaskError
from blockflow.tasks import FITS, BlockGrid

_LONGEST = {1: 20, 2: 12, 3: 7, 4: 5}

properties = settings(max_examples=60, deadline=None)


@st.composite
def rois(draw, fit=None):
    """Total, read and write ROI of 1 to 4 axes with offsets and asymmetric context, and a fit."""
    dims = draw(st.integers(1, 4))

    def numbers(low, high):
        return draw(st.lists(st.integers(low, high), min_size=dims, max_size=dims))

    before, after, write = numbers(0, 2), numbers(0, 2), numbers(1, 4)
    read = [sum(sizes) for sizes in zip(before, write, after, strict=True)]
    total = Roi(numbers(-30, 30), numbers(1, _LONGEST[dims] + 2))
    read_begin = Coordinate(numbers(-10, 10))
    fit = fit or draw(st.sampled_from(FITS))
    return total, Roi(read_begin, read), Roi(read_begin + Coordinate(before), write), fit


@st.composite
def grids(draw, fit=None):
    """Grids that have at least one block."""
    arguments = draw(rois(fit))
    assume(_expected_blocks(*arguments))
    return BlockGrid(*arguments)


def _expected_blocks(total, read, write, fit):
    """All (read ROI, write ROI) by trying positions along each axis, as the policies are worded."""
    per_axis = []
    for axis in range(total.dims):
        begin, end = total.begin[axis], total.end[axis]
        before = write.begin[axis] - read.begin[axis]
        after = read.end[axis] - write.end[axis]
        found = []
        for step in range(total.shape[axis] + 1):
            low = begin + before + step * write.shape[axis]
            high = low + write.shape[axis]
            if fit == "valid":
                keep = high + after <= end
            else:
                keep = any(begin + before <= point < end - after for point in range(low, high))
            if fit == "shrink":
                high = min(high, end - after)
            if keep:
                found.append((low - before, high + after, low, high))
        per_axis.append(found)
    blocks = []
    for combination in itertools.product(*per_axis):
        read_low, read_high, low, high = (Coordinate(values) for values in zip(*combination, strict=True))
        blocks.append((Roi(read_low, read_high - read_low), Roi(low, high - low)))
    return blocks


def _numbers(block):
    """A block's read and write ROI as tuples, which can be sorted."""
    return tuple((tuple(roi.begin), tuple(roi.shape)) for roi in block)


def _times_written(grid):
    """How often each point is written, on a canvas with a margin around the total ROI."""
    margin = grid.read_roi.shape
    canvas_roi = grid.total_roi.grow(margin, margin)
    canvas = np.zeros(canvas_roi.shape, dtype=int)
    for _, write in grid:
        begin, end = write.begin - canvas_roi.begin, write.end - canvas_roi.begin
        canvas[tuple(map(slice, begin, end))] += 1
    return canvas, canvas_roi


@properties
@given(rois())
def test_blocks_are_those_that_the_fit_describes(arguments):
    """The blocks, in order, are those found by trying every position; none at all is an error."""
    expected = _expected_blocks(*arguments)
    if not expected:
        with pytest.raises(TaskError, match="zero blocks"):
            BlockGrid(*arguments)
        return
    grid = BlockGrid(*arguments)
    assert list(grid) == expected
    assert grid.number_of_blocks == len(expected)


@properties
@given(grids())
def test_write_rois_never_overlap(grid):
    """No point is written by two blocks, whatever the fit."""
    canvas, _ = _times_written(grid)
    assert canvas.max() == 1


@properties
@given(grids())
def test_covered_is_the_union_of_the_write_rois(grid):
    """`covered` holds exactly the points that blocks write, and `unprocessed` counts what they leave out."""
    canvas, canvas_roi = _times_written(grid)
    begin, end = grid.covered.begin - canvas_roi.begin, grid.covered.end - canvas_roi.begin
    expected = np.zeros_like(canvas)
    expected[tuple(map(slice, begin, end))] = 1
    assert np.array_equal(canvas, expected)
    begin, end = grid.writable.begin - canvas_roi.begin, grid.writable.end - canvas_roi.begin
    assert grid.unprocessed == (canvas[tuple(map(slice, begin, end))] == 0).sum()


@properties
@given(grids(fit="valid"))
def test_valid_never_leaves_the_total_roi(grid):
    """With `valid`, every read ROI lies in the total ROI and every block has the full size."""
    for read, write in grid:
        assert grid.total_roi.contains(read)
        assert (read.shape, write.shape) == (grid.read_roi.shape, grid.write_roi.shape)


@properties
@given(grids(fit="overhang"))
def test_overhang_writes_all_that_can_be_written_in_full_blocks(grid):
    """With `overhang`, the writable ROI is covered and every block has the full size."""
    assert grid.unprocessed == 0
    for read, write in grid:
        assert write.intersects(grid.writable)
        assert (read.shape, write.shape) == (grid.read_roi.shape, grid.write_roi.shape)


@properties
@given(grids(fit="shrink"))
def test_shrink_covers_the_writable_roi_and_keeps_the_context(grid):
    """With `shrink`, blocks cover the writable ROI, stay in the total ROI, and each has the whole context."""
    assert grid.covered == grid.writable
    for read, write in grid:
        assert grid.total_roi.contains(read)
        assert not write.empty
        assert (write.begin - read.begin, read.end - write.end) == grid.context


@properties
@given(grids())
def test_index_and_position_are_inverse(grid):
    """A block's number gives its position, its position its write ROI, and where that begins its number."""
    positions = list(itertools.product(*map(range, grid.shape)))
    for index, position in enumerate(positions):
        assert grid.position_of(index) == position
        assert grid.index_of(grid.write_roi_of(position).begin) == index


@properties
@given(grids())
def test_json_round_trip(grid):
    """A grid survives JSON."""
    assert BlockGrid.from_json(grid.to_json()) == grid


@settings(max_examples=120, deadline=None)
@given(grids())
def test_the_grid_is_daisys(grid):
    """Daisy makes the same number of blocks along each axis, with the same read and write ROIs."""
    task = daisy.Task(
        task_id="grid",
        total_roi=grid.total_roi,
        read_roi=grid.read_roi,
        write_roi=grid.write_roi,
        process_function=lambda block: None,
        fit=grid.fit,
    )
    assert list(task.block_grid_shape) == list(grid.shape)
    graph = daisy.BlockwiseDependencyGraph(
        "grid",
        grid.read_roi,
        grid.write_roi,
        read_write_conflict=False,
        fit=grid.fit,
        total_read_roi=grid.total_roi,
    )
    theirs = [(block.read_roi, block.write_roi) for block, _ in graph.enumerate_all_dependencies()]
    assert sorted(map(_numbers, theirs)) == sorted(map(_numbers, grid))


def test_counts_are_exact_beyond_floating_point():
    """A total ROI of more than 2**53 steps is counted exactly."""
    length = 3 * (2**60 + 1)
    grid = BlockGrid(Roi((0,), (length + 1,)), Roi((0,), (3,)), Roi((0,), (3,)), "shrink")
    assert grid.number_of_blocks == 2**60 + 2


def test_unknown_fit_is_answered_with_the_valid_ones():
    """A wrong fit names itself and the valid ones."""
    with pytest.raises(TaskError, match=r"fit is 'reflect'; valid are valid, overhang, shrink"):
        BlockGrid(Roi((0,), (8,)), Roi((0,), (4,)), Roi((0,), (4,)), "reflect")


def test_different_numbers_of_axes_are_refused():
    """ROIs of different dimensions are refused with the number of axes of each."""
    with pytest.raises(TaskError, match=r"same number of axes.*total 2, read 1, write 1"):
        BlockGrid(Roi((0, 0), (8, 8)), Roi((0,), (4,)), Roi((0,), (4,)), "valid")


def test_writing_outside_of_what_is_read_is_refused():
    """A write ROI that leaves the read ROI is refused with both ROIs and the cure."""
    with pytest.raises(
        TaskError, match=r"\[2:6\].*\(4\).*within the read ROI \[0:4\].*Grow the read ROI or shrink"
    ):
        BlockGrid(Roi((0,), (8,)), Roi((0,), (4,)), Roi((2,), (4,)), "valid")


@pytest.mark.parametrize("name", ["total", "read", "write"])
@pytest.mark.parametrize("bad", [Roi((0,), (0,)), Roi((None,), (None,))])
def test_rois_without_place_or_size_are_refused(name, bad):
    """An empty or unbounded ROI is refused by name."""
    rois = {"total": Roi((0,), (8,)), "read": Roi((0,), (4,)), "write": Roi((0,), (4,))} | {name: bad}
    with pytest.raises(TaskError, match=f"the {name} ROI .* must have a place and a size"):
        BlockGrid(*rois.values(), "valid")


def test_zero_blocks_with_valid_says_how_to_get_some():
    """A total ROI smaller than one read ROI is refused with both sizes, and with other fits as the cure."""
    with pytest.raises(
        TaskError, match=r"zero blocks.*\[0:8\].*read ROI of shape \(10,?\).*'shrink' or 'overhang'"
    ):
        BlockGrid(Roi((0,), (8,)), Roi((-2,), (10,)), Roi((0,), (6,)), "valid")


@pytest.mark.parametrize("fit", ["overhang", "shrink"])
def test_zero_blocks_for_lack_of_room_beside_the_context_says_so(fit):
    """A total ROI that is all context is refused with the context, and the advice to grow it."""
    with pytest.raises(TaskError, match=r"zero blocks.*\[0:4\].*context \(2,?\) and \(3,?\).*grow it"):
        BlockGrid(Roi((0,), (4,)), Roi((-2,), (11,)), Roi((0,), (6,)), fit)
