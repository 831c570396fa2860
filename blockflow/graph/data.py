"""Asking a slot for its data, and what it looks like as an array."""

from typing import TYPE_CHECKING, Any

import numpy as np

from blockflow.errors import BlockflowError
from blockflow.graph.metadict import MetaDict
from blockflow.graph.requests import RoiRequest
from blockflow.graph.signals import SlotSignals
from blockflow.graph.window import StandIn
from blockflow.roi import RoiError, sliceToRoi
from blockflow.rtype import Roi, SubRegion
from blockflow.stype import Opaque, SlotType

if TYPE_CHECKING:
    from blockflow.graph.operator import Operator
    from blockflow.graph.slot import Slot

__all__ = ["SlotData", "SlotNotReadyError", "dtype_name"]


class SlotNotReadyError(BlockflowError, RuntimeError):
    """A slot was asked for data while an input that it needs is neither connected nor has a value."""


class SlotData(SlotSignals):
    """The data of a slot: requests for them, and their description."""

    name: str
    operator: "Operator | None"
    rtype: type[Roi]
    stype: SlotType
    level: int
    meta: MetaDict
    upstream_slot: "Slot | None"
    _parent: "Slot | None"
    _index: int
    _value: Any
    _subslots: "list[Slot]"

    @property
    def subindex(self) -> tuple[int, ...]:
        """Its place in the slot that the operator declares: () for that slot itself."""
        if self._parent is None:
            return ()
        return (*self._parent.subindex, self._index)

    def getRealOperator(self) -> "Operator | None":
        """The operator whose slot it is."""
        return self.operator

    @property
    def graph(self) -> Any:
        """The graph of its operator."""
        return None if self.operator is None else self.operator.graph

    @property
    def path(self) -> str:
        """`Operator.Slot[subindex]`, for messages."""
        owner = "" if self.operator is None else f"{self.operator.name}."
        return owner + self.path_in_operator

    @property
    def path_in_operator(self) -> str:
        """`Slot[subindex]`, for `Operator.slot_at`."""
        return self.name + "".join(f"[{i}]" for i in self.subindex)

    @property
    def source(self) -> "Slot":
        """The slot at the upstream end of its connections: it has the value, or its operator computes."""
        slot = self
        while slot.upstream_slot is not None:
            slot = slot.upstream_slot
        return slot  # type: ignore[return-value]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of its data, in voxels."""
        return tuple(self.meta.shape) if self.meta.shape is not None else ()

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of its data."""
        dtype: np.dtype[Any] = np.dtype(self.meta.dtype)
        return dtype

    @property
    def ndim(self) -> int:
        """The number of its axes."""
        return len(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """All of it, computed."""
        return np.array(self[:].wait(), dtype=dtype, copy=True if copy else None)

    # asking for data

    def _everything(self) -> Roi:
        return self.rtype(self)

    def _roi(self, *args: Any, **kwargs: Any) -> Roi:
        if args and isinstance(args[0], Roi):
            return args[0]
        if len(args) == 1 and not kwargs:
            return self.rtype(self, pslice=args[0])  # type: ignore[call-arg]
        if args and args[0] is None:
            return self._everything()
        return self.rtype(self, *args, **kwargs)

    def get(self, roi: Roi) -> RoiRequest:
        """A request for a region of its data.

        Raises
        ------
        SlotNotReadyError
        RoiError
            If the region reaches outside of the slot.
        """
        self._check(roi)
        return RoiRequest.of(self.source, roi)

    def _check(self, roi: Roi) -> None:
        """SlotNotReadyError, or RoiError if a region reaches outside of the slot."""
        if not self.meta.get("_ready"):
            self._refuse_unready()
        if type(roi) is SubRegion:
            shape = self._known_shape()
            start, stop = roi.start, roi.stop
            inside = len(start) == len(shape)
            for a, b, size in zip(start, stop, shape, strict=inside):
                if not 0 <= a <= b <= size:
                    inside = False
            if not inside:
                raise RoiError(
                    f"{self.path} has shape {shape}; {tuple(start)} to {tuple(stop)} reaches outside of it"
                )

    def _known_shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] | None = self.meta.get("shape")
        if shape is None:
            raise SlotNotReadyError(f"{self.path} has no meta.shape; setupOutputs must set it")
        return shape

    def _clipped(self, roi: Roi) -> Roi:
        """The very roi, or, if it reaches outside of the slot, what is inside."""
        shape = self.meta.get("shape")
        if type(roi) is SubRegion and shape is not None and any(map(_outside, roi.start, roi.stop, shape)):
            roi = roi.copy()
            roi.setInputShape(shape)
        return roi

    def __call__(self, *args: Any, **kwargs: Any) -> RoiRequest:
        """A request for `start` to `stop`, or for a `pslice`."""
        if not self.meta.get("_ready"):
            self._refuse_unready()
        return self.get(self._roi(*args, **kwargs))

    def __getitem__(self, key: Any) -> Any:
        """A request for a slicing, without strides; of a list of slots, the slot at an index or index tuple."""
        if self.level:
            if isinstance(key, tuple):
                if not key:
                    return self
                return self._subslots[key[0]][key[1:]] if len(key) > 1 else self._subslots[key[0]]
            return self._subslots[key]
        if not self.meta.get("_ready"):
            self._refuse_unready()
        if self.rtype is SubRegion:
            return self.get(SubRegion(self, *sliceToRoi(key, self._known_shape())))
        return self.get(self._roi(key))

    @property
    def value(self) -> Any:
        """Its value; where it is connected, computed anew at each call. A single element for shape (1,)."""
        if self.level:
            raise ValueError(f"{self.path} is a list of slots; ask one of them for its value")
        source = self.source
        if isinstance(source._value, StandIn):
            data = source._value.whole()
            if not source._value.is_computed:
                return data
            return data[0] if data.shape == (1,) else data.copy()  # as it is lazily, for whoever asked
        if source._value is not None:
            return source._value
        if not self.meta.get("_ready"):
            self._refuse_unready()
        data = self.get(self._everything()).wait()
        if isinstance(data, np.ndarray):
            return data[0] if data.shape == (1,) else data
        return data[0] if isinstance(data, list) and not isinstance(source.stype, Opaque) else data

    def _refuse_unready(self) -> None:
        if self.level:
            raise ValueError(f"{self.path} is a list of slots; ask one of them, as {self.name}[0][...]")
        culprit = unready_input(self)
        if isinstance(culprit.meta.NOTREADY, str):
            where = "" if culprit is self else f"{culprit.path}: "
            raise SlotNotReadyError(f"{self.path} is not ready: {where}{culprit.meta.NOTREADY}")
        raise SlotNotReadyError(
            f"{self.path} is not ready: {culprit.path} is neither connected nor has a value"
        )


def _outside(start: int, stop: int, size: int) -> bool:
    return start < 0 or stop > size or start > stop


def unready_input(slot: "SlotData") -> "SlotData":
    """The first input upstream that keeps a slot from being ready, or the slot itself."""
    while True:
        slot = slot.source
        operator = slot.operator
        if slot.is_input or operator is None:
            return slot
        missing = [one for one in operator.inputs.values() if not one.ready() and not one.optional]
        if not missing:
            return slot
        slot = next((leaf for leaf in missing[0]._leaves() if not leaf.ready()), missing[0])
        if slot.upstream_slot is None:
            return slot


def dtype_name(dtype: Any) -> str:
    """How a dtype is written in texts."""
    if dtype is None:
        return "?"
    try:
        return str(np.dtype(dtype).name)
    except TypeError:
        return str(getattr(dtype, "__name__", dtype))
