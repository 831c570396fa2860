"""A lock that is a file with a lease: it says who holds it, and a dead holder's lock is taken over.

A process number says nothing on another node, so the lock holds host, process and start time, and the holder
renews it every few seconds. On the same host a holder that does not live any more loses the lock at once; on
another host, when its file has not been renewed for a while. Creation is exclusive by hard link, which is atomic
on local and on network file systems. Whoever removes the file holds a kernel lock on it meanwhile: of several that
find a dead holder only one removes its file, and none removes the file of the one who was quicker.
"""

import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from blockflow.errors import BlockflowError
from blockflow.utility.files import write_json

__all__ = ["FileLock", "LockedError"]


class LockedError(BlockflowError, BlockingIOError):
    """Somebody else holds a lock; the message says who."""


class FileLock:
    """An exclusive lock on what `path` stands for.

    Parameters
    ----------
    path : Path
        The lock's file; its folder must exist.
    what : str
        What is locked, for messages.
    renew_every, stale_after : float
        Seconds between two renewals, and without one before another host may take the lock over.
    """

    def __init__(
        self, path: Path, what: str, *, renew_every: float = 10.0, stale_after: float = 120.0
    ) -> None:
        self._path = path
        self._what = what
        self._renew_every = renew_every
        self._stale_after = stale_after
        self._token = uuid.uuid4().hex
        self._released = threading.Event()

    def acquire(self) -> None:
        """Take the lock. Raises `LockedError` if a holder that lives has it."""
        mine = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process_started": _process_start(os.getpid()),
            "since": time.time(),
            "token": self._token,
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
        self._released.clear()
        threading.Thread(target=self._renew, name=f"lock {self._path}", daemon=True).start()

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

    def release(self) -> None:
        """Give the lock back, if it is still ours."""
        self._released.set()
        self._remove_if(self._is_ours)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _is_ours(self) -> bool:
        try:
            return bool(json.loads(self._path.read_bytes())["token"] == self._token)
        except (FileNotFoundError, ValueError):
            return False

    def _remove_if(self, condition: Callable[[], bool]) -> None:
        """Remove the file if `condition` holds while nobody else may remove it."""
        try:
            # network file systems lock only what may be written; another user's file we may only read
            file = os.open(self._path, os.O_RDWR if os.access(self._path, os.W_OK) else os.O_RDONLY)
        except FileNotFoundError:
            return
        try:
            with suppress(OSError):  # a file system without kernel locks: then there is only the look before
                fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):  # somebody else was quicker
                if os.path.samestat(os.fstat(file), self._path.stat()) and condition():
                    self._path.unlink()
        finally:
            os.close(file)

    def _renew(self) -> None:
        while not self._released.wait(self._renew_every):
            # an error: we release just now, or the file system does not answer, and the next time it may
            with suppress(OSError):
                if not self._is_ours():
                    return
                os.utime(self._path)


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
