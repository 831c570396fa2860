"""Recipes: a hash of all that decides what a block's voxels are, and what changed between two of them.

A recipe holds the code, the parameters, the inputs, the output's description and the block grid, but not the
total ROI: a block at the same place with the same ROIs and recipe has the same voxels.
"""

import dataclasses
import hashlib
import inspect
import json
import re
import uuid
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np

__all__ = ["Recipe", "code_of_class", "code_of_file", "code_of_function", "digest_of_file"]


#: values of a module or a class that belong to its code
_PLAIN_TYPES = (bool, int, float, str, tuple, list, dict, set, frozenset, np.ndarray, np.generic)

_DIGEST = re.compile(r"[0-9a-f]{32}")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def digest_of_file(path: Path) -> str:
    """A digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def code_of_file(path: Path) -> dict[str, Any]:
    """The code of a worker file: its bytes, whatever it is called and wherever it lies."""
    return {"sha256": digest_of_file(path)}


def code_of_function(function: Callable[..., Any], _seen: frozenset[int] = frozenset()) -> dict[str, Any]:
    """The code of a function: where it is from, its distribution's version, its source, what it captured, what it
    wraps, and the functions and plain values of its own module that it names.
    """
    inner: Any = function
    partial: Any = None
    while hasattr(inner, "func") and hasattr(inner, "keywords"):  # functools.partial
        partial = [partial, _plain(inner.args), _plain(inner.keywords)]
        inner = inner.func
    module = getattr(inner, "__module__", "") or ""
    try:
        source = inspect.getsource(getattr(inner, "__code__", inner))  # of itself, not of what it wraps
    except (OSError, TypeError):
        source = json.dumps(_compiled(inner.__code__)) if hasattr(inner, "__code__") else repr(type(inner))
    try:
        version = metadata.version(module.partition(".")[0])
    except (metadata.PackageNotFoundError, ValueError):
        version = None
    return {
        "function": f"{module}:{getattr(inner, '__qualname__', type(inner).__qualname__)}",
        "version": version,
        "source": _digest(source.encode()),
        "captured": [_state(inner), partial],
        "globals": _named_globals(inner, _seen | {id(inner)}),
    }


def code_of_class(cls: type, _seen: frozenset[int] = frozenset()) -> dict[str, Any]:
    """The code of a class: where it is from, its distribution's version, and the functions and plain values of it and
    of its bases in other packages than this one.
    """
    own = __name__.partition(".")[0]
    bases = [base for base in cls.__mro__ if base.__module__.partition(".")[0] not in (own, "builtins")]
    if cls.__module__.partition(".")[0] == own:
        source = inspect.getsourcefile(cls)
        module = digest_of_file(Path(source)) if source else None
        return {"class": cls.__qualname__, "version": metadata.version(own), "module": module}
    try:
        version = metadata.version(cls.__module__.partition(".")[0])
    except (metadata.PackageNotFoundError, ValueError):
        version = None
    return {
        "class": cls.__qualname__,
        "version": version,
        "members": {
            f"{base.__qualname__}.{name}": _code_of_member(value, _seen | {id(cls)})
            for base in bases
            for name, value in sorted(vars(base).items())
            if not name.startswith("__") or inspect.isfunction(value)
        },
    }


def _code_of_member(value: Any, seen: frozenset[int]) -> Any:
    value = getattr(value, "__func__", value)  # of static and class methods
    if isinstance(value, property):
        value = value.fget
    if inspect.isfunction(value):
        return code_of_function(value, seen)
    if isinstance(value, _PLAIN_TYPES) or dataclasses.is_dataclass(value):
        return _plain(value)
    return type(value).__qualname__


def _named_globals(function: Any, seen: frozenset[int]) -> dict[str, Any]:
    """What a function finds in its own module, the code of functions and classes and plain values; what it wraps."""
    found: dict[str, Any] = {}
    wrapped = getattr(function, "__wrapped__", None)
    if wrapped is not None and id(wrapped) not in seen:
        found["__wrapped__"] = code_of_function(wrapped, seen)
    code = getattr(function, "__code__", None)
    for name in sorted(_names(code)) if code is not None else ():
        value = function.__globals__.get(name)
        if inspect.isfunction(value):
            if value.__module__ == function.__module__ and id(value) not in seen:
                found[name] = code_of_function(value, seen)
        elif inspect.isclass(value):
            if value.__module__ == function.__module__ and id(value) not in seen:
                found[name] = code_of_class(value, seen)
        elif isinstance(value, _PLAIN_TYPES):
            found[name] = _plain(value)
    return found


def _names(code: CodeType) -> set[str]:
    inner = (_names(item) for item in code.co_consts if isinstance(item, CodeType))
    return set(code.co_names).union(*inner)


def _state(function: Any) -> Any:
    """What a function was given when it was made: captured variables, defaults, the object it belongs to."""
    if not inspect.isroutine(function):
        return _plain(getattr(function, "__dict__", None))
    captured = []
    for cell in getattr(function, "__closure__", None) or ():
        try:
            content = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        if content is not function:
            captured.append(_plain(content))
    defaults = getattr(function, "__defaults__", None), getattr(function, "__kwdefaults__", None)
    return [captured, _plain(defaults), _plain(function.__self__) if inspect.ismethod(function) else None]


def _compiled(code: CodeType) -> Any:
    """Bytecode, names and constants of a function without source."""
    constants = [_compiled(item) if isinstance(item, CodeType) else _plain(item) for item in code.co_consts]
    return [code.co_code.hex(), list(code.co_names), constants]


def _plain(value: Any) -> Any:
    """`value` as JSON data that is equal for equal values."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return {
            "ndarray": [list(value.shape), str(value.dtype), _digest(np.ascontiguousarray(value).tobytes())]
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=str)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            type(value).__qualname__: _plain(
                {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            )
        }
    if inspect.isroutine(value):
        return code_of_function(value)
    import cloudpickle

    try:
        content = _digest(cloudpickle.dumps(value))
    except Exception:  # noqa: BLE001 (whatever it raises: what cannot be compared must not pass for equal)
        content = uuid.uuid4().hex
    return {type(value).__qualname__: content}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The parts of a recipe, as JSON data under a name each."""

    parts: Mapping[str, Any]

    @classmethod
    def of(cls, **parts: Any) -> "Recipe":
        """A recipe of any values; they are reduced to JSON data."""
        return cls({name: _plain(value) for name, value in parts.items()})

    @property
    def hash(self) -> str:
        return _digest(_text(self.parts).encode())

    def changes_since(self, old: "Recipe") -> list[str]:
        """What is different from `old`, a line each: `arguments.threshold: 5 -> 7`, or `code.sha256: changed`."""
        before, after = _leaves(old.parts), _leaves(self.parts)
        return [
            f"{name}: {_change(before.get(name, 'nothing'), after.get(name, 'nothing'))}"
            for name in sorted(before.keys() | after.keys())
            if (name in before, _text(before.get(name))) != (name in after, _text(after.get(name)))
        ]


def _change(old: Any, new: Any) -> str:
    """Digests say nothing to people but that they are different."""
    if all(isinstance(value, str) and _DIGEST.fullmatch(value) for value in (old, new)):
        return "changed"
    return f"{old} -> {new}"


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _leaves(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        return {name: value}
    leaves: dict[str, Any] = {}
    for key, item in value.items():
        leaves.update(_leaves(item, f"{name}.{key}" if name else key))
    return leaves
