"""The thread pool: at any time as many requests are worked on as it has workers, waiting ones not counted."""

import heapq
import itertools
import os
import threading
from typing import Protocol

from blockflow.request import threads
from blockflow.request.strand import here

__all__ = ["ThreadPool", "default_num_workers"]

#: parked workers for which others stand in. With more, one worker goes on: requests that wait for requests that
#: wait ... are then worked on by those who wait for them, on their own stacks, rather than by a thread each
MOST_PARKED = 256

#: more workers than this are seldom faster, as they share the interpreter
MOST_WORKERS = 8


class Job(Protocol):
    """What the pool runs."""

    def run_if_unclaimed(self) -> None:
        """Run, unless somebody else does already. Must not raise."""


def default_num_workers() -> int:
    """`BLOCKFLOW_THREADS`, or the number of CPUs that this process may use, at most 8."""
    given = os.environ.get("BLOCKFLOW_THREADS")
    if given is not None:
        if not given.isdecimal():
            raise ValueError(f"BLOCKFLOW_THREADS is {given!r}; give a number of threads, or 0 to use none")
        return int(given)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MOST_WORKERS)


class ThreadPool:
    """Works on requests with `num_workers` threads, those of the oldest root request first."""

    def __init__(self, num_workers: int) -> None:
        self.num_workers = num_workers
        self._lock = threading.Lock()
        self._queue: list[tuple[tuple[int, int], int, list[Job]]] = []
        self._number = itertools.count()
        self._active = 0
        self._parked = 0

    def submit(self, priority: tuple[int, int], ticket: list[Job]) -> None:
        """Have the request on the ticket run. The least priority is first; an empty ticket is passed over."""
        with self._lock:
            heapq.heappush(self._queue, (priority, next(self._number), ticket))
            wanted = self._claim_worker()
        if wanted:
            self._start_worker()

    def leave(self) -> None:
        """A worker parks: another one stands in for it if there is work."""
        with self._lock:
            self._active -= 1
            self._parked += 1
            wanted = bool(self._queue) and self._claim_worker()
        if wanted:
            try:
                self._start_worker()
            except RuntimeError:
                self.enter()
                raise

    def enter(self) -> None:
        """A parked worker goes on; the one that stood in for it stops after its request."""
        with self._lock:
            self._active += 1
            self._parked -= 1

    def _claim_worker(self) -> bool:
        limit = self.num_workers if self._parked < MOST_PARKED else 1
        if self._active >= limit:
            return False
        self._active += 1
        return True

    def _start_worker(self) -> None:
        """Have the worker that was claimed work; RuntimeError if there is no thread for it and no other worker."""
        try:
            threads.start(self._work)
        except RuntimeError:
            with self._lock:
                self._active -= 1
                alone = self._active == 0
            if alone:
                raise

    def _work(self) -> None:
        strand = here()
        strand.workers = self
        while True:
            with self._lock:
                if not self._queue or self._active > self.num_workers:
                    self._active -= 1
                    break
                ticket = heapq.heappop(self._queue)[-1]
            try:
                job = ticket.pop()
            except IndexError:
                continue
            job.run_if_unclaimed()
            del job
        strand.workers = None
