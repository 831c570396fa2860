"""Locks: one holder at a time, whoever comes and goes, however it goes."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest

from blockflow.utility.lease import Lease, LockedError

_TAKER = """
import sys
from pathlib import Path
from blockflow.utility.lease import Lease, LockedError
lock = Lease(Path(sys.argv[1]), "the thing")
print("ready", flush=True)
for order in sys.stdin:
    if order == "take\\n":
        try:
            lock.acquire()
            print("held", flush=True)
        except LockedError as error:
            print("refused", flush=True)
    else:
        lock.release()
        print("released", flush=True)
"""


class _Taker:
    """A process that takes and releases the lock when it is told."""

    def __init__(self, path):
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def tell(self, order):
        self.process.stdin.write(f"{order}\n")

    def answer(self):
        return self.process.stdout.readline().strip()

    def kill(self):
        """End it so that its parent has not noticed yet."""
        self.process.kill()
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)

    def close(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def takers(tmp_path):
    """Makes so many processes, which are ready, for the lock `tmp_path / "lock"`."""
    all_takers = []

    def make(count=1):
        made = [_Taker(tmp_path / "lock") for _ in range(count)]
        all_takers.extend(made)
        assert [taker.answer() for taker in made] == ["ready"] * count
        return made

    yield make
    for taker in all_takers:
        taker.close()


def _write_holder(path, **changes):
    """A lock file as another process has written it."""
    holder = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_started": "unknown",
        "since": time.time(),
        "token": "another",
    } | changes
    path.write_text(json.dumps(holder))


@pytest.fixture
def lock(tmp_path):
    lock = Lease(tmp_path / "lock", "the thing")
    yield lock
    lock.release()


def test_a_lock_is_a_file_while_it_is_held(lock, tmp_path):
    """The lock's file says who holds it, and is gone afterwards, with nothing left beside it."""
    with lock:
        holder = json.loads((tmp_path / "lock").read_text())
        assert (holder["host"], holder["pid"]) == (socket.gethostname(), os.getpid())
        assert lock.holder() == holder
    assert lock.holder() is None
    assert list(tmp_path.iterdir()) == []


def test_a_lock_can_be_taken_again(lock):
    """Released, a lock is as new."""
    for _ in range(3):
        with lock:
            assert lock.holder() is not None


def test_a_second_taker_is_told_who_holds_it(lock, tmp_path):
    """Whoever comes second is refused with what is locked, the holder's process, its host and the file."""
    other = Lease(tmp_path / "lock", "the thing")
    with lock, pytest.raises(LockedError) as caught:
        other.acquire()
    message = str(caught.value)
    assert f"the thing is in use by process {os.getpid()} on {socket.gethostname()} since 20" in message
    assert f"(the lock is {tmp_path / 'lock'})" in message
    assert isinstance(caught.value, BlockingIOError)


def test_the_refused_one_does_not_release_the_holders_lock(lock, tmp_path):
    """Releasing a lock that one does not hold does nothing."""
    with lock:
        Lease(tmp_path / "lock", "the thing").release()
        assert lock.holder() is not None


def test_a_lock_that_was_taken_over_is_left_alone(lock, tmp_path):
    """A holder whose lock somebody else has by now does not remove it."""
    lock.acquire()
    _write_holder(tmp_path / "lock")
    lock.release()
    assert json.loads((tmp_path / "lock").read_text())["token"] == "another"


def test_a_body_that_raises_gives_the_lock_back(lock):
    """An exception in a `with` block goes through, and the lock is free."""
    with pytest.raises(ZeroDivisionError), lock:
        raise ZeroDivisionError
    assert lock.holder() is None


def test_a_folder_that_is_gone_can_be_released(tmp_path):
    """A lock whose folder was removed meanwhile is released without an error."""
    (tmp_path / "folder").mkdir()
    with Lease(tmp_path / "folder" / "lock", "the thing"):
        (tmp_path / "folder" / "lock").unlink()
        (tmp_path / "folder").rmdir()


def test_exactly_one_of_many_processes_holds_it(takers):
    """Of eight processes that race for a lock, again and again, one has it and seven are refused."""
    racers = takers(8)
    for _ in range(20):
        for racer in racers:
            racer.tell("take")
        answers = [racer.answer() for racer in racers]
        assert sorted(answers) == ["held"] + ["refused"] * 7
        winner = racers[answers.index("held")]
        winner.tell("release")
        assert winner.answer() == "released"


def test_exactly_one_of_many_processes_takes_a_dead_ones_lock(takers, tmp_path):
    """Of eight processes that find a dead holder at once, one takes its lock over, and keeps it."""
    racers = takers(8)
    for _ in range(20):
        _write_holder(tmp_path / "lock", process_started="never")
        for racer in racers:
            racer.tell("take")
        answers = [racer.answer() for racer in racers]
        assert sorted(answers) == ["held"] + ["refused"] * 7
        racers[answers.index("held")].tell("release")
        assert racers[answers.index("held")].answer() == "released"
    assert list(tmp_path.iterdir()) == []


def test_one_that_was_late_does_not_remove_the_new_holders_lock(lock, tmp_path, monkeypatch):
    """Between a look at a dead holder and its removal another process may take the lock: then that one keeps it."""
    _write_holder(tmp_path / "lock", process_started="never")
    late = Lease(tmp_path / "lock", "the thing")
    look = late.holder

    def look_slowly():
        found = look()
        monkeypatch.setattr(late, "holder", look)
        lock.acquire()
        return found

    monkeypatch.setattr(late, "holder", look_slowly)
    with pytest.raises(LockedError):
        late.acquire()
    assert lock.holder() is not None


def test_nobody_else_may_remove_a_dead_ones_lock_during_the_last_look(lock, tmp_path, monkeypatch):
    """From the last look at a dead holder to the removal of its file the file is locked in the kernel."""
    _write_holder(tmp_path / "lock", process_started="never")
    look, locked = lock.holder, []

    def look_for_locks():
        with (tmp_path / "lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                locked.append(False)
            except BlockingIOError:
                locked.append(True)
        return look()

    monkeypatch.setattr(lock, "holder", look_for_locks)
    lock.acquire()
    assert locked == [False, True]


@pytest.mark.parametrize("noticed", [True, False])
def test_a_killed_holders_lock_is_taken_over(lock, takers, noticed):
    """On the same host a dead holder loses the lock at once, whether its parent has noticed its death or not."""
    (victim,) = takers()
    victim.tell("take")
    assert victim.answer() == "held"
    with pytest.raises(LockedError, match=f"process {victim.process.pid} "):
        lock.acquire()
    victim.kill()
    if noticed:
        victim.process.wait()
    with lock:
        assert lock.holder()["pid"] == os.getpid()


def test_a_stopped_holder_keeps_its_lock(lock, takers):
    """A holder that is stopped, but there, keeps the lock: on its own host only its death counts."""
    (holder,) = takers()
    holder.tell("take")
    assert holder.answer() == "held"
    os.kill(holder.process.pid, signal.SIGSTOP)
    with pytest.raises(LockedError):
        lock.acquire()


def test_a_reused_process_number_is_not_the_holder(lock, tmp_path):
    """A process with the holder's number that began at another time is not the holder."""
    _write_holder(tmp_path / "lock", pid=os.getpid(), process_started="1")
    with lock:
        pass


def test_another_hosts_fresh_lock_is_respected(lock, tmp_path):
    """A holder on another host that has renewed its lock of late keeps it, though no process here has its number."""
    _write_holder(tmp_path / "lock", host="elsewhere", pid=2**22 + 1)
    with pytest.raises(LockedError, match=r"in use by process 4194305 on elsewhere since"):
        lock.acquire()


def test_another_hosts_stale_lock_is_taken_over(tmp_path):
    """A holder on another host that has not renewed its lock for long enough loses it."""
    _write_holder(tmp_path / "lock", host="elsewhere")
    long_ago = time.time() - 100
    os.utime(tmp_path / "lock", (long_ago, long_ago))
    with pytest.raises(LockedError):
        Lease(tmp_path / "lock", "the thing", stale_after=1000).acquire()
    with Lease(tmp_path / "lock", "the thing", stale_after=10) as lock:
        assert lock.holder()["host"] == socket.gethostname()


def test_a_holder_renews_its_lock(tmp_path, monkeypatch):
    """While it is held, a lock's file is touched again and again, also after a file system that did not answer."""
    lock = Lease(tmp_path / "lock", "the thing", renew_every=0.001)
    touched, calls, utime = threading.Event(), [], os.utime

    def touch(path, *args):
        calls.append(path)
        if len(calls) == 1:
            raise OSError("the file system does not answer")
        utime(path, *args)
        if len(calls) >= 3:
            touched.set()

    monkeypatch.setattr(os, "utime", touch)
    with lock:
        assert touched.wait(60)
    assert set(calls) == {tmp_path / "lock"}


def test_a_holder_that_lost_its_lock_does_not_renew_it(tmp_path, monkeypatch):
    """The file of whoever took a lock over is not touched by the one who had it before, and nobody goes on trying."""
    lock = Lease(tmp_path / "lock", "the thing", renew_every=0.001)
    first, go_on, touched = threading.Event(), threading.Event(), []

    def touch(path):
        touched.append(path)
        first.set()
        go_on.wait(60)

    monkeypatch.setattr(os, "utime", touch)
    lock.acquire()
    assert first.wait(60)
    _write_holder(tmp_path / "lock")
    go_on.set()
    for thread in threading.enumerate():
        if thread.name == "leases":
            thread.join(60)
            assert not thread.is_alive()
    assert touched == [tmp_path / "lock"]


def test_many_leases_are_renewed_by_one_thread(tmp_path, monkeypatch):
    """A process that holds a hundred locks keeps all of them fresh, with one thread."""
    locks = [Lease(tmp_path / f"lock{number}", "the thing", renew_every=0.01) for number in range(100)]
    touched, everything = set(), threading.Event()

    def touch(path):
        touched.add(path)
        if len(touched) == len(locks):
            everything.set()

    monkeypatch.setattr(os, "utime", touch)
    with ExitStack() as held:
        for lock in locks:
            held.enter_context(lock)
        assert everything.wait(60)
        assert sum(thread.name == "leases" for thread in threading.enumerate()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_forked_child_does_not_release_its_parents_lock(lock, tmp_path):
    """A process that inherits the object holds no lock: what it releases stays."""
    with lock:
        child = os.fork()
        if child == 0:
            lock.release()
            os._exit(0)
        os.waitpid(child, 0)
        assert lock.holder()["pid"] == os.getpid()


def test_a_purged_lock_is_free(lock, tmp_path):
    """Whoever holds it, a purged lock's file is gone, and the one who had it does not release the next holder's."""
    with lock:
        assert Lease(tmp_path / "lock", "the thing").purge()
        with Lease(tmp_path / "lock", "the thing") as other:
            lock.release()
            assert other.is_ours()
    assert not lock.purge()


@pytest.mark.parametrize("content", ["", '{"host": ', "\x00\x00"])
def test_a_file_that_names_no_holder_is_taken_over(lock, tmp_path, content):
    """A lock file that a crashed machine has left empty or torn is nobody's."""
    (tmp_path / "lock").write_text(content)
    with lock:
        assert lock.holder()["pid"] == os.getpid()
