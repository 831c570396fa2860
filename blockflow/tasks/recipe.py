"""Recipes: a hash of all that decides what a block's voxels are, and what changed between two of them.

A recipe holds the code, the parameters, the inputs, the output's description and the block grid, but not the
total ROI: a block at the same place with the same ROIs and recipe has the same voxels.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockflow.tasks.describing import Description, Seen, digest, run, text
from blockflow.tasks.describing_code import class_code, digest_of_file, function_code
from blockflow.tasks.describing_values import value_described

__all__ = ["Recipe", "code_of_class", "code_of_file", "code_of_function", "digest_of_file"]

_DIGEST = re.compile(r"[0-9a-f]{32}")

#: longer texts of what changed say nothing more to people
_LONGEST_TEXT = 200


def code_of_file(path: Path) -> dict[str, Any]:
    """The code of a worker file: its bytes, whatever it is called and wherever it lies."""
    return {"sha256": digest_of_file(path)}


def code_of_function(function: Callable[..., Any]) -> dict[str, Any]:
    """The code of a function with all that it names, captured and was given, as JSON data: see `function_code`."""
    seen = Seen.nothing(value_described)
    code: dict[str, Any] = run(function_code(function, seen), seen, function)
    return code


def code_of_class(cls: type) -> dict[str, Any]:
    """The code of a class with that of its bases, and all that they name, as JSON data: see `class_code`."""
    seen = Seen.nothing(value_described)
    code: dict[str, Any] = run(class_code(cls, seen), seen, cls)
    return code


def _described(name: str, value: Any) -> Any:
    seen = Seen.nothing(value_described)

    def part() -> Description:
        return (yield value, seen)

    return run(part(), seen, name)


@dataclass(frozen=True)
class Recipe:
    """The parts of a recipe, as JSON data under a name each."""

    parts: Mapping[str, Any]

    @classmethod
    def of(cls, **parts: Any) -> "Recipe":
        """A recipe of any values; they are reduced to JSON data."""
        return cls({name: _described(name, value) for name, value in parts.items()})

    @property
    def hash(self) -> str:
        return digest(text(self.parts).encode())

    def changes_since(self, old: "Recipe") -> list[str]:
        """What is different from `old`, a line each: `arguments.threshold: 5 -> 7`, or `code.sha256: changed`."""
        before, after = _leaves(old.parts), _leaves(self.parts)
        return [
            f"{name}: {_change(before.get(name, 'nothing'), after.get(name, 'nothing'))}"
            for name in sorted(before.keys() | after.keys())
            if (name in before, text(before.get(name))) != (name in after, text(after.get(name)))
        ]


def _change(old: Any, new: Any) -> str:
    """Digests say nothing to people but that they are different."""
    if all(isinstance(value, str) and _DIGEST.fullmatch(value) for value in (old, new)):
        return "changed"
    told = f"{old} -> {new}"
    return told if len(told) <= _LONGEST_TEXT else "changed"


def _leaves(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        return {name: value}
    leaves: dict[str, Any] = {}
    for key, item in value.items():
        leaves.update(_leaves(item, f"{name}.{key}" if name else key))
    return leaves
