"""What a slot tells of its data before any of it is computed."""

from typing import Any, Self

__all__ = ["MetaDict"]

#: fields that say how a slot stands, not what its data is
_STANDING = ("_ready", "NOTREADY")


class MetaDict(dict[str, Any]):
    """The metadata of a slot: `meta.shape`, `meta.dtype`, and any other field. A field that is not there is None.

    ============================================ =====================================================
    shape                                        tuple of ints, voxels
    dtype                                        numpy type or dtype
    axistags                                     axis names: a string as `"zyx"`, or what has `keys()`
    drange                                       (least, greatest) value
    ideal_blockshape, max_blockshape             voxels of a request that suits the slot; 0 or None: any
    ram_usage_per_requested_pixel                bytes per pixel, all channels together
    NOTREADY                                     set by `setupOutputs` for an output that is not ready: True, or why
    ============================================ =====================================================
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        self.pop(name, None)

    def __setitem__(self, name: str, value: Any) -> None:
        if name == "shape" and value is not None and type(value) is not tuple:
            raise TypeError(f"meta.shape is a tuple of ints, not {value!r}")
        super().__setitem__(name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MetaDict):
            return NotImplemented
        mine, others = self._told(), other._told()
        return mine.keys() == others.keys() and all(_same(mine[name], others[name]) for name in mine)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None

    def _told(self) -> dict[str, Any]:
        return {name: value for name, value in self.items() if value is not None and name != "NOTREADY"} | (
            {"NOTREADY": True} if self.get("NOTREADY") else {}
        )

    def copy(self) -> Self:
        """The same fields; their values are not copied."""
        return type(self)(self)

    def assignFrom(self, other: "MetaDict") -> None:
        """Take over all fields of another, and drop those it does not have. Being ready is not taken over."""
        standing = {name: self[name] for name in ("_ready",) if name in self}
        self.clear()
        self.update({name: value for name, value in other.items() if name not in _STANDING})
        self.update(standing)

    def updateFrom(self, other: "MetaDict") -> None:
        """Take over the fields that another has."""
        self.update({name: value for name, value in other.items() if name not in _STANDING})

    def getAxisKeys(self) -> list[str]:
        """The names of the axes, in order. ValueError if there are none."""
        return _keys(self.axistags, "axistags")

    def getTaggedShape(self) -> dict[str, int]:
        """The shape by axis name, in order."""
        return dict(zip(self.getAxisKeys(), self.shape, strict=True))

    def getOriginalAxisKeys(self) -> list[str]:
        """The names of the axes before they were put in another order."""
        return _keys(self.original_axistags, "original_axistags")

    def getOriginalShape(self) -> dict[str, int]:
        """The shape, by axis name, before the axes were put in another order."""
        return dict(zip(self.getOriginalAxisKeys(), self.original_shape, strict=True))


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    try:
        return bool(one == other)
    except ValueError:  # arrays; to say that something changed is never wrong
        return False


def _keys(tags: Any, field: str) -> list[str]:
    if tags is None:
        raise ValueError(f"the slot has no {field}; set meta.{field} to the names of its axes, as 'zyx'")
    if isinstance(tags, str):
        return list(tags)
    keys = tags.keys() if hasattr(tags, "keys") else [getattr(tag, "key", tag) for tag in tags]
    return [str(key) for key in keys]
