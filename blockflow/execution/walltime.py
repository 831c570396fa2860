"""How much of its time a worker has left, and whether that is enough for one more block."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from blockflow.compute import ENDS_AT

__all__ = ["Remaining", "is_enough"]

#: how many of the last blocks tell how long the next may take; and how much longer than the longest of them
_LOOK_BACK, _MARGIN = 16, 1.25

#: seconds that a worker needs to leave
_LEAVE = 5.0


def is_enough(left: float, durations: Sequence[float]) -> bool:
    """Whether `left` seconds are enough for a block when the last ones took `durations`; a first one always begins."""
    return not durations or left > max(durations) * _MARGIN + _LEAVE


class Remaining:
    """The time of one worker.

    Parameters
    ----------
    ends_at : float, optional
        When it is over, in seconds since the epoch. `None`: never.
    clock : callable
        The time, in seconds since the epoch.
    """

    def __init__(self, ends_at: float | None, clock: Callable[[], float] = time.time) -> None:
        self._ends_at = ends_at
        self._clock = clock
        self._begun_at = 0.0
        self._durations: deque[float] = deque(maxlen=_LOOK_BACK)

    @classmethod
    def of_process(cls, environment: Mapping[str, str]) -> "Remaining":
        """The time of a process with this environment."""
        return cls(float(environment[ENDS_AT]) if ENDS_AT in environment else None)

    def begin(self) -> None:
        """A block is begun."""
        if self._ends_at is not None:
            self._begun_at = self._clock()

    def end(self) -> None:
        """The block has ended, well or not."""
        if self._ends_at is not None:
            self._durations.append(self._clock() - self._begun_at)

    def is_enough(self) -> bool:
        """Whether one more block can be begun."""
        return self._ends_at is None or is_enough(self._ends_at - self._clock(), self._durations)
