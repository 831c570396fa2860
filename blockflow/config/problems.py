"""What is wrong with a config, where it stands and how to cure it: one line each, all of them at once."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from blockflow.errors import ConfigError

__all__ = ["Location", "Mark", "Problem", "dotted", "printable", "raise_problems", "shown"]

#: the keys and indices that lead to a value
Location = tuple[str | int, ...]


@dataclass(frozen=True, order=True)
class Mark:
    """A place to point at: `order` sorts (the file's lines, then overrides), `text` is for people."""

    order: tuple[int, int, int]
    text: str


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    mark: Mark
    location: Location
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.mark.text, dotted(self.location), self.message) if part)


def raise_problems(problems: Iterable[Problem]) -> None:
    """Raise one `ConfigError` with a line for each problem, in file order; do nothing if there is none."""
    lines = [str(problem) for problem in sorted(problems, key=lambda problem: problem.mark)]
    if lines:
        raise ConfigError("\n".join(dict.fromkeys(lines)))


def dotted(location: Location) -> str:
    """A location as it is written in messages and overrides: `tasks.small.args`."""
    return ".".join(printable(str(part)) for part in location)


def printable(text: str) -> str:
    """`text` on one line: as it is, or quoted if it holds line breaks or control characters."""
    return text if text.isprintable() else repr(text)


def shown(value: Any) -> str:
    """A value of a config in plain words."""
    if value is None:
        return "empty (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
