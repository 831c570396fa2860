"""Config files in JSON with a schema: read, checked field by field, and written. Nothing in them is ever run."""

import json
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from blockflow.errors import BlockflowError
from blockflow.utility.arithmetic import LiteralError, read_literal
from blockflow.utility.files import write_aside

__all__ = [
    "AutoEval",
    "FormattedField",
    "JsonConfigParser",
    "Namespace",
    "ParsingError",
    "RoiTuple",
    "SchemaError",
]

_NAME, _VERSION = "_schema_name", "_schema_version"

#: no description of anything is longer; so that nobody makes us read another file
MAX_BYTES = 16_000_000


class ParsingError(BlockflowError, ValueError):
    """A config file, or a field of it, is not what it should be."""


class SchemaError(ParsingError):
    """A config file is of another kind, or of another version."""


class Namespace:
    """What a config file says: a field each, as attributes in the order of the file."""

    def __init__(self, fields: Mapping[str, Any] | None = None) -> None:
        self.__dict__.update(fields or {})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Namespace):
            return NotImplemented
        mine, theirs = self.__dict__, other.__dict__
        return mine.keys() == theirs.keys() and all(_same(mine[name], theirs[name]) for name in mine)

    __hash__ = None  # type: ignore[assignment]

    def __contains__(self, name: object) -> bool:
        return name in self.__dict__

    def __copy__(self) -> Self:
        return type(self)(self.__dict__)

    def __repr__(self) -> str:
        return f"Namespace({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value

    def __getattr__(self, name: str) -> Any:  # only for attributes that are not there
        raise AttributeError(f"there is no field {name!r}; there are {', '.join(self.__dict__) or 'none'}")


def _same(one: Any, other: Any) -> bool:
    if hasattr(one, "shape") or hasattr(other, "shape"):
        import numpy as np

        return np.array_equal(one, other)
    if isinstance(one, Sequence) and isinstance(other, Sequence) and not isinstance(one, str):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


class AutoEval:
    """A field whose text is read as a literal, `"2**3"` or `"[60-10, 60]"`, and then made a `t`.

    Parameters
    ----------
    t : callable, optional
        By default the value stays as it is.
    """

    def __init__(self, t: Callable[[Any], Any] | None = None) -> None:
        self._type = t

    def __call__(self, value: Any) -> Any:
        value = read_literal(value) if isinstance(value, str) else value
        return value if self._type is None else _convert(self._type, value)


class FormattedField:
    """A text with fields in braces that are filled in later, as `block-{roiString}.h5`.

    Parameters
    ----------
    requiredFields : iterable of str
        All of them must be there.
    optionalFields : iterable of str
        These may be there; others may not.
    """

    def __init__(self, requiredFields: Iterable[str], optionalFields: Iterable[str] = ()) -> None:
        self._required = tuple(requiredFields)
        self._allowed = {*self._required, *optionalFields}

    def __call__(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ParsingError(f"{value!r} is no text")
        found = set()
        try:
            parts = list(string.Formatter().parse(value))
        except ValueError as error:
            raise ParsingError(f"{value!r} cannot be filled in: {error}") from None
        for _, name, form, conversion in parts:
            if name is None:
                continue
            if name not in self._allowed:
                raise ParsingError(
                    f"{value!r} has a field {{{name}}}; it may have "
                    f"{', '.join(f'{{{one}}}' for one in sorted(self._allowed))}"
                )
            if conversion or (form and (len(form) > 4 or not form.rstrip("dsx").isalnum())):
                raise ParsingError(
                    f"{value!r}: field {{{name}}} can be given a width only, as {{{name}:08d}}"
                )
            found.add(name)
        if missing := [name for name in self._required if name not in found]:
            raise ParsingError(f"{value!r} must hold {', '.join(f'{{{name}}}' for name in missing)}")
        return value


class RoiTuple:
    """A region as two lists of ints, start and stop; a text is read as a literal."""

    def __call__(self, value: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
        value = read_literal(value) if isinstance(value, str) else value
        if (
            not isinstance(value, list | tuple)
            or len(value) != 2
            or not all(isinstance(part, list | tuple) for part in value)
            or len(value[0]) != len(value[1])
            or not all(isinstance(one, int) and not isinstance(one, bool) for part in value for one in part)
        ):
            raise ParsingError(
                f"{value!r} is no region; one is [[0, 0], [10, 20]]: start and stop, axis by axis"
            )
        return tuple(value[0]), tuple(value[1])


class JsonConfigParser:
    """Reads and writes config files of one schema.

    A field that a file does not have is None, and so is one that is null. Fields that the schema does not know
    are passed over: files use them as comments. A file of an older version with the same whole number is taken.

    Parameters
    ----------
    fields : mapping of str to callable
        For each field what makes a value of it: a type, `AutoEval`, `FormattedField`, `RoiTuple`, any function,
        or a parser for a part with a schema of its own; and the values of `_schema_name` and `_schema_version`.
    """

    ParsingError = ParsingError
    SchemaError = SchemaError

    def __init__(self, fields: Mapping[str, Any]) -> None:
        if not isinstance(fields.get(_NAME), str) or not isinstance(fields.get(_VERSION), int | float):
            raise SchemaError(f"a schema says {_NAME}, a text, and {_VERSION}, a number")
        self._schema = str(fields[_NAME])
        self._version = float(fields[_VERSION])
        self._fields = {name: kind for name, kind in fields.items() if name not in (_NAME, _VERSION)}

    @property
    def fields(self) -> dict[str, Any]:
        """What the schema was made from."""
        return {_NAME: self._schema, _VERSION: self._version, **self._fields}

    def parseConfigFile(self, configFilePath: str | Path) -> Namespace:
        """Read a file.

        Raises
        ------
        ParsingError
            If it is no JSON, or a field is not what it should be; the message names the file and the field.
        SchemaError
            If it is of another schema or version.
        OSError
        """
        path = Path(configFilePath)
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ParsingError(f"{path}: {size} bytes are too many for a config; is it another file?")
        try:
            data = json.loads(path.read_bytes().decode(), object_pairs_hook=_Pairs)
        except (ValueError, RecursionError) as error:
            raise ParsingError(f"{path}: this is no JSON: {error}") from None
        try:
            return self(data)
        except ParsingError as error:
            raise type(error)(f"{path}: {error}") from None

    def writeConfigFile(self, configFilePath: str | Path, configNamespace: Namespace) -> None:
        """Write a file, whole or not at all; fields that are None are left out.

        Raises
        ------
        ParsingError
            If a field is not what it should be; then nothing is written.
        """
        write_aside(Path(configFilePath), self.dumps(configNamespace).encode() + b"\n")

    def dumps(self, configNamespace: Namespace) -> str:
        """What the file of these fields holds."""
        data = json.dumps(self._plain(configNamespace), indent=4, default=_encode)
        self(json.loads(data, object_pairs_hook=_Pairs))
        return data

    def _plain(self, namespace: Namespace) -> dict[str, Any]:
        own = {name: value for name, value in vars(namespace).items() if value is not None}
        names = {name.replace(" ", "_"): name for name in self._fields}
        data: dict[str, Any] = {_NAME: self._schema, _VERSION: own.get(_VERSION, self._version)}
        for name, value in own.items():
            if name not in (_NAME, _VERSION):
                field = names.get(name, name)
                kind = self._fields.get(field)
                nested = kind if isinstance(kind, JsonConfigParser) and isinstance(value, Namespace) else None
                data[field] = value if nested is None else nested._plain(value)
        return data

    def __call__(self, data: Any) -> Namespace:
        """The fields of a part of a file, or of any mapping."""
        pairs = data if isinstance(data, _Pairs) else _Pairs(_items(data))
        given = dict(pairs)
        self._check_schema(given)
        fields: dict[str, Any] = {}
        for name, value in pairs:
            if name in (_NAME, _VERSION):
                key = name
                made = value
            elif name in self._fields:
                key = name.replace(" ", "_")
                made = None if value is None else self._field(name, value)
            else:
                continue
            if key in fields:
                raise ParsingError(f"{name} is given twice; remove one of them")
            fields[key] = made
        absent = {name.replace(" ", "_"): None for name in self._fields}
        return Namespace(fields | {name: None for name in absent if name not in fields})

    def _check_schema(self, given: Mapping[str, Any]) -> None:
        for name in (_NAME, _VERSION):
            if name not in given:
                raise SchemaError(f"{name} is missing; a file of this kind says {self._what()}")
        if given[_NAME] != self._schema:
            raise SchemaError(f"{_NAME} is {given[_NAME]!r}, not {self._schema!r}")
        version = given[_VERSION]
        if isinstance(version, bool) or not isinstance(version, int | float):
            raise SchemaError(f"{_VERSION} is {version!r}; it must be a number, as in {self._what()}")
        if not int(self._version) <= version <= self._version:
            raise SchemaError(
                f"{_VERSION} is {version}; versions {int(self._version)}.0 to {self._version} can be read"
            )

    def _what(self) -> str:
        return f'"{_NAME}": "{self._schema}", "{_VERSION}": {self._version}'

    def _field(self, name: str, value: Any) -> Any:
        kind = self._fields[name]
        try:
            return _convert(kind, _without_pairs(value) if not isinstance(kind, JsonConfigParser) else value)
        except SchemaError as error:
            raise SchemaError(f"{name}: {error}") from None
        except (ParsingError, LiteralError) as error:
            raise ParsingError(f"{name}: {error}") from None
        except (TypeError, ValueError, ArithmeticError) as error:
            called = getattr(kind, "__name__", type(kind).__name__)
            raise ParsingError(f"{name} is {str(value)[:80]!r}, which makes no {called}: {error}") from None


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it stands in the file, with keys that are given twice."""


def _items(data: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(data, Namespace):
        return vars(data).items()
    if isinstance(data, Mapping):
        return data.items()
    raise ParsingError(f"{str(data)[:80]!r} is no object with fields in braces")


def _without_pairs(value: Any) -> Any:
    if isinstance(value, _Pairs):
        return {name: _without_pairs(inner) for name, inner in value}
    return [_without_pairs(inner) for inner in value] if isinstance(value, list) else value


def _convert(kind: Callable[[Any], Any], value: Any) -> Any:
    if kind is bool and not isinstance(value, bool):
        raise ParsingError(f"{value!r} is neither true nor false")
    if kind is int and (isinstance(value, bool) or (isinstance(value, float) and not value.is_integer())):
        raise ParsingError(f"{value!r} is no whole number")
    return kind(value)


def _encode(value: Any) -> Any:
    import numpy as np

    if isinstance(value, type) and issubclass(value, np.generic):
        return f"numpy.{value.__name__}"
    if isinstance(value, np.dtype):
        return f"numpy.{value.type.__name__}"
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Namespace):
        return vars(value)
    raise ParsingError(f"{value!r} cannot be written as JSON")
