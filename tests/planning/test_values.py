"""Operators that take a whole input as a value: in workers as lazily."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from planned_runs import planned_here, run_here
from small_operators import OpPlus

from blockflow.errors import PlanError
from blockflow.graph import Graph, InputSlot, Operator, OutputSlot
from blockflow.graph.window import UndeclaredRegionError
from blockflow.operators import resolve_operator
from blockflow.rtype import SubRegion
from blockflow.storage import open_array
from blockflow.stype import Opaque


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
    assert not planned_here({op.Output: "out.zarr"}, tmp_path / "work").plan.warnings
    stored({op.Output: "out.zarr"}, tmp_path)
    np.testing.assert_array_equal(zarr.open("out.zarr")[:], op.Output[:].wait())
    np.testing.assert_array_equal(zarr.open("out.zarr")[:], arrays[0] + 11)


class OpTotal(Operator):
    """One number for the whole of a line."""

    Input = InputSlot()
    Output = OutputSlot()

    def setupOutputs(self):
        self.Output.meta.shape, self.Output.meta.dtype = (1,), np.int32

    def requiredInputRoi(self, slot, subindex, roi):
        return {self.Input: SubRegion(self.Input, (0,), self.Input.shape)}

    def execute(self, slot, subindex, roi, result):
        result[...] = self.Input[:].wait().sum()

    def propagateDirty(self, slot, subindex, roi):
        self.Output.setDirty()


class OpDecremented(OpAddLastUntold):
    """Changes the value that it got, and adds it where it is a number."""

    def execute(self, slot, subindex, roi, result):
        value = self.Table.value
        assert np.ndim(value) == 0
        value -= 1
        result[...] = self.Input.get(roi).wait() + value


@pytest.mark.parametrize("is_stored", [False, True])
def test_a_number_is_the_same_value_whether_it_is_stored_too_or_not(is_stored, tmp_path):
    """Another output for it changes nothing: it is one number, needed by every block, without being named."""
    zarr.create_array(str(tmp_path / "line.zarr"), data=np.arange(10, dtype=np.int32), chunks=(4,))
    total = OpTotal(graph=Graph())
    total.Input.setValue(open_array("line.zarr"))
    op = OpDecremented(graph=total.graph)
    op.Input.setValue(open_array("line.zarr"))
    op.Table.connect(total.Output)
    stored({op.Output: "out.zarr"} | ({total.Output: "total.zarr"} if is_stored else {}), tmp_path)
    np.testing.assert_array_equal(zarr.open("out.zarr")[:], op.Output[:].wait())
    np.testing.assert_array_equal(zarr.open("out.zarr")[:], np.arange(10) + 44)


def test_a_computed_table_is_given_to_be_changed(arrays, tmp_path):
    """What an operator makes of a value that it got is its own affair, in workers as lazily."""

    class OpChanging(OpAddLastOfAll):
        def execute(self, slot, subindex, roi, result):
            table = self.Table.value
            table += 1
            result[...] = self.Input.get(roi).wait() + table.flat[-1]

    table = resolve_operator("Invert")(graph=Graph())
    table.Input.setValue(open_array("table.zarr"))
    op = OpChanging(graph=table.graph)
    op.Input.setValue(open_array("raw.zarr"))
    op.Table.connect(table.Output)
    stored({op.Output: "out.zarr"}, tmp_path)
    np.testing.assert_array_equal(zarr.open("out.zarr")[:], arrays[0] + ~np.int32(11) + 1)


class OpObject(OpTotal):
    """An object for the whole of a line."""

    Output = OutputSlot(stype=Opaque)

    def execute(self, slot, subindex, roi, result):
        return {"total": int(self.Input[:].wait().sum())}


class OpAddTotal(OpAddLastUntold):
    def requiredInputRoi(self, slot, subindex, roi):
        return super().requiredInputRoi(slot, subindex, roi) | {self.Table: SubRegion(self.Table, (0,), (1,))}

    def execute(self, slot, subindex, roi, result):
        result[...] = self.Input.get(roi).wait() + self.Table.value["total"]


def test_a_computed_object_is_refused_before_the_run(tmp_path):
    """Blocks hold arrays of numbers: what is computed and is none is named, with what to do."""
    zarr.create_array(str(tmp_path / "line.zarr"), data=np.arange(10, dtype=np.int32), chunks=(4,))
    total = OpObject(graph=Graph())
    total.Input.setValue(open_array("line.zarr"))
    op = OpAddTotal(graph=total.graph)
    op.Input.setValue(open_array("line.zarr"))
    op.Table.connect(total.Output)
    assert op.Output[:].wait()[0] == 45
    with pytest.raises(PlanError, match=r"OpObject\.Output is computed and is no array of numbers.*setValue"):
        planned_here({op.Output: "out.zarr"}, tmp_path / "work")
