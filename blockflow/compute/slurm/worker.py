"""A worker on a cluster, as its supervisor holds it; and what it has used."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from blockflow.compute.context import WorkerHandle, WorkerOrder

if TYPE_CHECKING:
    from blockflow.compute.slurm.door import Guest

__all__ = ["ElementWorker", "Employer", "Usage"]


class Employer(Protocol):
    """What looks after workers."""

    def tell(self, worker: "ElementWorker", word: str) -> None:
        """Tell a worker to `leave`, or `kill` it."""

    def settle(self, worker: "ElementWorker") -> None:
        """Find out whether a worker has ended, and how."""


@dataclass(frozen=True)
class Usage:
    """What one worker has used; times in seconds, memory in bytes.

    `memory` is what it might hold, `state` what the scheduler calls its end, where it was asked.
    """

    job: str
    host: str
    memory: int | None
    elapsed: float
    cpu: float
    peak_memory: int
    state: str | None = None


class ElementWorker(WorkerHandle):
    """A worker that is started by the next element that comes."""

    def __init__(
        self, crew: Employer, number: int, order: WorkerOrder, environment: Mapping[str, str]
    ) -> None:
        self._crew = crew
        self.number = number
        self.order = order
        self.environment = environment
        self.guest: Guest | None = None
        self.element: str | None = None
        self.host: str | None = None
        self.held = 0
        self.peak = 0
        self.reported: int | None = None
        self.lost_at: float | None = None
        self.silent = False
        self.told_to_end: float | None = None
        self.end: tuple[int, str | None] | None = None
        self.said = ""

    def exit_code(self) -> int | None:
        self._crew.settle(self)
        return None if self.end is None else self.end[0]

    def cause(self) -> str | None:
        return None if self.end is None else self.end[1]

    def explanation(self) -> str:
        return self.said

    def is_waiting(self) -> bool:
        return self.guest is None and self.end is None

    def place(self) -> tuple[str | None, str | None]:
        return self.host, self.element

    def resident_memory(self) -> int:
        return self.held if self.end is None else 0

    def ask_to_leave(self) -> None:
        self._crew.tell(self, "leave")

    def kill(self) -> None:
        self._crew.tell(self, "kill")
