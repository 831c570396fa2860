"""What it means that a worker process has ended: one pure decision."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["WorkerExit", "classify_exit"]

#: causes that a compute context may name, as what has happened to the worker
_WORDS = {
    "cancelled": "was cancelled by somebody",
    "node_failure": "was lost with its node",
    "out_of_memory": "took more memory than it may",
    "preemption": "was preempted",
    "unreachable": "could not reach the driver",
    "walltime": "ran out of its time",
}


@dataclass(frozen=True)
class WorkerExit:
    """How a worker ended.

    `finished`: no block is left for the task. `block`: the number of the block that it held and lost, if any.
    `progressed`: it had begun at least one block. `message` says it for people.
    """

    finished: bool
    block: int | None
    progressed: bool
    message: str


def classify_exit(code: int, last_event: Mapping[str, Any] | None, cause: str | None = None) -> WorkerExit:
    """Judge a worker by its exit status (minus the signal that ended it), its last event, and what its context says."""
    event = last_event["event"] if last_event else None
    if event == "finished":
        return WorkerExit(finished=True, block=None, progressed=True, message="finished")
    held = last_event["block"] if last_event and event == "start" else None
    if cause is not None:
        message = _WORDS.get(cause, cause)
    elif code < 0:
        try:
            message = f"killed by signal {-code} ({signal.Signals(-code).name})"
        except ValueError:
            message = f"killed by signal {-code}"
    elif event == "left" and code == 0:
        message = "left when asked to"
    else:
        message = f"ended with exit status {code}"
    progressed = event in ("start", "done", "failed", "skipped", "interrupted")
    if last_event and event == "left":
        progressed = code == 0 or last_event["begun"] > 0
    return WorkerExit(finished=False, block=held, progressed=progressed, message=message)
