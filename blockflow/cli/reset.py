"""`blockflow reset`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from funlib.geometry import Roi

__all__ = ["command"]


@click.command("reset")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--task", help="Only this task.")
@click.option(
    "--roi", metavar="BEGIN:END,...", help="Only blocks that write in here, in lattice units, an axis each."
)
def command(run: Path, task: str | None, roi: str | None) -> None:
    """Take back what is marked as done in the run in directory RUN, so that the next run does it again.

    Voxels stay as they are until then.
    """
    from blockflow.execution.reset import reset

    for name, blocks in reset(run, task, None if roi is None else _roi(roi)).items():
        click.echo(f"{name}: {blocks} blocks will be done again")


def _roi(text: str) -> "Roi":
    from funlib.geometry import Roi

    from blockflow.errors import ConfigError

    try:
        begin, end = zip(*(map(int, part.split(":")) for part in text.strip("[] ").split(",")), strict=True)
    except ValueError:
        raise ConfigError(
            f"--roi {text!r} must be BEGIN:END for each axis, as in 0:640,1024:2048,0:512"
        ) from None
    if any(low >= high for low, high in zip(begin, end, strict=True)):
        raise ConfigError(f"--roi {text!r}: each END must lie behind its BEGIN")
    return Roi(begin, [high - low for low, high in zip(begin, end, strict=True)])
