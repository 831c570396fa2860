"""Models whose files change between two runs of one graph."""

import numpy as np
import zarr
from operators.networks import OpWithin, torch_or_skip, write_network
from planned_runs import planned_here, run_here

from blockflow.graph import Graph
from blockflow.operators import OpPredict
from blockflow.planning import Target
from blockflow.storage import open_array

torch = torch_or_skip()

VOXELS = np.arange(256, dtype=np.float32).reshape(16, 16)


def network(path, size, factor):
    """A convolution that looks `size` // 2 around, and multiplies the sum by a factor."""
    return write_network(path, np.full((1, 1, size, size), factor, "f4"))


def planned(op, folder):
    return planned_here({op.Output: Target(path=str(folder / "out.zarr"))}, folder / "work", num_workers=1)


def predicting(folder):
    zarr.create_array(str(folder / "raw.zarr"), data=VOXELS, chunks=(8, 8))
    op = OpPredict(graph=Graph())
    op.memory.setValue(100)
    op.model.setValue(network(folder / "net.pt", 1, 2))
    op.Input.setValue(open_array(folder / "raw.zarr"))
    return op


def test_a_network_that_was_trained_again(tmp_path):
    """One that is saved to the same path is another recipe of the same operator, and what is stored is its own."""
    op = predicting(tmp_path)
    first = planned(op, tmp_path)
    before = first.tasks()[0].process_function.recipe_code()
    run_here(first)
    network(tmp_path / "net.pt", 3, 7)
    second = planned(op, tmp_path)
    assert second.tasks()[0].process_function.recipe_code() != before
    assert max(second.plan["out"].context[0]) == 1
    run_here(second)
    assert np.array_equal(zarr.open_array(str(tmp_path / "out.zarr"))[:], op.Output[:].wait())


def test_the_same_network_is_the_same_recipe(tmp_path):
    """One that is written again as it was changes nothing, nor does the plan note a change of an operator."""
    op = predicting(tmp_path)
    first, again = [], []
    for recipes in (first, again):
        recipes += [task.process_function.recipe_code() for task in planned(op, tmp_path).tasks()]
        network(tmp_path / "net.pt", 1, 2)
    assert first == again


def test_a_network_of_a_part(tmp_path):
    """An operator's part looks at its file, too: another recipe, and no change that a run refuses."""
    zarr.create_array(str(tmp_path / "raw.zarr"), data=VOXELS, chunks=(8, 8))
    op = OpWithin(network(tmp_path / "net.pt", 1, 2), graph=Graph())
    op.Input.setValue(open_array(tmp_path / "raw.zarr"))
    before = planned(op, tmp_path).tasks()[0].process_function.recipe_code()
    network(tmp_path / "net.pt", 3, 7)
    assert planned(op, tmp_path).tasks()[0].process_function.recipe_code() != before
    assert op.predict._context() == (1, 1)
    assert not op.changed_since
