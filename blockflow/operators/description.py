"""What an operator says of itself: for the command line, and for the page that lists all of them."""

import importlib
import inspect
from dataclasses import dataclass
from typing import Any

from blockflow.graph import Operator, StagedOperator
from blockflow.operators.catalogue import OPERATORS, resolve_operator
from blockflow.operators.parameters import Parameter

__all__ = [
    "Description",
    "ParameterDescription",
    "catalogue_markdown",
    "describe",
    "families",
    "first_sentence",
]


@dataclass(frozen=True)
class ParameterDescription:
    """A parameter: what it means, and the text of its default; `needed`, if it has none and must be given."""

    name: str
    doc: str
    default: str
    needed: bool


@dataclass(frozen=True)
class Description:
    """An operator: its name in a config, its docstring, its slots."""

    name: str
    reference: str
    doc: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: tuple[ParameterDescription, ...]
    exactness: str
    staged: bool

    def config_line(self) -> str:
        """How it may stand in the `operators:` of a config: every input, and every parameter that must be given."""
        inputs = [
            f"{name.removesuffix(' (list)')}: {_example(name)}"
            for name in self.inputs
            if "optional" not in name
        ]
        needed = [f"{one.name}: ..." for one in self.parameters if one.needed]
        parts = [f"type: {self.name}", f"inputs: {{{', '.join(inputs)}}}"]
        if needed:
            parts.append(f"params: {{{', '.join(needed)}}}")
        return f"{{{', '.join(parts)}}}"


def _example(name: str) -> str:
    return "[raw, other]" if name.endswith("(list)") else "raw"


def describe(cls: type[Operator], name: str | None = None) -> Description:
    """What an operator class says of itself.

    Parameters
    ----------
    cls : type
    name : str, optional
        As a config names it; by default that of the class without `Op`.
    """
    data = [slot for slot in cls.inputSlots if not isinstance(slot, Parameter)]
    return Description(
        name=name or cls.__name__.removeprefix("Op"),
        reference=f"{cls.__module__}:{cls.__qualname__}",
        doc=inspect.getdoc(cls) or "",
        inputs=tuple(
            slot.name + (" (list)" if slot.level else "") + (" (optional)" if slot.optional else "")
            for slot in data
        ),
        outputs=tuple(slot.name + (" (list)" if slot.level else "") for slot in cls.outputSlots),
        parameters=tuple(_parameter(slot) for slot in cls.inputSlots if isinstance(slot, Parameter)),
        exactness=cls.exactness,
        staged=issubclass(cls, StagedOperator),
    )


def _parameter(slot: Parameter) -> ParameterDescription:
    default = slot._default
    needed = default is None and not slot.optional
    return ParameterDescription(slot.name, slot.doc, "" if default is None else _text(default), needed)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_text, value))}]"
    return str(value)


def first_sentence(doc: str) -> str:
    """The first line of a docstring, and what follows it up to the first full stop at the end of a line."""
    paragraph = doc.split("\n\n", maxsplit=1)[0].replace("\n", " ")
    return paragraph.split(". ")[0].rstrip(".") + "."


def families() -> dict[str, list[str]]:
    """The ready-made operators by family: what the family is, and the names of its operators as a config has them."""
    found: dict[str, list[str]] = {}
    for name, module in OPERATORS.items():
        title = first_sentence(inspect.getdoc(importlib.import_module(module)) or "")
        found.setdefault(title, []).append(name.removeprefix("Op"))
    return found


def catalogue_markdown() -> str:
    """The catalogue as Markdown: a table for each family."""
    parts = []
    for title, names in families().items():
        lines = [f"**{title.rstrip('.')}**", "", "| name | what it does | inputs | parameters | exactness |"]
        lines.append("|---|---|---|---|---|")
        lines += [_row(describe(resolve_operator(name))) for name in names]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _row(described: Description) -> str:
    parameters = [
        f"`{one.name}`" + ("\\*" if one.needed else f" {one.default}" if one.default else "")
        for one in described.parameters
    ]
    inputs = ", ".join(described.inputs)
    what = first_sentence(described.doc).replace("|", "\\|").replace("*", "\\*")
    cells = (described.name, what, inputs, ", ".join(parameters), described.exactness)
    return f"| {' | '.join(cells)} |"
