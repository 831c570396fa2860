"""What a description of a fileset says, and whether that can be."""

import copy
import math
import os
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from blockflow.errors import StorageError
from blockflow.utility.jsonConfig import AutoEval, FormattedField, JsonConfigParser, Namespace
from blockflow.utility.pathHelpers import PathComponents

__all__ = ["FILESET_FIELDS", "as_integers", "complete_description", "voxel_type"]

#: nobody has a longer axis, or a block of more bytes; who says so is in error, or wants to harm
LONGEST_AXIS = 10**10
LARGEST_BLOCK = 2**36
MOST_BLOCKS = 10**9
LONGEST_CHUNK = 2**32 - 1

COMPRESSIONS = ("gzip", "lzf", "szip")

#: the schema of a description file: for each field what makes a value of it
FILESET_FIELDS: dict[str, Any] = {
    "_schema_name": "blockwise-fileset-description",
    "_schema_version": 1.1,
    "name": str,
    "format": str,
    "axes": str,
    "shape": AutoEval(np.array),
    "dtype": AutoEval(),
    "drange": AutoEval(tuple),
    "chunks": AutoEval(np.array),
    "compression": str,
    "compression_opts": AutoEval(int),
    "block_shape": AutoEval(np.array),
    "view_origin": AutoEval(np.array),
    "view_shape": AutoEval(np.array),
    "block_file_name_format": FormattedField(requiredFields=["roiString"]),
    "dataset_root_dir": str,
    "hash_id": str,
    "sub_block_shape": AutoEval(np.array),  # since 1.1
}
FILESET_SCHEMA = JsonConfigParser(FILESET_FIELDS)


def complete_description(description: Namespace, where: str) -> Namespace:
    """A copy of a description with its defaults filled in, and shapes as arrays of ints.

    Raises
    ------
    StorageError
        If a field is missing or cannot be so; the message begins with `where`.
    """
    whole = copy.copy(description)

    def refuse(message: str) -> None:
        raise StorageError(f"{where}: {message}")

    for name in ("axes", "shape", "dtype", "block_shape", "block_file_name_format"):
        if getattr(whole, name, None) is None:
            refuse(f"{name} is missing")
    if getattr(whole, "format", None) != "hdf5":
        refuse(f"format is {getattr(whole, 'format', None)!r}; only 'hdf5' can be read and written")
    axes = whole.axes
    if len(set(axes)) != len(axes) or not axes.isalpha() or not axes.isascii():
        refuse(f"axes {axes!r} must be a letter for each axis, none of them twice")
    whole.dtype = voxel_type(whole.dtype, where)
    for name in ("shape", "block_shape", "sub_block_shape", "chunks", "view_origin", "view_shape"):
        value = getattr(whole, name, None)
        lowest = 0 if name == "view_origin" else 1
        setattr(
            whole, name, None if value is None else as_integers(value, len(axes), lowest, f"{where}: {name}")
        )
    shape, block = whole.shape, whole.block_shape
    if math.prod(map(int, np.minimum(block, shape))) * max(1, whole.dtype.itemsize) > LARGEST_BLOCK:
        refuse(
            f"a block of {block.tolist()} voxels of {whole.dtype} is too large for a file; make block_shape smaller"
        )
    if math.prod(map(int, -(-shape // block))) > MOST_BLOCKS:
        refuse(
            f"shape {shape.tolist()} has more than {MOST_BLOCKS} blocks of {block.tolist()}; make block_shape larger"
        )
    if whole.view_origin is None:
        whole.view_origin = np.zeros_like(shape)
    if (whole.view_origin % block).any():
        refuse(f"view_origin {whole.view_origin.tolist()} must be a multiple of block_shape {block.tolist()}")
    if whole.view_shape is None:
        whole.view_shape = shape - whole.view_origin
    if (whole.view_shape < 1).any() or (whole.view_origin + whole.view_shape > shape).any():
        refuse(
            f"the view from {whole.view_origin.tolist()} of {whole.view_shape.tolist()} voxels is not within "
            f"shape {shape.tolist()}"
        )
    if whole.sub_block_shape is not None:
        wrong = (block % whole.sub_block_shape != 0) & (block < whole.view_shape)
        if wrong.any():
            refuse(
                f"sub_block_shape {whole.sub_block_shape.tolist()} must divide block_shape {block.tolist()} along each "
                "axis on which the dataset has more than one block"
            )
    _check_storage(whole, refuse)
    _check_places(whole, refuse)
    return whole


def _check_storage(whole: Namespace, refuse: Any) -> None:
    compression = getattr(whole, "compression", None)
    if compression is not None and compression not in COMPRESSIONS:
        refuse(f"compression is {compression!r}; valid are {', '.join(COMPRESSIONS)}, and null")
    if getattr(whole, "compression_opts", None) is not None and compression is None:
        refuse(
            f"compression_opts is {whole.compression_opts}, but there is no compression; name one, or remove it"
        )
    if (
        whole.chunks is not None
        and math.prod(map(int, whole.chunks)) * max(1, whole.dtype.itemsize) > LONGEST_CHUNK
    ):
        refuse(f"chunks {whole.chunks.tolist()} are larger than HDF5 can store")
    drange = getattr(whole, "drange", None)
    if drange is None:
        return
    if (
        len(drange) != 2
        or not all(isinstance(one, int | float) for one in drange)
        or not drange[0] <= drange[1]
    ):
        refuse(f"drange is {drange!r}; it must be the lowest and the highest value")


def _check_places(whole: Namespace, refuse: Any) -> None:
    root = whole.dataset_root_dir = getattr(whole, "dataset_root_dir", None) or "."
    path = PurePosixPath(root.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in root or root.startswith("~"):
        refuse(
            f"dataset_root_dir {root!r} is not within the folder of the description; move the description beside "
            "its blocks"
        )
    form = whole.block_file_name_format
    place = PathComponents(form)
    if place.internalPath is None:
        refuse(
            f"block_file_name_format {form!r} does not say where in a file a block is; write it as "
            "'block-{roiString}.h5/volume/data'"
        )
    if place.externalPath != place.filename or "{roiString}" not in place.filename or "\0" in form:
        refuse(
            f"block_file_name_format {form!r} must be a file name with {{roiString}} in it, without a folder"
        )
    if ".." in place.internalPath.split("/"):  # type: ignore[union-attr]
        refuse(f"block_file_name_format {form!r} must not hold '..'")


def as_integers(value: Any, count: int, lowest: int, what: str) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """`count` whole numbers from `lowest` on, of measure. StorageError if they are none."""
    try:
        numbers = [int(one) for one in value]
        whole = all(number == one for number, one in zip(numbers, value, strict=True))
    except (TypeError, ValueError, OverflowError):
        numbers, whole = [], False
    if not whole or len(numbers) != count or any(isinstance(one, bool) for one in value):
        shown = value.tolist() if isinstance(value, np.ndarray) else value
        raise StorageError(
            f"{what} is {str(shown)[:80]}; it must be {count} whole numbers, one for each axis"
        )
    if any(not lowest <= number <= LONGEST_AXIS for number in numbers):
        raise StorageError(f"{what} is {numbers}; each must be from {lowest} to {LONGEST_AXIS}")
    return np.array(numbers, dtype=np.int64)


def voxel_type(value: Any, where: str) -> "np.dtype[Any]":
    """The dtype that a description names: of numbers, of booleans, or `object`. StorageError for all else."""
    try:
        dtype: np.dtype[Any] = np.dtype(value)
    except (TypeError, ValueError):
        raise StorageError(f"{where}: dtype is {str(value)[:80]!r}; write it as 'numpy.uint8'") from None
    if dtype.kind not in "biufcO" or value is None:
        raise StorageError(f"{where}: dtype is {dtype}; it must be of numbers, booleans or objects")
    return dtype


def folder_of(description_path: str) -> str:
    """The absolute folder that paths in a description count from."""
    return os.path.dirname(os.path.abspath(description_path))  # noqa: PTH100, PTH120 - not through links
