"""How a part of a slot's data is addressed."""

import ast
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Protocol

from blockflow.errors import RoiError
from blockflow.roi import TinyVector, roiToSlice, sliceToRoi

__all__ = ["Everything", "List", "Roi", "SubRegion"]


class HasMeta(Protocol):
    """A slot, as seen from here."""

    @property
    def meta(self) -> Any:
        """Its metadata."""


class Roi:
    """A part of the data of a slot."""

    _kinds: ClassVar[dict[str, type["Roi"]]] = {}

    def __init__(self, slot: HasMeta | None = None) -> None:
        self.slot = slot

    def __init_subclass__(cls) -> None:
        Roi._kinds[cls.__name__] = cls

    @staticmethod
    def dumps(roi: "Roi") -> str:
        """The roi as a line of text, without its slot."""
        return f"{type(roi).__name__}:{roi!r}"

    @staticmethod
    def loads(text: str) -> "Roi":
        """A roi from what `dumps` gave. RoiError for any other text; nothing in it is ever run."""
        kind, _, call = text.partition(":")
        try:
            node = ast.parse(call.strip(), mode="eval").body
            arguments = _arguments(node, kind)
            return Roi._kinds[kind](*map(ast.literal_eval, arguments))
        except (KeyError, SyntaxError, TypeError, ValueError) as error:
            raise RoiError(
                f"{text!r} is no roi; one is 'SubRegion:SubRegion(None, [0, 0], [10, 20])'"
            ) from error


class SubRegion(Roi):
    """A box of voxels.

    Parameters
    ----------
    slot : slot or None
        Whose data it is a part of.
    start, stop : sequence of int
        In voxels of the slot, `stop` not included; by default all of it.
    pslice : slicing
        In place of `start` and `stop`.

    Raises
    ------
    RoiError
        If they are no whole numbers, differ in length, or `start` is beyond `stop`.
    """

    __slots__ = ("slot", "start", "stop")
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self,
        slot: HasMeta | None,
        start: Sequence[int] | None = None,
        stop: Sequence[int] | None = None,
        pslice: Any = None,
    ) -> None:
        self.slot = slot
        if start is None and stop is None:
            if slot is None:
                raise RoiError("a region without a slot needs start and stop")
            start, stop = sliceToRoi(pslice, slot.meta.shape)
        elif start is None or stop is None:
            raise RoiError(f"start is {start} and stop is {stop}; give both or neither")
        self.start = TinyVector(start)
        self.stop = TinyVector(stop)
        if len(self.start) != len(self.stop):
            raise RoiError(f"start {list(start)} and stop {list(stop)} differ in length")
        for a, b in zip(self.start, self.stop, strict=True):
            if type(a) is not int or type(b) is not int:
                self._whole()
                break
            if a > b:
                raise RoiError(f"start {list(start)} is beyond stop {list(stop)}")

    def _whole(self) -> None:
        try:
            self.start = TinyVector(value.__index__() for value in self.start)
            self.stop = TinyVector(value.__index__() for value in self.stop)
        except AttributeError:
            raise RoiError(
                f"start {list(self.start)} and stop {list(self.stop)} are not all whole numbers"
            ) from None
        if any(a > b for a, b in zip(self.start, self.stop, strict=True)):
            raise RoiError(f"start {list(self.start)} is beyond stop {list(self.stop)}")

    @property
    def dim(self) -> int:
        """The number of axes."""
        return len(self.start)

    def __repr__(self) -> str:
        return f"SubRegion(None, {list(self.start)}, {list(self.stop)})"

    def __str__(self) -> str:
        return f"{tuple(self.start)} to {tuple(self.stop)}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SubRegion):
            return NotImplemented
        return list(self.start) == list(other.start) and list(self.stop) == list(other.stop)

    def copy(self) -> "SubRegion":
        """Another one of the same slot and bounds."""
        return SubRegion(self.slot, self.start, self.stop)

    def toSlice(self, hardBind: bool = False) -> tuple[Any, ...]:
        """Its slicing; with `hardBind`, axes of size 1 become ints."""
        return roiToSlice(self.start, self.stop, hardBind)

    def setInputShape(self, inputShape: Sequence[int]) -> None:
        """Clip it to a shape."""
        self.start = TinyVector(min(max(a, 0), size) for a, size in zip(self.start, inputShape, strict=True))
        self.stop = TinyVector(min(max(b, 0), size) for b, size in zip(self.stop, inputShape, strict=True))

    def popDim(self, dim: int | None) -> "SubRegion":
        """Without an axis."""
        if dim is None:
            return self.copy()
        return SubRegion(self.slot, _without(self.start, dim), _without(self.stop, dim))

    def insertDim(self, dim: int, start: int, stop: int) -> "SubRegion":
        """With another axis, at place `dim`."""
        return SubRegion(
            self.slot,
            [*self.start[:dim], start, *self.start[dim:]],
            [*self.stop[:dim], stop, *self.stop[dim:]],
        )

    def setDim(self, dim: int, start: int, stop: int) -> "SubRegion":
        """With other bounds on an axis."""
        return self.popDim(dim).insertDim(dim, start, stop)

    def expandByShape(
        self, shape: Sequence[int] | int, cIndex: int | None, tIndex: int | None
    ) -> "SubRegion":
        """Grown by `shape` on both sides, but for the channel and time axes, clipped to its slot."""
        grown = [shape] * self.dim if isinstance(shape, int) else list(shape)
        grown = [0 if axis in (cIndex, tIndex) else size for axis, size in enumerate(grown)]
        assert self.slot is not None
        bounds = self.slot.meta.shape
        return SubRegion(
            self.slot,
            [max(0, a - size) for a, size in zip(self.start, grown, strict=True)],
            [min(limit, b + size) for b, size, limit in zip(self.stop, grown, bounds, strict=True)],
        )

    def adjustRoi(self, halo: Sequence[int] | int, cIndex: int | None = None) -> "SubRegion":
        """Grown by `halo` on both sides, but for the channel axis; not clipped."""
        grown = [halo] * self.dim if isinstance(halo, int) else list(halo)
        grown = [0 if axis == cIndex else size for axis, size in enumerate(grown)]
        return SubRegion(self.slot, TinyVector(self.start) - grown, TinyVector(self.stop) + grown)


class List(Roi):
    """Items of a slot whose data is a list: those of `iterable`, or of `pslice`, a number or several."""

    def __init__(self, slot: HasMeta | None, iterable: Iterable[Any] = (), pslice: Any = None) -> None:
        super().__init__(slot)
        if isinstance(pslice, int):
            iterable = [pslice]
        elif isinstance(pslice, (list, range)) or (isinstance(pslice, tuple) and _are_ints(pslice)):
            iterable = pslice
        self.items = list(iterable)
        self.pslice = pslice

    def __iter__(self) -> Any:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        return f"List(None, {self.items})"


class Everything(Roi):
    """All of a slot's data; there is no part of it."""

    def __init__(self, slot: HasMeta | None, pslice: Any = None) -> None:
        super().__init__(slot)
        self.pslice = pslice

    def __repr__(self) -> str:
        return "Everything(None)"


def _arguments(node: ast.expr, kind: str) -> list[ast.expr]:
    if not isinstance(node, ast.Call) or node.keywords or ast.unparse(node.func) != kind:
        raise ValueError(kind)
    return node.args


def _are_ints(values: tuple[Any, ...]) -> bool:
    return all(hasattr(value, "__index__") for value in values)


def _without(values: Sequence[int], dim: int) -> list[int]:
    return [value for place, value in enumerate(values) if place != dim]
