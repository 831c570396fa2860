"""Lazyflow's face on leases: a lock beside the file that it is for."""

import time
from pathlib import Path
from types import TracebackType
from typing import Self

from blockflow.errors import BlockflowError
from blockflow.utility.lease import Lease, LockedError

__all__ = ["FileLock", "FileLockException"]


class FileLockException(BlockflowError, TimeoutError):
    """A lock could not be had in the time that its taker would wait."""


class FileLock:
    """Locks a file, for all who use the same class: the lock is a file beside it, called `PATH.lock`.

    It is a lease: the lock of a process that does not live any more is taken over. Only the object that took a
    lock releases it.

    Parameters
    ----------
    path : str or Path
        What is locked; it need not exist, but its folder must.
    timeout : float, optional
        Seconds that `acquire` waits at most.
    delay : float
        Seconds between two attempts.
    lock_file_contents : str, optional
        What the lock's file says beside who holds it, for people.
    """

    FileLockException = FileLockException

    def __init__(
        self,
        path: str | Path,
        timeout: float | None = None,
        delay: float = 1,
        lock_file_contents: str | None = None,
    ) -> None:
        self._lease = Lease(Path(f"{path}.lock"), str(path), note=lock_file_contents)
        self._timeout = timeout
        self._delay = delay

    def acquire(self, blocking: bool = True) -> bool:
        """Take the lock; false if somebody has it and `blocking` is false.

        Raises
        ------
        FileLockException
            If it was not free within `timeout`; the message says who has it.
        """
        end = None if self._timeout is None else time.monotonic() + self._timeout
        while True:
            try:
                self._lease.acquire()
            except LockedError as error:
                if not blocking:
                    return False
                left = self._delay if end is None else min(self._delay, end - time.monotonic())
                if left <= 0:
                    raise FileLockException(f"waited {self._timeout} s for a lock: {error}") from None
                time.sleep(left)
            else:
                return True

    def locked(self) -> bool:
        """Whether this object has the lock."""
        return self._lease.is_ours()

    def available(self) -> bool:
        """Whether nobody has it."""
        return self._lease.holder() is None

    def release(self) -> None:
        """Give it back; nothing if this object does not have it."""
        self._lease.release()

    def purge(self) -> bool:
        """Remove the lock, whoever has it; whether there was one. For locks of holders that are known to be gone."""
        return self._lease.purge()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __del__(self) -> None:
        if "_lease" in self.__dict__:
            self.release()
