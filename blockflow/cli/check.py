"""`blockflow check`."""

from pathlib import Path

import click

__all__ = ["command"]


@click.command("check")
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a value of the config, as for run.",
)
@click.option(
    "--blocks",
    default=9,
    show_default=True,
    type=click.IntRange(min=1),
    help="Blocks of each output, corners first.",
)
@click.option(
    "--margin",
    default=32,
    show_default=True,
    type=click.IntRange(min=1),
    help="Voxels on each side that the lazy request has more than the block.",
)
def command(config: Path, overrides: tuple[str, ...], blocks: int, margin: int) -> int:
    """Prove the contexts of CONFIG's operators on its own data.

    A few blocks of each output are computed as a worker does, and compared, bit for bit, with the same region asked
    lazily as a part of a larger one. Nothing is stored. Operators that need the whole input make their pass over it.
    Exit status: 0 all are equal, 1 some are not.
    """
    from blockflow.config import build_run, load_config
    from blockflow.errors import ConfigError
    from blockflow.execution.checking import check_blocks

    planned = build_run(load_config(config, overrides)).planned
    if planned is None:
        raise ConfigError(f"{config}: it has no outputs, so there is no graph to check")
    good = True
    for found in check_blocks(planned.draft, blocks, margin):
        click.echo(str(found), err=not found.equal)
        good &= found.equal
    return 0 if good else 1
