"""What is said of a value beside the value itself: workers have it, too."""

import numpy as np
import pytest
import zarr
from planned_runs import planned_here, run_here
from small_operators import OpPass

from blockflow.errors import TaskError
from blockflow.graph import Graph
from blockflow.operators import OpGaussianSmoothing
from blockflow.planning import Target
from blockflow.storage import open_array
from blockflow.tasks.graph_data import GraphData

CHANNELS = {"axis_names": ("c^", "y", "x"), "types": ("channel", "space", "space")}
VOXELS = np.random.default_rng(0).random((6, 16, 16)).astype(np.float32)


class OpAddLeast(OpPass):
    """Adds the least value that the metadata of its input tell of."""

    def execute(self, slot, subindex, roi, result):
        result[...] = self.Input.get(roi).wait() + (self.Input.meta.drange or (0, 0))[0]


@pytest.fixture
def stored(tmp_path):
    zarr.create_array(str(tmp_path / "raw.zarr"), data=VOXELS, chunks=(6, 8, 8))
    return open_array(tmp_path / "raw.zarr")


def smoothing(value, extra_meta=None):
    op = OpGaussianSmoothing(graph=Graph())
    op.Input.setValue(value, extra_meta=extra_meta)
    op.sigma.setValue(1.0)
    return op


def planned(op, folder):
    return planned_here({op.Output: Target(path=str(folder / "out.zarr"))}, folder / "work", num_workers=1)


def stored_by_workers(op, folder):
    run_here(planned(op, folder))
    return zarr.open_array(str(folder / "out.zarr"))[:]


def test_extra_metadata_of_values(tmp_path):
    """A filter that was told of a channel axis by extra_meta leaves channels apart in workers as it does lazily."""
    op = smoothing(VOXELS, CHANNELS)
    lazily = op.Output[:].wait()
    assert np.array_equal(stored_by_workers(op, tmp_path), lazily)
    assert not np.array_equal(smoothing(VOXELS).Output[:].wait(), lazily)


def test_extra_metadata_of_stored_arrays(stored, tmp_path):
    """What extra_meta says of a stored array is there in workers, which read it in windows."""
    op = OpAddLeast(graph=Graph())
    op.Input.setValue(stored, extra_meta={"drange": (5, 7)})
    assert np.array_equal(stored_by_workers(op, tmp_path), VOXELS + np.float32(5))


def test_extra_metadata_counts_in_the_recipe(tmp_path):
    """What extra_meta says is a part of the recipe; without it the recipe says nothing of it."""
    with_it, without = (
        planned(smoothing(VOXELS, said), tmp_path).tasks()[0].process_function.recipe_code()
        for said in (CHANNELS, None)
    )
    assert with_it != without
    assert "extra_meta" in str(with_it)
    assert "extra_meta" not in str(without)


def test_extra_metadata_end_with_the_connection():
    """A value without extra_meta that comes after one with it is taken down without."""
    op = OpPass(graph=Graph())
    op.Input.setValue(VOXELS, extra_meta=CHANNELS)
    op.Input.disconnect()
    op.Input.setValue(VOXELS)
    (node,) = GraphData.of([op.Output]).nodes
    assert not node.extra_meta


def test_metadata_set_on_the_slot():
    """Metadata that were set on an input itself are refused: the message names them, and extra_meta."""
    op = OpPass(graph=Graph())
    op.Input.setValue(VOXELS)
    op.Input.meta.axistags = "cyx"
    with pytest.raises(TaskError, match=r"OpPass\.Input: meta\.axistags is other than .*extra_meta"):
        GraphData.of([op.Output])
