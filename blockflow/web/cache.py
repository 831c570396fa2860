"""What was computed for one visitor is at hand for the next: bounded in bytes, and computed once for all who wait."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future

__all__ = ["ByteCache"]


class ByteCache:
    """Answers by key, the ones that were not used for longest dropped first.

    Parameters
    ----------
    budget : int
        Bytes of all answers together; one that is larger alone is not kept.
    workers : int
        How many answers are computed at one time; others wait.
    """

    def __init__(self, budget: int, workers: int) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        self._turn = threading.BoundedSemaphore(workers)
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._coming: dict[Hashable, Future[bytes]] = {}
        self.bytes_kept = 0

    def get(self, key: Hashable, compute: Callable[[], bytes]) -> bytes:
        """The answer, computed if it is not kept; if somebody computes it already, theirs. What fails is not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            coming = self._coming.get(key)
            if coming is None:
                mine = self._coming[key] = Future()
        if coming is not None:
            return coming.result()
        try:
            with self._turn:
                answer = compute()
        except BaseException as error:
            with self._lock:
                del self._coming[key]
            mine.set_exception(error)
            mine.exception()
            raise
        with self._lock:
            del self._coming[key]
            self._keep(key, answer)
        mine.set_result(answer)
        return answer

    def _keep(self, key: Hashable, answer: bytes) -> None:
        if len(answer) > self._budget:
            return
        self._kept[key] = answer
        self.bytes_kept += len(answer)
        while self.bytes_kept > self._budget:
            _, dropped = self._kept.popitem(last=False)
            self.bytes_kept -= len(dropped)
