"""Recipes: equal for equal work, different for different work, and able to say how."""

import functools
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockflow.tasks.recipe import Recipe, code_of_file, code_of_function

ROOT = Path(__file__).parents[2]

names = st.text("abcdef", min_size=1, max_size=3)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)

VALUES = """
import functools, pathlib
import numpy as np
from dataclasses import dataclass
from funlib.geometry import Coordinate, Roi
from blockflow.tasks.recipe import Recipe, code_of_function

@dataclass(frozen=True)
class Parameters:
    names: frozenset
    sigma: float

def make(threshold):
    def work(block, *, scale=2):
        return block in {"a", "b", "c"} and threshold * scale
    return work

print(Recipe.of(
    code=code_of_function(make(5)),
    partial=code_of_function(functools.partial(make(5), scale=3)),
    arguments={
        "set": {"one", "two", "three", "four"}, "path": pathlib.Path("x"), "array": np.arange(5.0),
        "number": np.float32(0.5), "roi": Roi((0, 1), (2, 3)), "coordinate": Coordinate(1, 2),
        "parameters": Parameters(frozenset({"p", "q", "r"}), 0.1), "tuple": (1, "a", None),
        "function": np.sqrt, "builtin": len, "dtype": np.dtype("uint8"), "class": dict,
    },
).hash)
"""


def test_equal_values_have_one_hash_in_all_processes():
    """Recipes of the same values hash the same in processes with different hash seeds."""
    hashes = {
        subprocess.run(
            [sys.executable, "-c", VALUES],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(hashes) == 1


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(names, json_values, max_size=3), json_values, json_values)
def test_a_recipe_changes_with_its_values_and_tells(arguments, one, other):
    """The order of values does not matter, the values do; the hash differs exactly where a change is told."""
    first = Recipe.of(arguments={**arguments, "it": one})
    reordered = Recipe.of(
        arguments={"it": one} | {key: arguments[key] for key in reversed(arguments) if key != "it"}
    )
    assert reordered.hash == first.hash
    assert reordered.changes_since(first) == []
    changed = Recipe.of(arguments={**arguments, "it": other})
    assert (changed.hash != first.hash) == bool(changed.changes_since(first))
    if one != other:
        assert changed.hash != first.hash


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), (1, 1.0), (None, {}), ([], {}), (float("nan"), 0.0), ("1", 1)]
)
def test_values_that_python_calls_equal_or_empty_are_told_apart(one, other):
    """A change of type, or from nothing to something empty, is a change and is told; no change is not."""
    first, second = Recipe.of(arguments={"it": one}), Recipe.of(arguments={"it": other})
    assert first.hash != second.hash
    assert len(second.changes_since(first)) == 1
    assert Recipe.of(arguments={}).changes_since(Recipe.of(arguments={"it": None}))
    assert first.changes_since(Recipe.of(arguments={"it": one})) == []


def test_changes_are_told_by_name():
    """What changed is told as name, old value and new value."""
    old = Recipe.of(arguments={"threshold": 5, "sigma": 1.0, "old": True}, blocks={"fit": "valid"})
    new = Recipe.of(arguments={"threshold": 7, "sigma": 1.0, "new": [1, 2]}, blocks={"fit": "valid"})
    assert new.changes_since(old) == [
        "arguments.new: nothing -> [1, 2]",
        "arguments.old: True -> nothing",
        "arguments.threshold: 5 -> 7",
    ]


def test_recipes_survive_json():
    """A recipe that was stored as JSON has the same hash and no changes."""
    import json

    recipe = Recipe.of(arguments={"values": (1, 2.5), 3: {"x"}}, inputs={"raw": {"shape": (4, 5)}})
    loaded = Recipe(json.loads(json.dumps(recipe.parts)))
    assert loaded.hash == recipe.hash
    assert loaded.changes_since(recipe) == []


def test_one_byte_of_a_file_changes_its_code(tmp_path):
    """The code of a file is its bytes: one byte changes it, its name and place do not."""
    for name, text in (("a.py", "x = 5"), ("b.py", "x = 5"), ("c.py", "x = 7")):
        (tmp_path / name).write_text(text)
    first, same, other = (code_of_file(tmp_path / name) for name in ("a.py", "b.py", "c.py"))
    assert first == same
    assert first != other


def _closure(threshold):
    def work(block):
        return block > threshold

    return work


def _defaults(threshold):
    def work(block, threshold=threshold):
        return block > threshold

    return work


def _keyword_defaults(threshold):
    def work(block, *, threshold=threshold):
        return block > threshold

    return work


def _work(block, threshold):
    return block > threshold


@dataclass
class _Object:
    threshold: int

    def __call__(self, block):
        return block > self.threshold

    def method(self, block):
        return block > self.threshold


class _PlainObject:
    def __init__(self, threshold):
        self.threshold = threshold

    def __call__(self, block):
        return block > self.threshold

    def method(self, block):
        return block > self.threshold


def _without_source(threshold):
    namespace = {}
    exec(compile(f"def work(block): return block > {threshold}", "<nowhere>", "exec"), namespace)
    return namespace["work"]


@pytest.mark.parametrize(
    "make",
    [
        _closure,
        _defaults,
        _keyword_defaults,
        lambda threshold: functools.partial(_work, threshold=threshold),
        lambda threshold: functools.partial(_work, threshold),
        lambda threshold: functools.partial(_closure(threshold)),
        _Object,
        lambda threshold: _Object(threshold).method,
        _PlainObject,
        lambda threshold: _PlainObject(threshold).method,
        _without_source,
        lambda threshold: _closure(np.full(3, threshold)),
    ],
    ids=[
        "closure", "defaults", "keyword-defaults", "partial-keyword", "partial-positional", "partial-closure",
        "callable-dataclass", "method-of-dataclass", "callable", "method", "without-source", "closure-array",
    ],
)  # fmt: skip
def test_a_parameter_inside_of_a_function_counts(make):
    """However a function carries a parameter, another value is another code, and the same value the same."""
    assert code_of_function(make(5)) == code_of_function(make(5))
    assert code_of_function(make(5)) != code_of_function(make(7))


def test_different_functions_are_different_code():
    """Two functions have two codes even if all that they carry is equal."""
    assert code_of_function(_closure(5)) != code_of_function(_defaults(5))


def test_a_function_that_calls_itself_has_a_code():
    """A recursive inner function, and one that calls another defined later, can be described."""

    def recursive(n):
        return n and recursive(n - 1)

    def first():
        return later

    described = code_of_function(first)

    def later():
        return None

    assert code_of_function(recursive)["function"].endswith("recursive")
    assert described["function"].endswith("first")


def test_what_cannot_be_compared_never_passes_for_equal():
    """A function that holds something unpicklable can run, but equals no other, so nothing is skipped."""
    lock = threading.Lock()

    def work(block):
        with lock:
            return block

    assert Recipe.of(code=code_of_function(work)).hash != Recipe.of(code=code_of_function(work)).hash
