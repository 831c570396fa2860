"""Operators that take a whole input as a value: in workers as lazily."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from planned_runs import planned_here, run_here
from small_operators import OpPlus

from blockflow.graph import Graph, InputSlot, Operator, OutputSlot
from blockflow.graph.window import UndeclaredRegionError
from blockflow.operators import resolve_operator
from blockflow.rtype import SubRegion
from blockflow.storage import open_array


class OpAddLast(Operator):
    """Adds the last value of Table, taken whole, to each voxel."""

    Input = InputSlot()
    Table = InputSlot()
    Output = OutputSlot()

    def setupOutputs(self):
        self.Output.meta.assignFrom(self.Input.meta)

    def execute(self, slot, subindex, roi, result):
        result[...] = self.Input.get(roi).wait() + np.asarray(self.Table.value[...]).flat[-1]

    def propagateDirty(self, slot, subindex, roi):
        self.Output.setDirty()


class OpAddLastOfAll(OpAddLast):
    """Tells that it needs all of Table."""

    def requiredInputRoi(self, slot, subindex, roi):
        return {
            self.Input: SubRegion(self.Input, roi.start, roi.stop),
            self.Table: SubRegion(self.Table, [0] * self.Table.ndim, self.Table.shape),
        }


class OpAddLastUntold(OpAddLast):
    """Tells only of Input."""

    def requiredInputRoi(self, slot, subindex, roi):
        return {self.Input: SubRegion(self.Input, roi.start, roi.stop)}


@pytest.fixture
def arrays(tmp_path):
    values = np.arange(24 * 20, dtype=np.int32).reshape(24, 20)
    table = np.array([[3, 5], [7, 11]], np.int32)
    for name, data in (("raw", values), ("table", table)):
        zarr.create_array(str(tmp_path / f"{name}.zarr"), data=data, chunks=(8, 8))
    return values, table


def stored(outputs, tmp_path):
    planned = planned_here(outputs, tmp_path / "work", num_workers=2)
    return run_here(planned)


@pytest.mark.parametrize("kind", [OpAddLast, OpAddLastOfAll])
def test_a_stored_array_that_is_taken_as_a_value(kind, arrays, tmp_path):
    """Told or probed: it is read whole, and is an input of the recipe, so that another one does the blocks again."""
    op = kind(graph=Graph())
    op.Input.setValue(open_array("raw.zarr"))
    op.Table.setValue(open_array("table.zarr"))
    (task,) = stored({op.Output: "out.zarr"}, tmp_path)
    np.testing.assert_array_equal(zarr.open("out.zarr")[:], op.Output[:].wait())
    np.testing.assert_array_equal(zarr.open("out.zarr")[:], arrays[0] + 11)
    assert {Path(path).name for path in task.task.inputs.values()} == {"raw.zarr", "table.zarr"}


def test_a_stored_array_that_nothing_is_told_of_is_refused(arrays, tmp_path):
    """A plan warns of it, and the block fails with the operator, the array and the cure; nothing is made up."""
    op = OpAddLastUntold(graph=Graph())
    op.Input.setValue(open_array("raw.zarr"))
    op.Table.setValue(open_array("table.zarr"))
    planned = planned_here({op.Output: "out.zarr"}, tmp_path / "work")
    (warning,) = planned.plan.warnings
    assert "OpAddLastUntold" in warning
    assert "table.zarr" in warning
    with pytest.raises(
        UndeclaredRegionError, match=r"OpAddLastUntold.*table\.zarr.*name all of it in required"
    ):
        run_here(planned)


@pytest.mark.parametrize("kind", [OpAddLast, OpAddLastOfAll])
def test_a_computed_table_that_is_taken_as_a_value(kind, arrays, tmp_path):
    """It is computed whole for each block, and is the very values that it is lazily."""
    table = resolve_operator("Invert")(graph=Graph())
    table.Input.setValue(open_array("table.zarr"))
    op = kind(graph=table.graph)
    op.Input.setValue(open_array("raw.zarr"))
    op.Table.connect(table.Output)
    stored({op.Output: "out.zarr"}, tmp_path)
    np.testing.assert_array_equal(zarr.open("out.zarr")[:], op.Output[:].wait())
    np.testing.assert_array_equal(zarr.open("out.zarr")[:], arrays[0] + ~np.int32(11))


def test_a_computed_number_that_is_taken_as_a_value(arrays, tmp_path):
    """It is one number for workers, as it is lazily."""
    number = resolve_operator("MaximumValue")(graph=Graph())
    number.Input.setValue(open_array("table.zarr"))
    op = OpPlus(graph=number.graph)
    op.Input.setValue(open_array("raw.zarr"))
    op.Number.connect(number.Output)
    stored({op.Output: "out.zarr"}, tmp_path)
    np.testing.assert_array_equal(zarr.open("out.zarr")[:], op.Output[:].wait())
    np.testing.assert_array_equal(zarr.open("out.zarr")[:], arrays[0] + 11)
