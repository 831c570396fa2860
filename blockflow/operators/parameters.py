"""Parameters: the inputs of an operator that are plain values, checked when they are set."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from blockflow.errors import OperatorError
from blockflow.graph import InputSlot
from blockflow.stype import Opaque

if TYPE_CHECKING:
    from blockflow.graph import Operator, Slot

__all__ = [
    "Check",
    "Parameter",
    "anything",
    "at_least",
    "boolean",
    "each",
    "more_than",
    "number",
    "one_of",
    "or_none",
    "text",
    "whole",
]

#: takes a value and what it is called; returns it as the operator uses it, or raises OperatorError
Check = Callable[[Any, str], Any]


class Parameter(InputSlot):
    """An input that says how the operator computes, not what of: `op.sigma.setValue(2)`.

    It may be connected as any other slot, for example to what another operator found out.

    Parameters
    ----------
    value : object
        The default; none: the operator is not ready before it is set, unless the parameter is `optional`.
    check : callable
        Takes a value and the path of the slot; returns the value as the operator uses it, or raises OperatorError.
    doc : str
        What it means, with its unit.
    """

    def __init__(self, value: Any = None, check: Check | None = None, doc: str = "", **slot: Any) -> None:
        super().__init__(value=value, stype=Opaque, nonlane=True, **slot)
        self.check = check or anything
        self.doc = doc

    def _declared(self, operator: "Operator | None", parent: "Slot | None" = None, index: int = 0) -> Self:
        return type(self)(
            self._default,
            self.check,
            self.doc,
            name=self.name,
            operator=operator,
            optional=self._optional,
            level=self.level - (parent is not None),
            parent=parent,
            index=index,
        )

    def setValue(self, value: Any, *args: Any, **kwargs: Any) -> None:
        """As for any slot; the value is checked before."""
        super().setValue(None if value is None else self.check(value, self.path), *args, **kwargs)

    @property
    def value(self) -> Any:
        """Its value, checked; None for an optional one that has none."""
        if self._value is not None:
            return self._value
        if self._optional and not self.ready():
            return None
        return self.check(super().value, self.path)


def anything(value: Any, _where: str) -> Any:
    """Every value."""
    return value


def _refuse(value: Any, where: str, wanted: str) -> OperatorError:
    return OperatorError(f"{where} is {value!r}; give {wanted}")


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic | np.ndarray) and value.ndim == 0 else value


def number(value: Any, where: str) -> int | float:
    """A finite or infinite number, not NaN."""
    plain = _plain(value)
    if isinstance(plain, bool) or not isinstance(plain, int | float) or math.isnan(plain):
        raise _refuse(value, where, "a number")
    return plain


def whole(value: Any, where: str) -> int:
    """A whole number."""
    plain = _plain(value)
    if isinstance(plain, float) and plain.is_integer():
        plain = int(plain)
    if isinstance(plain, bool) or not isinstance(plain, int):
        raise _refuse(value, where, "a whole number")
    return plain


def boolean(value: Any, where: str) -> bool:
    """True or false."""
    plain = _plain(value)
    if not isinstance(plain, bool):
        raise _refuse(value, where, "true or false")
    return plain


def text(value: Any, where: str) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise _refuse(value, where, "a text")
    return value


def at_least(least: float, check: Check = number) -> Check:
    """Numbers of at least `least`."""

    def checked(value: Any, where: str) -> Any:
        found = check(value, where)
        if found < least:
            raise _refuse(value, where, f"at least {least}")
        return found

    return checked


def more_than(limit: float, check: Check = number) -> Check:
    """Numbers above `limit`."""

    def checked(value: Any, where: str) -> Any:
        found = check(value, where)
        if not found > limit:
            raise _refuse(value, where, f"more than {limit}")
        return found

    return checked


def one_of(*choices: Any) -> Check:
    """One of several values."""

    def checked(value: Any, where: str) -> Any:
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise _refuse(value, where, f"one of {', '.join(map(str, choices))}")
        return value

    return checked


def each(check: Check) -> Check:
    """One value for all axes, or a sequence with one for each, which becomes a tuple."""

    def checked(value: Any, where: str) -> Any:
        if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1):
            return tuple(check(one, f"{where}[{place}]") for place, one in enumerate(value))
        return check(value, where)

    return checked


def or_none(check: Check) -> Check:
    """None, within a sequence, or what `check` takes."""

    def checked(value: Any, where: str) -> Any:
        return None if value is None else check(value, where)

    return checked
