"""The walk on which recipes stand: values inside of values, each described in its turn, however deep and many.

Who describes a value is a generator: it yields the values inside, each with what was seen, and is sent their
descriptions. So the walk needs no recursion, and it alone knows what is within what. Four things make it end soon:

- A value that leads back to itself ends there.
- A value that was described before, and would be described in the same words, is not walked again.
- A value of a loop that was described as a whole is named when it is met again.
- A description that is very large or deep counts by its digest.

Only sets of objects that lead to each other remain: they have no order, so each way through them is walked. Where that
has no end, an error names the value.
"""

import hashlib
import json
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice, pairwise
from typing import Any

from blockflow.errors import TaskError

__all__ = ["SIMPLE", "Description", "EndlessValueError", "Part", "Seen", "digest", "run", "shallow", "text"]

#: yields values to be described, each with what was seen; is sent their descriptions; returns its own, JSON data
Description = Generator[tuple[Any, "Seen"], Any, Any]

#: types whose values are JSON data
SIMPLE = frozenset({type(None), bool, int, float, str})

#: lists up to this length are looked at without a step of the walk
_SHORT = 64

#: descriptions with more parts, or with more levels, count by their digest
_LARGEST, _DEEPEST = 1 << 20, 500

#: descriptions with fewer parts are not kept to be given again; values of loops with fewer are walked again
_WORTH_KEEPING, _WORTH_CLOSING = 8, 64

#: parts that a description may get from descriptions that are given again
_MOST_PARTS = 1 << 25

#: steps of a walk after which it is endless, about a minute; where that many sets or more lie in each other, a step
#: counts as several, since that is where there is no end
_MOST_STEPS, _SETS_IN_SETS, _STEPS_THERE = 5_000_000, 4, 20


class EndlessValueError(TaskError):
    """A value has too many parts, or its parts lead to each other in too many ways, to be described."""


def digest(data: bytes | bytearray | memoryview) -> str:
    """A digest of bytes, as it stands in recipes."""
    return hashlib.sha256(data).hexdigest()[:32]


_encode = json.JSONEncoder(sort_keys=True).encode


def text(description: Any) -> str:
    """JSON data as text that is equal for equal data."""
    return _encode(description)


def shallow(value: Any) -> tuple[Any] | None:
    """The description of a value that is simple, or a short list of such; None for all else."""
    kind = type(value)
    if kind in SIMPLE:
        return (value,)
    if (kind is tuple or kind is list) and len(value) <= _SHORT and SIMPLE.issuperset(map(type, value)):
        return (list(value),)
    return None


@dataclass(eq=False, slots=True)
class Part:
    """What may be yielded in place of a value: a description of it that is walked, but does not count as a value."""

    value: Any
    description: Description


@dataclass(eq=False, slots=True)
class _Step:
    """A value that is being described: how large its description is, and what it depends on."""

    value: Any
    description: Description
    seen: "Seen"
    place: int
    is_value: bool = True
    size: int = 0
    depth: int = 0
    #: the outermost step that its parts lead back to
    back_to: int = 1 << 62
    #: whether its description depends on what was met before, whether something is met first in it, and whether
    #: some part leads back to one that it is in
    is_linked: bool = False
    is_first: bool = False
    is_looped: bool = False
    #: whether it is one of several whose order means nothing; and of such parts, those that were described
    is_apart: bool = False
    apart: "dict[tuple[int, bool], _Known]" = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class _Known:
    """A description to be given again; the value is kept alive, so that its id stays its own."""

    value: Any
    description: Any
    size: int
    depth: int


@dataclass(eq=False)
class _Walk:
    describe: Callable[[Any, "Seen"], Description]
    steps: list[_Step] = field(default_factory=list)
    #: id of what is being described just now -> step, and how many there are of each class
    within: dict[int, tuple[int, int]] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=dict)
    #: what is described in the same words wherever it is met
    known: dict[tuple[int, bool], _Known] = field(default_factory=dict)
    sources: dict[int, tuple[Any, str]] = field(default_factory=dict)
    count: int = 0


class Seen:
    """Functions, classes and objects that are described already, and kept alive: each is where it is met first."""

    def __init__(self, walk: _Walk, *, strict: bool = True, level: int = 0) -> None:
        self._walk = walk
        #: digests of sources, by id of what they are the source of
        self.sources = walk.sources
        self._level = level
        #: what cannot be compared is other than anything; else, as in the values of a module, it is its type
        self.strict = strict
        self._met: dict[int, tuple[Any, int]] = {}
        self._numbers: dict[str, int] = {}
        self._known: dict[tuple[int, bool], _Known] = {}
        self._closed: dict[int, tuple[Any, dict[str, str]]] = {}

    @classmethod
    def nothing(cls, describe: Callable[[Any, "Seen"], Description]) -> "Seen":
        """For the begin of a walk, in which `describe` says how each value is described."""
        return cls(_Walk(describe))

    def met(self, value: Any, name: str) -> str | None:
        """None if `value` was not met before; it counts as met from now on.

        Else which one of those with its name it is: nothing where it is the only one.
        """
        step = self._walk.steps[-1]
        step.is_linked = True
        found = self._met.get(id(value))
        if found is None:
            step.is_first = True
            self._numbers[name] = number = self._numbers.get(name, 0) + 1
            self._met[id(value)] = value, number
            return None
        return "" if self._numbers[name] == 1 else f", {found[1]} of its kind"

    def apart(self) -> "Seen":
        """For one of several whose order means nothing: none of them knows what another one met."""
        return Seen(self._walk, strict=self.strict, level=self._level + 1)


def run(description: Description, seen: Seen, subject: Any) -> Any:
    """The walk: what `description` of `subject` returns; each value that it yields is described, and those inside.

    `subject` is a function or a class, or the name by which the user knows the value.

    Raises
    ------
    EndlessValueError
        With the name of the value whose parts have no end.
    """
    walk = seen._walk
    steps = walk.steps
    steps.append(_Step(subject, description, seen, 0, is_value=False))
    answer: Any = None
    failure: BaseException | None = None
    while True:
        step = steps[-1]
        try:
            if failure is None:
                value, inner = step.description.send(answer)
            else:
                value, inner = step.description.throw(failure)
            failure = None
        except StopIteration as done:
            steps.pop()
            failure = None
            answer = _finished(step, done.value, walk)
            if not steps:
                return answer
        except BaseException as error:  # it goes to who asked for the value
            steps.pop()
            _leave(step, walk)
            if not steps:
                raise
            failure = error
        else:
            try:
                known = _answered(value, inner, walk)
                if known is None:
                    _enter(value, inner, walk)
                answer = None if known is None else known[0]
            except EndlessValueError as error:
                failure = error


def _answered(value: Any, seen: Seen, walk: _Walk) -> tuple[Any] | None:
    """The description of what needs no step of its own."""
    plain = shallow(value)
    if plain is not None:
        return plain
    asker = walk.steps[-1]
    within = walk.within.get(id(value))
    if within is not None:
        place, number = within
        asker.back_to = min(asker.back_to, place)
        asker.is_looped = True
        name = type(value).__qualname__
        outer = 0 if isinstance(value, Enum) else walk.classes[name] - number  # members of an enum have names
        return ({"within itself": name} | ({"out": outer} if outer else {}),)
    closed = seen._closed.get(id(value))
    if closed is not None:
        asker.is_linked = asker.is_looped = True
        return (closed[1],)
    key = id(value), seen.strict
    known = walk.known.get(key)
    if known is None:
        is_same = seen is asker.seen
        known = (seen._known if is_same else asker.apart).get(key)
        if known is None:
            return None
        asker.is_linked |= is_same
        asker.is_looped |= is_same
    asker.size += known.size
    if asker.size > _MOST_PARTS:
        raise _endless(walk)
    asker.depth = max(asker.depth, known.depth)
    return (known.description,)


def _enter(value: Any, seen: Seen, walk: _Walk) -> None:
    _count(_STEPS_THERE if seen._level >= _SETS_IN_SETS else 1, walk)
    if type(value) is Part:
        walk.steps.append(_Step(value.value, value.description, seen, len(walk.steps), is_value=False))
        return
    name = type(value).__qualname__
    walk.classes[name] = number = walk.classes.get(name, 0) + 1
    walk.within[id(value)] = len(walk.steps), number
    step = _Step(value, walk.describe(value, seen), seen, len(walk.steps))
    step.is_apart = seen is not walk.steps[-1].seen
    walk.steps.append(step)


def _leave(step: _Step, walk: _Walk) -> None:
    if step.is_value:
        del walk.within[id(step.value)]
        walk.classes[type(step.value).__qualname__] -= 1


def _finished(step: _Step, description: Any, walk: _Walk) -> Any:
    """The description of a step that is at its end; what it was like is told to the step that asked for it."""
    _leave(step, walk)
    step.size += len(description) if isinstance(description, list | dict) else 1
    step.depth += _levels(description)
    if step.size > _LARGEST or step.depth > _DEEPEST:
        description, step.size, step.depth = {"digest": digest(text(description).encode())}, 1, 1
    if not step.place:
        return description
    asker = walk.steps[-1]
    if step.back_to < step.place:
        asker.back_to = min(asker.back_to, step.back_to)
        if step.is_value and step.size > _WORTH_CLOSING:
            _close(step)
    elif step.is_value and step.size >= _WORTH_KEEPING and (step.is_apart or not step.is_first):
        depends = step.is_linked or step.is_looped
        kept = walk.known if not depends else asker.apart if step.is_apart else step.seen._known
        kept[id(step.value), step.seen.strict] = _Known(step.value, description, step.size, step.depth)
    asker.size += step.size
    asker.depth = max(asker.depth, step.depth)
    asker.is_looped |= step.is_looped
    if asker.seen is step.seen:
        asker.is_linked |= step.is_linked
        asker.is_first |= step.is_first
    return description


def _close(step: _Step) -> None:
    """A value of a loop is named when it is met again: to walk the loop from each of its values has no end."""
    seen = step.seen
    if id(step.value) in seen._met:  # it says so itself
        return
    step.is_linked = step.is_first = True
    name = type(step.value).__qualname__
    seen._numbers[f"loop {name}"] = number = seen._numbers.get(f"loop {name}", 0) + 1
    seen._closed[id(step.value)] = step.value, {name: f"described before, {number} of its kind"}


def _levels(description: Any) -> int:
    """How many levels of JSON a step adds to what is inside, at most."""
    if not isinstance(description, dict):
        return 1
    return 4 if description.keys() & {"source", "members", "class", "items"} else 1


def _count(steps: int, walk: _Walk) -> None:
    walk.count += steps
    if walk.count > _MOST_STEPS:
        raise _endless(walk)


def _endless(walk: _Walk) -> EndlessValueError:
    return EndlessValueError(
        f"{_name(walk.steps)} has no end for a recipe: after {walk.count:,} steps it was not described. Either it is "
        "very large, or it holds sets of objects that lead to each other, through which each way was walked. Hold such "
        "objects in lists, or in dicts by name or number, instead of sets; or give their class a __getstate__ that "
        "returns just what decides the voxels; or keep the value in a file that workers read"
    )


def _name(steps: Iterable[_Step]) -> str:
    """Where the walk is, as a user would find it: `arguments['graph'][3]`; its outermost parts."""
    values = [step.value for step in islice(steps, 8)]
    parts = [_part(outer, inner) for outer, inner in pairwise(values)]
    subject = values[0] if isinstance(values[0], str) else getattr(values[0], "__qualname__", repr(values[0]))
    return f"{subject}{''.join(parts)}"


def _part(outer: Any, inner: Any) -> str:
    if isinstance(outer, dict):
        return next((f"[{key!r}]" for key, value in outer.items() if value is inner and shallow(key)), "")
    if isinstance(outer, list | tuple):
        return next((f"[{index}]" for index, value in enumerate(outer) if value is inner), "")
    named = {**getattr(outer, "__globals__", {}), **getattr(outer, "__dict__", {})}
    return next((f".{name}" for name, value in named.items() if value is inner), "")
