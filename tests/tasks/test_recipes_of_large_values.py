"""Values of any size, depth and shape have a recipe; what has no end is an error with its name."""

import dataclasses
import itertools

import pytest

from blockflow.errors import TaskError
from blockflow.tasks import describing
from blockflow.tasks.recipe import Recipe


class Node:
    def __init__(self, value, following=None):
        self.value, self.following = value, following


@dataclasses.dataclass(eq=False)
class Place:
    value: object
    near: list = dataclasses.field(default_factory=list)


def recipe(value):
    return Recipe.of(arguments={"it": value}).hash


def _nested(value, depth):
    for _ in range(depth):
        value = [value]
    return value


def _nested_dicts(value, depth):
    for index in range(depth):
        value = {"inner": value, "index": index}
    return value


def _chain(value, length, make=Node):
    first = last = make(0)
    for _ in range(length):
        last.following = make(value)
        last = last.following
    return first


def _both_ways(value, length):
    places = [Place(index) for index in range(length)]
    for one, next_one in itertools.pairwise(places):
        one.near.append(next_one)
        next_one.near.append(one)
    places[-1].value = value
    return places[0]


def _halves(value, depth):
    """Both halves of each level are the level below: as many parts as 2 to the power of the depth."""
    for _ in range(depth):
        value = [value, value]
    return [value, "and more"]


def _halves_of_places(value, depth):
    for _ in range(depth):
        value = Place(0, [value, value])
    return value


def _halves_of_sets(value, depth):
    for index in range(depth):
        value = frozenset({(value, index), (value, -1)})
    return value


def _roads(value, size):
    """Each place leads to each other place, and back."""
    places = {index: Place(index) for index in range(size)}
    for place in places.values():
        place.near.extend(places.values())
    places[size - 1].value = value
    return places


@pytest.mark.parametrize(
    "make",
    [
        lambda value: _nested(value, 30_000),
        lambda value: _nested_dicts(value, 1_100),
        lambda value: _chain(value, 3_000),
        lambda value: _both_ways(value, 2_000),
        lambda value: _roads(value, 60),
        lambda value: {index: (index, value if index == 777 else 0) for index in range(20_000)},
        lambda value: {f"name {index}": [index] for index in range(10_000)} | {"it": [value]},
        lambda value: [0] * 100_000 + [value],
        lambda value: [0] * 1_100_000 + [value],
    ],
    ids=[
        "nested", "nested-dicts", "linked", "linked-both-ways", "all-lead-to-all",
        "pairs", "names", "long", "longer-than-is-written-down",
    ],
)  # fmt: skip
def test_a_change_of_one_part_of_a_large_value_is_seen(make):
    """However many parts a value has, and however they lie in each other, each counts; equal values are equal."""
    first, same, other = (recipe(make(value)) for value in (1, 1, 2))
    assert first == same
    assert first != other


@pytest.mark.parametrize("make", [_halves, _halves_of_places, _halves_of_sets])
def test_parts_that_are_shared_are_walked_once(make, monkeypatch):
    """A value that is as large as the powers of two, because its parts are shared, takes no time, and each counts."""
    monkeypatch.setattr(describing, "_LARGEST", 5_000)
    first, same, other = (recipe(make(value, 60)) for value in (1, 1, 2))
    assert first == same
    assert first != other


class Neighbour:
    def __init__(self):
        self.near = set()


def test_what_has_no_end_is_an_error_that_names_the_value(monkeypatch):
    """Sets of objects that lead to each other are not walked for ever, nor left out: an error says where they are."""
    monkeypatch.setattr(describing, "_MOST_STEPS", 20_000)
    neighbours = [Neighbour() for _ in range(30)]
    for one in neighbours:
        one.near.update(neighbours)
    with pytest.raises(TaskError, match=r"arguments\['graph'\]\[0\].*Hold such objects in lists"):
        Recipe.of(arguments={"graph": neighbours})


def test_which_one_of_several_is_met_again_counts():
    """Objects that are held twice, and loops, are told apart by what they lead back to."""
    one, other = Node(1), Node(2)
    assert recipe([one, other, one]) != recipe([one, other, other])
    assert recipe([one, other, one]) == recipe([one, other, one])

    def loop(back_to):
        outer, inner = [1], [2]
        outer.append(inner)
        inner.append({"outer": outer, "inner": inner}[back_to])
        return outer

    assert recipe(loop("outer")) == recipe(loop("outer"))
    assert recipe(loop("outer")) != recipe(loop("inner"))


def test_a_change_of_a_long_value_is_told_in_short():
    """Of a long list that changed it is said that it did, not all that is in it."""
    old, new = (Recipe.of(arguments={"it": [value] * 10_000}) for value in (1, 2))
    assert new.changes_since(old) == ["arguments.it: changed"]
