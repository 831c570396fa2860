"""Formulas over arrays, checked before they are used and never run as Python.

A formula is parsed by Python's own grammar, and its tree is walked: what is not on the list below is refused. It has
numbers, names, `+ - * / // % **`, comparisons, `and`, `or`, `not`, `x if condition else y`, and the functions of
`FUNCTIONS`. All of it is computed in float64, voxel by voxel.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.utility.words import choices

__all__ = ["FUNCTIONS", "Formula", "parse_formula"]

Array = np.ndarray[Any, Any]

#: functions a formula may call: how many arguments each takes, and what it is
FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "abs": (1, np.abs),
    "sqrt": (1, np.sqrt),
    "exp": (1, np.exp),
    "log": (1, np.log),
    "floor": (1, np.floor),
    "ceil": (1, np.ceil),
    "round": (1, np.rint),
    "isnan": (1, np.isnan),
    "min": (2, np.minimum),
    "max": (2, np.maximum),
    "clip": (3, lambda value, low, high: np.minimum(np.maximum(value, low), high)),
    "where": (3, np.where),
}

_BINARY: dict[type[ast.operator], Callable[..., Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.true_divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.remainder,
    ast.Pow: np.power,
}

_COMPARE: dict[type[ast.cmpop], Callable[..., Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}

#: a formula that is longer, or nested deeper, is no formula
_LONGEST, _DEEPEST = 2000, 60


@dataclass(frozen=True)
class _Call:
    function: Callable[..., Any]
    arguments: tuple["_Node", ...]
    width: int  # bytes per voxel of what it gives


@dataclass(frozen=True)
class _Name:
    name: str


_Node = _Call | _Name | float


@dataclass(frozen=True)
class Formula:
    """A formula that was checked: its text, the names of its arrays, and its tree."""

    text: str
    names: tuple[str, ...]
    root: _Node

    def __call__(self, values: Mapping[str, Array]) -> Any:
        """Its value for arrays of float64, or numbers, by name. Divisions by zero give infinities and NaN."""
        with np.errstate(all="ignore"):
            return _value(self.root, values)

    def bytes_per_voxel(self) -> int:
        """The most that lies between the steps of the computation at one time, for each voxel."""
        return _peak(self.root)


def _value(node: _Node, values: Mapping[str, Array]) -> Any:
    if isinstance(node, _Name):
        return values[node.name]
    if isinstance(node, _Call):
        return node.function(*(_value(argument, values) for argument in node.arguments))
    return np.float64(node)


def _width(node: _Node) -> int:
    return node.width if isinstance(node, _Call) and not _is_constant(node) else 0


def _is_constant(node: _Node) -> bool:
    if isinstance(node, _Call):
        return all(map(_is_constant, node.arguments))
    return not isinstance(node, _Name)


def _peak(node: _Node) -> int:
    if not isinstance(node, _Call) or _is_constant(node):
        return 0
    kept = most = 0
    for argument in node.arguments:
        most = max(most, kept + _peak(argument))
        kept += _width(argument)
    return max(most, kept + node.width)


def parse_formula(text: str, allowed: tuple[str, ...], where: str) -> Formula:
    """Check a formula.

    Parameters
    ----------
    text : str
    allowed : tuple of str
        The names that arrays may have in it.
    where : str
        What gives it, for messages.

    Raises
    ------
    OperatorError
        With the part of the formula that cannot be.
    """
    if len(text) > _LONGEST:
        raise OperatorError(f"{where} has {len(text)} characters; a formula has at most {_LONGEST}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise OperatorError(f"{where} is {text!r}, which is no formula: {error}") from None
    names: list[str] = []

    def refuse(node: ast.AST, why: str) -> OperatorError:
        part = ast.get_source_segment(text.strip(), node) or text
        return OperatorError(f"{where}: {part!r} {why}")

    def checked(node: ast.expr, depth: int) -> _Node:
        if depth > _DEEPEST:
            raise OperatorError(f"{where} is nested more than {_DEEPEST} deep; make it several operators")
        deeper = depth + 1
        match node:
            case ast.Constant(value=bool() | int() | float()):
                return _constant(node, refuse)
            case ast.Name(id=name):
                if name not in allowed:
                    raise refuse(node, f"is no array of this operator; {choices(name, allowed)}")
                names.append(name)
                return _Name(name)
            case ast.BinOp(op=op) if type(op) in _BINARY:
                return _Call(_BINARY[type(op)], (checked(node.left, deeper), checked(node.right, deeper)), 8)
            case ast.UnaryOp(op=ast.USub()):
                return _Call(np.negative, (checked(node.operand, deeper),), 8)
            case ast.UnaryOp(op=ast.UAdd()):
                return checked(node.operand, deeper)
            case ast.UnaryOp(op=ast.Not()):
                return _Call(np.logical_not, (checked(node.operand, deeper),), 1)
            case ast.BoolOp(op=op, values=parts):
                function = np.logical_and if isinstance(op, ast.And) else np.logical_or
                return _fold(function, [checked(part, deeper) for part in parts])
            case ast.Compare(left=left, ops=ops, comparators=others) if all(
                type(op) in _COMPARE for op in ops
            ):
                sides = [checked(side, deeper) for side in (left, *others)]
                pairs = [
                    _Call(_COMPARE[type(op)], (one, other), 1)
                    for op, one, other in zip(ops, sides, sides[1:], strict=False)
                ]
                return _fold(np.logical_and, list(pairs))
            case ast.IfExp(test=test, body=body, orelse=other):
                return _Call(
                    np.where, (checked(test, deeper), checked(body, deeper), checked(other, deeper)), 8
                )
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                if name not in FUNCTIONS:
                    raise refuse(node, f"calls no function that formulas have; {choices(name, FUNCTIONS)}")
                count, called = FUNCTIONS[name]
                if len(arguments) != count:
                    raise refuse(node, f"has {len(arguments)} arguments; {name} takes {count}")
                width = 1 if name == "isnan" else 16 if name == "clip" else 8
                return _Call(called, tuple(checked(one, deeper) for one in arguments), width)
            case _:
                raise refuse(node, "is nothing that a formula may have")

    root = checked(tree, 0)
    if not names:
        raise OperatorError(f"{where} is {text!r}, which uses no array; {choices('', allowed)}")
    return Formula(text, tuple(sorted(set(names))), root)


def _constant(node: ast.Constant, refuse: Callable[[ast.AST, str], OperatorError]) -> float:
    try:
        return float(node.value)  # type: ignore[arg-type]
    except OverflowError:
        raise refuse(node, "is too large for a float") from None


def _fold(function: Callable[..., Any], parts: list[Any]) -> _Node:
    result: _Node = parts[0]
    for part in parts[1:]:
        result = _Call(function, (result, part), 1)
    return result
