"""What a slot carries: how memory for it is made, how a value describes itself, what a result must look like."""

from operator import sub
from typing import Any, Protocol

import numpy as np

from blockflow.errors import BlockflowError

__all__ = ["ArrayLike", "InvalidResult", "Opaque", "SlotType"]


class InvalidResult(BlockflowError, ValueError):
    """An operator returned what does not fit the region that was asked for."""


class HasMeta(Protocol):
    """A slot, as seen from here."""

    @property
    def meta(self) -> Any:
        """Its metadata."""

    allow_mask: bool


class SlotType:
    """The kind of data of one slot. Subclasses decide all but the slot."""

    def __init__(self, slot: HasMeta) -> None:
        self.slot = slot

    def allocateDestination(self, roi: Any) -> Any:
        """Memory for the region, or None where the operator makes its own."""
        raise NotImplementedError

    def writeIntoDestination(self, destination: Any, value: Any, roi: Any) -> Any:
        """The region of a value, in `destination` if that is not None."""
        raise NotImplementedError

    def copy_data(self, dst: Any, src: Any) -> None:
        """Copy a result into memory that the caller gave."""
        raise NotImplementedError

    def isConfigured(self) -> bool:
        """Whether the slot's metadata say all that a request needs."""
        raise NotImplementedError

    def setupMetaForValue(self, value: Any) -> None:
        """Describe a value in the slot's metadata."""
        raise NotImplementedError

    def check_result_valid(self, roi: Any, result: Any) -> None:
        """Raise InvalidResult if an operator's result is not one for the region."""
        raise NotImplementedError

    def as_declared(self, result: Any) -> Any:
        """An operator's result as the slot's metadata say that its data are."""
        return result

    def isCompatible(self, value: Any) -> bool:
        """Whether the slot can carry this value."""
        raise NotImplementedError

    def is_equal(self, old: Any, new: Any) -> bool:
        """Whether a new value changes nothing."""
        try:
            return type(old) is type(new) and bool(old == new)
        except Exception:  # noqa: BLE001 - a value that cannot be compared counts as another one
            return False


class ArrayLike(SlotType):
    """Arrays: numpy's, or anything with `shape`, `dtype` and slicing, which is then read piece by piece.

    Plain values are taken too: as arrays of shape (1,).
    """

    def allocateDestination(self, roi: Any) -> np.ndarray[Any, Any]:
        slot = self.slot
        shape = tuple(map(sub, roi.stop, roi.start))
        if slot.allow_mask and slot.meta.has_mask:
            return np.ma.empty(shape, slot.meta["dtype"])
        return np.empty(shape, slot.meta["dtype"])

    def writeIntoDestination(self, destination: Any, value: Any, roi: Any) -> Any:
        if not _is_array(value):
            if destination is None:
                return [value]
            destination[...] = value
            return destination
        data = value[tuple(map(slice, roi.start, roi.stop))]
        if not isinstance(data, np.ndarray):
            data = np.asarray(data)
        if destination is None:
            if isinstance(value, np.ndarray):
                data.setflags(write=False)  # it is a view of the slot's own array
            return data
        self.copy_data(destination, data)
        return destination

    def copy_data(self, dst: Any, src: Any) -> None:
        if dst is not src:
            dst[...] = src

    def isConfigured(self) -> bool:
        meta = self.slot.meta
        return meta.get("shape") is not None and meta.get("dtype") is not None

    def setupMetaForValue(self, value: Any) -> None:
        meta = self.slot.meta
        if _is_array(value):
            meta.shape = tuple(int(size) for size in value.shape)
            dtype = np.dtype(value.dtype)
            meta.dtype = dtype.type if dtype.kind in "biufc" and dtype.isnative else dtype
            tags = getattr(value, "axistags", None)
            if tags is not None:
                meta.axistags = tags
            if isinstance(value, np.ma.MaskedArray):
                meta.has_mask = True
            meta.update(
                getattr(value, "slot_meta", {})
            )  # what an array with a place in the world says of itself
        else:
            meta.shape = (1,)
            meta.dtype = type(value) if isinstance(value, (int, float, np.generic)) else object

    def check_result_valid(self, roi: Any, result: Any) -> None:
        wanted = tuple(stop - start for start, stop in zip(roi.start, roi.stop, strict=True))
        if isinstance(result, np.ndarray):
            if result.shape != wanted:
                raise InvalidResult(f"the result has shape {result.shape}; {roi} has {wanted}")
        elif isinstance(result, (list, tuple)):
            if len(result) != wanted[0]:
                raise InvalidResult(f"the result has {len(result)} items; {roi} has {wanted[0]}")
        else:
            raise InvalidResult(f"the result is a {type(result).__name__}; give an array of shape {wanted}")

    def as_declared(self, result: Any) -> Any:
        """In the slot's dtype, as if it had been written into what was allocated; else stored data would differ."""
        dtype = self.slot.meta["dtype"]
        return result if not isinstance(result, np.ndarray) or result.dtype == dtype else result.astype(dtype)

    def isCompatible(self, value: Any) -> bool:
        return not isinstance(value, np.ma.MaskedArray) or self.slot.allow_mask

    def is_equal(self, old: Any, new: Any) -> bool:
        if not (isinstance(old, np.ndarray) and isinstance(new, np.ndarray)):
            return not _is_array(old) and not _is_array(new) and super().is_equal(old, new)
        if type(old) is not type(new) or old.shape != new.shape or old.dtype != new.dtype:
            return False
        if isinstance(old, np.ma.MaskedArray) or getattr(old, "axistags", None) != getattr(
            new, "axistags", None
        ):
            return False
        return _equal_arrays(old, new)


class Opaque(SlotType):
    """Any object; the operator returns it, and nothing is allocated or copied."""

    def allocateDestination(self, roi: Any) -> None:  # noqa: ARG002
        return None

    def writeIntoDestination(self, destination: Any, value: Any, roi: Any) -> Any:  # noqa: ARG002
        if destination is not None:
            raise TypeError("objects of an Opaque slot cannot be written into a given destination")
        return value

    def copy_data(self, dst: Any, src: Any) -> None:  # noqa: ARG002
        raise TypeError("objects of an Opaque slot cannot be written into a given destination")

    def isConfigured(self) -> bool:
        return True

    def setupMetaForValue(self, value: Any) -> None:  # noqa: ARG002
        self.slot.meta.shape = (1,)
        self.slot.meta.dtype = object

    def check_result_valid(self, roi: Any, result: Any) -> None:
        pass

    def isCompatible(self, value: Any) -> bool:  # noqa: ARG002
        return True


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or (
        hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, np.generic)
    )


def _equal_arrays(old: np.ndarray[Any, Any], new: np.ndarray[Any, Any]) -> bool:
    """Compared in pieces, so that it takes little memory and ends at the first difference. NaN equals NaN."""
    if old is new or (old.__array_interface__ == new.__array_interface__ and old.size):
        return True
    if old.ndim == 0 or not old.size:
        return np.array_equal(old, new, equal_nan=old.dtype.kind in "fc")
    rows = max(1, 2**20 * len(old) // max(1, old.nbytes))
    return all(
        np.array_equal(old[row : row + rows], new[row : row + rows], equal_nan=old.dtype.kind in "fc")
        for row in range(0, len(old), rows)
    )
