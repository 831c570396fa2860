"""Pictures of arrays: one slice, as a person would want to see it."""

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blockflow.errors import StorageError
from blockflow.storage import Array
from blockflow.utility.files import write_aside

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["save_slice", "slice_picture"]

_SMALLEST, _LARGEST = 384, 4096  #: how many pixels the longer side of a picture has
_STEEPEST = 16.0  #: how much higher than wide (or the other way round) a pixel is drawn at most
_STRETCH = (1, 99)  #: percentiles that become black and white


def slice_picture(array: Array, axis: int | str = 0, index: int | None = None) -> "Image":
    """Draw one slice of `array`. No more than the slice is read.

    Booleans, and integers that are all 0 or 1, are black and white, and so are 8-bit masks (one value besides
    0). Integers of 32 bits and more are labels, and 16-bit integers where most neighbouring pixels are equal:
    each label has its own fixed colour, 0 is black. All else is grey, stretched between the 1st and
    the 99th percentile. Of channels the first is drawn; three channels of grey are red, green and blue.

    Parameters
    ----------
    array : Array
        With at least two spatial axes. With more than three, the last two that are not sliced are drawn,
        in the middle of all others.
    axis : int or str
        Which spatial axis is cut across, counted without channels, or its name. Without meaning for an array
        of two.
    index : int, optional
        Where to cut, in voxels from the array's begin; by default in the middle.

    Returns
    -------
    PIL.Image.Image
        At least 384 pixels on its longer side (enlarged without smoothing) and at most about 4096 (by
        leaving out pixels, before enlarging), with the voxels' proportions.

    Raises
    ------
    StorageError
        If there is no such axis or slice.
    """
    from PIL import Image

    pixels = _read(array, axis, index)
    proportion = _proportion(array, axis)
    height, width = pixels.shape[0] * max(1.0, proportion), pixels.shape[1] * max(1.0, 1 / proportion)
    scale = max(1, math.ceil(_SMALLEST / max(height, width)))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return Image.fromarray(_coloured(pixels)).resize(size, Image.Resampling.NEAREST)


def save_slice(array: Array, path: str | Path, axis: int | str = 0, index: int | None = None) -> "Image":
    """Write the picture that `slice_picture` draws to the PNG file `path`, whole or not at all; return it.

    Raises `StorageError` if there is no such slice, or the file cannot be written.
    """
    place = Path(path)
    if place.suffix.lower() != ".png":
        raise StorageError(f"{place}: pictures are written as PNG; let the name end in .png")
    image = slice_picture(array, axis, index)
    data = io.BytesIO()
    image.save(data, format="PNG")
    try:
        write_aside(place, data.getvalue())
    except OSError as error:
        raise StorageError(f"{place}: the picture cannot be written: {error}") from error
    return image


def _axes(array: Array, axis: int | str) -> tuple[int | None, int, int]:
    """The array axes that are cut across (none in an array of two), drawn downwards, and to the right."""
    spatial = array.metadata.spatial_axes
    names = [array.axis_names[position] for position in spatial]
    if len(spatial) < 2:
        raise StorageError(f"{array.path}: a picture needs two spatial axes, the array has {names}")
    if len(spatial) == 2:
        return None, spatial[0], spatial[1]
    number = names.index(axis) if axis in names else axis
    if not isinstance(number, int) or not 0 <= number < len(spatial):
        raise StorageError(
            f"{array.path}: there is no spatial axis {axis!r}; it has {', '.join(names)}, "
            f"or 0 to {len(spatial) - 1}"
        )
    rows, columns = [position for position in spatial if position != spatial[number]][-2:]
    return spatial[number], rows, columns


def _read(array: Array, axis: int | str, index: int | None) -> np.ndarray:
    """The pixels to draw: (height, width), or (height, width, 3) where channels are colours."""
    cut, rows, columns = _axes(array, axis)
    if 0 in array.shape:
        raise StorageError(f"{array.path}: an array of shape {array.shape} has no voxels to draw")
    key: list[int | slice] = [size // 2 for size in array.shape]
    if cut is not None and index is not None:
        if not 0 <= index < array.shape[cut]:
            raise StorageError(
                f"{array.path}: there is no slice {index} along axis {array.axis_names[cut]!r}, "
                f"only 0 to {array.shape[cut] - 1}"
            )
        key[cut] = index
    spatial = array.metadata.spatial_axes
    channels = [position for position in range(len(array.shape)) if position not in spatial]
    for position in channels:
        key[position] = 0
    grey = array.dtype.kind == "f" or (array.dtype.kind in "iu" and array.dtype.itemsize <= 2)
    in_colour = grey and len(channels) == 1 and array.shape[channels[0]] == 3
    if in_colour:
        key[channels[0]] = slice(None)
    step = math.ceil(max(array.shape[rows], array.shape[columns]) / _LARGEST)
    key[rows] = key[columns] = slice(None, None, step)
    pixels = array[tuple(key)]
    if in_colour:
        pixels = np.moveaxis(pixels, int(channels[0] > rows) + int(channels[0] > columns), -1)
    return pixels


def _proportion(array: Array, axis: int | str) -> float:
    """How much higher than wide a pixel is; 1 where the axes have no common unit."""
    _, rows, columns = _axes(array, axis)
    row, column = (array.metadata.spatial_axes.index(position) for position in (rows, columns))
    if array.units[row] != array.units[column]:
        return 1.0
    proportion = array.metadata.voxel_size[row] / array.metadata.voxel_size[column]
    return min(max(proportion, 1 / _STEEPEST), _STEEPEST)


def _coloured(pixels: np.ndarray) -> np.ndarray:
    """`pixels` as uint8, in grey or in colours."""
    if pixels.dtype.kind == "b":
        return np.where(pixels, 255, 0).astype(np.uint8)
    if pixels.ndim == 2 and pixels.dtype.kind in "iu":
        values = np.unique(pixels)
        mask = pixels.dtype.itemsize == 1 and len(values) <= 2 and values[0] == 0
        if mask or (values[0] >= 0 and values[-1] <= 1):
            return np.where(pixels != 0, 255, 0).astype(np.uint8)
        if pixels.dtype.itemsize > 2 or (pixels.dtype.itemsize == 2 and _flat(pixels)):
            return _label_colours(values)[np.searchsorted(values, pixels)]
    return _stretched(pixels)


def _flat(pixels: np.ndarray) -> bool:
    """Whether most neighbouring pixels that are not both 0 are equal: so in labels, not in grey values."""
    one, other = pixels[:, 1:], pixels[:, :-1]
    something = (one != 0) | (other != 0)
    return bool(((one == other) & something).sum() * 2 > something.sum())


def _stretched(pixels: np.ndarray) -> np.ndarray:
    values = np.abs(pixels) if pixels.dtype.kind == "c" else pixels
    values = values.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, np.uint8)
    low, high = np.percentile(values[finite], _STRETCH)
    if low == high:
        low, high = values[finite].min(), values[finite].max()
    if low == high:
        return np.where(finite & (values != 0), 128, 0).astype(np.uint8)
    share = (np.where(finite, values, low) - low) / (high - low)
    return np.asarray(np.rint(share.clip(0, 1) * 255).astype(np.uint8))


def _label_colours(labels: np.ndarray) -> np.ndarray:
    """A colour for each label, always the same for the same label: splitmix64 of it gives hue and shade."""
    mixed = labels.astype(np.int64).view(np.uint64) if labels.dtype.kind == "i" else labels.astype(np.uint64)
    mixed = mixed + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed = mixed ^ (mixed >> np.uint64(31))
    hue = (mixed & np.uint64(0xFFFF)) / 0x10000
    strength = 0.25 + 0.25 * ((mixed >> np.uint64(16)) & np.uint64(0xFFFF)) / 0x10000
    waves = np.cos(2 * np.pi * (hue[:, None] + np.array([0, 1 / 3, 2 / 3])))
    colours = np.rint(255 * (0.5 + strength[:, None] * waves)).astype(np.uint8)
    colours[labels == 0] = 0
    return np.asarray(colours)
