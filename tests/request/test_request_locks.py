import threading

import pytest

from blockflow.request import CancellationException, Request, RequestLock, RequestPool, SimpleRequestCondition

SOON = 20


def test_one_at_a_time():
    """A counter under the lock counts right, from requests and threads together."""
    lock, count = RequestLock(), [0]

    def add():
        for _ in range(200):
            with lock:
                now = count[0]
                count[0] = now + 1

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    with RequestPool() as pool:
        for _ in range(5):
            pool.add(Request(add))
    for thread in threads:
        thread.join(SOON)
    assert count == [8 * 200]
    assert not lock.locked()


def test_it_is_given_in_the_order_of_asking():
    """The one that waits longest gets it, request or thread."""
    Request.reset_thread_pool(8)
    lock, order = RequestLock(), []
    lock.acquire()
    waiting = []
    for k in range(6):

        def take(k=k):
            with lock:
                order.append(k)

        if k % 2:
            one = threading.Thread(target=take)
            one.start()
            waiting.append(one.join)
        else:
            waiting.append(Request(take).submit().wait)
        while len(lock._turns) <= k:
            Request(lambda: None).submit().wait()
    lock.release()
    for wait in waiting:
        wait()
    assert order == list(range(6))


def test_another_one_may_release():
    """The lock is not bound to its owner."""
    lock = RequestLock()
    lock.acquire()
    Request(lock.release).submit().wait()
    assert lock.acquire(blocking=False)
    assert not lock.acquire(blocking=False)  # not reentrant
    assert not lock.acquire(timeout=0.01)
    lock.release()
    with pytest.raises(RuntimeError, match="nobody holds"):
        lock.release()


def test_waiting_for_it_frees_the_worker():
    """More requests than workers wait for a lock, and the one that releases it still runs."""
    lock = RequestLock()
    lock.acquire()
    inside = threading.Semaphore(0)

    def take():
        inside.release()
        with lock:
            pass

    requests = [Request(take).submit() for _ in range(20)]
    for _ in requests:
        assert inside.acquire(timeout=SOON)
    Request(lock.release).submit().wait()
    for request in requests:
        request.wait()


def test_a_cancelled_waiter_does_not_leak_it():
    """Whenever a waiter is cancelled, before, while or after the lock is given to it: it stays usable."""
    for _ in range(100):
        lock, over, inside = RequestLock(), threading.Event(), threading.Event()
        lock.acquire()

        def take(lock=lock, inside=inside):
            inside.set()
            with lock:
                pass

        request = Request(take)
        request.add_done_callback(lambda _, over=over: over.set())
        request.submit()
        assert inside.wait(SOON)
        release = threading.Thread(target=lock.release)
        release.start()
        request.cancel()
        release.join(SOON)
        assert over.wait(SOON)
        assert lock.acquire(timeout=SOON)


def test_a_cancelled_request_does_not_take_a_free_lock():
    """A request that was cancelled raises where it asks for a lock, and the lock stays free."""
    lock, inside, go, over, seen = RequestLock(), threading.Event(), threading.Event(), threading.Event(), []

    def work():
        inside.set()
        assert go.wait(SOON)
        try:
            lock.acquire()
        except CancellationException:
            seen.append("cancelled")
            raise

    request = Request(work)
    request.notify_cancelled(over.set)
    request.submit()
    assert inside.wait(SOON)
    request.cancel()
    go.set()
    assert over.wait(SOON)
    assert seen == ["cancelled"]
    assert not lock.locked()


def test_condition():
    """One waits, another notifies; the lock is free meanwhile and held after."""
    condition, log = SimpleRequestCondition(), []

    def wait():
        with condition:
            log.append("waits")
            while "ready" not in log:
                condition.wait()
            log.append("woken")

    for _ in range(50):
        log.clear()
        waiter = Request(wait).submit()
        while "waits" not in log:
            Request(lambda: None).submit().wait()
        with condition:
            log.append("ready")
            condition.notify()
        waiter.wait()
        assert log == ["waits", "ready", "woken"]


def test_condition_is_for_one_that_holds_it():
    """Waiting or notifying without holding it is refused, and so is a second one that waits."""
    condition = SimpleRequestCondition()
    with pytest.raises(RuntimeError, match="hold the condition while you wait"):
        condition.wait()
    with pytest.raises(RuntimeError, match="hold the condition while you notify"):
        condition.notify()

    def wait():
        with condition:
            condition.wait()

    first = Request(wait).submit()
    while condition._waiting is None:
        Request(lambda: None).submit().wait()
    with condition, pytest.raises(RuntimeError, match="only one may"):
        condition.wait()
    with condition:
        condition.notify()
    first.wait()


def test_a_cancelled_waiter_of_a_condition_leaves_it_usable():
    """A request that is cancelled while it waits for a condition raises there, holding it, and lets go of it."""
    condition, over = SimpleRequestCondition(), threading.Event()

    def wait():
        with condition:
            condition.wait()

    request = Request(wait)
    request.notify_cancelled(over.set)
    request.submit()
    while condition._waiting is None:
        Request(lambda: None).submit().wait()
    assert request.cancel()
    assert over.wait(SOON)
    with condition:
        condition.notify()
