"""`blockflow operators`: which operators there are, and what one of them does."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from blockflow.operators.description import Description

__all__ = ["command"]


@click.command("operators")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """Say which ready-made operators there are or, with NAME, what one of them does.

    NAME is a ready-made operator, package.module:Class, or path/to/file.py:Class, as in the operators of a config.
    """
    if name is None:
        _list_all()
    else:
        _show(name)


def _list_all() -> None:
    from blockflow.operators import resolve_operator
    from blockflow.operators.description import describe, families, first_sentence

    for title, names in families().items():
        click.echo(title)
        for name in names:
            click.echo(f"  {name:<26} {first_sentence(describe(resolve_operator(name)).doc)}")
        click.echo()
    click.echo("`blockflow operators NAME` says more of one.")


def _show(name: str) -> None:
    from blockflow.operators import resolve_operator
    from blockflow.operators.description import describe

    cls = resolve_operator(name, Path.cwd())
    click.echo(_text(describe(cls, name.removeprefix("Op") if ":" not in name else name)))


def _text(described: "Description") -> str:
    lines = [described.name, "", described.doc, ""]
    lines.append(f"inputs:     {', '.join(described.inputs) or 'none'}")
    lines.append(f"outputs:    {', '.join(described.outputs)}")
    stages = "; a pass over the whole input comes first" if described.staged else ""
    lines.append(f"exactness:  {described.exactness}{stages}")
    if described.parameters:
        lines.append("parameters:")
        width = max(len(one.name) for one in described.parameters)
        for one in described.parameters:
            default = " (needed)" if one.needed else f" (default {one.default})" if one.default else ""
            lines.append(f"  {one.name:<{width}}  {one.doc}{default}")
    lines += ["", "in a config:", f"  name: {described.config_line()}", "", f"class {described.reference}"]
    return "\n".join(lines)
