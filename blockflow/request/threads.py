"""Threads that are used again: one is taken for a job and goes back to the idle ones, or ends after a while.

They are daemons: they end with the process, whatever they wait for.
"""

import contextlib
import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

__all__ = ["start"]

#: seconds that an idle thread waits for a job before it ends
IDLE = 10.0

Inbox = SimpleQueue[Callable[[], None]]

#: the inboxes of idle threads; the last to become idle is the first to be used, as its memory is warm
_idle: list[Inbox] = []


def start(job: Callable[[], None]) -> None:
    """Run `job`, which must not raise, on an idle thread, or on a new one if there is none."""
    try:
        inbox = _idle.pop()
    except IndexError:
        inbox = SimpleQueue()
        threading.Thread(target=_serve, args=(inbox,), name="blockflow", daemon=True).start()
    inbox.put(job)


def _serve(inbox: Inbox) -> None:
    while True:
        try:
            job = inbox.get(timeout=IDLE)
        except Empty:
            with contextlib.suppress(ValueError):
                _idle.remove(inbox)
                return
            job = inbox.get()  # it was taken just now
        job()
        del job  # what it holds must not live on while this thread is idle
        _idle.append(inbox)


os.register_at_fork(after_in_child=_idle.clear)  # a child process has none of its parent's threads
