"""Answers are computed once for all who wait, and kept within a budget."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockflow.web.cache import ByteCache


@given(st.integers(0, 50), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30)), max_size=60))
def test_the_budget_is_kept(budget, asked):
    """However it is asked, answers are right and what is kept never exceeds the budget; recent ones stay."""
    cache = ByteCache(budget, 2)
    for number, size in asked:
        answer = bytes([number]) * size
        assert cache.get((number, size), lambda answer=answer: answer) == answer
        assert cache.bytes_kept <= budget
        if size <= budget:
            assert cache.get((number, size), lambda: pytest.fail("computed again")) == answer


def test_one_computes_for_all():
    """While one computes an answer, others who ask for it wait for that one's."""
    cache, computing, go = ByteCache(100, 2), threading.Event(), threading.Event()
    calls, answers = [], []

    def compute():
        calls.append(1)
        computing.set()
        assert go.wait(60)
        return b"x"

    threads = [threading.Thread(target=lambda: answers.append(cache.get("a", compute))) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert computing.wait(60)
    go.set()
    for thread in threads:
        thread.join()
    assert answers == [b"x"] * 5
    assert len(calls) == 1


def test_no_more_are_computed_at_one_time():
    """As many answers are computed at one time as there are workers, no more."""
    cache, lock, active, most = ByteCache(100, 2), threading.Lock(), [0], [0]
    together = threading.Barrier(2, timeout=60)

    def compute():
        with lock:
            active[0] += 1
            most[0] = max(most[0], active[0])
        together.wait()
        with lock:
            active[0] -= 1
        return b""

    threads = [threading.Thread(target=cache.get, args=(number, compute)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [2]


def test_a_failure_is_told_and_not_kept():
    """Who asks gets the exception, and the next who asks has it tried again."""
    cache = ByteCache(100, 1)
    with pytest.raises(ZeroDivisionError):
        cache.get("a", lambda: 1 / 0)
    assert cache.get("a", lambda: b"x") == b"x"
