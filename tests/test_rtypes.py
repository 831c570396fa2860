from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockflow.errors import RoiError
from blockflow.roi import TinyVector
from blockflow.rtype import Everything, List, Roi, SubRegion

SLOT = SimpleNamespace(meta=SimpleNamespace(shape=(10, 20)))


def test_bounds():
    """A region has start and stop as vectors of ints, whatever ints it was made of."""
    for start, stop in (((1, 2), (3, 4)), ([1, 2], np.array([3, 4])), (np.int64([1, 2]), TinyVector([3, 4]))):
        roi = SubRegion(SLOT, start, stop)
        assert isinstance(roi.start, TinyVector)
        assert (list(roi.start), list(roi.stop), roi.dim) == ([1, 2], [3, 4], 2)
        assert all(type(value) is int for value in [*roi.start, *roi.stop])
        assert roi.toSlice() == (slice(1, 3), slice(2, 4))


def test_by_slicing_and_whole():
    """A slicing, or nothing for all of it."""
    assert SubRegion(SLOT, pslice=(3, slice(5, 7))) == SubRegion(SLOT, (3, 5), (4, 7))
    assert SubRegion(SLOT) == SubRegion(SLOT, (0, 0), (10, 20))


@pytest.mark.parametrize(
    ("start", "stop", "message"),
    [
        ((0, 0), (1,), "differ in length"),
        ((2, 0), (1, 5), "beyond stop"),
        ((0.5, 0), (1, 5), "whole numbers"),
        ((0, 0), (1, "5"), "whole numbers"),
        ((0, 0), None, "both or neither"),
        (None, (1, 1), "both or neither"),
        (np.array([2, 0]), np.array([1, 5]), "beyond stop"),
    ],
)
def test_what_is_no_region_is_refused(start, stop, message):
    """Both bounds are checked when a region is made."""
    with pytest.raises(RoiError, match=message):
        SubRegion(SLOT, start, stop)
    with pytest.raises(RoiError, match="needs start and stop"):
        SubRegion(None)


def test_axes_come_and_go():
    """popDim, insertDim and setDim give other regions; None pops nothing."""
    roi = SubRegion(SLOT, (1, 2), (3, 4))
    assert roi.popDim(0) == SubRegion(SLOT, (2,), (4,))
    assert roi.popDim(None) == roi
    assert roi.insertDim(1, 7, 9) == SubRegion(SLOT, (1, 7, 2), (3, 9, 4))
    assert roi.setDim(1, 7, 9) == SubRegion(SLOT, (1, 7), (3, 9))
    assert roi == SubRegion(None, (1, 2), (3, 4))
    assert roi.copy() == roi
    assert roi.copy() is not roi
    assert roi != "roi"


def test_growing():
    """expandByShape clips to the slot and leaves channel and time; adjustRoi does not clip."""
    roi = SubRegion(SLOT, (1, 2), (3, 4))
    assert roi.expandByShape(5, None, None) == SubRegion(SLOT, (0, 0), (8, 9))
    assert roi.expandByShape((9, 3), 0, None) == SubRegion(SLOT, (1, 0), (3, 7))
    assert roi.expandByShape((9, 3), None, 1) == SubRegion(SLOT, (0, 2), (10, 4))
    assert roi.adjustRoi(2) == SubRegion(SLOT, (-1, 0), (5, 6))
    assert roi.adjustRoi((2, 1), cIndex=0) == SubRegion(SLOT, (1, 1), (3, 5))
    roi = SubRegion(SLOT, (-3, 5), (12, 25))
    roi.setInputShape((10, 20))
    assert roi == SubRegion(SLOT, (0, 5), (10, 20))


@given(st.lists(st.tuples(st.integers(-99, 99), st.integers(0, 99)), max_size=5))
def test_text_and_back(bounds):
    """`loads` gives back what `dumps` was given."""
    roi = SubRegion(None, [a for a, _ in bounds], [a + b for a, b in bounds])
    assert Roi.loads(Roi.dumps(roi)) == roi
    assert Roi.loads(repr(roi).join(["SubRegion:", ""])) == roi


def test_other_kinds_as_text():
    """Lists and everything are text, too."""
    assert list(Roi.loads(Roi.dumps(List(None, [1, 2])))) == [1, 2]
    assert len(List(None, [1, 2])) == 2
    assert isinstance(Roi.loads(Roi.dumps(Everything(None))), Everything)
    assert Roi.dumps(SubRegion(None, [0], [5])) == "SubRegion:SubRegion(None, [0], [5])"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SubRegion",
        "SubRegion:[1, 2]",
        "SubRegion:SubRegion(None, [0], [len('ab')])",
        "SubRegion:SubRegion(None, [0], [2**3])",
        "SubRegion:__import__('os').system('true')",
        "Everything:SubRegion(None, [0], [1])",
        "Unheard:Unheard(None)",
        "SubRegion:SubRegion(None, start=[0], stop=[1])",
        "SubRegion:SubRegion(None, [0, 0], [1])",
        "SubRegion:SubRegion(None, [0]",
    ],
)
def test_other_text_is_refused_and_never_run(text):
    """Text that is no roi is a RoiError; nothing in it is called."""
    with pytest.raises(RoiError):
        Roi.loads(text)
