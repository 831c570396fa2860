"""Values as recipes see them: as JSON data that is equal for equal values, in any process."""

import collections
import contextlib
import copyreg
import dataclasses
import functools
import inspect
import os
import random
import sys
import uuid
from collections.abc import Collection, Mapping
from enum import Enum
from pathlib import Path
from types import MappingProxyType, MemberDescriptorType
from typing import Any

import numpy as np

from blockflow.graph import Graph, Operator, Slot
from blockflow.tasks.describing import SIMPLE, Description, EndlessValueError, Seen, digest, shallow, text
from blockflow.tasks.describing_code import class_code, class_code_if_loose, function_code, is_loose

__all__ = ["value_described"]

#: what differs in each process, or with each use, and is nothing that a user said
_FLEETING = (Graph, Operator, Slot, type(os.environ))

#: their state counts where they are given; what a module holds moves on with each use
_GENERATORS = (random.Random, np.random.Generator, np.random.RandomState, np.random.BitGenerator)

#: those behind `random.random()` and `numpy.random.rand()`, which belong to no one
_COMMON_GENERATORS = tuple(
    getattr(function, "__self__", None) for function in (random.random, np.random.rand)
)

#: attributes of arrays that numpy made, and not a user
_OF_NUMPY = {
    np.ma.MaskedArray: frozenset(vars(np.ma.masked_array([0]))) | {"dtype"},
    np.memmap: frozenset({"_mmap", "filename", "offset", "mode"}),
}


def value_described(value: Any, seen: Seen) -> Description:
    """The description of a value by what it is."""
    kind = type(value)
    if kind in SIMPLE:
        return value
    if kind is dict:
        return (yield from _items(value, seen))
    if kind is list or kind is tuple:
        return (yield from _in_order(value, seen))
    if isinstance(value, Enum):
        content = [value.name, (yield value.value, seen)]
        return {type(value).__qualname__: content} | (yield from class_code_if_loose(type(value), seen))
    if isinstance(value, bool | int | float | str):
        return (yield from _of_class(value, seen, value)) if is_loose(type(value).__module__) else value
    if isinstance(value, Path):
        return (yield from _of_class(value, seen, str(value)))
    if isinstance(value, bytes | bytearray):
        described = yield from _of_class(value, seen, digest(value))
        return described if isinstance(described, dict) else {type(value).__qualname__: described}
    if isinstance(value, np.generic | np.ndarray):
        return (yield from _of_class(value, seen, (yield from _numbers(value, seen))))
    if isinstance(value, dict | MappingProxyType):
        return (yield from _of_class(value, seen, (yield from _items(value, seen))))
    if isinstance(value, list | tuple):
        return (yield from _of_class(value, seen, (yield from _in_order(value, seen))))
    if isinstance(value, set | frozenset):
        return (yield from _of_class(value, seen, (yield from _without_order(value, seen))))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        content = yield fields, seen
        return {type(value).__qualname__: content} | (yield from class_code_if_loose(type(value), seen))
    if isinstance(value, type):
        return (yield from class_code(value, seen))
    if inspect.isroutine(value) or isinstance(value, functools.partial):
        return (yield from function_code(value, seen))
    content = yield from _content(value, seen)
    return {type(value).__qualname__: content} | (yield from class_code_if_loose(type(value), seen))


def _of_class(value: Any, seen: Seen, content: Any) -> Description:
    """The content of a value, with the code of its class where that is a user's, and its attributes."""
    more = yield from class_code_if_loose(type(value), seen)
    attributes = _attributes(value)
    if attributes:
        more["attributes"] = yield attributes, seen
    return {type(value).__qualname__: content} | more if more else content


def _attributes(value: Any) -> Any:
    """What a value holds beside its content, as an instance of a class that is derived from a class of Python or numpy.

    Of classes that are installed, just those of arrays count, which are units for the most part, and the default of a
    defaultdict: dicts and lists of libraries keep there what no one said.
    """
    if type(value) is collections.defaultdict:
        return {"default_factory": value.default_factory}
    is_array = isinstance(value, np.ndarray)
    bases = [
        base
        for base in type(value).__mro__
        if is_loose(base.__module__)
        or (is_array and base.__module__.partition(".")[0] not in ("numpy", "builtins"))
    ]
    if any("__getstate__" in vars(base) for base in bases):
        return {"state": value.__getstate__()}
    found = dict(getattr(value, "__dict__", {})) if bases else {}
    for base in bases:
        for name, member in vars(base).items():
            if isinstance(member, functools.cached_property):
                found.pop(name, None)
            elif isinstance(member, MemberDescriptorType):
                with contextlib.suppress(AttributeError):  # not assigned yet
                    found[name] = member.__get__(value)
    for made_by, names in _OF_NUMPY.items():
        if isinstance(value, made_by):
            found = {name: item for name, item in found.items() if name not in names}
    return found


def _are_simple(values: Collection[Any]) -> bool:
    return SIMPLE.issuperset(map(type, values))


def _in_order(values: Collection[Any], seen: Seen) -> Description:
    if _are_simple(values):
        return list(values)
    described = []
    for item in values:
        known = shallow(item)
        described.append((yield item, seen) if known is None else known[0])
    return described


def _without_order(values: Collection[Any], seen: Seen) -> Description:
    if _are_simple(values):
        return sorted(values, key=_key_text)
    described = []
    for item in values:
        known = shallow(item)
        described.append((yield item, seen.apart()) if known is None else known[0])
    return sorted(described, key=text)


def _items(mapping: Mapping[Any, Any], seen: Seen) -> Description:
    """By name, or in pairs where keys are something else than names."""
    if all(type(key) is str for key in mapping):
        by_name = [(key, mapping[key]) for key in sorted(mapping)]
        values = yield from _in_order([item for _, item in by_name], seen)
        return {key: item for (key, _), item in zip(by_name, values, strict=True)}
    order = {
        _key_text(described[0]): (described[0], key)
        for key in mapping
        if (described := shallow(key)) is not None
    }
    if len(order) == len(mapping):  # so keys have an order, whatever the values are
        keys = [order[name] for name in sorted(order)]
        pairs = []
        for described, key in keys:
            item = mapping[key]
            known = shallow(item)
            inner = seen.apart() if isinstance(item, Enum) else seen  # as if it was the only one
            pairs.append([described, (yield item, inner) if known is None else known[0]])
        return {"items": pairs}
    pairs = []
    for key, item in mapping.items():
        described = yield key, seen.apart()
        pairs.append([described, (yield item, seen.apart())])
    return {"items": sorted(pairs, key=text)}


def _key_text(key: Any) -> str:
    """The text of a short description, with what follows it in a pair: so texts are in the order of those of pairs."""
    return f"{int.__repr__(key) if type(key) is int else text(key)}, "


def _numbers(value: Any, seen: Seen) -> Description:
    if isinstance(value, np.generic):
        item = value.item()
        return item if isinstance(item, bool | int | float | str) else [str(value.dtype), repr(item)]
    about: list[Any] = [list(value.shape), str(value.dtype)]
    if value.dtype.hasobject:
        return {"ndarray": [*about, (yield value.tolist(), seen)]}
    about.append(_digest_of_array(value))
    if isinstance(value, np.ma.MaskedArray):
        about.append(_digest_of_array(np.ma.getmaskarray(value)))
    return {"ndarray": about}


def _digest_of_array(array: "np.ndarray[Any, Any]") -> str:
    """A digest of the numbers in C order, in whatever order they lie in memory."""
    in_order = np.ascontiguousarray(array).view(np.ndarray).reshape(-1)
    return digest(in_order.view(np.uint8).data if in_order.nbytes else b"")


def _content(value: Any, seen: Seen) -> Description:
    """A digest of what an object holds: of what makes it again elsewhere, described and not pickled.

    The pickle of an equal object may be another one in another process: sets have no order, and memory has addresses.
    """
    if isinstance(value, _FLEETING):
        return None
    torch = sys.modules.get("torch")
    if isinstance(value, _GENERATORS) or (torch is not None and isinstance(value, torch.Generator)):
        is_common = any(value is common for common in _COMMON_GENERATORS)
        if is_common or not seen.strict or (torch is not None and value is torch.default_generator):
            return None
    before = seen.met(value, type(value).__qualname__)
    if before is not None:
        return f"met before{before}"
    try:
        if isinstance(value, _GENERATORS):
            made_of = yield from _generator_state(value, seen)
        elif torch is not None and isinstance(value, torch.Tensor):
            made_of = yield from _tensor(value, seen)
        else:
            made_of = yield from _reduced(value, seen)
        return digest(text(made_of).encode())
    except EndlessValueError:
        raise
    except Exception:  # noqa: BLE001 (whatever it raises: what cannot be compared must not pass for equal)
        return uuid.uuid4().hex if seen.strict else None


def _generator_state(value: Any, seen: Seen) -> Description:
    """Where a random generator is in its numbers; a generator that has no state, of the system, is just its type."""
    if isinstance(value, random.SystemRandom):
        return None
    if isinstance(value, random.Random):
        return (yield value.getstate(), seen)
    if isinstance(value, np.random.RandomState):
        return (yield value.get_state(legacy=False), seen)
    bits = value.bit_generator if isinstance(value, np.random.Generator) else value
    return (yield bits.state, seen)


def _tensor(value: Any, seen: Seen) -> Description:
    """A tensor of PyTorch by its numbers; their memory, which is what is pickled, is another one in each process."""
    apart = value.detach().cpu()
    known = apart.float() if "bfloat16" in str(value.dtype) else apart  # which numpy does not know
    return [str(value.dtype), (yield from _numbers(known.numpy(), seen))]


def _reduced(value: Any, seen: Seen) -> Description:
    """What pickle would keep of an object (`object.__reduce_ex__`), as JSON data."""
    reduce = copyreg.dispatch_table.get(type(value))
    parts: Any = reduce(value) if reduce is not None else value.__reduce_ex__(2)
    if isinstance(parts, str):
        return parts
    maker, arguments, state, items, pairs = (*parts, None, None, None)[:5]
    return [
        f"{getattr(maker, '__module__', '')}:{getattr(maker, '__qualname__', '')}",
        (yield from _in_order([one for one in arguments if one is not type(value)], seen)),
        (yield state, seen),
        None if items is None else (yield from _in_order(list(items), seen)),
        None if pairs is None else (yield from _items(dict(pairs), seen)),
    ]
