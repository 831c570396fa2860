"""Functions and classes as recipes see them: their source, and all that they name, captured and were given."""

import functools
import hashlib
import inspect
import json
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from blockflow.tasks.describing import Description, EndlessValueError, Part, Seen, digest

__all__ = ["class_code", "class_code_if_loose", "digest_of_file", "function_code", "is_loose"]

#: how far from a function through modules of modules its names are followed
_DEEPEST = 3


def digest_of_file(path: Path) -> str:
    """A digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def function_code(function: Any, seen: Seen) -> Description:
    """The code of a function: where it is from, its distribution's version, its source, what it captured, what it
    wraps, and what it names of its own module and of other modules that are not installed: functions, classes and
    values. Of a value that cannot be pickled (a lock, an open file) just the type counts.
    """
    inner: Any = function
    partial: Any = None
    while hasattr(inner, "func") and hasattr(inner, "keywords"):  # functools.partial
        partial = [partial, (yield inner.args, seen), (yield inner.keywords, seen)]
        inner = inner.func
    module = getattr(inner, "__module__", "") or ""
    name = f"{module}:{getattr(inner, '__qualname__', type(inner).__qualname__)}"
    before = seen.met(inner, name)
    about = {"function": name + (before or "")}
    if before is not None and partial is None:
        return about
    return about | {
        "version": _version(module),
        "source": (yield from _source(getattr(inner, "__code__", inner), seen)),  # not of what it wraps
        "captured": [(yield from _state(inner, seen)), partial],
        "globals": (yield from _named_globals(inner, seen)),
    }


def class_code(cls: type, seen: Seen) -> Description:
    """The code of a class: where it is from, its distribution's version, and the functions and plain values of it and
    of its bases in other packages than this one.
    """
    own = __name__.partition(".")[0]
    if cls.__module__.partition(".")[0] == own:
        file = inspect.getsourcefile(cls)
        module = digest_of_file(Path(file)) if file else None
        return {"class": cls.__qualname__, "version": metadata.version(own), "module": module}
    before = seen.met(cls, f"class {cls.__qualname__}")
    about = {"class": cls.__qualname__ + (before or ""), "version": _version(cls.__module__)}
    if before is not None:
        return about
    members = {}
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] in (own, "builtins"):
            continue
        for name, value in sorted(vars(base).items(), key=lambda member: member[0]):
            if not name.startswith("__") or inspect.isfunction(value):
                members[f"{base.__qualname__}.{name}"] = yield from _member_code(value, seen)
    return about | {"members": members}


def class_code_if_loose(cls: type, seen: Seen) -> Description:
    """The code of a class under `class`, where it is a user's; else nothing."""
    return {"class": (yield from class_code(cls, seen))} if is_loose(cls.__module__) else {}


def is_loose(module: str) -> bool:
    """Whether a module is a file of the user's, not one of a distribution, of Python, or of this package."""
    if module.partition(".")[0] in ("builtins", __name__.partition(".")[0]):
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module == "__main__"
    return not _is_installed(file)


@functools.cache
def _is_installed(file: str) -> bool:
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return any(Path(file).is_relative_to(folder) for folder in folders)


@functools.cache
def _version(module: str) -> str | None:
    try:
        return metadata.version(module.partition(".")[0])
    except (metadata.PackageNotFoundError, ValueError):
        return None


def _member_code(value: Any, seen: Seen) -> Description:
    value = getattr(value, "__func__", value)  # of static and class methods
    if isinstance(value, property):
        value = value.fget
    elif isinstance(value, functools.cached_property):
        value = value.func
    described = yield from _named(value, seen)
    return type(value).__qualname__ if described is None else described[0]


def _source(code: Any, seen: Seen) -> Description:
    """A digest of a function's source, or of what stands for it."""
    known = seen.sources.get(id(code))
    if known is not None:
        return known[1]
    try:
        source = inspect.getsource(code)
    except (OSError, TypeError):
        is_code = isinstance(code, CodeType)
        source = json.dumps((yield from _compiled(code, seen))) if is_code else repr(type(code))
    described = digest(source.encode())
    seen.sources[id(code)] = code, described
    return described


def _named(value: Any, seen: Seen, module: str | None = None) -> Description:
    """In a tuple, the code of a function or class that is from `module` or not installed, or a value; else None."""
    strict, seen.strict = seen.strict, False
    try:
        return (yield from _named_value(value, seen, module))
    except EndlessValueError:
        raise
    except Exception:  # noqa: BLE001 - a value may be anything, and answer anything
        return (type(value).__qualname__,)
    finally:
        seen.strict = strict


def _named_value(value: Any, seen: Seen, module: str | None) -> Description:
    if not isinstance(value, type | FunctionType):
        wrapped = getattr(value, "__wrapped__", None)  # of functools.lru_cache, and compiled functions
        value = wrapped if inspect.isfunction(wrapped) else value
    if inspect.isfunction(value) or isinstance(value, type):
        if value.__module__ != module and module is not None and not is_loose(value.__module__):
            return None
        code = class_code(value, seen) if isinstance(value, type) else function_code(value, seen)
        return ((yield Part(value, code), seen),)
    if value is None or inspect.isbuiltin(value) or inspect.isdatadescriptor(value):
        return None
    return ((yield value, seen),)


def _named_globals(function: Any, seen: Seen) -> Description:
    """What a function names of its own module, and of those that are not installed; and what it wraps."""
    found: dict[str, Any] = {}
    wrapped = getattr(function, "__wrapped__", None)
    if wrapped is not None:
        found["__wrapped__"] = yield Part(wrapped, function_code(wrapped, seen)), seen
    code = getattr(function, "__code__", None)
    names = sorted(_names(code)) if code is not None else []
    for name, value in _values(function.__globals__ if names else {}, names):
        described = yield from _named(value, seen, function.__module__)
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
        elif is_loose(value.__name__) and prefix.count(".") < _DEEPEST:
            yield from _values(vars(value), names, f"{prefix}{name}.")


def _names(code: CodeType) -> set[str]:
    inner = (_names(item) for item in code.co_consts if isinstance(item, CodeType))
    return set(code.co_names).union(*inner)


def _state(function: Any, seen: Seen) -> Description:
    """What a function was given when it was made: captured variables, defaults, the object it belongs to."""
    if not inspect.isroutine(function):
        return (yield getattr(function, "__dict__", None), seen)
    captured = []
    for cell in getattr(function, "__closure__", None) or ():
        try:
            content = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        if content is not function:
            captured.append((yield content, seen))
    owner = (yield function.__self__, seen) if inspect.ismethod(function) else None
    defaults = getattr(function, "__defaults__", None), getattr(function, "__kwdefaults__", None)
    return [captured, (yield defaults, seen), owner]


def _compiled(code: CodeType, seen: Seen) -> Description:
    """Bytecode, names and constants of a function without source."""
    constants = []
    for item in code.co_consts:
        described = _compiled(item, seen) if isinstance(item, CodeType) else _constant(item, seen)
        constants.append((yield from described))
    return [code.co_code.hex(), list(code.co_names), constants]


def _constant(value: Any, seen: Seen) -> Description:
    return (yield value, seen.apart())
