"""A small generated volume that looks like electron microscopy of cells, to try everything on.

The cells are Voronoi cells of one random point in each cube of a regular grid, so a voxel's nearest point is
never further away than the diagonal of one cube, and the work grows with the volume alone.
"""

import math
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from blockflow.errors import StorageError
from blockflow.storage import Array, ArraySpec, VolumeMetadata, open_array

__all__ = ["make_sample"]

_VOXEL_SIZE = (40, 32, 32)
_CUBE = 800.0  #: edge in nm of the cubes that get one cell each
_NUCLEUS = 250.0  #: radius in nm of what looks like a nucleus
_CHUNK = 32


def make_sample(folder: str | Path, shape: Sequence[int] = (96, 128, 128), seed: int = 0) -> dict[str, Path]:
    """Write a generated volume of cells into `folder`, as zarr v3 arrays with voxels of 40 x 32 x 32 nm.

    - `labels`: uint32, which cell a voxel belongs to, from 1 on; every voxel belongs to one.
    - `raw`: uint8, bright cells with dark membranes (170, and 90 less where a 6-neighbour has another label)
      under normal noise of standard deviation 12.
    - `probabilities`: float32 of shape (3, z, y, x): membrane, cell and nucleus, which sum to 1.

    The same shape and seed give the same voxels.

    Parameters
    ----------
    folder : str or Path
        Appears all at once, when everything in it is written.
    shape : sequence of int
        z, y and x in voxels.
    seed : int
        Not negative.

    Returns
    -------
    dict of Path
        Where `labels`, `raw` and `probabilities` are. If `folder` holds this very sample already, nothing is
        done.

    Raises
    ------
    StorageError
        If `folder` holds anything else, or shape or seed cannot be used.
    """
    if len(shape) != 3 or any(size < 1 for size in shape) or seed < 0:
        raise StorageError(
            f"a sample needs a shape of 3 positive numbers (z, y, x) and a seed from 0 on, "
            f"not shape {list(shape)} and seed {seed}"
        )
    place = Path(folder).resolve()
    if place.exists() and not place.is_dir():
        raise StorageError(f"{folder}: this is a file; name a folder that is empty or not there yet")
    content = _generate((int(shape[0]), int(shape[1]), int(shape[2])), int(seed))
    if not place.exists() or not any(place.iterdir()):
        try:
            _write(place, content)
        except OSError as error:
            if not place.is_dir() or not any(place.iterdir()):
                raise StorageError(f"{folder}: cannot be written: {error}") from error
            # somebody else was faster: what they wrote is judged as if it had been there before
    if difference := _difference(place, content):
        raise StorageError(
            f"{folder}: holds something else than this sample ({difference}); "
            "name a folder that is empty or not there yet"
        )
    return {name: Path(folder) / name for name in content}


def _generate(shape: tuple[int, int, int], seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels, distance = _cells(shape, rng)
    raw = np.where(_membranes(labels), 80, 170) + rng.normal(0, 12, shape)
    raw = np.clip(np.rint(raw), 0, 255).astype(np.uint8)
    return {"labels": labels, "raw": raw, "probabilities": _probabilities(raw, distance)}


def _cells(shape: tuple[int, int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The label of the nearest point and the distance to it in nm, for every voxel."""
    cubes = [math.ceil(size * step / _CUBE) for size, step in zip(shape, _VOXEL_SIZE, strict=True)]
    corners = np.stack(np.meshgrid(*map(np.arange, cubes), indexing="ij"), axis=-1).reshape(-1, 3)
    points = (corners + rng.random(corners.shape)) * _CUBE
    nearest = np.full(shape, np.inf, np.float32)
    labels = np.zeros(shape, np.uint32)
    for label, point in enumerate(points, start=1):
        box, squares = [], []
        for centre, size, step in zip(point, shape, _VOXEL_SIZE, strict=True):
            begin = max(0, math.floor((centre - math.sqrt(3) * _CUBE) / step))
            end = min(size, math.ceil((centre + math.sqrt(3) * _CUBE) / step) + 1)
            box.append(slice(begin, end))
            squares.append(((np.arange(begin, end) + 0.5) * step - centre).astype(np.float32) ** 2)
        here = tuple(box)
        distance = squares[0][:, None, None] + squares[1][:, None] + squares[2]
        closer = distance < nearest[here]
        nearest[here][closer] = distance[closer]
        labels[here][closer] = label
    found, dense = np.unique(labels, return_inverse=True)
    order = rng.permutation(len(found)) + 1
    return order[dense.reshape(shape)].astype(np.uint32), np.sqrt(nearest)


def _membranes(labels: np.ndarray) -> np.ndarray:
    """Where a voxel's label differs from that of a 6-neighbour."""
    membrane = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        one = (slice(None),) * axis + (slice(1, None),)
        other = (slice(None),) * axis + (slice(-1),)
        differs = labels[one] != labels[other]
        membrane[one] |= differs
        membrane[other] |= differs
    return membrane


def _probabilities(raw: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Membrane from the grey values, nucleus from the distance to the cell's point, cell from the rest."""
    evidence = np.zeros((3, *raw.shape), np.float32)
    evidence[0] = (125 - raw.astype(np.float32)) / 10
    evidence[2] = np.clip((_NUCLEUS - distance) / 40, -6, 3)
    np.exp(evidence, out=evidence)
    evidence /= evidence.sum(axis=0)
    return evidence


def _specs(folder: Path, content: dict[str, np.ndarray]) -> dict[str, ArraySpec]:
    specs = {}
    for name, voxels in content.items():
        channels = voxels.ndim - 3
        attributes: dict[str, Any] = {
            "voxel_size": _VOXEL_SIZE,
            "offset": (0, 0, 0),
            "units": ("nm",) * 3,
            "axis_names": ("c^",) * channels + ("z", "y", "x"),
        }
        specs[name] = ArraySpec(
            path=str(folder / name),
            shape=voxels.shape,
            dtype=str(voxels.dtype),
            metadata=VolumeMetadata.parse(attributes, voxels.ndim, name),
            chunks=(*voxels.shape[:channels], _CHUNK, _CHUNK, _CHUNK),
        )
    return specs


def _write(folder: Path, content: dict[str, np.ndarray]) -> None:
    import zarr

    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.partial")
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        zarr.create_group(store=str(aside), zarr_format=3)
        for name, spec in _specs(aside, content).items():
            spec.create()
            array = open_array(spec.path, "r+")
            array[array.roi] = content[name]
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _difference(folder: Path, content: dict[str, np.ndarray]) -> str:
    """How what is in `folder` differs from `content`: empty if it does not."""
    for name, spec in _specs(folder, content).items():
        try:
            array: Array = open_array(spec.path)
        except StorageError:
            return f"there is no array {name!r}"
        if differences := spec.differences(array):
            return f"{name}: {differences[0]}"
        # the last bit of an exponential may differ from one processor to another
        tolerance = 1e-5 if array.dtype.kind == "f" else 0
        if not np.allclose(array[array.roi], content[name], rtol=0, atol=tolerance):
            return f"{name}: other voxels, as from another seed"
    return ""
