"""A YAML text as plain data in which every value knows where it was written."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from blockflow.config.problems import Location, Mark, Problem
from blockflow.errors import ConfigError

__all__ = ["MAX_DEPTH", "MAX_VALUES", "Document", "read_document"]

#: how many keys and values a text may have once its aliases are expanded, and how deep they may lie
MAX_VALUES = 100_000
MAX_DEPTH = 100

_TAG = "tag:yaml.org,2002:"
_SCALARS = {_TAG + kind for kind in ("null", "bool", "int", "float", "str")}
_VARIABLE = re.compile(r"\$(?:(\$)|\{([^{}]*)(\}?))")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, where `1e-3` is a number, and dates and `10:30` are text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own name and type)
        first: [rule for rule in rules if rule[0].removeprefix(_TAG) in ("null", "bool", "merge")]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    _TAG + "int", re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)\Z"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    _TAG + "float",
    re.compile(
        r"(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
    ),
    list("-+0123456789."),
)


@dataclass
class Document:
    """Plain data, the mark of each key and item, and what is wrong with it already."""

    data: Any
    marks: dict[Location, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read_document(
    text: str,
    mark: Callable[[int, int], Mark],
    variables: Mapping[str, str],
    whole: Callable[[int, int], str],
) -> Document:
    """Read a YAML text.

    Parameters
    ----------
    text : str
        All of it.
    mark : callable
        Gives the mark of a line and column, both counted from 1.
    variables : mapping of str to str
        What `${NAME}` in text values stands for; `$$` is a `$`. A plain (unquoted) value that is nothing but
        one variable is then read as YAML would read it.
    whole : callable
        Gives the beginning of a message about the whole text, from a line and column.

    Raises
    ------
    ConfigError
        If the text is no YAML, or too large or deep. What is wrong with single values becomes the problems
        of the document.
    """
    loader: Any = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_syntax_message(error, text, whole)) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = whole(before.count("\n") + 1, error.position - before.rfind("\n"))
        raise ConfigError(
            f"{place}: not valid YAML: it contains the character {error.character!r}; is this a text file?"
        ) from None
    except RecursionError:
        raise ConfigError(f"{whole(1, 1)}: nested deeper than {MAX_DEPTH} levels; make it flatter") from None
    finally:
        if loader is not None:
            loader.dispose()
    if root is None:
        return Document(None)
    _check_size(root, whole)
    reader = _Reader(loader, mark, variables)
    reader.document.data = reader.read(root, ())
    return reader.document


def _syntax_message(error: yaml.MarkedYAMLError, text: str, whole: Callable[[int, int], str]) -> str:
    place = error.problem_mark or error.context_mark
    line, column = (place.line, place.column) if place else (0, 0)
    said = " ".join(part for part in (error.context, error.problem) if part)
    lines = text.splitlines()
    shown = lines[line] if line < len(lines) else ""
    if "\\t" in said:
        said += "; indent with spaces, not with tabs"
    elif "${" in shown:
        said += "; put a value with ${...} in quotes where it stands between { } or [ ]"
    elif "single document" in said:
        said += "; remove the line '---'"
    return f"{whole(line + 1, column + 1)}: not valid YAML: {said}"


def _check_size(root: yaml.Node, whole: Callable[[int, int], str]) -> None:
    """Count values as if aliases were expanded, without expanding them."""
    count, waiting = 0, [(root, 1)]
    while waiting:
        node, depth = waiting.pop()
        count += 1
        place = whole(node.start_mark.line + 1, node.start_mark.column + 1)
        if depth > MAX_DEPTH:
            raise ConfigError(
                f"{place}: nested deeper than {MAX_DEPTH} levels, or containing itself by an alias"
            )
        if count > MAX_VALUES:
            raise ConfigError(
                f"{place}: more than {MAX_VALUES} values, aliases (*name) expanded; make it smaller"
            )
        if isinstance(node, yaml.MappingNode):
            waiting.extend((part, depth + 1) for pair in node.value for part in pair)
        elif isinstance(node, yaml.SequenceNode):
            waiting.extend((item, depth + 1) for item in node.value)


class _Reader:
    """Turns nodes into data, and collects marks and problems on the way."""

    def __init__(self, loader: Any, mark: Callable[[int, int], Mark], variables: Mapping[str, str]) -> None:
        self.loader = loader
        self.mark = mark
        self.variables = variables
        self.document = Document(None)

    def at(self, node: yaml.Node) -> Mark:
        return self.mark(node.start_mark.line + 1, node.start_mark.column + 1)

    def complain(self, node: yaml.Node, location: Location, message: str) -> None:
        self.document.problems.append(Problem(self.at(node), location, message))

    def read(self, node: yaml.Node, location: Location) -> Any:
        self.document.marks.setdefault(location, self.at(node))
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self.read_mapping(node, location)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.read(item, (*location, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
            return self.read_scalar(node, location)
        self.complain(
            node,
            location,
            f"cannot be read as {node.tag.replace(_TAG, '!!')!r}; remove this tag, or use quotes",
        )
        return None

    def read_mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, (key_node, value_node) in self.pairs(node, location).items():
            self.document.marks[(*location, key)] = self.at(key_node)
            result[key] = self.read(value_node, (*location, key))
        return result

    def pairs(self, node: yaml.MappingNode, location: Location) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """The pairs of a mapping by key: its own ones before those that `<<` brings in."""
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                sources = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                for source in sources:
                    if isinstance(source, yaml.MappingNode):
                        merged = self.pairs(source, location) | merged
                    else:
                        self.complain(source, location, "'<<' takes a mapping, or a list of them")
            elif not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _TAG + "str":
                shown = repr(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "that is no scalar"
                self.complain(key_node, location, f"key {shown} is no text; put it in quotes")
            elif key_node.value in own:
                first = self.at(own[key_node.value][0])
                self.complain(
                    key_node,
                    (*location, key_node.value),
                    f"duplicate key {key_node.value!r}, given before at {first.text}; remove one of them",
                )
            else:
                own[key_node.value] = (key_node, value_node)
        return merged | own

    def read_scalar(self, node: yaml.ScalarNode, location: Location) -> Any:
        if node.tag == _TAG + "str":
            text = self.replace_variables(node, location)
            found = _VARIABLE.fullmatch(node.value)
            if node.style is not None or found is None or found[1]:
                return text
            node = yaml.ScalarNode(
                self.loader.resolve(yaml.ScalarNode, text, (True, False)), text, node.start_mark
            )
            if node.tag not in _SCALARS:
                return text
        try:
            return self.loader.construct_object(node)
        except (ValueError, KeyError, yaml.YAMLError):
            kind = node.tag.removeprefix(_TAG)
            self.complain(
                node, location, f"{node.value[:60]!r} is no {kind}; write it out, or put it in quotes"
            )
            return None

    def replace_variables(self, node: yaml.ScalarNode, location: Location) -> str:
        def value_of(found: re.Match[str]) -> str:
            if found[1]:
                return "$"
            name = found[2]
            if not found[3] or not _VARIABLE_NAME.fullmatch(name):
                self.complain(
                    node, location, f"{found[0]!r} is no variable: write ${{NAME}}, or $$ where a $ is meant"
                )
            elif name not in self.variables:
                self.complain(
                    node,
                    location,
                    f"the environment variable {name} is not set; set it, or write $${{{name}}} if the "
                    "text itself is meant",
                )
            return self.variables.get(name, found[0])

        return _VARIABLE.sub(value_of, node.value)
