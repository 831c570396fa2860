"""Lazyflow's lock: beside the file that it is for, given back by its owner alone, taken over from the dead."""

import json
import subprocess
import sys
import threading

import pytest

from blockflow.utility import FileLock
from blockflow.utility.fileLock import FileLockException


def test_a_lock_stands_beside_its_file(tmp_path):
    """While it is held there is a `.lock` file that says who has it; afterwards nothing is left."""
    lock = FileLock(tmp_path / "x.h5", lock_file_contents="block 7")
    assert lock.available()
    assert not lock.locked()
    with lock:
        assert lock.locked()
        assert not lock.available()
        assert json.loads((tmp_path / "x.h5.lock").read_text())["note"] == "block 7"
    assert list(tmp_path.iterdir()) == []


def test_only_the_owner_releases(tmp_path):
    """Another object's `release` leaves the lock, and it is not `locked` by it."""
    mine, other = FileLock(tmp_path / "x"), FileLock(tmp_path / "x")
    assert mine.acquire()
    assert not other.acquire(blocking=False)
    other.release()
    assert mine.locked()
    assert not other.locked()
    mine.release()
    assert other.acquire(blocking=False)
    other.release()


def test_a_wait_that_is_too_long_says_who_has_it(tmp_path):
    """After its timeout a taker gives up, naming the holder."""
    with (
        FileLock(tmp_path / "x"),
        pytest.raises(FileLockException, match=r"waited 0.01 s .* in use by process"),
    ):
        FileLock(tmp_path / "x", timeout=0.01, delay=0.001).acquire()
    assert issubclass(FileLock.FileLockException, TimeoutError)


def test_a_waiting_taker_gets_it(tmp_path):
    """Who waits gets the lock when it is given back."""
    first, second = FileLock(tmp_path / "x"), FileLock(tmp_path / "x", delay=0.001)
    first.acquire()
    waiting = threading.Thread(target=second.acquire)
    waiting.start()
    first.release()
    waiting.join(60)
    assert second.locked()
    second.release()


def test_a_dead_process_leaves_no_lock(tmp_path):
    """The lock of a process that ended without releasing it is free for the next."""
    code = (
        "import os, sys; from blockflow.utility import FileLock\n"
        "lock = FileLock(sys.argv[1]); lock.acquire(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], check=True)
    assert (tmp_path / "x.lock").exists()
    assert FileLock(tmp_path / "x").acquire(blocking=False)


def test_a_lock_that_nobody_holds_any_more_is_released(tmp_path):
    """An object that is let go of without release gives its lock back."""
    FileLock(tmp_path / "x").acquire()
    assert list(tmp_path.iterdir()) == []


def test_purge(tmp_path):
    """A purged lock is gone, whoever had it, and who had it knows."""
    lock = FileLock(tmp_path / "x")
    lock.acquire()
    assert FileLock(tmp_path / "x").purge()
    assert not lock.locked()
    assert not FileLock(tmp_path / "x").purge()
