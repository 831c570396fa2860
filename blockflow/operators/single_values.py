"""Values that are kept or replaced: OpValueCache, OpPrecomputedInput."""

from collections.abc import Mapping
from typing import Any

from blockflow.graph import InputSlot, Operator, OutputSlot, Slot
from blockflow.operators.cache_base import SharedWork
from blockflow.operators.parameters import Parameter, boolean
from blockflow.rtype import SubRegion

__all__ = ["OpPrecomputedInput", "OpValueCache"]


class OpValueCache(Operator):
    """Keeps one value, computed once for all who ask. While `fixAtCurrent` is set, changes of the input wait."""

    Input = InputSlot()
    fixAtCurrent = Parameter(False, boolean, "keep the value, whatever becomes of the input")

    Output = OutputSlot()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._work = SharedWork()
        self._kept: list[Any] = []  # one value, or none
        self._behind = False
        self._forced = False  # whether what is kept was put in from outside

    def setupOutputs(self) -> None:
        """As the input."""
        self.Output.meta.assignFrom(self.Input.meta)

    def forceValue(self, value: Any, set_dirty: bool = True) -> None:
        """Keep this value in place of what the input has, until the input changes."""
        with self._work.lock:
            self._work.forget(lambda _: True)
            self._kept = [value]
            self._forced = True
        if set_dirty:
            self.Output.setDirty()

    def requiredInputRoi(self, slot: Slot, subindex: tuple[int, ...], roi: Any) -> Mapping[Slot, SubRegion]:
        """All of it."""
        return {self.Input: SubRegion(self.Input)}

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: Any, result: Any) -> Any:
        """The value, or its region."""
        (value,) = self._work.get("value", self._known, self._ask, self._keep)
        if result is None:
            return value
        if hasattr(value, "shape") and len(value.shape) == len(roi.start):
            result[...] = value[roi.toSlice()]
        else:
            result[...] = value
        return None

    def held_apart(self) -> str | None:
        """A value that is not, or may not be, the input's."""
        if self._forced:
            return "a value that was forced on it"
        return "what it keeps while fixAtCurrent is set" if self.fixAtCurrent.value else None

    def _known(self) -> list[Any] | None:
        return self._kept or None

    def _ask(self) -> list[Any]:
        return [self.Input.value]

    def _keep(self, kept: list[Any]) -> None:
        self._kept = kept

    def propagateDirty(self, slot: Slot, subindex: tuple[int, ...], roi: Any) -> None:
        """The value is asked for anew, unless it is fixed."""
        fixed = self.fixAtCurrent.value
        if slot is self.Input and fixed:
            self._behind = True
        elif slot is self.Input or (self._behind and not fixed):
            self._behind = False
            with self._work.lock:
                self._work.forget(lambda _: True)
                self._kept = []
                self._forced = False
            self.Output.setDirty()


class OpPrecomputedInput(Operator):
    """Data that were computed before, as long as what they were computed from did not change.

    `Output` is `PrecomputedInput` where that is ready, until `SlowInput` changes; from then on it is `SlowInput`.
    Data that are newly connected count as up to date; `Reset` says so at any time.
    """

    SlowInput = InputSlot()
    PrecomputedInput = InputSlot(optional=True)

    Output = OutputSlot()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._outdated = False
        self._coming = False  # inputs become ready in the edit that is going on: that is no change
        for slot in self.inputs.values():
            slot.notifyReady(self._on_ready)

    def _on_ready(self, _slot: Slot) -> None:
        self._outdated = False
        self._coming = True
        self.graph.call_when_setup_finished(self._on_edited)

    def _on_edited(self) -> None:
        self._coming = False

    def setupOutputs(self) -> None:
        """As the input that is used."""
        self._use()

    def _use(self) -> None:
        source = (
            self.PrecomputedInput if self.PrecomputedInput.ready() and not self._outdated else self.SlowInput
        )
        if self.Output.upstream_slot is not source:
            self.Output.connect(source)

    def Reset(self) -> None:
        """The precomputed data are up to date: use them again."""
        self._outdated = False
        self._use()

    def propagateDirty(self, slot: Slot, subindex: tuple[int, ...], roi: Any) -> None:
        """A change of the slow input makes the precomputed data useless."""
        if slot is self.SlowInput and not self._coming and not self._outdated:
            self._outdated = True
            self._use()

    def setInSlot(self, slot: Slot, subindex: tuple[int, ...], roi: Any, value: Any) -> None:
        """Nothing is kept here."""
