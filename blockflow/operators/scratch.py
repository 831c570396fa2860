"""How much memory a computation takes beside what it is given, measured."""

import threading
import tracemalloc
from collections.abc import Callable

__all__ = ["peak_bytes"]

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
