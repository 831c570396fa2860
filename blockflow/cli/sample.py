"""`blockflow sample`: a small generated volume to try everything on."""

import click

__all__ = ["command"]


def _shape(_context: click.Context, _option: click.Parameter, text: str) -> tuple[int, ...]:
    """Three positive whole numbers with commas between them."""
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if len(shape) != 3 or any(size < 1 for size in shape):
        raise click.BadParameter(f"{text!r} is not three positive whole numbers such as 96,128,128")
    return shape


@click.command("sample")
@click.argument("folder", type=click.Path(file_okay=False))
@click.option(
    "--shape", callback=_shape, metavar="Z,Y,X", default="96,128,128", show_default=True, help="In voxels."
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Another seed gives other cells.",
)
def command(folder: str, shape: tuple[int, ...], seed: int) -> None:
    """Write a small generated volume of cells into FOLDER.

    It looks like electron microscopy: FOLDER/raw has bright cells with dark membranes, FOLDER/labels the
    true cells, FOLDER/probabilities three classes as a pixel classifier gives them. A FOLDER that holds
    anything else is refused.
    """
    from blockflow.report.sample import make_sample
    from blockflow.storage import open_array

    for path in make_sample(folder, shape, seed).values():
        array = open_array(path)
        size = " x ".join(f"{value:g}" for value in array.metadata.voxel_size)
        click.echo(f"{path}  {' x '.join(map(str, array.shape))} {array.dtype}, voxels of {size} nm")
