"""What stands for the data of a slot while one block is computed: an array of which one region can be read."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from blockflow.errors import BlockflowError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Loadable", "StandIn", "UndeclaredRegionError", "Window", "region_text"]


class UndeclaredRegionError(BlockflowError):
    """An operator does not tell which region of its inputs it needs, or asked for another one than it told.

    `about` is its name, or that of the operator that it is a part of.
    """

    def __init__(self, message: str, about: str = "") -> None:
        super().__init__(message)
        self.about = about


class Loadable(Protocol):
    """An array that can be read by slices of voxels."""

    @property
    def shape(self) -> tuple[int, ...]:
        """In voxels."""

    @property
    def dtype(self) -> Any:
        """Of the voxels."""

    def __getitem__(self, key: Any) -> Any:
        """A region."""


class StandIn(ABC):
    """Stands for the data of a slot, to be read by slices."""

    shape: tuple[int, ...]

    #: whether they are computed, not a value that the slot has
    is_computed = False

    @abstractmethod
    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        """A region."""

    def whole(self) -> np.ndarray[Any, Any]:
        """All of it, as the value of a slot is."""
        return self[tuple(slice(0, size) for size in self.shape)]


class Window(StandIn):
    """An array of which one region is at hand, to be read only; for all else, it is not there.

    It stands for an array in a graph that computes one block at a time, so that each operator finds exactly what
    the walk back has found that it needs.
    """

    def __init__(self, name: str, array: Loadable, *, is_computed: bool = False) -> None:
        self.name = name
        self.array = array
        self.is_computed = is_computed
        self.shape = tuple(array.shape)
        self.dtype = array.dtype
        self.slot_meta: Mapping[str, Any] = getattr(array, "slot_meta", {})
        self.data: np.ndarray[Any, Any] | None = None
        self._start: tuple[int, ...] = ()

    def hold(self, start: tuple[int, ...], data: np.ndarray[Any, Any]) -> None:
        """Have `data` at hand, from `start` on."""
        self._start = start
        self.data = data.view()
        self.data.flags.writeable = False

    def load(self, start: tuple[int, ...], stop: tuple[int, ...]) -> None:
        """Read a region of the array, and have it at hand."""
        self.hold(start, np.asarray(self.array[tuple(map(slice, start, stop))]))

    def drop(self) -> None:
        """Let go of the region."""
        self.data = None

    def whole(self) -> np.ndarray[Any, Any]:
        """All of the array. UndeclaredRegionError, with what to do, if that is not at hand."""
        try:
            return super().whole()
        except UndeclaredRegionError as error:
            raise UndeclaredRegionError(
                f"{error}. For a value that the operator needs whole, name all of it in requiredInputRoi, or set the "
                "slot to the data themselves, in memory"
            ) from None

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        inside = self.data is not None and all(
            begin <= one.start and one.stop <= begin + size
            for one, begin, size in zip(key, self._start, self.data.shape, strict=True)
        )
        if not inside:
            held = "nothing" if self.data is None else region_text(self._start, self.data.shape)
            raise UndeclaredRegionError(
                f"{self.name} is asked for {[f'{one.start}:{one.stop}' for one in key]}, which is outside of the "
                f"block's read ROI: {held} of it is at hand"
            )
        return self.data[  # type: ignore[index]
            tuple(
                slice(one.start - begin, one.stop - begin)
                for one, begin in zip(key, self._start, strict=True)
            )
        ]


def region_text(start: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """A region as `[start:stop, ...]`."""
    return str([f"{begin}:{begin + size}" for begin, size in zip(start, shape, strict=True)])
