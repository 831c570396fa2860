"""Overrides: `key.sub=value` from the command line, set in a config before it is checked."""

from collections.abc import Mapping
from typing import Any

from blockflow.config.document import Document, read_document
from blockflow.config.problems import Location, Mark, Problem, dotted, printable
from blockflow.errors import ConfigError
from blockflow.utility.words import choices

__all__ = ["apply_override"]

#: mappings whose keys are names that the config gives
_NAMED: tuple[Location, ...] = (("arrays",), ("tasks",))


def apply_override(document: Document, override: str, number: int, variables: Mapping[str, str]) -> None:
    """Set a value in `document`, with the override's own text as its mark.

    Parameters
    ----------
    document : Document
        Its data must be a mapping. It is changed; what is wrong with the override is added to its problems.
    override : str
        The keys that lead to a value, with dots between them, `=` and the value as YAML.
    number : int
        How many overrides came before.
    variables : mapping of str to str
        As in `read_document`.
    """
    mark = Mark((1, number, 0), f"--set {printable(override)}")

    def complain(location: Location, message: str) -> None:
        document.problems.append(Problem(mark, location, message))

    key, equals, value = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        complain((), "give key.sub=value, such as --set compute.num_workers=8")
        return
    try:
        new = read_document(value, lambda _line, _column: mark, variables, lambda _line, _column: mark.text)
    except ConfigError as error:
        complain((), str(error).removeprefix(f"{mark.text}: "))
        return

    node: Any = document.data
    location: Location = ()
    while True:
        try:
            name, parts = _next_key(node, parts)
        except ConfigError as error:
            complain(location, str(error))
            return
        inner: Location = (*location, name)
        if not parts:
            break
        if isinstance(name, str) and node.get(name) is None:
            if location in _NAMED:
                complain(inner, f"unknown key {name!r}; {choices(name, node)}")
                return
            node[name] = {}
            document.marks.setdefault(inner, mark)
        node, location = node[name], inner
    node[name] = new.data
    _replace_notes(document, new, inner, mark)


def _next_key(node: Any, parts: list[str]) -> tuple[str | int, list[str]]:
    """The key or index of `node` that `parts` begin with (names may have dots), and the parts after it."""
    if isinstance(node, dict):
        for end in range(len(parts), 0, -1):
            name = ".".join(parts[:end])
            if name in node:
                return name, parts[end:]
        return parts[0], parts[1:]
    if isinstance(node, list):
        if parts[0].isdecimal() and int(parts[0]) < len(node):
            return int(parts[0]), parts[1:]
        raise ConfigError(f"{parts[0]!r} is no item of a list of {len(node)}; the first one is 0")
    raise ConfigError(f"has no keys in it, so {dotted(tuple(parts))!r} cannot be set there")


def _replace_notes(document: Document, new: Document, location: Location, mark: Mark) -> None:
    """Forget marks and problems of what was replaced, and take over those of the new value."""
    depth = len(location)
    document.problems[:] = [known for known in document.problems if known.location[:depth] != location]
    document.problems += [
        Problem(found.mark, (*location, *found.location), found.message) for found in new.problems
    ]
    for old in [known for known in document.marks if known[:depth] == location]:
        del document.marks[old]
    document.marks[location] = mark
    document.marks.update(((*location, *inner), mark) for inner in new.marks)
