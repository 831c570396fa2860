import gc
import threading
import weakref

import pytest

from blockflow.request import InvalidRequestException, Request, RequestPool

SOON = 20


def test_all_requests_are_done_and_called_back():
    """`wait` returns when every request is done and its callbacks have returned."""
    done, results = [], []
    with RequestPool() as pool:
        for k in range(100):
            request = Request(lambda k=k: done.append(k) or k)
            request.notify_finished(results.append)
            pool.add(request)
        assert len(pool) == 100
        assert done == []
    assert sorted(done) == sorted(results) == list(range(100))
    assert len(pool) == 0


def test_an_empty_pool_is_fine():
    """A pool without requests has nothing to do."""
    RequestPool().wait()


@pytest.mark.parametrize("most", [1, 2, 3])
def test_no_more_than_max_active_run_at_one_time(most):
    """`max_active` limits how many requests run at one time, and it is reached."""
    Request.reset_thread_pool(4)
    mutex, running, peak = threading.Lock(), [0], [0]
    together = threading.Barrier(most, timeout=SOON)

    def work():
        with mutex:
            running[0] += 1
            peak[0] = max(peak[0], running[0])
        together.wait()
        with mutex:
            running[0] -= 1

    pool = RequestPool(max_active=most)
    for _ in range(6 * most):
        pool.add(Request(work))
    pool.wait()
    assert peak == [most]


def test_results_do_not_pile_up():
    """A request is let go of as soon as it is done: no more results live at one time than requests run."""

    class Thing:
        pass

    alive, most, mutex = [0], [0], threading.Lock()

    def gone(_):
        with mutex:
            alive[0] -= 1

    references = []

    def work():
        thing = Thing()
        references.append(weakref.ref(thing, gone))
        with mutex:
            alive[0] += 1
            most[0] = max(most[0], alive[0])
        return thing

    pool = RequestPool()
    for _ in range(200):
        pool.add(Request(work))
    pool.wait()
    gc.collect()
    assert most[0] <= 3  # two that run, and one that was just done
    assert alive == [0]


def test_the_first_failure_is_raised_and_cancels_the_rest(held):
    """The failure reaches the caller with its type; what runs is cancelled, the rest is not started."""
    slow, ran, over = held(), [], threading.Event()

    def sibling():
        slow()
        Request(lambda: ran.append("went on")).wait()

    def fail():
        assert slow.started.wait(SOON)
        slow.gate.set()
        raise LookupError("first")

    pool = RequestPool()
    first = Request(sibling)
    first.notify_cancelled(over.set)
    first.notify_finished(lambda _: over.set())
    rest = [Request(lambda: ran.append("started")) for _ in range(20)]
    slow.gate.clear()
    for request in [first, Request(fail), *rest]:
        pool.add(request)
    with pytest.raises(LookupError, match="first"):
        pool.wait()
    assert over.wait(SOON)
    assert all(request.cancelled for request in rest) or "started" in ran
    assert "started" not in ran or first.cancelled


def test_a_failure_cancels_what_was_not_started():
    """With one at a time nothing is started after the first failure, and all the rest is cancelled."""
    ran = []

    def fail():
        raise LookupError("first")

    pool = RequestPool(max_active=1)
    requests = [
        Request(lambda: ran.append(0)),
        Request(fail),
        *(Request(lambda: ran.append(1)) for _ in range(5)),
    ]
    for request in requests:
        pool.add(request)
    with pytest.raises(LookupError, match="first"):
        pool.wait()
    assert ran == [0]
    assert [request.cancelled for request in requests] == [False, False] + [True] * 5


def test_a_pool_is_used_once():
    """After `wait` nothing can be added; started requests cannot be added at all."""
    pool = RequestPool()
    with pytest.raises(RuntimeError, match="was started already"):
        pool.add(Request(lambda: 1).submit())
    pool.wait()
    with pytest.raises(RuntimeError, match="make another one"):
        pool.add(Request(lambda: 1))
    with pytest.raises(RuntimeError, match="make another one"):
        pool.wait()
    with pytest.raises(ValueError, match="max_active is 0"):
        RequestPool(max_active=0)


def test_a_cancelled_pool_says_so(held):
    """`cancel` from elsewhere ends `wait` with an error, not as if all were done."""
    slow, ran = held(), []
    pool = RequestPool()
    pool.add(Request(slow))
    for _ in range(10):
        pool.request(lambda: ran.append(1) or slow.gate.wait(SOON))
    thread = threading.Thread(target=lambda: (slow.started.wait(SOON), pool.cancel(), slow.gate.set()))
    thread.start()
    with pytest.raises(InvalidRequestException, match="pool was cancelled"):
        pool.wait()
    thread.join(SOON)
    assert len(ran) <= 1


def test_an_exception_in_the_with_block_cancels():
    """If the block that fills a pool raises, nothing is started and the exception goes on."""
    ran = []
    with pytest.raises(KeyError), RequestPool() as pool:
        pool.add(Request(lambda: ran.append(1)))
        raise KeyError("filling")
    assert ran == []
    assert len(pool) == 0


def test_pools_nest():
    """A request of a pool may itself fill a pool and wait for it, any number of levels deep."""
    total = []

    def work(level):
        if level == 0:
            total.append(1)
            return
        with RequestPool() as pool:
            for _ in range(3):
                pool.add(Request(lambda: work(level - 1)))

    Request(lambda: work(5)).submit().wait()
    assert len(total) == 3**5


def test_cancelling_the_request_that_waits_for_a_pool_cancels_the_pool(held):
    """What the pool works on is cancelled with the request that waits for it; nothing more is started."""
    slow, ran, over = held(), [], threading.Event()

    def work():
        slow()
        Request(lambda: ran.append("went on")).wait()

    def outer():
        with RequestPool() as pool:
            pool.add(Request(work))
            pool.add(Request(work))
            for _ in range(10):
                pool.add(Request(lambda: ran.append("started")))

    request = Request(outer)
    request.notify_cancelled(over.set)
    request.submit()
    assert slow.started.wait(SOON)
    assert request.cancel()
    slow.gate.set()
    assert over.wait(SOON)
    assert "went on" not in ran
