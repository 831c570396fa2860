"""Recipes: a hash of all that decides what a block's voxels are, and what changed between two of them.

A recipe holds the code, the parameters, the inputs, the output's description and the block grid, but not the
total ROI: a block at the same place with the same ROIs and recipe has the same voxels.
"""

import copyreg
import dataclasses
import functools
import hashlib
import inspect
import json
import os
import random
import re
import sys
import sysconfig
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from importlib import metadata
from pathlib import Path
from types import CodeType, FunctionType, MappingProxyType, ModuleType
from typing import Any

import numpy as np

from blockflow.graph import Graph, Operator, Slot

__all__ = ["Recipe", "code_of_class", "code_of_file", "code_of_function", "digest_of_file"]


_DIGEST = re.compile(r"[0-9a-f]{32}")

#: how far from a function through modules of modules its names are followed
_DEEPEST = 3


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def digest_of_file(path: Path) -> str:
    """A digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def code_of_file(path: Path) -> dict[str, Any]:
    """The code of a worker file: its bytes, whatever it is called and wherever it lies."""
    return {"sha256": digest_of_file(path)}


class _Seen(dict[int, Any]):
    """Functions, classes and objects that are described already, kept alive: each is described where it is met first.

    `within` is what is being described just now, one in the other; an object that leads back to itself ends there.
    """

    def __init__(self, within: "set[int] | None" = None, *, strict: bool = True) -> None:
        super().__init__()
        self.within: set[int] = set() if within is None else within
        #: what cannot be compared is other than anything; else, as in the values of a module, it is its type
        self.strict = strict

    def met(self, value: Any) -> bool:
        """Whether `value` was met before; it counts as met from now on."""
        if id(value) in self:
            return True
        self[id(value)] = value
        return False

    def apart(self) -> "_Seen":
        """For one of several whose order means nothing: none of them knows what another one met."""
        return _Seen(self.within, strict=self.strict)


def code_of_function(function: Callable[..., Any], _seen: _Seen | None = None) -> dict[str, Any]:
    """The code of a function: where it is from, its distribution's version, its source, what it captured, what it
    wraps, and what it names of its own module and of other modules that are not installed: functions, classes and
    values. Of a value that cannot be pickled (a lock, an open file) just the type counts.
    """
    seen = _Seen() if _seen is None else _seen
    inner: Any = function
    partial: Any = None
    while hasattr(inner, "func") and hasattr(inner, "keywords"):  # functools.partial
        partial = [partial, _plain(inner.args, seen), _plain(inner.keywords, seen)]
        inner = inner.func
    module = getattr(inner, "__module__", "") or ""
    about = {"function": f"{module}:{getattr(inner, '__qualname__', type(inner).__qualname__)}"}
    if seen.met(inner) and partial is None:
        return about
    try:
        source = inspect.getsource(getattr(inner, "__code__", inner))  # of itself, not of what it wraps
    except (OSError, TypeError):
        source = json.dumps(_compiled(inner.__code__)) if hasattr(inner, "__code__") else repr(type(inner))
    return about | {
        "version": _version(module),
        "source": _digest(source.encode()),
        "captured": [_state(inner, seen), partial],
        "globals": _named_globals(inner, seen),
    }


def code_of_class(cls: type, _seen: _Seen | None = None) -> dict[str, Any]:
    """The code of a class: where it is from, its distribution's version, and the functions and plain values of it and
    of its bases in other packages than this one.
    """
    seen = _Seen() if _seen is None else _seen
    own = __name__.partition(".")[0]
    bases = [base for base in cls.__mro__ if base.__module__.partition(".")[0] not in (own, "builtins")]
    if cls.__module__.partition(".")[0] == own:
        source = inspect.getsourcefile(cls)
        module = digest_of_file(Path(source)) if source else None
        return {"class": cls.__qualname__, "version": metadata.version(own), "module": module}
    about = {"class": cls.__qualname__, "version": _version(cls.__module__)}
    if seen.met(cls):
        return about
    return about | {
        "members": {
            f"{base.__qualname__}.{name}": _code_of_member(value, seen)
            for base in bases
            for name, value in sorted(vars(base).items())
            if not name.startswith("__") or inspect.isfunction(value)
        },
    }


def _version(module: str) -> str | None:
    try:
        return metadata.version(module.partition(".")[0])
    except (metadata.PackageNotFoundError, ValueError):
        return None


def _code_of_member(value: Any, seen: _Seen) -> Any:
    value = getattr(value, "__func__", value)  # of static and class methods
    if isinstance(value, property):
        value = value.fget
    elif isinstance(value, functools.cached_property):
        value = value.func
    described = _described(value, seen)
    return type(value).__qualname__ if described is None else described[0]


def _described(value: Any, seen: _Seen, module: str | None = None) -> tuple[Any] | None:
    """The code of a function or class that is from `module` or not installed, or a value; None for all else."""
    strict, seen.strict = seen.strict, False
    try:
        return _described_value(value, seen, module)
    except Exception:  # noqa: BLE001 - a value may be anything, and answer anything
        return (type(value).__qualname__,)
    finally:
        seen.strict = strict


def _described_value(value: Any, seen: _Seen, module: str | None) -> tuple[Any] | None:
    if not isinstance(value, type | FunctionType):
        wrapped = getattr(value, "__wrapped__", None)  # of functools.lru_cache, and compiled functions
        value = wrapped if inspect.isfunction(wrapped) else value
    if inspect.isfunction(value) or isinstance(value, type):
        if value.__module__ != module and module is not None and not _is_loose(value.__module__):
            return None
        return (code_of_class(value, seen) if isinstance(value, type) else code_of_function(value, seen),)
    if value is None or inspect.isbuiltin(value) or inspect.isdatadescriptor(value):
        return None
    return (_plain(value, seen),)


def _is_loose(module: str) -> bool:
    """Whether a module is a file of the user's, not one of a distribution, of Python, or of this package."""
    if module.partition(".")[0] in ("builtins", __name__.partition(".")[0]):
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module == "__main__"
    return not any(Path(file).is_relative_to(folder) for folder in _installed())


@functools.cache
def _installed() -> set[str]:
    """The folders of distributions and of Python itself."""
    return {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}


def _named_globals(function: Any, seen: _Seen) -> dict[str, Any]:
    """What a function names of its own module, and of those that are not installed; and what it wraps."""
    found: dict[str, Any] = {}
    wrapped = getattr(function, "__wrapped__", None)
    if wrapped is not None:
        found["__wrapped__"] = code_of_function(wrapped, seen)
    code = getattr(function, "__code__", None)
    names = sorted(_names(code)) if code is not None else []
    for name, value in _values(function.__globals__ if names else {}, names):
        described = _described(value, seen, function.__module__)
        if described is not None:
            found[name] = described[0]
    return found


def _values(
    namespace: Mapping[str, Any], names: Iterable[str], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """What names mean in a namespace, and in the modules there that are not installed."""
    for name in names:
        value = namespace.get(name)
        if not isinstance(value, ModuleType):
            yield prefix + name, value
        elif _is_loose(value.__name__) and prefix.count(".") < _DEEPEST:
            yield from _values(vars(value), names, f"{prefix}{name}.")


def _names(code: CodeType) -> set[str]:
    inner = (_names(item) for item in code.co_consts if isinstance(item, CodeType))
    return set(code.co_names).union(*inner)


def _state(function: Any, seen: _Seen) -> Any:
    """What a function was given when it was made: captured variables, defaults, the object it belongs to."""
    if not inspect.isroutine(function):
        return _plain(getattr(function, "__dict__", None), seen)
    captured = []
    for cell in getattr(function, "__closure__", None) or ():
        try:
            content = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        if content is not function:
            captured.append(_plain(content, seen))
    defaults = getattr(function, "__defaults__", None), getattr(function, "__kwdefaults__", None)
    owner = _plain(function.__self__, seen) if inspect.ismethod(function) else None
    return [captured, _plain(defaults, seen), owner]


def _compiled(code: CodeType) -> Any:
    """Bytecode, names and constants of a function without source."""
    constants = [_compiled(item) if isinstance(item, CodeType) else _plain(item) for item in code.co_consts]
    return [code.co_code.hex(), list(code.co_names), constants]


def _plain(value: Any, seen: _Seen | None = None) -> Any:
    """`value` as JSON data that is equal for equal values, in any process."""
    seen = _Seen() if seen is None else seen
    if value is None or type(value) in (bool, int, float, str):
        return value
    if id(value) in seen.within:
        return {"within itself": type(value).__qualname__}
    seen.within.add(id(value))
    try:
        return _compound(value, seen)
    finally:
        seen.within.discard(id(value))


def _compound(value: Any, seen: _Seen) -> Any:
    if isinstance(value, Enum):
        return _of_class(value, seen, [value.name, _plain(value.value, seen)])
    if isinstance(value, bool | int | float | str):
        return _of_class(value, seen, value) if _is_loose(type(value).__module__) else value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bytes | bytearray):
        return {type(value).__qualname__: _digest(bytes(value))}
    if isinstance(value, np.generic | np.ndarray):
        return _numbers(value, seen)
    if isinstance(value, dict | MappingProxyType):
        return _of_class(value, seen, _items(value, seen))
    if isinstance(value, list | tuple):
        return _of_class(value, seen, [_plain(item, seen) for item in value])
    if isinstance(value, set | frozenset):
        return sorted((_plain(item, seen.apart()) for item in value), key=_text)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {type(value).__qualname__: _plain(fields, seen)} | _code_if_loose(type(value), seen)
    if isinstance(value, type):
        return code_of_class(value, seen)
    if inspect.isroutine(value) or isinstance(value, functools.partial):
        return code_of_function(value, seen)
    return {type(value).__qualname__: _content(value, seen)} | _code_if_loose(type(value), seen)


def _of_class(value: Any, seen: _Seen, content: Any) -> Any:
    """The content of a value, with the code of its class where that is a user's."""
    code = _code_if_loose(type(value), seen)
    return {type(value).__qualname__: content} | code if code or isinstance(value, Enum) else content


def _code_if_loose(cls: type, seen: _Seen) -> dict[str, Any]:
    return {"class": code_of_class(cls, seen)} if _is_loose(cls.__module__) else {}


def _items(mapping: Mapping[Any, Any], seen: _Seen) -> Any:
    """By name, or in pairs where keys are something else than names."""
    if all(type(key) is str for key in mapping):
        return {key: _plain(mapping[key], seen) for key in sorted(mapping)}
    pairs = ([_plain(key, seen.apart()), _plain(item, seen.apart())] for key, item in mapping.items())
    return {"items": sorted(pairs, key=_text)}


def _numbers(value: Any, seen: _Seen) -> Any:
    if isinstance(value, np.generic):
        item = value.item()
        return item if isinstance(item, bool | int | float | str) else [str(value.dtype), repr(item)]
    about: list[Any] = [list(value.shape), str(value.dtype)]
    if value.dtype.hasobject:
        return {"ndarray": [*about, _plain(value.tolist(), seen)]}
    about.append(_digest(np.ascontiguousarray(value).tobytes()))
    if isinstance(value, np.ma.MaskedArray):
        about.append(_digest(np.ma.getmaskarray(value).tobytes()))
    return {"ndarray": about}


#: what differs in each process, or with each use, and is nothing that a user said
_FLEETING = (
    Graph,
    Operator,
    Slot,
    type(os.environ),
    np.random.Generator,
    np.random.RandomState,
    random.Random,
)


def _content(value: Any, seen: _Seen) -> Any:
    """A digest of what an object holds: of what makes it again elsewhere, described and not pickled.

    The pickle of an equal object may be another one in another process: sets have no order, and memory has addresses.
    """
    if isinstance(value, _FLEETING):
        return None
    if seen.met(value):
        return "met before"
    try:
        torch = sys.modules.get("torch")
        is_tensor = torch is not None and isinstance(value, torch.Tensor)
        made_of = _tensor(value, seen) if is_tensor else _reduced(value, seen)
        return _digest(_text(made_of).encode())
    except Exception:  # noqa: BLE001 (whatever it raises: what cannot be compared must not pass for equal)
        return uuid.uuid4().hex if seen.strict else None


def _tensor(value: Any, seen: _Seen) -> Any:
    """A tensor of PyTorch by its numbers; their memory, which is what is pickled, is another one in each process."""
    apart = value.detach().cpu()
    known = apart.float() if "bfloat16" in str(value.dtype) else apart  # which numpy does not know
    return [str(value.dtype), _numbers(known.numpy(), seen)]


def _reduced(value: Any, seen: _Seen) -> Any:
    """What pickle would keep of an object (`object.__reduce_ex__`), as JSON data."""
    reduce = copyreg.dispatch_table.get(type(value))
    parts: Any = reduce(value) if reduce is not None else value.__reduce_ex__(2)
    if isinstance(parts, str):
        return parts
    maker, arguments, state, items, pairs = (*parts, None, None, None)[:5]
    return [
        f"{getattr(maker, '__module__', '')}:{getattr(maker, '__qualname__', '')}",
        [_plain(one, seen) for one in arguments if one is not type(value)],
        _plain(state, seen),
        None if items is None else [_plain(item, seen) for item in items],
        None if pairs is None else _items(dict(pairs), seen),
    ]


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
