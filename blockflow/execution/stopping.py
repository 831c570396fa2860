"""How a run is interrupted: signals, turned into an order that all its processes see."""

import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from blockflow.execution.progress import Progress
from blockflow.execution.run_directory import RunDirectory
from blockflow.utility.files import write_aside

if TYPE_CHECKING:
    from blockflow.execution.session import WorkerSession

__all__ = ["Stop"]

#: seconds after an order to stop at once in which the engine must have ended
_STOP_GRACE = 10.0


class Stop:
    """Turns signals into an orderly end: the first SIGINT drains, a second one or SIGTERM stops at once.

    Daisy's server takes SIGINT for itself when it comes up, so `listen` is to be called again then.
    """

    def __init__(self, run: RunDirectory, progress: Progress) -> None:
        self.asked = False
        self.session: WorkerSession | None = None  # of a worker in this very process
        self._run = run
        self._progress = progress
        self._in_main_thread = threading.current_thread() is threading.main_thread()
        self._originals: dict[int, Any] = {}
        self._now_since: float | None = None

    def listen(self) -> None:
        """Handle the signals here, if this is the main thread (no other can)."""
        if self._in_main_thread:
            for number in (signal.SIGINT, signal.SIGTERM):
                original = signal.signal(number, self._stop)
                self._originals.setdefault(number, original)

    def is_overdue(self) -> bool:
        """Whether the run was to stop at once, and has not for longer than anything may take."""
        return self._now_since is not None and time.monotonic() - self._now_since > _STOP_GRACE

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        for number, original in self._originals.items():
            signal.signal(number, original)

    def _stop(self, number: int, _frame: Any) -> None:
        drain = number == signal.SIGINT and not self.asked
        self.asked = True
        write_aside(self._run.stop_file, b"drain" if drain else b"now")
        if not drain:
            self._now_since = self._now_since or time.monotonic()
        if drain:
            self._progress.note(
                "stopping: blocks that are being done are finished first; interrupt again to stop at once"
            )
        if self.session is not None:
            self.session.leaving = True
            if not drain:
                raise KeyboardInterrupt
