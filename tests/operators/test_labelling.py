"""Connected components as an operator: the numbers of the whole, whatever region is asked and however it is run."""

import cc3d
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from blockflow.errors import OperatorError
from blockflow.execution.graph_runs import run
from blockflow.graph import StageGrid
from blockflow.operators import labelling, resolve_operator
from blockflow.planning import Target
from blockflow.storage import open_array

CONNECTIVITIES = [(2, 4), (2, 8), (3, 6), (3, 18), (3, 26)]


def components(image, connectivity=None, multi_label=False):
    op = resolve_operator("ConnectedComponents")()
    op.Input.setValue(image)
    if connectivity is not None:
        op.connectivity.setValue(connectivity)
    op.multi_label.setValue(multi_label)
    return op


def whole(image, connectivity, multi_label=False):
    plain = image if multi_label else (image != 0).astype(np.uint8)
    return cc3d.connected_components(plain, connectivity=connectivity)


def blobs(shape, seed=0, levels=(0.02, 0.2)):
    from scipy import ndimage

    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.0)
    return np.digitize(noise, levels).astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_stages_give_the_numbers_of_the_whole(data):
    """Any pass over blocks, its merge and any region of the output: cc3d's numbers; and lazily the same."""
    dims, connectivity = data.draw(st.sampled_from(CONNECTIVITIES))
    shape = data.draw(st.tuples(*[st.integers(1, 13)] * dims))
    block = data.draw(st.tuples(*[st.integers(1, 14)] * dims))
    multi_label = data.draw(st.booleans())
    image = blobs(shape, data.draw(st.integers(0, 999)))
    start = [data.draw(st.integers(0, size - 1)) for size in shape]
    stop = [data.draw(st.integers(low + 1, size)) for low, size in zip(start, shape)]
    region = tuple(map(slice, start, stop))
    expected = whole(image, connectivity, multi_label)

    edges = labelling._EDGE
    labelling._EDGE = {2: 5, 3: 4}
    try:
        lazy = components(image, connectivity, multi_label)
        np.testing.assert_array_equal(lazy.Output[region].wait(), expected[region])
        staged = components(image, connectivity, multi_label)
        grid = StageGrid(shape, tuple(map(min, block, shape)))
        left = [staged.measure(grid, index) for index in range(len(grid))]
        staged.give_merged(grid, staged.merge(grid, left))
        np.testing.assert_array_equal(staged.Output[region].wait(), expected[region])
        np.testing.assert_array_equal(staged.Output[:].wait(), expected)
    finally:
        labelling._EDGE = edges


def test_pieces_tile_the_volume():
    """Pieces cover each voxel once, each lies in one block and one cube, and each knows its place in its block."""
    grid = StageGrid((3, 130, 70), (2, 50, 64))
    pieces = labelling.Pieces(grid, (1, 2))
    seen = np.zeros(grid.shape, int)
    numbers = []
    for index in range(len(grid)):
        start, stop = grid.bounds(index)
        for place, (number, where) in enumerate(pieces.within(start, stop)):
            seen[where] += 1
            numbers.append(number)
            assert pieces.block_of(number) == (index, place)
    assert (seen == 1).all()
    assert sorted(numbers) == list(range(len(numbers)))


@pytest.mark.parametrize("context", ["serial", "local"])
@pytest.mark.parametrize("block", [(32, 40, 32), (64, 64, 96)])
def test_a_run_stores_what_the_graph_answers(context, block):
    """From the same graph, lazily and as stages of a run with whatever blocks: the labels of the whole."""
    image = blobs((70, 66, 96), 3)
    zarr.create_array("image.zarr", data=image, chunks=(32, 8, 32))
    op = components(open_array("image.zarr"), 6)
    expected = whole(image, 6)
    np.testing.assert_array_equal(op.Output[:].wait(), expected)
    assert run(op.Output, Target("out.zarr", block_shape=block), num_workers=2, compute_context=context)
    found = zarr.open_array("out.zarr", mode="r")
    assert found.dtype == np.uint64
    np.testing.assert_array_equal(found[...], expected)


def test_changes_are_seen():
    """After a change of the input, the parameters or both, labels are those of what is there now."""
    image = blobs((20, 22, 24), 5)
    op = components(image)
    np.testing.assert_array_equal(op.Output[:].wait(), whole(image, 26))
    op.connectivity.setValue(6)
    np.testing.assert_array_equal(op.Output[:].wait(), whole(image, 6))
    op.multi_label.setValue(True)
    np.testing.assert_array_equal(op.Output[:].wait(), whole(image, 6, multi_label=True))
    image = blobs((20, 22, 24), 6)
    op.Input.setValue(image)
    np.testing.assert_array_equal(op.Output[:].wait(), whole(image, 6, multi_label=True))


@pytest.mark.parametrize(
    ("image", "connectivity", "multi_label", "message"),
    [
        (np.zeros((3, 3)), 6, False, "connectivity is 6; with 2 spatial axes it is one of 4, 8"),
        (np.zeros(3), None, False, "connected along 2 or 3 spatial axes, not 1"),
        (np.zeros((3, 3)), None, True, "need whole numbers, not float64"),
        (np.zeros((3, 3), complex), None, False, "components are of real numbers, not of complex128"),
    ],
)
def test_what_cannot_be_labelled_is_refused(image, connectivity, multi_label, message):
    """Where there can be no components, the output is not ready, and says why."""
    op = components(image, connectivity, multi_label)
    assert not op.Output.ready()
    assert message in op.Output.meta.NOTREADY
    with pytest.raises(OperatorError, match="give a whole number"):
        op.connectivity.setValue("all")
