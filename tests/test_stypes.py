import numpy as np
import pytest

from blockflow.graph import InputSlot
from blockflow.rtype import SubRegion
from blockflow.stype import ArrayLike, InvalidResult, Opaque


def slot_with(stype=ArrayLike, **meta):
    slot = InputSlot("Input", stype=stype, allow_mask=meta.pop("allow_mask", False))
    slot.meta.update(meta)
    return slot


def test_memory_has_the_regions_shape_and_the_slots_dtype():
    """Memory is made for the region; none for objects."""
    slot = slot_with(shape=(5, 6), dtype=np.uint16)
    memory = slot.stype.allocateDestination(SubRegion(slot, (1, 2), (4, 4)))
    assert (memory.shape, memory.dtype) == ((3, 2), np.uint16)
    assert slot_with(Opaque).stype.allocateDestination(None) is None


def test_masked_memory_where_it_is_allowed():
    """A slot that allows masks and has one gets masked memory."""
    slot = slot_with(shape=(5,), dtype=float, has_mask=True, allow_mask=True)
    assert isinstance(slot.stype.allocateDestination(SubRegion(slot)), np.ma.MaskedArray)
    assert slot.stype.isCompatible(np.ma.zeros(3))
    assert not slot_with().stype.isCompatible(np.ma.zeros(3))


@pytest.mark.parametrize(
    ("value", "shape", "dtype"),
    [
        (np.zeros((2, 3), np.uint8), (2, 3), np.uint8),
        (np.zeros((2, 3), ">u2"), (2, 3), np.dtype(">u2")),
        (3, (1,), int),
        (2.5, (1,), float),
        (True, (1,), bool),
        (np.float32(2), (1,), np.float32),
        ("text", (1,), object),
        ({"a": 1}, (1,), object),
    ],
)
def test_a_value_describes_itself(value, shape, dtype):
    """Shape and dtype follow from the value; what is no array is one object."""
    slot = slot_with()
    slot.stype.setupMetaForValue(value)
    assert (slot.meta.shape, slot.meta.dtype) == (shape, dtype)
    assert slot.stype.isConfigured()


def test_configured():
    """An array slot needs shape and dtype; an opaque one nothing."""
    assert not slot_with(shape=(3,)).stype.isConfigured()
    assert not slot_with(dtype=int).stype.isConfigured()
    assert slot_with(shape=(3,), dtype=int).stype.isConfigured()
    assert slot_with(Opaque).stype.isConfigured()


@pytest.mark.parametrize("result", [np.zeros((2, 3)), [1, 2, 3], (1,), "text", 5, None])
def test_results_that_do_not_fit_are_refused(result):
    """An array of another shape, a list of another length, and what is neither, is no result."""
    slot = slot_with(shape=(5, 6), dtype=float)
    with pytest.raises(InvalidResult):
        slot.stype.check_result_valid(SubRegion(slot, (0, 0), (2, 2)), result)
    slot.stype.check_result_valid(SubRegion(slot, (0, 0), (2, 2)), np.zeros((2, 2)))
    slot.stype.check_result_valid(SubRegion(slot, (0, 0), (2, 2)), [1, 2])


class Untouchable(np.ndarray):
    """An array that must not be compared."""

    def __eq__(self, other):
        raise AssertionError("compared")

    __hash__ = None


@pytest.mark.parametrize(
    ("old", "new", "equal"),
    [
        (np.zeros((3, 4)), np.zeros((3, 4)), True),
        (np.zeros((3, 4)), np.zeros((3, 4), int), False),
        (np.zeros((3, 4)), np.zeros((3, 1)), False),
        (np.zeros(()), np.zeros(()), True),
        (np.zeros((0, 4)), np.zeros((0, 4)), True),
        (np.full(5, np.nan), np.full(5, np.nan), True),
        (np.array([1, np.nan]), np.array([2, np.nan]), False),
        (3, 3, True),
        (3, 3.0, False),
        (1, True, False),
        ("a", "a", True),
        ([np.zeros(2)], [np.zeros(2)], False),
        (np.zeros(3), [0, 0, 0], False),
        (np.array(["a", None], object), np.array(["a", None], object), True),
    ],
)
def test_equal_values(old, new, equal):
    """Values are equal if type, shape and all elements are; NaN equals NaN; what cannot be compared is not."""
    assert slot_with().stype.is_equal(old, new) is equal


def test_the_same_memory_is_not_compared():
    """Two views of the same memory are equal without a look at it."""
    base = np.zeros(2**20).view(Untouchable)
    assert slot_with().stype.is_equal(base[:], base[:])


def test_large_arrays_are_compared_in_pieces():
    """Comparing takes a small part of the arrays' memory, and ends at the first difference."""
    import tracemalloc

    old, new = np.zeros((64, 2**18)), np.zeros((64, 2**18))
    tracemalloc.start()
    assert slot_with().stype.is_equal(old, new)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < old.nbytes / 20


def test_objects_are_not_written_into_memory():
    """An opaque slot gives its object, and refuses a destination."""
    stype = slot_with(Opaque).stype
    thing = object()
    assert stype.writeIntoDestination(None, thing, None) is thing
    with pytest.raises(TypeError, match="Opaque"):
        stype.writeIntoDestination(np.zeros(1), thing, None)
    with pytest.raises(TypeError, match="Opaque"):
        stype.copy_data(np.zeros(1), thing)
    assert stype.isCompatible(thing)
    stype.check_result_valid(None, thing)
