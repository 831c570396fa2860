"""The catalogue: names lead to operators, and what is wrong with a name or an input is said."""

import numpy as np
import pytest

import blockflow.operators
from blockflow.errors import OperatorError
from blockflow.operators import OPERATORS, configure, operator_names, resolve_operator
from blockflow.operators.smoothing import OpGaussianSmoothing


def test_every_name_leads_to_its_operator():
    """Each operator is found by both its names, is public, and has a docstring of its own."""
    for name in operator_names():
        cls = resolve_operator(name)
        assert cls is resolve_operator(f"Op{name}") is getattr(blockflow.operators, f"Op{name}")
        assert cls.__name__ == f"Op{name}"
        assert cls.__doc__ != cls.__mro__[1].__doc__
    assert {name for name in blockflow.operators.__all__ if name.startswith("Op")} == set(OPERATORS)


def test_modules_and_files(tmp_path):
    """A class is named by its module, or by the path of its file."""
    assert resolve_operator("blockflow.operators.smoothing:OpGaussianSmoothing") is OpGaussianSmoothing
    (tmp_path / "ops").mkdir()
    (tmp_path / "ops" / "mine.py").write_text(
        "from blockflow.graph import Operator\nclass OpMine(Operator): pass\n"
    )
    assert resolve_operator("ops/mine.py:OpMine", tmp_path).__name__ == "OpMine"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Treshold", r"no operator 'Treshold'; valid are AbsoluteDifference, .*did you mean 'Threshold'"),
        ("OpTreshold", "did you mean 'Threshold'"),
        ("nowhere.at.all:Op", "there is no module 'nowhere.at.all'"),
        ("blockflow.operators.smoothing:OpGausianSmoothing", "did you mean 'OpGaussianSmoothing'"),
        ("blockflow.operators.filtering:BOUNDARY_MODES", "is a tuple, not an operator class"),
        ("lost.py:Op", "there is no such file"),
        ("wrong.py:Op", "ZeroDivisionError"),
    ],
)
def test_names_that_lead_nowhere(tmp_path, name, said):
    """A name that is not found says what there is."""
    (tmp_path / "wrong.py").write_text("1 / 0\n")
    with pytest.raises(OperatorError, match=said):
        resolve_operator(name, tmp_path)


def test_configure_sets_values_and_connects():
    """Parameters and numbers go by `params`, arrays and slots by `inputs`."""
    smooth, add = OpGaussianSmoothing(), resolve_operator("Add")()
    configure(smooth, {"Input": np.eye(5)}, {"sigma": [1, 0]})
    configure(add, {"A": smooth.Output}, {"B": 2})
    np.testing.assert_array_equal(add.Output[:].wait(), smooth.Output[:].wait() + 2)


@pytest.mark.parametrize(
    ("inputs", "params", "said"),
    [
        ({"Inptu": np.eye(2)}, {}, "no input or parameter 'Inptu'; .*did you mean 'Input'"),
        ({}, {"sgima": 2}, "did you mean 'sigma'"),
        ({"Input": np.eye(2)}, {"Input": 2}, "both as an input and as a parameter"),
        ({}, {"mode": "wrong"}, "one of reflect, constant, nearest, mirror"),
        ({}, {"sigma": "2"}, "sigma is '2'; give a number"),
        ({}, {"sigma": [1, float("nan")]}, r"sigma\[1\] is nan; give a number"),
        ({"sigma": np.eye(2)}, {}, "sigma is a parameter"),
    ],
)
def test_what_cannot_be_configured(inputs, params, said):
    """A wrong input or parameter is told with the valid ones."""
    with pytest.raises(OperatorError, match=said):
        configure(OpGaussianSmoothing(), inputs, params)
