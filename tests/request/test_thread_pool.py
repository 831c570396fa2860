import os
import subprocess
import sys
import threading

import pytest

from blockflow.request import Request, RequestLock, RequestPool, SimpleRequestCondition, threads
from blockflow.request.thread_pool import default_num_workers

SOON = 20


def test_size():
    """The pool has as many workers as it was told; by default one per CPU, at most 8."""
    Request.reset_thread_pool(5)
    assert Request.thread_pool().num_workers == 5
    barrier = threading.Barrier(5, timeout=SOON)
    for request in [Request(barrier.wait).submit() for _ in range(5)]:
        request.wait()
    Request.reset_thread_pool()
    assert Request.thread_pool().num_workers == default_num_workers()
    with pytest.raises(ValueError, match="not -1"):
        Request.reset_thread_pool(-1)


def test_environment(monkeypatch):
    """BLOCKFLOW_THREADS sets the default size; nonsense is refused by name."""
    monkeypatch.setenv("BLOCKFLOW_THREADS", "3")
    assert default_num_workers() == 3
    monkeypatch.setenv("BLOCKFLOW_THREADS", "many")
    with pytest.raises(ValueError, match="BLOCKFLOW_THREADS is 'many'"):
        default_num_workers()
    monkeypatch.delenv("BLOCKFLOW_THREADS")
    assert 1 <= default_num_workers() <= 8


def test_without_threads_submit_does_the_work_and_raises():
    """With 0 workers everything happens in the calling thread, where a debugger sees it."""
    Request.reset_thread_pool(0)
    threads = []

    def work():
        threads.append(threading.current_thread())
        lock = RequestLock()
        with lock:
            pass
        return Request(lambda: 2).submit().wait()

    assert Request(work).submit().wait() == 2
    with RequestPool() as pool:
        for _ in range(3):
            pool.add(Request(work))
    assert Request(work).wait(timeout=1) == 2
    assert set(threads) == {threading.current_thread()}

    def fail():
        raise KeyError("at once")

    with pytest.raises(KeyError, match="at once"):
        Request(fail).submit()
    condition = SimpleRequestCondition()
    with condition:
        condition.notify()


def test_ten_thousand_nested_requests_without_threads():
    """The debug mode nests as deep as the pool does."""
    Request.reset_thread_pool(0)

    def nest(n):
        return 0 if n == 0 else Request(lambda: nest(n - 1)).submit().wait() + 1

    assert Request(lambda: nest(10_000)).wait() == 10_000


def test_many_short_requests_use_few_threads():
    """Threads are used again: thousands of requests take no more of them than work at one time."""
    idents = set()
    requests = [Request(lambda: idents.add(threading.get_ident())).submit() for _ in range(3000)]
    for request in requests:
        request.block()
    assert len(idents) <= 4  # two workers, the caller, and one thread that was still idle


def test_queued_requests_of_an_old_pool_are_done(held):
    """Changing the size loses nothing that was submitted."""
    plug = held()
    Request.reset_thread_pool(1)
    running, done = Request(plug).submit(), threading.Event()
    assert plug.started.wait(SOON)
    Request(done.set).submit()
    Request.reset_thread_pool(2)
    plug.gate.set()
    running.wait()
    assert done.wait(SOON)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_workers_of_its_own():
    """After a fork the child's requests run, although none of its parent's threads is there."""
    script = """
import os, sys
from blockflow.request import Request
Request.reset_thread_pool(2)
for request in [Request(lambda: 1).submit() for _ in range(10)]:
    request.wait()
child = os.fork()
if child == 0:
    ok = [request.wait() for request in [Request(lambda: 2).submit() for _ in range(10)]] == [2] * 10
    os._exit(0 if ok else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_interrupt_ends_the_wait_and_not_the_request():
    """Ctrl-C in a thread that waits for a worker raises KeyboardInterrupt there; the worker goes on."""
    script = """
import os, signal, threading
from blockflow.request import Request
Request.reset_thread_pool(1)
started, gate = threading.Event(), threading.Event()
def work():
    started.set()
    os.kill(os.getpid(), signal.SIGINT)
    gate.wait(20)
    return 7
request = Request(work).submit()
try:
    started.wait(20)
    request.wait()
except KeyboardInterrupt:
    gate.set()
    print(request.wait())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "7\n", "")


# where there are no more threads


@pytest.fixture
def few_threads(monkeypatch):
    """From now on the system gives only so many threads."""
    monkeypatch.setattr(threads, "_idle", [])

    def limit(count):
        left = [count]
        start = threading.Thread.start

        def start_if_any_is_left(thread):
            if left[0] == 0:
                raise RuntimeError("can't start new thread")
            left[0] -= 1
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", start_if_any_is_left)

    return limit


def test_a_nest_that_never_ends_is_an_error():
    """A request that asks for itself again and again fails with RecursionError, and the process lives on."""

    def nest():
        return Request(nest).wait()

    with pytest.raises(RecursionError, match="40000 requests or changes within each other"):
        Request(nest).wait()
    assert Request(lambda: 1).submit().wait() == 1


def test_a_nest_too_deep_for_the_systems_threads_is_an_error(few_threads):
    """Where the system gives no thread for a fresh stack the request fails, and nothing hangs."""
    few_threads(3)

    def nest(n):
        return 0 if n == 0 else Request(lambda: nest(n - 1)).wait() + 1

    with pytest.raises(RecursionError, match="can't start new thread"):
        Request(lambda: nest(1000)).wait()
    assert Request(lambda: nest(100)).wait() == 100


def test_a_pool_with_fewer_threads_than_it_wants_goes_on(few_threads):
    """One thread does the work of two; without any, submit says so, and wait does the work itself."""
    Request.reset_thread_pool(2)
    few_threads(1)
    requests = [Request(lambda k=k: k).submit() for k in range(50)]
    assert [request.wait() for request in requests] == list(range(50))


def test_a_pool_without_any_thread_says_so(few_threads):
    """submit raises where nobody would do the work; whoever waits for the request still can."""
    Request.reset_thread_pool(2)
    few_threads(0)
    request = Request(lambda: 5)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        request.submit()
    assert request.wait() == 5
    with RequestPool(1) as pool:
        pool.add(Request(lambda: 6))
