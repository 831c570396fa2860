"""`blockflow array convert`."""

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from blockflow.storage import Array

__all__ = ["convert"]


class _Sizes(click.ParamType):  # type: ignore[type-arg]
    """Whole numbers, one for each axis: `64,64,64`."""

    name = "N,N,.."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return [int(one) for one in value.split(",")]
        except ValueError:
            self.fail(f"{value!r} is no list of whole numbers; write it as 64,64,64", param, ctx)


@click.command("convert")
@click.argument("source", type=click.Path())
@click.argument("target", type=click.Path())
@click.option("--chunks", type=_Sizes(), help="In voxels; of a fileset: its blocks.  [default: the source's]")
@click.option("--shards", type=_Sizes(), help="In voxels, a multiple of the chunks; zarr v3 only.")
@click.option("--compressor", help="zstd, gzip, blosc or none; with a level as zstd:5.")
@click.option("--dtype", help="Of the target.  [default: the source's]")
@click.option("--zarr-format", type=click.Choice(["2", "3"]), help="[default: 3]")
@click.option(
    "--num-workers", type=click.IntRange(min=1), default=1, show_default=True, help="Worker processes."
)
@click.option("--run-dir", type=click.Path(), help="Where the run is kept.  [default: under blockflow_runs]")
def convert(source: str, target: str, num_workers: int, run_dir: str | None, **storage: Any) -> int:
    """Copy the array SOURCE to TARGET, block by block, in the format that TARGET's name says.

    A folder is a zarr array, FILE.json a fileset, FILE.h5/DATASET a dataset in a new HDF5 file, FILE.npy a plain
    array. The same command again goes on with what was interrupted.
    """
    from blockflow.storage import open_array
    from blockflow.storage.formats import is_output

    storage = {name: value for name, value in storage.items() if value is not None}
    if "zarr_format" in storage:
        storage["zarr_format"] = int(storage["zarr_format"])
    array = open_array(source)
    if is_output(target):
        return _copy_blockwise(array, target, num_workers, run_dir, storage)
    if storage or num_workers > 1 or run_dir is not None:
        given = ", ".join(f"--{name.replace('_', '-')}" for name in storage) or "--num-workers or --run-dir"
        raise click.UsageError(
            f"{target} is written by one process, as one piece of the source's dtype, so {given} has no meaning"
        )
    return _copy_to_file(array, target)


def _copy_to_file(array: "Array", target: str) -> int:
    from blockflow.storage.single_files import write_single_file

    before = write_single_file(array, target)
    click.echo(f"{target}: done" + (f"; {before} blocks were there already" if before else ""))
    return 0


def _copy_blockwise(
    array: "Array", target: str, num_workers: int, run_dir: str | None, storage: dict[str, Any]
) -> int:
    from funlib.geometry import Coordinate, Roi

    from blockflow.blockwise import run_blockwise
    from blockflow.storage import spec_like
    from blockflow.storage.single_files import blocks_of_chunks

    planned = spec_like(array, target, **storage).planned(array.lattice)
    block = next(blocks_of_chunks(planned.shape, planned.write_unit, planned.dtype.itemsize))
    unit = [-(-one.stop // size) * size for one, size in zip(block, planned.write_unit, strict=True)]
    shape = Coordinate(unit[axis] for axis in array.metadata.spatial_axes) * array.voxel_size
    write_roi = Roi(array.roi.offset, shape)
    complete = run_blockwise(
        "copy",
        array.roi,
        write_roi,
        write_roi,
        num_workers=num_workers,
        name="convert",
        fit="shrink",
        **{name: value for name, value in {"run_dir": run_dir}.items() if value is not None},  # type: ignore[arg-type]
        input=array.path,
        output=target,
        **storage,
    )
    click.echo(f"{target}: {'done' if complete else 'some blocks are not done; see above, and try again'}")
    return 0 if complete else 1
