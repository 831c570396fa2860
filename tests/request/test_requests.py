import contextlib
import gc
import subprocess
import sys
import threading
import traceback
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockflow.request import (
    CircularWaitException,
    InvalidRequestException,
    Request,
    RequestLock,
    TimeoutException,
)

SOON = 20


def test_nothing_happens_before_submit_or_wait():
    """Making a request does not start it; it is worked on once, however often it is waited for."""
    calls = []
    request = Request(lambda: calls.append(1) or 7)
    assert not request.started
    assert calls == []
    assert [request.wait(), request.wait(), request.submit().wait(), request.result] == [7] * 4
    assert calls == [1]
    assert request.started
    assert request.finished


def test_wait_on_an_unstarted_request_works_in_the_callers_thread():
    """`wait` does the work itself, inside of a request and outside."""
    threads = []
    inner = Request(lambda: threads.append(threading.current_thread()))

    def outer():
        threads.append(threading.current_thread())
        inner.wait()

    Request(outer).wait()
    assert threads == [threading.current_thread()] * 2


def test_submit_works_in_the_pool():
    """A submitted request runs on a worker, at once, whether anybody waits or not."""
    ran = threading.Event()
    request = Request(lambda: ran.set() or threading.current_thread()).submit()
    assert ran.wait(SOON)
    assert request.wait() is not threading.current_thread()


def test_a_queued_request_is_done_by_whoever_waits(held):
    """A request in the queue is not waited for: who needs it jumps the queue."""
    busy = [held() for _ in range(2)]
    requests = [Request(one).submit() for one in busy]
    assert all(one.started.wait(SOON) for one in busy)
    assert Request(lambda: 5).submit().wait() == 5  # both workers are busy
    for one in busy:
        one.gate.set()
    for request in requests:
        request.wait()


def test_two_workers_work_at_the_same_time():
    """As many requests run at one time as the pool has workers."""
    barrier = threading.Barrier(2, timeout=SOON)
    for request in [Request(barrier.wait).submit() for _ in range(2)]:
        request.wait()


def test_no_more_requests_run_than_there_are_workers(held):
    """A third request of two workers waits, and runs when one is free."""
    busy = [held(), held()]
    running = [Request(one).submit() for one in busy]
    assert all(one.started.wait(SOON) for one in busy)
    third = held()
    request = Request(third).submit()
    assert not third.started.is_set()
    third.gate.set()
    busy[0].gate.set()
    assert third.started.wait(SOON)
    busy[1].gate.set()
    for one in [*running, request]:
        one.wait()


def test_those_of_the_oldest_root_run_first(held):
    """The queue is by root request, then by age: an old job is finished before a new one begins."""
    Request.reset_thread_pool(1)
    plug = held()
    order = []
    roots = [threading.Event(), threading.Event()]

    def root(number):
        def child(k):
            return Request(lambda: order.append((number, k)))

        children = [child(k) for k in range(3)]
        for one in reversed(children) if number == 0 else children:
            one.submit()
        roots[number].set()

    old, new = (Request(lambda number=n: root(number)) for n in range(2))
    blocking = Request(plug)
    blocking.submit()
    assert plug.started.wait(SOON)
    new.wait()
    old.wait()
    plug.gate.set()
    blocking.wait()
    last = Request(lambda: None)
    last.submit()
    while len(order) < 6:
        last = Request(lambda: None).submit()
        last.wait()
    assert order == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


def test_a_waiting_request_frees_its_worker(held):
    """Requests that wait for started ones do not stop the pool: another thread stands in."""
    Request.reset_thread_pool(1)
    inner = held(3)

    def outer():
        request = Request(inner).submit()
        other = Request(inner.gate.set).submit()
        return request.wait() + (other.wait() or 0)

    assert Request(outer).submit().wait() == 3


def test_resumed_requests_are_not_bound_to_a_worker():
    """Requests that began on one worker go on in parallel: two that meet do meet."""
    gate, barrier = Request(lambda: None), threading.Barrier(2, timeout=SOON)
    Request.reset_thread_pool(1)
    inside = threading.Semaphore(0)
    lock = RequestLock()
    lock.acquire()

    def suspended():
        inside.release()
        with lock:
            pass
        return barrier.wait()

    requests = [Request(suspended) for _ in range(2)]
    for request in requests:
        request.submit()
    for _ in requests:
        assert inside.acquire(timeout=SOON)
    lock.release()
    gate.wait()
    assert {request.wait() for request in requests} == {0, 1}


def test_with_value():
    """A request made with a value is done, and calls callbacks at once."""
    request = Request.with_value(3)
    seen = []
    request.notify_finished(seen.append)
    request.notify(seen.append)
    assert (request.wait(), seen) == (3, [3, request])


# callbacks


def test_notify_gives_the_request_submits_and_returns_it():
    """`notify(cb)` submits, calls `cb(request)` once it is over, and returns the request; at once if it is done."""
    seen, called = [], threading.Event()

    def callback(request):
        seen.append((request, request.wait()))
        called.set()

    request = Request(lambda: 4)
    assert request.notify(callback) is request
    assert called.wait(SOON)
    request.notify(callback)
    assert seen == [(request, 4)] * 2


@pytest.mark.parametrize("outcome", ["finished", "failed", "cancelled"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_exactly_one_kind_of_callback_is_called(outcome, when):
    """Of finished, failed and cancelled callbacks the one that fits is called, once, also when it is late."""
    seen = []

    def work():
        if outcome == "failed":
            raise KeyError("x")
        return 1

    request = Request(work)

    def subscribe():
        request.notify_finished(lambda result: seen.append(("finished", result)))
        request.notify_failed(lambda error, info: seen.append(("failed", error, info[0])))
        request.notify_cancelled(lambda: seen.append(("cancelled",)))
        request.add_done_callback(seen.append)

    if when == "before":
        subscribe()
    if outcome == "cancelled":
        request.cancel()
    with contextlib.suppress(KeyError, InvalidRequestException):
        request.wait()
    if when == "after":
        subscribe()
    expected = {
        "finished": ("finished", 1),
        "failed": ("failed", request.exception, KeyError),
        "cancelled": ("cancelled",),
    }[outcome]
    assert seen == [expected, request]


def test_notify_finished_does_not_submit():
    """Only `notify` submits."""
    request = Request(lambda: 1)
    request.notify_finished(lambda _: None)
    request.add_done_callback(lambda _: None)
    assert not request.started


def test_callbacks_given_before_wait_have_returned_when_it_does():
    """Callbacks run in order, and all that were given before `wait` have returned when `wait` does."""
    for _ in range(50):
        seen = []
        request = Request(lambda: 1)
        for k in range(5):
            request.notify_finished(lambda _, k=k, seen=seen: seen.append(k))
        request.submit()
        request.wait()
        assert seen == [0, 1, 2, 3, 4]


def test_callbacks_may_wait_and_make_requests():
    """A callback may wait for its own request, and make and wait for others."""
    seen = []
    request = Request(lambda: 2)
    request.notify_finished(lambda _: seen.append(request.wait()))
    request.notify_finished(lambda _: seen.append(Request(lambda: 3).submit().wait()))
    request.submit().wait()
    assert seen == [2, 3]


def test_a_callback_that_raises_makes_the_request_fail():
    """What a callback raises is raised by `wait`, and later callbacks of success are not called."""
    request, seen = Request(lambda: 2), []

    def callback(_):
        raise LookupError("callback")

    request.notify_finished(callback)
    request.notify_finished(seen.append)
    request.notify_failed(lambda error, _: seen.append(type(error)))
    with pytest.raises(LookupError, match="callback"):
        request.wait()
    assert seen == [LookupError]


# exceptions


def test_an_exception_reaches_every_waiter_with_its_type():
    """All who wait, in any thread and again later, get the very exception; the worker lives on."""
    error = ValueError("it")
    started = threading.Barrier(4, timeout=SOON)

    def work():
        raise error

    request = Request(work)
    caught = []

    def waiter():
        started.wait()
        try:
            request.wait()
        except ValueError as raised:
            caught.append(raised)

    threads = [threading.Thread(target=waiter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    with pytest.raises(ValueError, match="it"):
        request.wait()
    assert caught == [error] * 4
    assert Request(lambda: 1).submit().wait() == 1


def test_waiting_again_does_not_lengthen_the_traceback():
    """Each wait raises with the traceback of the failure and its own frames, not with those of earlier waits."""

    def work():
        raise ValueError("deep")

    request, lengths = Request(work), []
    for _ in range(20):
        try:
            request.wait()
        except ValueError as error:
            frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
            assert "work" in frames
            lengths.append(len(frames))
    assert len(set(lengths)) == 1


def test_an_exception_that_nobody_asked_for_is_told(capsys):
    """A failure without a waiter and without a callback goes to sys.excepthook; one that was seen does not."""
    hook, told = sys.excepthook, []
    sys.excepthook = lambda kind, *_: told.append(kind)
    try:

        def work(kind):
            raise kind("lost")

        done = threading.Event()
        Request(lambda: work(KeyError)).submit()
        seen = Request(lambda: work(ValueError))
        seen.notify_failed(lambda *_: done.set())
        seen.submit()
        assert done.wait(SOON)
        del seen
        for _ in range(200):
            gc.collect()
            if told:
                break
            Request(lambda: None).submit().wait()
        gc.collect()
    finally:
        sys.excepthook = hook
    assert told == [KeyError]


def test_result_is_refused_where_there_is_none():
    """`result` is of finished requests only."""
    request = Request(lambda: 1)
    with pytest.raises(InvalidRequestException, match="has no result"):
        _ = request.result
    request.wait()
    request.clean()
    with pytest.raises(InvalidRequestException):
        _ = request.result
    request.block()  # is legal after clean


# waiting that would never end


def test_a_request_that_waits_for_itself_is_told():
    """Waiting for oneself raises, directly and through others, rather than hang."""
    made = {}

    def work(name, other):
        return made[other].wait()

    made["self"] = Request(lambda: work("self", "self"))
    with pytest.raises(CircularWaitException, match="waits for itself"):
        made["self"].wait()
    for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
        made[name] = Request(lambda name=name, other=other: work(name, other))
    with pytest.raises(CircularWaitException, match="waits for it"):
        made["a"].wait()


def test_a_circle_across_threads_is_found():
    """Two submitted requests that wait for each other both end."""
    both = threading.Barrier(2, timeout=SOON)
    made = []

    def work(other):
        both.wait()
        return made[other].wait()

    made += [Request(lambda: work(1)), Request(lambda: work(0))]
    for request in made:
        request.submit()
    for request in made:
        with pytest.raises(CircularWaitException):
            request.wait(SOON)


def test_timeout(held):
    """`wait(timeout)` leaves the work to the pool and raises TimeoutException; the request goes on."""
    slow = held(5)
    request = Request(slow)
    with pytest.raises(TimeoutException, match=r"took more than 0\.01 s"):
        request.wait(0.01)
    with pytest.raises(TimeoutError):
        Request(lambda: request.wait(0.01)).wait()
    slow.gate.set()
    assert request.wait(SOON) == 5


def test_exceptions_can_be_named_by_the_class():
    """`except Request.InvalidRequestException` and its like work, as files written for lazyflow have it."""
    request = Request(lambda: 1)
    request.cancel()
    with pytest.raises(Request.InvalidRequestException):
        request.wait()
    assert issubclass(Request.TimeoutException, TimeoutError)
    assert Request.CircularWaitException is CircularWaitException
    assert issubclass(Request.CancellationException, Exception)


# depth, memory, the end


@pytest.mark.parametrize("submit", [False, True], ids=["waited", "submitted"])
def test_ten_thousand_nested_requests_on_two_threads(submit):
    """Requests nest 10,000 deep, on two workers, without a stack that overflows and without 10,000 threads."""
    most = [0]

    def nest(n):
        if n == 0:
            return 0
        if n % 100 == 0:
            most[0] = max(most[0], threading.active_count())
        request = Request(lambda: nest(n - 1))
        if submit:
            request.submit()
        return request.wait() + 1

    assert Request(lambda: nest(10_000)).submit().wait() == 10_000
    assert most[0] < 700


@settings(max_examples=30, deadline=None)
@given(st.recursive(st.just([]), lambda children: st.lists(children, max_size=4), max_leaves=40), st.data())
def test_any_tree_of_requests_counts_its_nodes(tree, data):
    """Whatever tree requests make, and whichever of them are submitted or waited for, every result is right."""
    plan = {}

    def decide(node):
        plan[id(node)] = data.draw(st.booleans())
        for child in node:
            decide(child)

    def size(node):
        return 1 + sum(map(size, node))

    decide(tree)

    def count(node):
        requests = [Request(lambda child=child: count(child)) for child in node]
        for request, child in zip(requests, node):
            if plan[id(child)]:
                request.submit()
        return 1 + sum(request.wait() for request in reversed(requests))

    assert Request(lambda: count(tree)).submit().wait() == size(tree)


def test_results_die_when_dropped():
    """A request that is over holds neither its function nor its parent, and nothing holds its result."""

    class Thing:
        pass

    thing, results = Thing(), []

    def work():
        assert thing_ref() is not None
        child = Request(Thing).submit()
        results.append(weakref.ref(child.wait()))
        return Thing()

    thing_ref = weakref.ref(thing)
    request = Request(lambda thing=thing: work())
    request.submit()
    results.append(weakref.ref(request.wait()))
    del thing
    gc.collect()
    assert thing_ref() is None
    assert results[0]() is None
    assert results[1]() is not None
    del request
    gc.collect()
    assert results[1]() is None


def test_a_failed_request_dies_when_dropped():
    """Neither the exception nor its traceback keep a request, or what its function held, alive."""

    class Thing:
        pass

    def work(thing):
        raise ValueError(str(thing))

    thing = Thing()
    gone = weakref.ref(thing)
    request = Request(lambda thing=thing: work(thing))
    with pytest.raises(ValueError, match="Thing"):
        request.submit().wait()
    del thing, request
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("state", ["idle", "running", "parked"])
def test_threads_end_with_the_process(state):
    """A process ends when its main thread does, whatever its workers do."""
    script = f"""
import threading
from blockflow.request import Request
started, never = threading.Event(), threading.Event()
def work():
    started.set()
    never.wait()
def outer():
    Request(work).submit().wait()
if {state!r} == "idle":
    Request(started.set).submit().wait()
elif {state!r} == "running":
    Request(work).submit()
else:
    Request(outer).submit()
assert started.wait(20)
print("over")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "over\n", "")
