"""The physical grid of a slot, carried exactly through what changes voxels.

`meta.voxel_size`, `meta.offset` and `meta.units` have an entry for each axis of space and time, `meta.axis_names`,
`meta.types` and `meta.axistags` one for each axis of the array, by the rules of `storage.metadata`. An offset is
where the first voxel begins. Numbers are taken at their written value, and products and sums of them are exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from blockflow.errors import OperatorError
from blockflow.graph import MetaDict
from blockflow.storage.lattice import exact
from blockflow.storage.metadata import VolumeMetadata

__all__ = ["AxisFrom", "carried", "channel_axis", "named_axes", "regridded", "volume_of"]

#: what a value or a cost is said of, which no operator that computes passes on
_OF_VALUES = (
    "drange",
    "ram_usage_per_requested_pixel",
    "dontcache",
    "has_mask",
    "NOTREADY",
    "_ready",
    "_dirty",
)

_PHYSICAL = ("voxel_size", "offset", "units")


@dataclass(frozen=True)
class AxisFrom:
    """Where an axis of an output comes from.

    `axis` is the input's, `scale` the input voxels that one output voxel spans, and `start` the place in input
    voxels where the first output voxel begins. An axis of channels that the input does not have has a `name` in
    place of them.
    """

    axis: int | None
    scale: Fraction = Fraction(1)
    start: Fraction = Fraction(0)
    name: str = ""


def carried(meta: MetaDict, **changes: Any) -> MetaDict:
    """The metadata of an output that has the voxels of an input, with other values."""
    kept = MetaDict({name: value for name, value in meta.items() if name not in _OF_VALUES})
    for name, value in changes.items():
        kept[name] = value
    return kept


def volume_of(meta: MetaDict, where: str) -> VolumeMetadata:
    """The grid of a slot, complete: with the defaults for what its metadata do not say."""
    attributes: dict[str, Any] = {name: meta.get(name) for name in (*_PHYSICAL, "axis_names", "types")}
    if attributes["axis_names"] is None and meta.axistags is not None:
        keys = meta.getAxisKeys()
        attributes["axis_names"] = keys
        attributes["types"] = attributes["types"] or [_KINDS.get(key, "space") for key in keys]
    return VolumeMetadata.parse(attributes, len(meta.shape), where)


_KINDS = {"c": "channel", "t": "time"}


def regridded(meta: MetaDict, axes: Sequence[AxisFrom], shape: tuple[int, ...], where: str) -> MetaDict:
    """The metadata of an output whose axes come from those of an input as `axes` says."""
    result = carried(meta, shape=shape)
    for name in ("ideal_blockshape", "max_blockshape"):
        result.pop(name, None)
    if meta.axistags is not None:
        keys = meta.getAxisKeys()
        result.axistags = _tags([one.name if one.axis is None else keys[one.axis] for one in axes])
    if all(meta.get(name) is None for name in (*_PHYSICAL, "axis_names", "types")):
        return result
    volume = volume_of(meta, where)
    result.axis_names = tuple(one.name if one.axis is None else volume.axis_names[one.axis] for one in axes)
    result.types = tuple("channel" if one.axis is None else volume.types[one.axis] for one in axes)
    if all(meta.get(name) is None for name in _PHYSICAL):
        return result
    place = {axis: index for index, axis in enumerate(volume.spatial_axes)}
    spatial = [(one, place[one.axis]) for one in axes if one.axis in place]
    steps = [exact(volume.voxel_size[at]) for _, at in spatial]
    result.voxel_size = tuple(
        _number(one.scale * step) for (one, _), step in zip(spatial, steps, strict=True)
    )
    result.offset = tuple(
        _number(exact(volume.offset[at]) + one.start * step)
        for (one, at), step in zip(spatial, steps, strict=True)
    )
    result.units = tuple(volume.units[at] for _, at in spatial)
    return result


def _number(value: Fraction) -> float:
    return int(value) if value.denominator == 1 else float(value)


def _tags(keys: list[str]) -> Any:
    return "".join(keys) if all(len(key) == 1 for key in keys) else tuple(keys)


def named_axes(given: Any, meta: MetaDict, where: str) -> tuple[int, ...]:
    """Axes as numbers, in the order given. None: all axes of space.

    Parameters
    ----------
    given : None, int, str or sequence of them
        Numbers (negative ones count from the end) or names.
    meta : MetaDict
        Of the slot whose axes they are.
    where : str
        What gives them, for messages.
    """
    dims = len(meta.shape)
    volume = volume_of(meta, where)
    if given is None:
        return tuple(axis for axis, kind in enumerate(volume.types) if kind == "space")
    several = [given] if isinstance(given, int | str) else list(given)
    if isinstance(given, str) and given not in volume.axis_names:
        several = list(given)
    found = tuple(_axis(one, volume.axis_names, dims, where) for one in several)
    if len(set(found)) != len(found):
        raise OperatorError(f"{where} is {given!r}, which names an axis twice")
    return found


def _axis(one: int | str, names: Sequence[str], dims: int, where: str) -> int:
    if isinstance(one, str):
        if one not in names:
            raise OperatorError(f"{where}: there is no axis {one!r}; there are {', '.join(names)}")
        return list(names).index(one)
    if not -dims <= one < dims:
        raise OperatorError(f"{where}: there is no axis {one}; there are {dims}")
    return one % dims


def channel_axis(meta: MetaDict, where: str) -> int:
    """The axis of channels: the only one that the metadata name as such; the last, where they name none.

    OperatorError if they name several.
    """
    if all(meta.get(name) is None for name in (*_PHYSICAL, "axis_names", "types", "axistags")):
        return len(meta.shape) - 1
    volume = volume_of(meta, where)
    channels = [axis for axis, kind in enumerate(volume.types) if kind not in ("space", "time")]
    if len(channels) != 1:
        raise OperatorError(
            f"{where} has {len(channels)} channel axes (its axes are {', '.join(volume.axis_names)}); one is needed. "
            "A channel's name ends in '^', or its type is 'channel'"
        )
    return channels[0]


def same_grid(metas: Mapping[str, MetaDict]) -> None:
    """Refuse inputs that are to be combined voxel by voxel and lie at other places of the world."""
    described = {
        name: tuple(map(exact, (*meta.voxel_size, *(meta.offset or ()))))
        for name, meta in metas.items()
        if meta.voxel_size
    }
    if len(set(described.values())) > 1:
        lines = "; ".join(
            f"{name}: voxel size {list(metas[name].voxel_size)}, offset {list(metas[name].offset or ())}"
            for name in described
        )
        raise OperatorError(
            f"inputs that are combined voxel by voxel must share one grid, these do not: {lines}"
        )
