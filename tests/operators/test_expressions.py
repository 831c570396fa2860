"""Formulas: what they compute, and that nothing else is ever run."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from operators.arrays import slots

from blockflow.errors import OperatorError
from blockflow.operators import OpExpression
from blockflow.operators.expressions import parse_formula

NUMBERS = st.sampled_from(["a", "b", "1", "2.5", "-3", "0"])


def combined(parts):
    return st.one_of(
        st.builds("({} {} {})".format, parts, st.sampled_from(["+", "-", "*", "/", "//", "%"]), parts),
        st.builds("min({}, {})".format, parts, parts),
        st.builds("abs({})".format, parts),
        st.builds("({} if {} < {} else {})".format, parts, parts, parts, parts),
        st.builds("where({} == {} or not {}, {}, 1)".format, parts, parts, parts, parts),
    )


@given(st.recursive(NUMBERS, combined, max_leaves=12))
def test_formulas_are_what_numpy_computes(text):
    """A formula of any shape gives what numpy gives when it evaluates the same steps."""
    a, b = np.array([0.0, 1, -2, 7.5]), np.array([3.0, 0, -2, 0.5])

    def where(condition, one, other):
        return np.where(condition, one, other)

    if "a" not in text.replace("abs", "") and "b" not in text.replace("abs", ""):
        with pytest.raises(OperatorError, match="uses no array"):
            parse_formula(text, ("a", "b"), "it")
        return
    made = np.broadcast_to(parse_formula(text, ("a", "b"), "it")({"a": a, "b": b}), a.shape)
    expected = []
    for one, other in zip(a, b):
        with np.errstate(all="ignore"):
            names = {"a": one, "b": other, "min": np.minimum, "abs": np.abs, "where": where}
            numbered = _as_float64(text)
            expected.append(eval(numbered, {"f": np.float64, **names}))
    np.testing.assert_array_equal(made.astype(float), np.array(expected, float))


def _as_float64(text):
    import re

    return re.sub(r"(?<![\w.])(\d+(?:\.\d+)?)", r"f(\1)", text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a +", "is no formula"),
        ("x + 1", r"'x' is no array of this operator; valid are a, b"),
        ("__import__('os')", "calls no function that formulas have"),
        ("a.real", r"'a\.real' is nothing that a formula may have"),
        ("a[0]", "is nothing that a formula may have"),
        ("(lambda: a)()", "is nothing that a formula may have"),
        ("[a for a in b]", "is nothing that a formula may have"),
        ("f'{a}'", "is nothing that a formula may have"),
        ("'text' + a", "is nothing that a formula may have"),
        ("sqrt(a, b)", "has 2 arguments; sqrt takes 1"),
        ("srqt(a)", "did you mean 'sqrt'"),
        ("min(a, b=2)", "is nothing that a formula may have"),
        ("a in b", "is nothing that a formula may have"),
        ("a is b", "is nothing that a formula may have"),
        ("(a := b)", "is nothing that a formula may have"),
        ("1 + 2", "uses no array"),
        ("a * 1" + "0" * 400, "is too large for a float"),
        ("a" + " + a" * 700, "has 2801 characters"),
        ("-" * 70 + "a", "nested more than 60 deep"),
        ("(" * 150 + "a" + ")" * 150, "is no formula|nested"),
    ],
)
def test_anything_else_is_refused(text, said):
    """What is no formula is refused when it is set, with the part that cannot be."""
    if text.startswith("(((("):
        try:  # parentheses leave no trace in the tree; where Python itself takes them, so may we
            parse_formula(text, ("a", "b"), "it")
        except OperatorError:
            return
        return
    with pytest.raises(OperatorError, match=said):
        parse_formula(text, ("a", "b"), "it")


def test_a_power_of_numbers_is_no_endless_integer():
    """Numbers are floats, so that a tower of powers is an infinity, at once."""
    op = slots(OpExpression(), a=np.array([1.0]), expression="a * 9 ** 9 ** 9 ** 9")
    assert op.Output[:].wait().tolist() == [np.inf]


def test_integers_do_not_wrap_around():
    """Differences of unsigned integers are negative numbers."""
    op = slots(
        OpExpression(), a=np.array([10], np.uint8), b=np.array([30], np.uint8), expression="(a - b) / (a + b)"
    )
    assert op.Output[:].wait().tolist() == [-0.5]
    op.dtype.setValue("uint8")
    assert op.Output[:].wait().tolist() == [0]


def test_a_missing_array_is_told():
    """The inputs that a formula names must be connected."""
    op = slots(OpExpression(), a=np.array([1.0]), expression="a + c")
    with pytest.raises(Exception, match=r"the formula 'a \+ c' needs c to be connected"):
        op.Output[:]
