"""What caches share: each block is computed once for all who ask, and never kept if it changed meanwhile."""

import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from blockflow.graph import InputSlot, Operator, OutputSlot, Slot
from blockflow.operators.block_store import BlockStore
from blockflow.operators.parameters import Parameter, boolean
from blockflow.request import InvalidRequestException, Request
from blockflow.rtype import SubRegion
from blockflow.stype import Opaque

__all__ = ["ArrayCache", "Box", "SharedWork"]

Array = np.ndarray[Any, Any]

#: start and stop, in voxels
Box = tuple[tuple[int, ...], tuple[int, ...]]


class SharedWork:
    """Work that several may ask for at one time, and that is then done once.

    `forget` ends the sharing: who asks afterwards has the work done anew, and what was being done is not kept.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._running: dict[Hashable, Request[Any]] = {}

    def get(
        self,
        key: Hashable,
        known: Callable[[], Any],
        work: Callable[[], Any],
        keep: Callable[[Any], None],
    ) -> Any:
        """What `known()` gives, if it is not None; else the result of `work()`.

        The result is handed to `keep`, with the lock held, unless the key was forgotten meanwhile.
        """

        def do() -> Any:
            me = Request.current_request()
            try:
                result = work()
            except BaseException:
                self._ended(key, me)
                raise
            with self.lock:
                if self._running.get(key) is me:
                    del self._running[key]
                    keep(result)
            return result

        while True:
            with self.lock:
                result = known()
                if result is not None:
                    return result
                request = self._running.get(key)
                if request is None:
                    request = self._running[key] = Request(do)
            try:
                return request.wait()
            except InvalidRequestException:
                Request.raise_if_cancelled()  # else another one was: who still waits does the work
                self._ended(key, request)

    def _ended(self, key: Hashable, request: Request[Any] | None) -> None:
        with self.lock:
            if self._running.get(key) is request:
                del self._running[key]

    def forget(self, matches: Callable[[Any], bool]) -> None:
        """Do not share, and do not keep, what is being done for keys that match; with the lock held."""
        for key in [key for key in self._running if matches(key)]:
            del self._running[key]


class ArrayCache(Operator):
    """An operator that keeps what its input gave: the base of the array caches.

    While `fixAtCurrent` is set, changes of the input are not passed on: what is kept is given as it is, and anything
    else is zero. When it is unset, all that changed or was given as zero is announced as dirty at once.
    """

    Input = InputSlot()
    fixAtCurrent = Parameter(False, boolean, "keep what there is, whatever becomes of the input")
    CompressionEnabled = Parameter(False, boolean, "keep blocks compressed (LZ4)")

    Output = OutputSlot()
    CleanBlocks = OutputSlot(stype=Opaque)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._store = BlockStore()
        self._work = SharedWork()
        self._behind: Box | None = None  # what is to be announced when the cache is not fixed any more
        self._pushed = False  # whether data were pushed into the input
        self._configuration: Any = None
        self.Input.notifyUnready(self._on_unready)

    # what caches differ in

    def touched(self, start: Sequence[int], stop: Sequence[int]) -> list[Hashable]:
        """The keys of what is kept of a region, whole or in part."""
        raise NotImplementedError

    def touches(self, key: Any, start: Sequence[int], stop: Sequence[int]) -> bool:
        """Whether the block of a key shares voxels with a region."""
        raise NotImplementedError

    def box(self, key: Any) -> Box:
        """The region of the block of a key."""
        raise NotImplementedError

    # what they share

    def configure(self, configuration: Any) -> None:
        """Let go of everything if the input, or how it is cut into blocks, is another."""
        if configuration != self._configuration:
            self._configuration = configuration
            self._reset()

    def _reset(self) -> None:
        with self._work.lock:
            self._work.forget(lambda _: True)
            self._store.clear()
            self._pushed = False

    def _on_unready(self, _slot: Slot) -> None:
        self._configuration = None
        self._behind = None
        self._reset()

    def fetch(self, key: Hashable) -> Array:
        """A block: kept, or asked of the input and then kept."""
        compress = self.CompressionEnabled.value
        result: Array = self._work.get(
            key,
            lambda: self._store.get(key),
            lambda: self._ask(*self.box(key)),
            lambda made: self._store.put(key, made, compress=compress),
        )
        return result

    def _ask(self, start: Sequence[int], stop: Sequence[int]) -> Array:
        """Data of the input that nobody else changes."""
        data = np.asarray(self.Input.get(SubRegion(self.Input, start, stop)).wait())
        return data if data.base is None and data.flags.writeable else data.copy()

    def propagateDirty(self, slot: Slot, subindex: tuple[int, ...], roi: Any) -> None:
        """What was kept of a changed region is dropped, and the change passed on, unless the cache is fixed.

        How blocks are cut and kept does not change the data.
        """
        if slot is self.fixAtCurrent:
            self._catch_up()
        elif slot is self.Input:
            box = tuple(roi.start), tuple(roi.stop)
            if self.fixAtCurrent.value:
                self._add_behind(box)
            else:
                self._drop(box)

    def _drop(self, box: Box) -> None:
        with self._work.lock:
            self._work.forget(lambda key: self.touches(key, *box))
            self._store.drop(self.touched(*box))
        self.Output.setDirty(*box)
        self.CleanBlocks.setDirty()

    def _add_behind(self, box: Box) -> None:
        with self._work.lock:
            known = self._behind or box
            self._behind = (
                tuple(map(min, known[0], box[0])),
                tuple(map(max, known[1], box[1])),
            )

    def _catch_up(self) -> None:
        if not self.fixAtCurrent.value and self._behind is not None:
            box, self._behind = self._behind, None
            self._drop(box)

    def _put_in(self, blocks: Iterable[tuple[Hashable, Array]], box: Box) -> None:
        """Keep data that were pushed into the input."""
        compress = self.CompressionEnabled.value
        with self._work.lock:
            self._pushed = True
            self._work.forget(lambda key: self.touches(key, *box))
            for key, data in blocks:
                self._store.put(key, data, compress=compress)
        if all(a == 0 for a in box[0]) and box[1] == tuple(self.Input.meta.shape):
            self._behind = None
        self.Output.setDirty(*box)
        self.CleanBlocks.setDirty()

    def held_apart(self) -> str | None:
        """What it was fixed at, and what was pushed in."""
        if self.fixAtCurrent.value:
            return "what it keeps while fixAtCurrent is set"
        return "data that were pushed into its Input" if self._pushed else None

    def clean_blocks(self) -> list[tuple[slice, ...]]:
        """The slicings of all that is kept, in order."""
        boxes = sorted(map(self.box, self._store.keys()))
        return [tuple(map(slice, start, stop)) for start, stop in boxes]

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: Any) -> int:
        """None: what is kept is what was asked of the input, and has a budget of its own."""
        return 0

    def usedMemory(self) -> int:
        """The bytes of all that is kept."""
        return self._store.nbytes

    def freeMemory(self) -> int:
        """Let go of all that is kept; the number of bytes that became free. What is fixed is then zero."""
        return self._store.clear()
