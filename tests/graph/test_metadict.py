import numpy as np
import pytest

from blockflow.graph import MetaDict


def test_fields():
    """Fields are attributes and items; one that is not there reads None and does not come to be."""
    meta = MetaDict(shape=(1, 2))
    meta.dtype = np.uint8
    meta["drange"] = (0, 255)
    assert (meta.shape, meta["dtype"], meta.drange) == ((1, 2), np.uint8, (0, 255))
    assert meta.nothing is None
    assert "nothing" not in meta
    del meta.drange
    del meta.drange
    assert meta.drange is None
    with pytest.raises(AttributeError):
        _ = meta.__unheard__


def test_shape_is_a_tuple():
    """A shape of another type is refused at once, not when a request fails."""
    with pytest.raises(TypeError, match=r"meta\.shape is a tuple of ints, not \[1, 2\]"):
        MetaDict().shape = [1, 2]
    MetaDict().shape = None


def test_copies():
    """copy and assignFrom take all fields, updateFrom those that are there; being ready is not taken over."""
    one = MetaDict(shape=(1,), dtype=int, _ready=True, NOTREADY=True)
    other = MetaDict(drange=(0, 1), _ready=False)
    other.updateFrom(one)
    assert (other.shape, other.drange, other["_ready"], other.NOTREADY) == ((1,), (0, 1), False, None)
    other.assignFrom(MetaDict(dtype=float, _ready=True))
    assert (other.shape, other.drange, other.dtype, other["_ready"]) == (None, None, float, False)
    copy = one.copy()
    assert copy == one
    assert isinstance(copy, MetaDict)
    copy.shape = (2,)
    assert one.shape == (1,)


def test_equality():
    """Equal if all fields are; a field that is None, and NOTREADY that is not set, do not matter."""
    assert MetaDict(shape=(1,), a=None, NOTREADY=False) == MetaDict(shape=(1,))
    assert MetaDict(NOTREADY=True) != MetaDict()
    assert MetaDict(shape=(1,)) != MetaDict(shape=(2,))
    assert MetaDict(a=1) != MetaDict(b=1)
    assert MetaDict() != 3
    table = np.arange(3)
    assert MetaDict(lut=table) == MetaDict(lut=table)
    assert MetaDict(lut=table) != MetaDict(lut=table.copy())  # not compared: to say it changed is never wrong


class Tag:
    def __init__(self, key):
        self.key = key


class Tags:
    def __init__(self, keys):
        self._keys = keys

    def keys(self):
        return list(self._keys)


@pytest.mark.parametrize("tags", ["zyx", Tags("zyx"), ["z", "y", "x"], [Tag("z"), Tag("y"), Tag("x")]])
def test_axes(tags):
    """Axis tags are a string, a list, or anything with keys()."""
    meta = MetaDict(shape=(1, 2, 3), axistags=tags, original_axistags=tags, original_shape=(4, 5, 6))
    assert meta.getAxisKeys() == ["z", "y", "x"]
    assert meta.getTaggedShape() == {"z": 1, "y": 2, "x": 3}
    assert list(meta.getTaggedShape()) == ["z", "y", "x"]
    assert meta.getOriginalAxisKeys() == ["z", "y", "x"]
    assert meta.getOriginalShape() == {"z": 4, "y": 5, "x": 6}


def test_without_axes():
    """Where there are no axis tags the message says what to set."""
    with pytest.raises(ValueError, match=r"set meta\.axistags to the names of its axes, as 'zyx'"):
        MetaDict(shape=(1,)).getTaggedShape()
