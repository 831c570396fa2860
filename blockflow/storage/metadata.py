"""What an array says of itself: the attribute conventions of funlib.persistence, read and written.

The attributes are `voxel_size`, `offset`, `units` (one entry per spatial or temporal axis), `axis_names` and
`types` (one entry per axis; a type is `space`, `time` or `channel`). Without `types`, an axis whose name ends
in `^` is a channel; without names, leading axes that the voxel size does not cover are channels. Unlike
funlib.persistence, voxel sizes and offsets keep their fractions.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blockflow.errors import StorageError

__all__ = ["VolumeMetadata"]

_PHYSICAL = ("space", "time")


def _numbers(values: Sequence[Any] | None, what: str, where: str) -> tuple[float, ...] | None:
    if values is None:
        return None
    try:
        numbers = tuple(value if isinstance(value, int) else _shortest(float(value)) for value in values)
    except (TypeError, ValueError):
        numbers = (math.nan,)
    if not all(map(math.isfinite, numbers)):
        raise StorageError(f"{where}: {what} must be a list of numbers, not {values!r}")
    return numbers


def _shortest(value: float) -> float:
    return int(value) if value.is_integer() else value


@dataclass(frozen=True)
class VolumeMetadata:
    """Physical metadata of an array.

    `voxel_size`, `offset` and `units` have one entry per spatial axis, `axis_names` and `types` one per axis
    of the array. Voxel sizes and offsets are in world units and keep their fractions.
    """

    voxel_size: tuple[float, ...]
    offset: tuple[float, ...]
    units: tuple[str, ...]
    axis_names: tuple[str, ...]
    types: tuple[str, ...]

    @classmethod
    def parse(cls, attributes: Mapping[str, Any], dims: int, where: str) -> "VolumeMetadata":
        """Read metadata from `attributes` of an array with `dims` axes; `where` names it in errors.

        Raises `StorageError` if the entries contradict each other or the array.
        """
        voxel_size = _numbers(attributes.get("voxel_size"), "voxel_size", where)
        offset = _numbers(attributes.get("offset"), "offset", where)
        units = attributes.get("units")
        names = attributes.get("axis_names")
        types = attributes.get("types")
        for key, values in (("axis_names", names), ("types", types)):
            if values is not None and len(values) != dims:
                raise StorageError(f"{where}: {key} {list(values)} has {len(values)} entries for {dims} axes")
        if types is None:
            types = cls._guess_types(names, voxel_size or offset or units, dims, where)
        physical = [axis for axis, kind in enumerate(types) if kind in _PHYSICAL]

        def per_axis(values: Sequence[Any] | None, default: Any, key: str) -> tuple[Any, ...]:
            if values is None:
                return (default,) * len(physical)
            if len(values) == len(types) != len(physical):
                values = [values[axis] for axis in physical]
            if len(values) != len(physical):
                raise StorageError(
                    f"{where}: {key} {list(values)} has {len(values)} entries for {len(physical)} spatial axes"
                )
            return tuple(values)

        if names is None:
            channels = [axis for axis in range(dims) if axis not in physical]
            names = [
                f"d{physical.index(axis)}" if axis in physical else f"c{channels.index(axis)}^"
                for axis in range(dims)
            ]
        metadata = cls(
            voxel_size=per_axis(voxel_size, 1, "voxel_size"),
            offset=per_axis(offset, 0, "offset"),
            units=tuple(str(unit or "") for unit in per_axis(units, "", "units")),
            axis_names=tuple(str(name) for name in names),
            types=tuple(str(kind) for kind in types),
        )
        if any(size <= 0 for size in metadata.voxel_size):
            raise StorageError(f"{where}: voxel_size must be positive, not {list(metadata.voxel_size)}")
        return metadata

    @staticmethod
    def _guess_types(
        names: Sequence[str] | None, physical: Sequence[Any] | None, dims: int, where: str
    ) -> list[str]:
        if names is not None:
            return ["channel" if str(name).endswith("^") else "space" for name in names]
        spatial = dims if physical is None else len(physical)
        if spatial > dims:
            raise StorageError(f"{where}: metadata of {spatial} spatial axes, but the array has only {dims}")
        return ["channel"] * (dims - spatial) + ["space"] * spatial

    @property
    def spatial_axes(self) -> tuple[int, ...]:
        """The array axes that a ROI speaks of (space and time), in order."""
        return tuple(axis for axis, kind in enumerate(self.types) if kind in _PHYSICAL)

    def attributes(self) -> dict[str, list[Any]]:
        """The attributes to store."""
        return {
            "axis_names": list(self.axis_names),
            "units": list(self.units),
            "voxel_size": list(self.voxel_size),
            "offset": list(self.offset),
            "types": list(self.types),
        }

    def slot_meta(self) -> dict[str, Any]:
        """The fields of a slot's metadata in an operator graph."""
        return {
            "voxel_size": self.voxel_size,
            "offset": self.offset,
            "units": self.units,
            "axis_names": self.axis_names,
            "types": self.types,
        }
