"""OME-NGFF metadata: what viewers read of an image's levels, axes and place in the world (version 0.5).

A level's scale is its voxel size, its translation its offset. Source: https://ngff.openmicroscopy.org/0.5.
"""

from collections.abc import Sequence
from typing import Any

from blockflow.storage.metadata import VolumeMetadata

__all__ = ["NGFF_VERSION", "multiscales"]

NGFF_VERSION = "0.5"

_UNITS = {
    "pm": "picometer",
    "A": "angstrom",
    "Å": "angstrom",
    "nm": "nanometer",
    "um": "micrometer",
    "µm": "micrometer",
    "μm": "micrometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "m": "meter",
    "ms": "millisecond",
    "s": "second",
    "min": "minute",
    "h": "hour",
}


def multiscales(name: str, levels: Sequence[tuple[str, VolumeMetadata]]) -> dict[str, Any]:
    """The attributes of a group with one image.

    Parameters
    ----------
    name : str
        Of the image.
    levels : sequence of (path, VolumeMetadata)
        The arrays in the group, the finest first; all with the same axes.
    """
    first = levels[0][1]
    datasets = [
        {
            "path": path,
            "coordinateTransformations": [
                {"type": "scale", "scale": _on_all_axes(metadata, metadata.voxel_size, 1.0)},
                {"type": "translation", "translation": _on_all_axes(metadata, metadata.offset, 0.0)},
            ],
        }
        for path, metadata in levels
    ]
    return {
        "ome": {
            "version": NGFF_VERSION,
            "multiscales": [{"name": name, "axes": _axes(first), "datasets": datasets}],
        }
    }


def _axes(metadata: VolumeMetadata) -> list[dict[str, str]]:
    units = dict(zip(metadata.spatial_axes, metadata.units, strict=True))
    axes = []
    for number, (name, kind) in enumerate(zip(metadata.axis_names, metadata.types, strict=True)):
        axis = {"name": name.removesuffix("^"), "type": kind}
        if units.get(number):
            axis["unit"] = _UNITS.get(units[number], units[number])
        axes.append(axis)
    return axes


def _on_all_axes(metadata: VolumeMetadata, values: Sequence[float], other: float) -> list[float]:
    given = dict(zip(metadata.spatial_axes, values, strict=True))
    return [float(given.get(axis, other)) for axis in range(len(metadata.axis_names))]
