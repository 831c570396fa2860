"""The workers of one task on a cluster: those that wait for an element, those that have one, and what became of them.

Three threads meet here, under one lock: the supervisor's, which orders workers and asks for their states; the door's,
in which elements come, speak and go; and the watch's, which talks to the scheduler.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blockflow.compute.context import WorkerHandle, WorkerOrder
from blockflow.compute.slurm.accounting import append_usage
from blockflow.compute.slurm.commands import CommandError
from blockflow.compute.slurm.decisions import (
    Element,
    cause_of,
    is_final,
    is_pending,
    is_stuck,
    next_memory,
    nodes_to_avoid,
    verdict,
)
from blockflow.compute.slurm.door import Guest
from blockflow.compute.slurm.scheduler import Scheduler
from blockflow.compute.slurm.watch import Watch
from blockflow.compute.slurm.worker import ElementWorker, Usage
from blockflow.errors import ComputeError
from blockflow.utility.files import read_json
from blockflow.utility.quantity import format_bytes

__all__ = ["Crew"]

#: seconds after which an element that was submitted must be in the queue
_KNOWN_AFTER = 15.0

#: seconds that a worker may take to end when it is told to, before the scheduler is asked to end it
_KILL_GRACE = 5.0


@dataclass
class _Known:
    """An element as the crew knows it.

    `came`: it has been at the door in its present life. `unwanted`: it is to end; `cancelled`: the scheduler knows.
    """

    memory: int | None
    since: float
    state: str = "PENDING"
    node: str = ""
    reason: str = ""
    seen_at: float = float("-inf")
    came: bool = False
    unwanted: bool = False
    cancelled: bool = False
    worker: ElementWorker | None = field(default=None, repr=False)

    @property
    def is_free(self) -> bool:
        return not (self.came or self.unwanted or is_final(self.state))


class Crew:
    """The workers of one task; the host of their door.

    Parameters
    ----------
    scheduler : Scheduler
    folder : Path
        Where elements that cannot reach the door leave their notes.
    memory : int, optional
        Bytes that a worker is given at first.
    cap : int
        The most that one is ever given.
    ends_at : callable
        When a worker that begins now will be ended, in seconds since the epoch; `None`: nobody knows.
    leads_on : bool
        Whether there is an engine that the workers must get through to.
    clock : callable
        Seconds, of a clock that is never put back.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        folder: Path,
        memory: int | None,
        cap: int,
        ends_at: Callable[[], float | None] = lambda: None,
        *,
        leads_on: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scheduler = scheduler
        self._folder = folder
        self.memory = self._first_memory = memory
        self._cap = cap
        self._ends_at = ends_at
        self._leads_on = leads_on
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: deque[ElementWorker] = deque()
        self._workers: dict[int, ElementWorker] = {}  # those that have not ended
        self._guests: dict[Guest, ElementWorker] = {}
        self._elements: dict[str, _Known] = {}
        self._ordered = 0
        self._losses: dict[str, int] = {}
        self._error: ComputeError | None = None
        self._closed = False
        self._watch = Watch(self, self._changed, scheduler, clock)

    # what the supervisor asks for

    def order(self, orders: Sequence[WorkerOrder], environment: Mapping[str, str]) -> list[ElementWorker]:
        """Have workers started by the next elements that come."""
        with self._changed:
            workers = []
            for order in orders:
                worker = ElementWorker(self, self._ordered, order, environment)
                self._ordered += 1
                self._workers[worker.number] = worker
                workers.append(worker)
            self._waiting.extend(workers)
            self._changed.notify_all()
        return workers

    def tell(self, worker: ElementWorker, word: str) -> None:
        with self._changed:
            if worker.end is not None:
                return
            if worker.guest is None:  # nothing to tell: it is not started
                with suppress(ValueError):
                    self._waiting.remove(worker)
                self._finish(worker, (0 if word == "leave" else -9, None))
                self._changed.notify_all()
                return
            worker.guest.say(word)
            if word == "kill" and worker.told_to_end is None:
                worker.told_to_end = self._clock()
                self._changed.notify_all()

    def settle(self, worker: ElementWorker) -> None:
        with self._changed:
            if worker.end is None and worker.guest is None and self._error is not None:
                raise self._error
            self._judge(worker)

    def give_more_memory(self, worker: WorkerHandle) -> str | None:
        """As `ComputeContext.give_more_memory`."""
        with self._changed:
            if worker.memory is None or self.memory is None or self._first_memory is None:
                return None
            if worker.memory >= self.memory:
                more = next_memory(self._first_memory, self._cap, worker.memory)
                if more is None:
                    return None
                self.memory = more
                self._changed.notify_all()
            return (
                f"the next workers get {format_bytes(self.memory)} of memory in place of {format_bytes(worker.memory)} "
                f"(at most {format_bytes(self._cap)}, compute.max_memory)"
            )

    def close(self) -> None:
        """End everything; returns when the scheduler knows of no element any more, or does not answer."""
        with self._changed:
            self._closed = True
        self._watch.close()
        with suppress(CommandError):  # then what the workers measured has to do
            append_usage(self._folder / "sacct.jsonl", self._scheduler.usage())

    # what the door tells

    def arrive(self, guest: Guest, about: dict[str, Any]) -> dict[str, Any]:
        name = str(about["job"])
        with self._changed:
            known = self._elements.setdefault(name, _Known(about.get("memory", self.memory), self._clock()))
            before, known.worker = known.worker, None
            known.came, known.state, known.node = True, "RUNNING", str(about["host"])
            if before is not None and before.end is None:  # the same element, started anew
                before.said = f"job {name} was requeued"
                self._finish(before, (-9 if before.reported is None else before.reported, "preemption"))
            if self._closed or known.unwanted:
                return {"leave": "the run is over, or has enough workers"}
            if not self._is_enough(known):
                return {"leave": "workers need more memory now"}
            if not self._waiting:
                return {"leave": "nobody waits for it"}
            worker = self._waiting.popleft()
            worker.guest, worker.element, worker.host = guest, name, known.node
            worker.memory = known.memory
            known.worker = worker
            self._guests[guest] = worker
            return {
                "worker": worker.number,
                "command": [str(part) for part in worker.order.command],
                "environment": dict(worker.environment),
                "log": str(worker.order.log),
                "memory": worker.memory,
                "engine": self._leads_on,
                "ends_at": self._ends_at(),
            }

    def hear(self, guest: Guest, message: dict[str, Any]) -> None:
        with self._changed:
            worker = self._guests[guest]
            if "memory" in message:
                worker.held = int(message["memory"])
                worker.peak = max(worker.peak, worker.held)
            if "exit" in message:
                worker.reported = int(message["exit"])
                used = message["usage"]
                worker.peak = max(worker.peak, int(used["peak_memory"]))
                usage = Usage(
                    job=str(worker.element),
                    host=str(worker.host),
                    memory=worker.memory,
                    elapsed=float(used["elapsed"]),
                    cpu=float(used["cpu"]),
                    peak_memory=worker.peak,
                )
                append_usage(self._folder / "usage.jsonl", [usage])
                self._lose(worker)

    def depart(self, guest: Guest, *, silent: bool) -> None:
        with self._changed:
            worker = self._guests.pop(guest)
            worker.silent = silent
            self._lose(worker)

    def guest_of(self, worker: int) -> Guest | None:
        with self._changed:
            found = self._workers.get(worker)
            return found.guest if found is not None and found.lost_at is None else None

    # what the watch asks for and tells

    def missing(self) -> int:
        free = sum(known.is_free and self._is_enough(known) for known in self._elements.values())
        return len(self._waiting) - free

    def nodes_to_avoid(self) -> list[str]:
        return nodes_to_avoid(self._losses)

    def submitted(self, names: Sequence[str], memory: int | None) -> None:
        for name in names:  # some may have come already
            self._elements.setdefault(name, _Known(memory, self._clock())).memory = memory

    def unneeded(self) -> list[str]:
        free = {name: known for name, known in self._elements.items() if known.is_free}
        small = [name for name, known in free.items() if not self._is_enough(known)]
        useful = [name for name in free if name not in set(small)]
        unwanted = [name for name, known in self._elements.items() if known.unwanted and not known.cancelled]
        overdue = [
            worker.element
            for worker in self._workers.values()
            if worker.element is not None and self._clock() >= self._deadline_of(worker)
        ]
        return [*small, *useful[len(self._waiting) :], *unwanted, *overdue]

    def reject(self, names: Sequence[str]) -> None:
        for name in names:
            known = self._elements[name]
            known.unwanted = known.cancelled = True

    def cancelled(self, names: Sequence[str], *, well: bool) -> None:
        for name in names:
            known = self._elements.get(name)
            if known is None:
                continue
            known.cancelled = well
            worker = known.worker
            if well and worker is not None and worker.guest is not None and worker.end is None:
                worker.guest.cut()

    def lost(self) -> dict[str, str]:
        return {
            worker.element: worker.host or ""
            for worker in self._workers.values()
            if worker.lost_at is not None and worker.element is not None
        }

    def has_elements(self) -> bool:
        return any(not is_final(known.state) for known in self._elements.values())

    def next_deadline(self) -> float:
        return min(map(self._deadline_of, self._workers.values()), default=float("inf"))

    def fail(self, error: ComputeError) -> None:
        self._error = error

    def take_note(self, found: Mapping[str, Element], when: float) -> bool:
        for name, element in found.items():
            if name not in self._elements and not is_final(element.state) and element.state != "COMPLETING":
                # an answer that got lost: sbatch failed, and yet there is a job
                self._elements[name] = _Known(self.memory, when)
        changed = False
        for name, known in list(self._elements.items()):
            seen = found.get(name)
            if seen is None:
                is_new = when < known.since + _KNOWN_AFTER
                if is_new or (known.worker is not None and known.worker.lost_at is None):
                    continue
                seen = Element(name, "GONE", known.node, None, "")
            changed |= self._compare(name, known, seen, when)
        for worker in list(self._workers.values()):
            self._judge(worker)
        return changed

    def _compare(self, name: str, known: _Known, seen: Element, when: float) -> bool:
        """Take over what the scheduler says of one element; says whether a worker has not come to life."""
        if is_pending(seen.state) and known.came:  # it was put back into the queue, and will come again
            known.came = False
            if known.worker is not None and known.worker.lost_at is None:
                return False  # its old self is still here
        known.state, known.reason, known.seen_at = seen.state, seen.reason, when
        known.node = seen.node or known.node
        failed = False
        if is_stuck(seen) and not known.unwanted:
            known.unwanted = True
            failed = self._fail_to_start(name, known, "node_failure", seen.reason)
        elif is_final(seen.state):
            if not known.came and not known.unwanted:
                failed = self._fail_to_start(name, known, cause_of(seen.state), "")
            if known.worker is None or known.worker.end is not None:
                del self._elements[name]
        return failed

    def _fail_to_start(self, name: str, known: _Known, cause: str | None, why: str) -> bool:
        """An element has ended before it came: the worker that waits longest has not come to life."""
        with suppress(OSError, ValueError, KeyError):
            why = str(read_json(self._folder / f"unreachable-{name}.json")["message"])
            cause = "unreachable"
        if cause in (None, "node_failure", "unreachable"):
            self._blame(known.node)
        if not self._waiting:
            return False
        worker = self._waiting.popleft()
        worker.element, worker.host = name, known.node or None
        worker.said = why or f"job {name} ended as {_words(known.state)} before it came to the driver"
        self._finish(worker, (1, cause))
        return True

    # what becomes of a worker

    def _is_enough(self, known: _Known) -> bool:
        return known.memory is None or self.memory is None or known.memory >= self.memory

    def _deadline_of(self, worker: ElementWorker) -> float:
        """When the scheduler is to end a worker that was told to end."""
        known = self._elements.get(worker.element or "")
        if worker.told_to_end is None or known is None or known.cancelled:
            return float("inf")
        return worker.told_to_end + _KILL_GRACE

    def _lose(self, worker: ElementWorker) -> None:
        """A worker has ended, or its element's connection: how, is found out."""
        if worker.lost_at is not None or worker.end is not None:
            return
        worker.lost_at = self._clock()
        if worker.reported is None and worker.guest is not None:
            worker.guest.cut()
        self._judge(worker)
        if worker.end is None:
            self._watch.look_soon()

    def _judge(self, worker: ElementWorker) -> None:
        """Note how a worker that was lost has ended, if enough is known for that."""
        if worker.end is not None or worker.lost_at is None:
            return
        if worker.told_to_end is not None:
            self._finish(worker, (-9 if worker.reported is None else worker.reported, None))
            return
        known = self._elements.get(worker.element or "")
        state = known.state if known is not None and known.seen_at > worker.lost_at else None
        end = verdict(
            worker.reported,
            state,
            self._clock() - worker.lost_at,
            silent=worker.silent,
            reason=known.reason if known is not None else "",
            memory=worker.memory,
            peak=worker.peak,
        )
        if end is None:
            return
        if end[1] is not None:
            worker.said = f"job {worker.element} on {worker.host}: {_words(state or 'no answer')}"
        elif worker.reported is None:
            worker.said = (
                f"job {worker.element} on {worker.host} ended as {_words(state or 'unknown')} without a word; what it "
                f"printed is in {self._folder}"
            )
        if end[1] == "node_failure" and worker.host is not None:
            self._blame(worker.host)
            if known is not None and not is_final(known.state):
                known.unwanted = not is_pending(known.state)  # should it live after all, it must not go on
        self._finish(worker, end)

    def _finish(self, worker: ElementWorker, end: tuple[int, str | None]) -> None:
        worker.end = end
        self._workers.pop(worker.number, None)
        if worker.guest is not None and worker.reported is None:
            worker.guest.cut()
        self._changed.notify_all()

    def _blame(self, node: str) -> None:
        self._losses[node] = self._losses.get(node, 0) + 1


def _words(state: str) -> str:
    """A state as people write it."""
    return state.lower().replace("_", " ")
