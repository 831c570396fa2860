"""Requests for a region of a slot.

A request does not stop edits of its graph, and edits do not stop it. So one that is made outside of any other
looks, when it has computed, whether its slot changed meanwhile: whatever concerns the slot makes it dirty or gives
it new metadata. If so, what it computed may be of two states of the graph, and it is computed again. Requests
within it need not look: they are parts of its answer.
"""

from operator import sub
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from blockflow.errors import BlockflowError, RoiError
from blockflow.graph.edits import gate, settled, wait_until_settled
from blockflow.request import CancellationException, Request
from blockflow.request.outcome import CREATED, FINISHED, SETTLED, SETTLING
from blockflow.request.strand import here
from blockflow.rtype import SubRegion

if TYPE_CHECKING:
    from blockflow.graph.slot import Slot
    from blockflow.rtype import Roi

__all__ = ["RoiRequest"]

#: how often a request is overtaken by edits before it makes edits from outside of requests wait
PATIENCE = 3

#: how often it is then overtaken by edits from within other requests before it gives up
MOST_ATTEMPTS = 100


class RoiRequest(Request[Any]):
    """A region of a slot's data, computed when it is waited for."""

    __slots__ = ("_destination", "_made_at", "_prefetch", "_roi", "_slot", "_within")

    _answers = True

    def __init__(self, slot: "Slot", roi: "Roi") -> None:
        super().__init__(None)
        self._slot = slot
        self._roi = roi
        self._destination: Any = None
        self._prefetch: RoiRequest | None = None
        self._made_at = slot._changes
        parent = self._parent
        if parent is None:
            self._within = False
        else:
            self._within = (parent._answers and parent._state < SETTLING) or self._is_part_of_answer()

    @classmethod
    def of(cls, source: "Slot", roi: "Roi") -> "RoiRequest":
        """A request for data of a slot that has them or computes them; done, if they are at hand."""
        request = here().request
        if request is not None and request._prefetched is not None:
            prefetched: RoiRequest | None = request._prefetched.pop((id(source), *_key(roi)), None)
            if prefetched is not None:
                self = cls(source, roi)
                self._prefetch = prefetched
                return self
        value = source._value
        if value is None:
            return cls(source, roi)
        self = cls(source, roi)
        if isinstance(value, np.ndarray) or not hasattr(value, "shape"):
            self._result = source.stype.writeIntoDestination(None, value, roi)
            self._outcome = FINISHED
            self._state = SETTLED
            self._parent = None
        return self

    def writeInto(self, destination: Any) -> Self:
        """Have the result written into an array of the region's shape, which `wait` then returns.

        Raises
        ------
        RuntimeError
            If the request was started already.
        RoiError
            If the destination has another shape than the region.
        """
        roi = self._roi
        if type(roi) is SubRegion and tuple(destination.shape) != tuple(map(sub, roi.stop, roi.start)):
            raise RoiError(
                f"{self._slot.path}: the destination has shape {tuple(destination.shape)}; "
                f"{roi} has {tuple(map(sub, roi.stop, roi.start))}"
            )
        if self._slot._value is not None and self._state == SETTLED:
            self._result = self._slot.stype.writeIntoDestination(destination, self._slot._value, self._roi)
            return self
        if self._state != CREATED:
            raise RuntimeError(
                f"{self!r} was started already; writeInto comes before submit, notify and wait"
            )
        self._destination = destination
        return self

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """The result."""
        return np.array(self.wait(), dtype=dtype, copy=True if copy else None)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, {self._slot.path} {self._roi}>"

    # the work

    def _work(self) -> Any:
        slot = self._slot
        if self._within:
            return self._compute()
        before = slot.changes(self._root)
        error: Exception | None = None
        try:
            if slot._changes != self._made_at:
                slot._check(self._roi)
            result = self._compute()
        except CancellationException:
            raise
        except Exception as raised:
            if settled() and slot.changes(self._root) == before:
                slot._check(self._roi)  # if it was disconnected just before, this is why
                raise
            error = raised
        if settled() and slot.changes(self._root) == before:
            return result
        return self._again(before, result if error is None else None, error)

    def _again(self, before: int, result: Any, error: Exception | None) -> Any:
        """Compute until no edit overtook it."""
        slot = self._slot
        attempts = 1
        try:
            while True:
                wait_until_settled()
                if slot.changes(self._root) == before:
                    if error is not None:
                        slot._check(self._roi)
                        raise error
                    return result
                if attempts == PATIENCE:
                    gate.acquire()
                if attempts >= MOST_ATTEMPTS:
                    raise OvertakenError(
                        f"{slot.path} changed {attempts} times while {self._roi} was computed; "
                        "requests elsewhere keep changing it"
                    )
                attempts += 1
                before = slot.changes(self._root)
                error = None
                try:
                    slot._check(self._roi)
                    result = self._compute()
                except CancellationException:
                    raise
                except Exception as raised:  # noqa: BLE001 - raised above, if it is not due to an edit
                    error = raised
        finally:
            error = None
            if attempts > PATIENCE:
                gate.release()

    def _compute(self) -> Any:
        slot, roi, destination = self._slot, self._roi, self._destination
        if self._prefetch is not None:
            return self._take_prefetched()
        if slot._value is not None:
            return slot.stype.writeIntoDestination(destination, slot._value, roi)
        operator = slot.operator
        if operator is None or slot.is_input:
            slot._refuse_unready()
        result = slot.stype.allocateDestination(roi) if destination is None else destination
        try:
            returned = operator._execute(slot, roi, result)  # type: ignore[union-attr]
            if returned is None or returned is result:
                return result
            slot.stype.check_result_valid(roi, returned)
            returned = slot.stype.as_declared(returned)
        except CancellationException:
            raise
        except BaseException as error:
            error.add_note(f"in {slot.path}, {roi}")
            raise
        if destination is None:
            return returned
        slot.stype.copy_data(destination, returned)
        return destination

    def _take_prefetched(self) -> Any:
        assert self._prefetch is not None
        result, self._prefetch = self._prefetch.wait(), None
        if self._destination is None:
            return result
        self._slot.stype.copy_data(self._destination, result)
        return self._destination


class OvertakenError(BlockflowError, RuntimeError):
    """A slot changes faster than it can be computed."""


def _key(roi: "Roi") -> tuple[Any, ...]:
    return (tuple(getattr(roi, "start", ())), tuple(getattr(roi, "stop", ())))
