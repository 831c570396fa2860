"""How much memory a computation takes beside what it is given, measured."""

import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from blockflow.errors import OperatorError
from blockflow.utility.freed_memory import give_back_freed_memory

__all__ = ["peak_bytes", "peak_resident"]

_one_at_a_time = threading.Lock()


def peak_bytes(function: Callable[[], object]) -> int:
    """The greatest number of bytes that `function()` had allocated at one time, its result included.

    What Python and numpy allocate is counted, also by other threads meanwhile.
    """
    with _one_at_a_time:
        running = tracemalloc.is_tracing()
        if not running:
            tracemalloc.start()
        try:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            kept = function()
            peak = tracemalloc.get_traced_memory()[1]
            del kept
            return max(0, peak - before)
        finally:
            if not running:
                tracemalloc.stop()


def peak_resident(function: Callable[[], object]) -> int:
    """As `peak_bytes`, for code that takes memory which Python does not know of: the growth of the process.

    OperatorError where the system does not tell (only Linux does).
    """
    with _one_at_a_time:
        give_back_freed_memory()  # else what is taken again would not be seen
        try:
            Path("/proc/self/clear_refs").write_text("5")  # the greatest resident memory is that of now
        except OSError as error:
            raise OperatorError(f"memory cannot be measured here ({error}); declare it: memory") from None
        before = _resident("VmRSS")
        kept = function()
        peak = _resident("VmHWM")
        del kept
        return max(0, peak - before)


def _resident(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0
