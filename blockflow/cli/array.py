"""`blockflow array`: what an array is and what it looks like, and its commands from other modules."""

from typing import TYPE_CHECKING, Any

import click

from blockflow.cli.array_convert import convert
from blockflow.cli.array_serve import serve

if TYPE_CHECKING:
    from pathlib import Path

    from blockflow.storage import Array

__all__ = ["command"]

_METADATA_FILES = {"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"}


@click.group("array")
def command() -> None:
    """Look at an array, convert it, or serve it to viewers."""


command.add_command(convert)
command.add_command(serve)


@command.command("info")
@click.argument("path", type=click.Path())
def info(path: str) -> None:
    """Say what the array at PATH is: shape, chunks, place in the world, size."""
    from blockflow.storage import open_array

    for name, text in _description(open_array(path)).items():
        click.echo(f"{name + ':':<16}{text}")


@command.command("show")
@click.argument("path", type=click.Path())
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False), required=True, metavar="PNG", help="File to write."
)
@click.option(
    "--axis", default="0", show_default=True, help="Spatial axis to cut across: a number or a name."
)
@click.option("--index", type=int, default=None, help="Where to cut, in voxels.  [default: the middle]")
def show(path: str, output: str, axis: str, index: int | None) -> None:
    """Draw one slice of the array at PATH.

    Grey values are stretched, masks are black and white, every label has a colour of its own. Only the slice
    is read.
    """
    from blockflow.report.pictures import save_slice
    from blockflow.storage import open_array

    image = save_slice(open_array(path), output, int(axis) if axis.isdecimal() else axis, index)
    click.echo(f"{output}  {image.width} x {image.height} pixels")


def _description(array: "Array") -> dict[str, str]:
    import math

    from blockflow.storage.formats import format_of

    data: Any = array.data
    metadata = array.metadata
    kind = format_of(array.path)
    shards = getattr(data, "shards", None)
    size = math.prod(array.shape) * array.dtype.itemsize
    return {
        "path": array.path,
        "format": f"zarr v{data.metadata.zarr_format}" if kind == "zarr" else data.format,
        "shape": f"{_by(array.shape)} voxels",
        "axes": ", ".join(
            name if kind == "space" else f"{name} ({kind})"
            for name, kind in zip(array.axis_names, metadata.types, strict=True)
        ),
        "dtype": str(array.dtype),
        "chunks": _by(array.chunks),
        "shards": _by(shards) if shards else "none",
        "compressor": data.compression or "none"
        if kind != "zarr"
        else ", ".join(map(_codec, data.compressors)) or "none",
        "fill value": str(array.fill_value),
        "voxel size": _physical(metadata.voxel_size, metadata.units),
        "offset": _physical(metadata.offset, metadata.units),
        "ROI": f"{array.roi}"
        + ("" if array.lattice.is_world else f" in lattice steps of {array.lattice} world units"),
        "in memory": _bytes(size),
        **_stored(array, kind),
    }


def _stored(array: "Array", kind: str) -> dict[str, str]:
    """How many bytes all files of the array have, and how many of its write units are stored."""
    import math
    from pathlib import Path

    from blockflow.storage.formats import stored_at

    data: Any = array.data
    units = math.prod(-(-size // unit) for size, unit in zip(array.shape, array.write_unit, strict=True))
    if kind == "zarr":
        stored, size = _files(Path(array.path))
        piece = "shards" if getattr(data, "shards", None) else "chunks"
        return {"on disk": _bytes(size), "stored": f"{stored} of {units} {piece}"}
    if not hasattr(data, "fileset"):
        return {"on disk": _bytes(stored_at(array.path).stat().st_size)}
    fileset = data.fileset
    published = sum(fileset.getBlockStatus(start) for start, _ in fileset.getAllBlockRois())
    return {
        "on disk": _bytes(_files(Path(fileset.layout.root))[1]),
        "stored": f"{published} of {units} blocks",
    }


def _files(folder: "Path") -> tuple[int, int]:
    """How many files but those of metadata a folder has, and how many bytes all of them have."""
    import os

    units = size = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.stat(f"{path}/{name}").st_size  # noqa: PTH116 (made for speed)
            except FileNotFoundError:  # a file that was being renamed into place
                continue
            units += name not in _METADATA_FILES and not name.endswith(".partial")
    return units, size


def _by(numbers: tuple[int, ...]) -> str:
    return " x ".join(map(str, numbers))


def _physical(values: tuple[float, ...], units: tuple[str, ...]) -> str:
    return ", ".join(f"{value!r} {unit}".rstrip() for value, unit in zip(values, units, strict=True))


def _bytes(size: int) -> str:
    power = min((size.bit_length() - 1) // 10, 5) if size else 0
    if power == 0:
        return f"{size} bytes"
    return f"{size / 1024**power:.1f} {('KiB', 'MiB', 'GiB', 'TiB', 'PiB')[power - 1]} ({size} bytes)"


def _codec(codec: Any) -> str:
    """A zarr v3 or numcodecs compressor by its name and settings."""
    if hasattr(codec, "get_config"):
        settings = dict(codec.get_config())
        name = settings.pop("id")
    else:
        description = codec.to_dict()
        name, settings = description["name"], dict(description.get("configuration", {}))
    told = ", ".join(f"{key}={value}" for key, value in settings.items())
    return f"{name} ({told})" if told else str(name)
