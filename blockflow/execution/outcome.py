"""How a run went, as data and as lines for people."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Outcome", "TaskOutcome"]


@dataclass(frozen=True)
class TaskOutcome:
    """The blocks of a task after a session.

    `blocks` = `done` + `skipped` + `failed` + `orphaned` + `left`: `done` in this session; `skipped`, since they
    were done before; `failed` for good; `orphaned`, since a block they depend on failed; `left` when the run
    stopped. `stopped` says why the task was given up, if it was.
    """

    blocks: int
    done: int
    skipped: int
    failed: int
    orphaned: int
    left: int
    stopped: str | None = None

    @property
    def complete(self) -> bool:
        return self.done + self.skipped == self.blocks

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        parts = [f"{self.done} done", f"{self.skipped} skipped"]
        parts += [
            f"{value} {name}" for name in ("failed", "orphaned", "left") if (value := getattr(self, name))
        ]
        return f"{self.blocks} blocks: {', '.join(parts)}"


@dataclass(frozen=True)
class Outcome:
    """How a session went, task by task."""

    tasks: Mapping[str, TaskOutcome]
    interrupted: bool = False
    problems: Sequence[str] = ()

    @property
    def complete(self) -> bool:
        """Whether every block of every task is done."""
        return not self.problems and all(task.complete for task in self.tasks.values())

    @property
    def word(self) -> str:
        if self.complete:
            return "done"
        return "interrupted" if self.interrupted else "failed"
