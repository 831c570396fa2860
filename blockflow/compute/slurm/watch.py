"""The watch over the elements of one task: the only thread that talks to the scheduler.

It asks for what is missing, cancels what is not needed, and looks at all elements at once: soon after something has
happened, then less and less often.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from blockflow.compute.slurm.commands import CommandError
from blockflow.compute.slurm.decisions import Element, is_final, is_passing, next_pause
from blockflow.compute.slurm.scheduler import Scheduler
from blockflow.errors import ComputeError

__all__ = ["Watch", "Watched"]

#: seconds between something that happened and the look at the queue that it calls for, and between two looks
_SOON = 1.0

#: seconds for which what happens is gathered, so that what happens at one time is dealt with at one time
_GATHER = 0.05

#: submissions in a row that may fail while the controller answers; and seconds for which it may not answer
_FAILED_SUBMISSIONS, _LONGEST_SILENCE = 5, 1800.0

#: seconds that the scheduler may take to end everything
_END_GRACE = 30.0


class Watched(Protocol):
    """What is watched; its lock is held while it is asked or told anything."""

    memory: int | None

    def missing(self) -> int:
        """How many elements are to be asked for."""

    def nodes_to_avoid(self) -> list[str]:
        """Where these had better not be."""

    def submitted(self, names: Sequence[str], memory: int | None) -> None:
        """These elements have been asked for."""

    def unneeded(self) -> list[str]:
        """Elements that are to be ended."""

    def reject(self, names: Sequence[str]) -> None:
        """These will be ended, and are given no worker from now on."""

    def cancelled(self, names: Sequence[str], *, well: bool) -> None:
        """These were ended, or (not `well`) the scheduler did not answer."""

    def lost(self) -> Mapping[str, str]:
        """Elements whose workers have ended in a way that is not known yet, and the nodes that they were on."""

    def take_note(self, found: Mapping[str, Element], when: float) -> bool:
        """What the scheduler knew at that time; says whether anything unexpected was seen."""

    def has_elements(self) -> bool:
        """Whether any element waits or runs."""

    def next_deadline(self) -> float:
        """When something is overdue, by the watch's clock."""

    def fail(self, error: ComputeError) -> None:
        """No worker can be started any more."""


class Watch:
    """Watches until it is closed.

    Parameters
    ----------
    crew : Watched
    changed : Condition
        The crew's lock; notified when something has happened.
    scheduler : Scheduler
    clock : callable
        Seconds, of a clock that is never put back.
    """

    def __init__(
        self, crew: Watched, changed: threading.Condition, scheduler: Scheduler, clock: Callable[[], float]
    ) -> None:
        self._crew = crew
        self._changed = changed
        self._scheduler = scheduler
        self._clock = clock
        self._closed = False
        self._used = False
        self._pause = _SOON
        self._look_at = float("inf")
        self._submit_at = float("-inf")
        self._cancel_at = float("-inf")
        self._failed = 0
        self._silent_since: float | None = None
        self._avoids_nodes = True
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def look_soon(self) -> None:
        """Something has happened of which the scheduler may know more."""
        with self._changed:
            self._pause = _SOON
            self._look_at = min(self._look_at, self._clock() + _SOON)
            self._changed.notify_all()

    def close(self) -> None:
        """End all elements; returns when the scheduler knows of none any more, or does not answer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        if not self._used:
            return
        deadline, pause, cancelled = self._clock() + _END_GRACE, 0.1, False
        while self._clock() < deadline:
            with suppress(CommandError):
                if not cancelled:
                    self._scheduler.cancel()
                    cancelled = True
                if all(is_final(element.state) for element in self._scheduler.look({}).values()):
                    return
            time.sleep(pause)
            pause = min(2 * pause, 5.0)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (rest := self._until_next()) > 0:
                    self._changed.wait(rest)
                if self._closed:
                    return
            time.sleep(_GATHER)
            try:
                self._submit()
                self._cancel()
                if self._clock() >= self._look_at:
                    self._look()
            except ComputeError as error:
                with self._changed:
                    self._crew.fail(error)
                return

    def _until_next(self) -> float:
        """Seconds until there is something to do."""
        now = self._clock()
        when = min(self._look_at, self._crew.next_deadline(), now + 60.0)
        if self._crew.missing() > 0:
            when = min(when, self._submit_at)
        if self._crew.unneeded():
            when = min(when, self._cancel_at)
        return when - now

    def _submit(self) -> None:
        with self._changed:
            count, memory = self._crew.missing(), self._crew.memory
            if count <= 0 or self._clock() < self._submit_at:
                return
            excluded = self._crew.nodes_to_avoid() if self._avoids_nodes else []
        self._used = True
        try:
            names = self._scheduler.submit(count, memory, excluded)
        except CommandError as error:
            self._note_failed(error, excluded)
            return
        with self._changed:
            self._failed, self._silent_since = 0, None
            self._crew.submitted(names, memory)
            self.look_soon()

    def _note_failed(self, error: CommandError, excluded: Sequence[str]) -> None:
        """Wait before the next submission; raise `error` if there is no use in another."""
        now = self._clock()
        if is_passing(str(error)):
            self._silent_since = now if self._silent_since is None else self._silent_since
            if now - self._silent_since > _LONGEST_SILENCE:
                raise error
            self._submit_at = now + min(60.0, max(_SOON, now - self._silent_since))
        elif excluded:
            self._avoids_nodes = False  # without the nodes to be avoided there may be none
        else:
            self._failed += 1
            if self._failed >= _FAILED_SUBMISSIONS:
                raise error
            self._submit_at = now + _SOON * 2.0 ** (self._failed - 1)

    def _cancel(self) -> None:
        with self._changed:
            names = self._crew.unneeded()
            if not names or self._clock() < self._cancel_at:
                return
            self._crew.reject(names)
        try:
            self._scheduler.cancel(names)
        except CommandError:
            self._cancel_at = self._clock() + 5.0
            with self._changed:
                self._crew.cancelled(names, well=False)
            return
        with self._changed:
            self._crew.cancelled(names, well=True)

    def _look(self) -> None:
        began = self._clock()
        with self._changed:
            lost = self._crew.lost()
        try:
            found = self._scheduler.look(lost)
        except CommandError:
            with self._changed:
                self._pause = next_pause(self._pause)
                self._look_at = self._clock() + self._pause
            return
        with self._changed:
            changed = self._crew.take_note(found, began)
            self._pause = _SOON if changed else next_pause(self._pause)
            busy = self._crew.has_elements() or bool(self._crew.lost())
            self._look_at = self._clock() + self._pause if busy else float("inf")
