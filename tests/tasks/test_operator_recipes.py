import subprocess
import sys

import numpy as np
import pytest
import zarr
from planned_runs import planned_here

from blockflow.graph import InputSlot, Operator, OutputSlot
from blockflow.storage import open_array
from blockflow.tasks import prepare

_OPERATORS = """
import functools, logging, threading
from fractions import Fraction
import numpy as np
import aside
from aside import gain
from blockflow.graph import InputSlot, Operator, OutputSlot

class Table:
    def look_up(self, voxels):
        return voxels + {table}

class OpInner(Operator):
    Input = InputSlot()
    Output = OutputSlot()
    def execute(self, slot, subindex, roi, result):
        result[...] = self.Input(roi.start, roi.stop).wait() + {inner}

class OpOuter(Operator):
    Input = InputSlot()
    Output = OutputSlot()
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.inner = OpInner(parent=self)

class OpTable(OpInner):
    def execute(self, slot, subindex, roi, result):
        result[...] = Table().look_up(self.Input(roi.start, roi.stop).wait())

class OpAside(OpInner):
    def execute(self, slot, subindex, roi, result):
        result[...] = aside.gain(self.Input(roi.start, roi.stop).wait())

class OpImported(OpInner):
    def execute(self, slot, subindex, roi, result):
        result[...] = gain(self.Input(roi.start, roi.stop).wait())

class OpCached(OpInner):
    @functools.cached_property
    def table(self):
        return {table}

class Settings:
    __slots__ = ("levels", "lock")
    def __init__(self, level):
        self.levels, self.lock = {{"all": Level(level), "names": {{"a", "b", "c"}}}}, threading.Lock()

class Level:
    def __init__(self, level):
        self.level, self.log, self.made_by = level, logging.getLogger("x"), LIVE

LIVE = OpInner()
SETTINGS = Settings({setting})
HALF = Fraction({setting}, 2)
SHIFTED = functools.partial(np.add, {setting})

class OpSettings(OpInner):
    def execute(self, slot, subindex, roi, result):
        with SETTINGS.lock:
            result[...] = SETTINGS.levels["all"].level

class OpFraction(OpInner):
    half = HALF

class OpPartial(OpInner):
    def execute(self, slot, subindex, roi, result):
        result[...] = SHIFTED(self.Input(roi.start, roi.stop).wait())
"""

_CODES = """
import sys
from pathlib import Path
from blockflow.graph import OperatorWrapper
from blockflow.tasks.recipe import Recipe, code_of_class
from blockflow.utility.python_files import load_module
if sys.argv[1] == "file":
    operators = load_module(Path("operators.py"))
else:
    sys.path.insert(0, ".")
    import operators
for name in ("OpInner", "OpOuter", "OpTable", "OpAside", "OpImported", "OpCached",
             "OpSettings", "OpFraction", "OpPartial"):
    print(name, Recipe.of(code=code_of_class(getattr(operators, name))).hash)
wrapper = OperatorWrapper(operators.OpTable)
print("Wrapped", Recipe.of(code=list(wrapper.made_with[0])).hash)
"""


def _codes(folder, how, inner=0, table=0, gain=0, setting=0):
    (folder / "operators.py").write_text(_OPERATORS.format(inner=inner, table=table, setting=setting))
    (folder / "aside.py").write_text(f"def gain(voxels):\n    return voxels + {gain}\n")
    done = subprocess.run(
        [sys.executable, "-B", "-c", _CODES, how], cwd=folder, capture_output=True, text=True, check=True
    )
    return dict(line.split() for line in done.stdout.splitlines())


@pytest.mark.parametrize("how", ["file", "module"])
def test_the_code_of_an_operator_holds_all_that_it_names_and_is_the_same_in_all_processes(tmp_path, how):
    """Inner operators, classes, functions and values of the file and of files beside it count; nothing else does."""
    first = _codes(tmp_path, how)
    assert _codes(tmp_path, how) == first

    def changed(**values):
        now = _codes(tmp_path, how, **values)
        return {name for name in first if now[name] != first[name]}

    assert changed(inner=1) == {
        "OpInner",
        "OpOuter",
        "OpTable",
        "OpAside",
        "OpImported",
        "OpCached",
        "OpSettings",
        "OpFraction",
        "OpPartial",
        "Wrapped",
    }
    assert changed(table=1) == {"OpTable", "OpCached", "Wrapped"}
    assert changed(gain=1) == {"OpAside", "OpImported"}
    assert changed(setting=1) == {"OpSettings", "OpFraction", "OpPartial"}


class OpDifference(Operator):
    A = InputSlot()
    B = InputSlot()
    Parameter = InputSlot(value=0)
    Output = OutputSlot()

    def setupOutputs(self):
        self.Output.meta.assignFrom(self.A.meta)

    def execute(self, slot, subindex, roi, result):
        both = (taken(roi.start, roi.stop).wait() for taken in (self.A, self.B))
        result[...] = np.subtract(*both) + np.ravel(self.Parameter.value)[0]

    def requiredInputRoi(self, slot, subindex, roi):
        return {self.A: roi, self.B: roi}

    def propagateDirty(self, slot, subindex, roi):
        self.Output.setDirty()


class OpHolder(OpDifference):
    Numbers = OutputSlot()

    def setupOutputs(self):
        super().setupOutputs()
        self.Numbers.meta.shape = (3,)
        self.Numbers.meta.dtype = np.int64

    def execute(self, slot, subindex, roi, result):
        if slot is not self.Numbers:
            return super().execute(slot, subindex, roi, result)
        result[...] = self.Parameter.value
        return None


@pytest.fixture
def volumes(tmp_path):
    for name in "ab":
        zarr.create_array(tmp_path / f"{name}.zarr", shape=(8, 8), chunks=(4, 4), dtype="u1")
    return {name: open_array(tmp_path / f"{name}.zarr") for name in "ab"}


def _recipe(operator, tmp_path):
    planned = planned_here({operator.Output: tmp_path / "out.zarr"}, tmp_path / "work")
    return prepare(planned.tasks())[-1].recipe.hash


def _made(volumes, a, b, via, parameter=0, other=0):
    """`OpDifference`, whose inputs come `via` another operator where that is said."""
    operator, holder = OpDifference(), OpHolder()
    for source, name in ((operator.A, a), (operator.B, b)):
        source.setValue(volumes[name])
    for source, name in ((holder.A, a), (holder.B, b)):
        source.setValue(volumes[name])
    holder.Parameter.setValue(parameter if via in ("value", "computed") else other)
    if via == "array":
        operator.A.connect(holder.A)
        operator.B.connect(holder.B)
    if via in ("value", "computed"):
        operator.Parameter.connect(holder.Parameter if via == "value" else holder.Numbers)
    else:
        operator.Parameter.setValue(parameter)
    return operator


@pytest.mark.parametrize("via", ["itself", "array", "value", "computed"])
def test_which_input_has_which_array_and_value_is_in_the_recipe(tmp_path, volumes, via):
    """Swapped arrays and another value change it, however they come to the inputs; what is not used does not."""
    first = _recipe(_made(volumes, "a", "b", via), tmp_path)
    assert _recipe(_made(volumes, "a", "b", via), tmp_path) == first
    assert _recipe(_made(volumes, "b", "a", via), tmp_path) != first
    assert _recipe(_made(volumes, "a", "b", via, parameter=1), tmp_path) != first
    if via in ("itself", "array"):
        assert _recipe(_made(volumes, "a", "b", via, other=1), tmp_path) == first
