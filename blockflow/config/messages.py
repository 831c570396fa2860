"""What pydantic finds wrong with a config, said in the config's own words."""

from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from blockflow.config.models import UNION_TAGS, RoiConfig
from blockflow.config.problems import Location, shown
from blockflow.config.schema import Config, TaskConfig
from blockflow.utility.words import choices

__all__ = ["in_plain_words"]

_NAME_RULE = "must be 1 to 100 letters, digits, '_', '-' or '.', and not begin with '-' or '.'; rename it"
_KEYWORD_RULE = "must be a keyword argument: letters, digits and '_', not beginning with a digit; rename it"


def in_plain_words(error: ErrorDetails) -> tuple[Location, str]:
    """Where an error of pydantic belongs, and what to say of it."""
    location = tuple(part for part in error["loc"] if part not in UNION_TAGS)
    if error["type"] == "string_pattern_mismatch" and location[-1] == "[key]":
        location = location[:-1]
    return location, _message(error["type"], location, error["input"], error.get("ctx", {}), error["msg"])


def _message(kind: str, location: Location, given: Any, context: Mapping[str, Any], default: str) -> str:
    """The message for one type of error."""
    what = shown(given)
    if kind == "extra_forbidden":
        return _unknown_key(location)
    if kind == "missing":
        return _missing(location)
    if kind == "literal_error":
        return _not_one_of(given, location)
    if kind in ("int_type", "int_from_float"):
        units = "; ROIs are whole lattice steps" if _is_in_roi(location) else ""
        return f"must be a whole number, not {what}{units}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return _no_mapping(location, what)
    if kind == "string_pattern_mismatch":
        is_keyword = len(location) > 2 and location[0] in ("tasks", "operators")
        return f"{what} {_KEYWORD_RULE if is_keyword else _NAME_RULE}"
    if kind == "too_short":
        return "must have a number for each axis"
    if kind == "string_type":
        cure = "; put it in quotes" if isinstance(given, bool | int | float) else ""
        return f"must be text, not {what}{cure}"
    simple = {
        "float_type": f"must be a number, not {what}",
        "finite_number": f"must be a finite number, not {what}; leave it out for no limit",
        "bool_type": f"must be true or false, not {what}",
        "list_type": f"must be a list, not {what}; write [...]",
        "string_too_short": "must not be empty",
        "greater_than_equal": f"must be at least {context.get('ge')}, not {what}",
        "greater_than": f"must be more than {context.get('gt', 0):g}, not {what}",
    }
    return simple.get(kind, default)


def _unknown_key(location: Location) -> str:
    key, model = str(location[-1]), _model_at(location[:-1])
    end = choices(key, model.model_fields if model else ())
    if model is TaskConfig and not end.endswith("?"):
        end += "; an argument of the worker file belongs under args"
    return f"unknown key {key!r}; {end}"


def _missing(location: Location) -> str:
    model = _model_at(location[:-1])
    field = model.model_fields.get(str(location[-1])) if model else None
    meaning = f" ({field.description.rstrip('.')})" if field and field.description else ""
    return f"missing; add {location[-1]}:{meaning}"


def _not_one_of(given: Any, location: Location) -> str:
    if location[-1] == "total_roi":
        return f"must be 'auto' or {{offset: [...], shape: [...]}}, not {shown(given)}"
    model = _model_at(location[:-1])
    field = model.model_fields.get(str(location[-1])) if model else None
    return (
        f"{shown(given)} is not valid; {choices(str(given), _literals(field.annotation if field else None))}"
    )


def _no_mapping(location: Location, what: str) -> str:
    if _model_at(location) is RoiConfig:
        auto = "'auto' or " if location[-1] == "total_roi" else ""
        return f"must be {auto}{{offset: [...], shape: [...]}}, not {what}"
    return f"must be a mapping (lines of 'key: value'), not {what}"


def _is_in_roi(location: Location) -> bool:
    return any(_model_at(location[:end]) is RoiConfig for end in range(len(location)))


def _literals(annotation: Any) -> list[str]:
    found: list[str] = []
    for part in get_args(annotation):
        found += [part] if isinstance(part, str) else _literals(part)
    return found


def _model_at(location: Location) -> type[BaseModel] | None:
    """The model that describes the mapping at a location, if one does."""
    at: Any = Config
    for part in location:
        if isinstance(at, type) and issubclass(at, BaseModel):
            field = at.model_fields.get(str(part))
            at = _structure(field.annotation) if field else None
        elif get_origin(at) is dict:
            at = _structure(get_args(at)[1])
        else:
            return None
    return at if isinstance(at, type) and issubclass(at, BaseModel) else None


def _structure(annotation: Any) -> Any:
    """The model or dict within an annotation."""
    if get_origin(annotation) is Annotated:
        return _structure(get_args(annotation)[0])
    if get_origin(annotation) in (Union, type(int | str)):
        return next((found for part in get_args(annotation) if (found := _structure(part)) is not None), None)
    if get_origin(annotation) is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return annotation
    return None
