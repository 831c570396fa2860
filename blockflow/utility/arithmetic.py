"""Numbers, lists and the arithmetic of old config files, read from text. Nothing is ever run."""

import ast
import operator
from collections.abc import Callable
from typing import Any

from blockflow.errors import BlockflowError

__all__ = ["LiteralError", "read_literal"]

#: more digits than any number of a config has; so that nobody makes us compute one
_LARGEST = 10**30
_LONGEST = 10_000

_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: dict[type, Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}

#: scalar types that old files name, with `numpy.` before them or without
_TYPES = {
    *(f"{kind}{bits}" for kind in ("uint", "int") for bits in (8, 16, 32, 64)),
    *("float16", "float32", "float64", "complex64", "complex128", "bool_", "object_"),
    *("float", "int", "bool", "object"),
}


class LiteralError(BlockflowError, ValueError):
    """A text is no literal, or more than arithmetic."""


def read_literal(text: str) -> Any:
    """The value of a text such as `2**3`, `[60-10, 60]`, `(1, 2.5)`, `'xyz'` or `numpy.uint8`.

    Numbers, strings, True, False, None, lists, tuples and dicts of them, `+ - * / // % **` of numbers, and the
    names of numpy's scalar types are understood, and nothing else.

    Raises
    ------
    LiteralError
        For all other texts, and for numbers without measure.
    """
    if len(text) > _LONGEST:
        raise LiteralError(f"a text of {len(text)} characters is no literal of a config")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        return _value(tree, text)
    except (SyntaxError, ValueError, RecursionError, MemoryError, ArithmeticError, TypeError) as error:
        if isinstance(error, LiteralError):
            raise
        raise LiteralError(f"{_short(text)} is no literal: {error}") from None


def _value(node: ast.expr, text: str) -> Any:
    match node:
        case ast.Constant(value=value) if not isinstance(value, bytes) and value is not ...:
            return value
        case ast.List(elts=items):
            return [_value(item, text) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value(item, text) for item in items)
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {
                _value(key, text): _value(value, text)
                for key, value in zip(keys, values, strict=True)
                if key is not None
            }
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _bounded(_UNARY[type(op)](_number(operand, text)), text)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            a, b = _number(left, text), _number(right, text)
            if isinstance(op, ast.Pow) and (abs(b) > 200 or abs(a) > 10**6):
                raise LiteralError(f"{_short(text)} is a number without measure")
            return _bounded(_BINARY[type(op)](a, b), text)
        case ast.Name(id=name) | ast.Attribute(value=ast.Name(id="numpy" | "np"), attr=name) if (
            name
            in _TYPES
            | {
                "object",
                "float",
                "int",
                "bool",
            }
        ):
            return _scalar_type(name)
    raise LiteralError(
        f"{_short(text)} holds {ast.unparse(node)[:80]!r}, which is neither a literal nor arithmetic of numbers"
    )


def _number(node: ast.expr, text: str) -> Any:
    value = _value(node, text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LiteralError(f"{_short(text)}: {ast.unparse(node)[:80]!r} is no number")
    return value


def _bounded(number: Any, text: str) -> Any:
    if isinstance(number, complex) or (isinstance(number, int) and abs(number) > _LARGEST):
        raise LiteralError(f"{_short(text)} is a number without measure")
    return number


def _scalar_type(name: str) -> type:
    import numpy as np

    return np.dtype(name.removesuffix("_")).type


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
