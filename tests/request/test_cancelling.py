import contextlib
import threading

import pytest

from blockflow.request import (
    CancellationException,
    InvalidRequestException,
    Request,
    RequestLock,
)

SOON = 20


def test_a_request_that_is_cancelled_before_its_start_never_runs():
    """Its function is not called, its cancelled-callbacks are, and who waits is told to make a new one."""
    ran, seen = [], []
    request = Request(lambda: ran.append(1))
    request.notify_cancelled(lambda: seen.append("cancelled"))
    assert request.cancel()
    assert request.cancelled
    with pytest.raises(InvalidRequestException, match="make a new request"):
        request.wait()
    with pytest.raises(InvalidRequestException):
        request.block()
    request.submit()
    assert (ran, seen) == ([], ["cancelled"])


def test_a_queued_request_can_be_cancelled(held):
    """A request in the queue is passed over by the workers."""
    Request.reset_thread_pool(1)
    plug, ran = held(), []
    running = Request(plug).submit()
    assert plug.started.wait(SOON)
    queued = Request(lambda: ran.append(1)).submit()
    assert queued.cancel()
    plug.gate.set()
    running.wait()
    Request(lambda: None).submit().wait()
    assert ran == []


@pytest.mark.parametrize("fails", [False, True])
def test_cancelling_what_is_over_changes_nothing(fails):
    """cancel() of a finished request is refused; its result, or its exception, stays."""

    def work():
        if fails:
            raise KeyError("x")
        return 1

    request = Request(work).submit()
    with contextlib.suppress(KeyError):
        request.wait()
    assert not request.cancel()
    assert not request.cancelled
    if fails:
        with pytest.raises(KeyError):
            request.wait()
    else:
        assert request.wait() == 1


def test_running_code_hears_of_it_where_it_next_waits(held):
    """A cancelled request raises CancellationException at its next wait; cancelled-callbacks are called."""
    inner, seen, over = held(), [], threading.Event()

    def work():
        inner()
        try:
            Request(lambda: seen.append("ran")).wait()
        except CancellationException:
            seen.append("told")
            raise

    request = Request(work)
    request.notify_cancelled(over.set)
    request.submit()
    assert inner.started.wait(SOON)
    assert request.cancel()
    inner.gate.set()
    assert over.wait(SOON)
    assert seen == ["told"]


def test_code_that_never_waits_runs_to_its_end_and_is_cancelled(held):
    """Its result is dropped, and it counts as cancelled; long work may look for itself."""
    slow, over, looks = held("result"), threading.Event(), []

    def work():
        looks.append(Request.current_request_is_cancelled())
        result = slow()
        looks.append(Request.current_request_is_cancelled())
        return result

    request = Request(work)
    request.notify_cancelled(over.set)
    request.notify_finished(lambda _: looks.append("finished"))
    request.submit()
    assert slow.started.wait(SOON)
    assert request.cancel()
    slow.gate.set()
    assert over.wait(SOON)
    assert looks == [False, True]
    with pytest.raises(InvalidRequestException):
        request.wait()


def test_a_request_with_a_foreign_waiter_is_kept(held):
    """While a thread that is no request waits for it, nobody can cancel it."""
    slow = held(1)
    request = Request(slow).submit()
    assert slow.started.wait(SOON)
    got = []
    thread = threading.Thread(target=lambda: got.append(request.wait()))
    thread.start()
    while not request._kept:
        Request(lambda: None).submit().wait()
    assert not request.cancel()
    slow.gate.set()
    thread.join(SOON)
    assert got == [1]


def test_children_are_cancelled_with_their_parent(held):
    """Requests that were made in a request are cancelled with it: submitted ones, and those it waits for."""
    submitted, waited, over = held(), held(), []
    both = threading.Semaphore(0)

    def parent():
        children = [Request(submitted), Request(waited)]
        for child, name in zip(children, ("submitted", "waited")):
            child.notify_cancelled(lambda name=name: (over.append(name), both.release()))
        children[0].submit()
        children[1].wait()

    Request.reset_thread_pool(4)
    request = Request(parent)
    request.notify_cancelled(both.release)
    request.submit()
    assert submitted.started.wait(SOON)
    assert waited.started.wait(SOON)
    assert request.cancel()
    submitted.gate.set()
    waited.gate.set()
    for _ in range(3):
        assert both.acquire(timeout=SOON)
    assert sorted(over) == ["submitted", "waited"]


def test_a_child_alone_cannot_be_cancelled(held):
    """A request is not cancelled while the one that made it goes on, as that may need it."""
    slow, answers = held(1), []

    def parent():
        child = Request(slow).submit()
        assert slow.started.wait(SOON)
        answers.append(child.cancel())
        slow.gate.set()
        return child.wait()

    assert Request(parent).wait() == 1
    assert answers == [False]


def test_what_two_need_lives_until_both_are_cancelled(held):
    """A request that two requests wait for is cancelled when the second of them is."""
    slow, over = held(), threading.Event()
    Request.reset_thread_pool(4)
    shared = Request(slow)
    shared.notify_cancelled(over.set)
    shared.submit()
    assert slow.started.wait(SOON)
    waiters = [Request(shared.wait) for _ in range(2)]
    told = [threading.Event() for _ in waiters]
    for waiter, event in zip(waiters, told):
        waiter.notify_cancelled(event.set)
        waiter.submit()
    while len(shared._waiters or ()) < 2:
        Request(lambda: None).submit().wait()
    assert not shared.cancel()
    assert waiters[0].cancel()
    assert told[0].wait(SOON)
    assert not shared.cancel()
    assert waiters[1].cancel()
    assert told[1].wait(SOON)
    assert shared.cancel()
    slow.gate.set()
    assert over.wait(SOON)


@pytest.mark.parametrize("submit", [False, True])
def test_a_request_that_is_cancelled_with_its_child_is_cancelled_not_failed(held, submit):
    """A cancelled request whose child is cancelled, too, ends as cancelled: the child's end is no failure of it."""
    slow, seen, over = held(), [], threading.Event()

    def child():
        slow()
        Request(lambda: None).wait()

    def parent():
        request = Request(child)
        if submit:
            request.submit()
        request.wait()

    request = Request(parent)
    request.notify_failed(lambda error, _: (seen.append(repr(error)), over.set()))
    request.notify_cancelled(lambda: (seen.append("cancelled"), over.set()))
    request.submit()
    assert slow.started.wait(SOON)
    assert request.cancel()
    slow.gate.set()
    assert over.wait(SOON)
    assert seen == ["cancelled"]


def test_requests_made_later_inherit_it(held):
    """A request that a cancelled request makes and submits is cancelled as well."""
    plug, made, over = held(), [], threading.Event()

    def parent():
        plug()
        made.append(Request(lambda: made.append("ran")).submit())
        over.set()

    request = Request(parent).submit()
    assert plug.started.wait(SOON)
    assert request.cancel()
    plug.gate.set()
    assert over.wait(SOON)
    with pytest.raises(InvalidRequestException):
        made[0].wait()
    assert made[1:] == []


def test_ten_thousand_nested_requests_are_cancelled():
    """Cancelling goes down a nest of any depth."""
    reached, go, over = threading.Event(), threading.Event(), threading.Event()
    ended = []

    def nest(n):
        if n == 0:
            reached.set()
            assert go.wait(SOON)
            Request(lambda: None).wait()
        try:
            Request(lambda: nest(n - 1)).wait()
        finally:
            ended.append(n)

    request = Request(lambda: nest(10_000))
    request.notify_cancelled(over.set)
    request.submit()
    assert reached.wait(SOON)
    assert request.cancel()
    go.set()
    assert over.wait(SOON)
    assert len(ended) == 10_000


def test_a_parked_request_is_woken(held):
    """A request that waits for another one, or for a lock, is woken by its cancellation."""
    slow = held()
    shared = Request(slow).submit()
    assert slow.started.wait(SOON)
    lock = RequestLock()
    lock.acquire()
    for wait in (shared.wait, lock.acquire):
        inside, over = threading.Event(), threading.Event()

        def work(wait=wait, inside=inside):
            inside.set()
            wait()

        request = Request(work)
        request.notify_cancelled(over.set)
        request.submit()
        assert inside.wait(SOON)
        assert request.cancel()
        assert over.wait(SOON)
    lock.release()
    assert lock.acquire(blocking=False)


def test_failing_wins_over_cancelling(held):
    """A request that raises something else after it was cancelled has failed."""
    plug, over, seen = held(), threading.Event(), []

    def work():
        plug()
        raise KeyError("x")

    request = Request(work)
    request.notify_failed(lambda error, _: (seen.append(type(error)), over.set()))
    request.notify_cancelled(lambda: seen.append("cancelled"))
    request.submit()
    assert plug.started.wait(SOON)
    assert request.cancel()
    plug.gate.set()
    assert over.wait(SOON)
    assert seen == [KeyError]


def test_raise_if_cancelled_outside_of_requests():
    """A thread that works on no request is never cancelled."""
    Request.raise_if_cancelled()
    assert not Request.current_request_is_cancelled()
    assert Request.current_request() is None
