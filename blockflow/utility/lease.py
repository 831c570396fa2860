"""A lock that is a file with a lease: it says who holds it, and a dead holder's lock is taken over.

A process number says nothing on another node, so the lock holds host, process and start time, and the holder
renews it every few seconds. On the same host a holder that does not live any more loses the lock at once; on
another host, when its file has not been renewed for a while. Creation is exclusive by hard link, which is atomic
on local and on network file systems. Whoever removes the file holds a kernel lock on it meanwhile: of several that
find a dead holder only one removes its file, and none removes the file of the one who was quicker.
"""

import fcntl
import heapq
import itertools
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from blockflow.errors import BlockflowError
from blockflow.utility.files import write_json

__all__ = ["Lease", "LockedError"]


class LockedError(BlockflowError, BlockingIOError):
    """Somebody else holds a lock; the message says who."""


class Lease:
    """An exclusive lock on what `path` stands for.

    Parameters
    ----------
    path : Path
        The lock's file; its folder must exist.
    what : str
        What is locked, for messages.
    renew_every, stale_after : float
        Seconds between two renewals, and without one before another host may take the lock over.
    note : str, optional
        What its file says beside who holds it.
    """

    def __init__(
        self,
        path: Path,
        what: str,
        *,
        renew_every: float = 10.0,
        stale_after: float = 120.0,
        note: str | None = None,
    ) -> None:
        self._path = path
        self._what = what
        self._renew_every = renew_every
        self._stale_after = stale_after
        self._note = note
        self._token = uuid.uuid4().hex

    def acquire(self) -> None:
        """Take the lock. Raises `LockedError` if a holder that lives has it."""
        mine = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process_started": _own_start(os.getpid()),
            "since": time.time(),
            "token": self._token,
            **({} if self._note is None else {"note": self._note}),
        }
        while True:
            try:
                write_json(self._path, mine, exclusive=True)
                break
            except FileExistsError:
                holder = self.holder()
                if holder is not None:
                    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
                    raise LockedError(
                        f"{self._what} is in use by process {holder['pid']} on {holder['host']} since {since}. "
                        f"Wait for it, or end it (the lock is {self._path})"
                    ) from None
                self._remove_if(lambda: self.holder() is None)
        _renewer.add(self, self._renew_every)

    def holder(self) -> dict[str, Any] | None:
        """Who holds the lock and lives, as far as can be known from here."""
        try:
            renewed = self._path.stat().st_mtime
            holder: dict[str, Any] = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            return None
        if not isinstance(holder, dict) or not {"host", "pid", "process_started", "since"} <= holder.keys():
            return None  # nobody of ours wrote it
        if not isinstance(holder["pid"], int) or not isinstance(holder["since"], int | float):
            return None
        if holder["host"] == socket.gethostname():
            alive = _process_start(holder["pid"]) == holder["process_started"]
        else:
            alive = time.time() - renewed < self._stale_after
        return holder if alive else None

    def release(self, leave_as: Path | None = None) -> bool:
        """Give the lock back; false if it is not ours any more.

        With `leave_as`, its file is renamed to that in the same moment, as a note of who has done something when.
        """
        _renewer.remove(self)
        return self._remove_if(self.is_ours, leave_as)

    def purge(self) -> bool:
        """Remove the lock whoever holds it; whether there was one."""
        _renewer.remove(self)
        return self._remove_if(lambda: True)

    def renew(self) -> bool:
        """Say that the holder still lives; false, and nothing done, if the lock is not ours any more."""
        with suppress(
            OSError
        ):  # we release just now, or the file system does not answer, and next time it may
            if not self.is_ours():
                return False
            os.utime(self._path)
        return True

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def is_ours(self) -> bool:
        """Whether this very object holds the lock, in the process that took it."""
        try:
            holder = json.loads(self._path.read_bytes())
            return bool(holder["token"] == self._token and holder["pid"] == os.getpid())
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return False

    def _remove_if(self, condition: Callable[[], bool], leave_as: Path | None = None) -> bool:
        """Remove or rename the file if `condition` holds while nobody else may remove it; whether that was done."""
        try:
            # network file systems lock only what may be written; another user's file we may only read
            file = os.open(self._path, os.O_RDWR if os.access(self._path, os.W_OK) else os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            with suppress(OSError):  # a file system without kernel locks: then there is only the look before
                fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):  # somebody else was quicker
                if os.path.samestat(os.fstat(file), self._path.stat()) and condition():
                    if leave_as is None:
                        self._path.unlink()
                    else:
                        self._path.replace(leave_as)
                    return True
        finally:
            os.close(file)
        return False


class _Renewer:
    """Renews all leases of this process in one thread, which is there as long as there are any."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: dict[Lease, tuple[int, float]] = {}  # the number of its entry in `_due`, and how often
        self._due: list[tuple[float, int, Lease]] = []  # a heap; entries of leases that went stay until due
        self._numbers = itertools.count()
        self._running = False

    def add(self, lease: Lease, every: float) -> None:
        """Renew `lease` every so many seconds from now on."""
        with self._changed:
            self._schedule(lease, every)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="leases", daemon=True).start()
            self._changed.notify()

    def remove(self, lease: Lease) -> None:
        """Do not renew `lease` any more."""
        with self._changed:
            self._held.pop(lease, None)
            self._changed.notify()

    def _schedule(self, lease: Lease, every: float) -> None:
        number = next(self._numbers)
        self._held[lease] = (number, every)
        heapq.heappush(self._due, (time.monotonic() + every, number, lease))

    def _run(self) -> None:
        while (found := self._next()) is not None:
            lease, number = found
            kept = lease.renew()
            with self._changed:
                if lease in self._held and self._held[lease][0] == number:
                    _, every = self._held.pop(lease)
                    if kept:
                        self._schedule(lease, every)

    def _next(self) -> tuple[Lease, int] | None:
        """Wait for a lease to be due; `None` when there are no leases any more."""
        with self._changed:
            while self._held:
                due, number, lease = self._due[0]
                if lease not in self._held or self._held[lease][0] != number:
                    heapq.heappop(self._due)
                elif (wait := due - time.monotonic()) > 0:
                    self._changed.wait(wait)
                else:
                    heapq.heappop(self._due)
                    return lease, number
            self._due.clear()
            self._running = False
            return None


_renewer = _Renewer()


def _after_fork() -> None:
    """A child process holds none of its parent's leases, and has none of its threads."""
    global _renewer  # noqa: PLW0603 (the lock within it may be held by a thread that is not here)
    _renewer = _Renewer()


os.register_at_fork(after_in_child=_after_fork)


@lru_cache(maxsize=1)
def _own_start(pid: int) -> str | None:
    return _process_start(pid)


def _process_start(pid: int) -> str | None:
    """When a process of this host began, in the kernel's own count; `None` if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return "unknown"
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]  # dead, but not yet noticed by its parent
