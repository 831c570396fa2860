"""Failure records: every attempt counted once, however many processes count."""

import json
import subprocess
import sys
import threading

import pytest
from funlib.geometry import Roi

from blockflow.execution.failures import (
    CAUSES,
    FailureLog,
    FailureRecord,
    group_failures,
    read_failures,
)
from blockflow.utility.files import write_json

ROIS = Roi((0, -2), (8, 8)), Roi((2, 0), (4, 4))


def _record(**changes):
    return FailureRecord(
        **{
            "task": "cells",
            "block": 0,
            "read_roi": None,
            "write_roi": None,
            "attempt": 1,
            "final": False,
            "cause": "exception",
            "message": "ValueError: bad",
            "traceback": None,
            "host": "here",
            "worker": "cells-0",
            "log": "cells-0.log",
            "time": 0.0,
        }
        | changes
    )


def _add(log, block, cause="exception", message="ValueError: bad", **more):
    return log.add(
        block, ROIS if block is not None else None, cause, message, worker="cells-3", log="a.log", **more
    )


def test_a_record_says_all_that_is_known(tmp_path):
    """Task, block, ROIs, attempt, cause, message, traceback, worker, host and log come back as they were given."""
    log = FailureLog(tmp_path / "failures", "cells", attempts=3)
    record = _add(log, 5, traceback="Traceback ...")
    assert list(read_failures(tmp_path / "failures")) == [record]
    assert (record.task, record.block, record.attempt, record.final) == ("cells", 5, 1, False)
    assert (record.read_roi, record.write_roi) == ([[0, -2], [8, 8]], [[2, 0], [4, 4]])
    assert (record.cause, record.message, record.traceback) == (
        "exception",
        "ValueError: bad",
        "Traceback ...",
    )
    assert (record.worker, record.log) == ("cells-3", "a.log")
    assert record.host
    assert record.time > 0


@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_makes_the_round_trip(tmp_path, cause):
    """A record of any cause is read back equal."""
    record = _add(FailureLog(tmp_path, "cells", attempts=1), 0, cause, 'text with "quotes"\nand µ')
    assert list(read_failures(tmp_path)) == [record]


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_a_block_is_exhausted_exactly_after_its_last_attempt(tmp_path, attempts):
    """With n attempts, the first n - 1 failures leave one more; the n-th is final. Other blocks are not concerned."""
    log = FailureLog(tmp_path, "cells", attempts)
    for attempt in range(1, attempts + 1):
        assert not log.is_exhausted(7)
        record = _add(log, 7)
        assert (record.attempt, record.final) == (attempt, attempt == attempts)
    assert log.is_exhausted(7)
    assert not log.is_exhausted(70)
    assert not log.is_exhausted(0)


def test_another_log_of_the_same_folder_counts_the_same_attempts(tmp_path):
    """Attempts are counted by the files, so every process knows of all others'."""
    logs = [FailureLog(tmp_path, "cells", 3) for _ in range(3)]
    assert [_add(log, 2).attempt for log in logs] == [1, 2, 3]
    assert all(log.is_exhausted(2) for log in logs)


def test_another_session_gives_a_new_budget(tmp_path):
    """The failures of one session do not count in another one's folder."""
    _add(FailureLog(tmp_path / "first", "cells", 1), 2)
    assert not FailureLog(tmp_path / "second", "cells", 1).is_exhausted(2)


def test_an_attempt_beyond_the_last_is_recorded_too(tmp_path):
    """Two workers at one block may fail after it was exhausted: nothing is lost, and it stays exhausted."""
    log = FailureLog(tmp_path, "cells", 1)
    assert [_add(log, 2).final for _ in range(2)] == [True, True]
    assert log.is_exhausted(2)
    assert [record.attempt for record in read_failures(tmp_path)] == [1, 2]


def test_a_worker_that_could_not_start_is_no_blocks_attempt(tmp_path):
    """A record without a block is never final, exhausts nothing, and comes first."""
    log = FailureLog(tmp_path, "cells", 1)
    _add(log, 0)
    assert [_add(log, None).final for _ in range(3)] == [False] * 3
    assert [record.block for record in read_failures(tmp_path)] == [None, None, None, 0]


def test_records_come_by_block_and_attempt(tmp_path):
    """Blocks and attempts are in the order of numbers, not of file names."""
    log = FailureLog(tmp_path, "cells", 20)
    for block in (10, 9, 100):
        for _ in range(11):
            _add(log, block)
    expected = [(block, attempt) for block in (9, 10, 100) for attempt in range(1, 12)]
    assert [(record.block, record.attempt) for record in read_failures(tmp_path)] == expected


def test_threads_that_fail_at_once_are_all_counted(tmp_path):
    """Of many failures at the same moment each gets an attempt of its own."""
    barrier = threading.Barrier(8)

    def fail():
        log = FailureLog(tmp_path, "cells", 16)
        barrier.wait()
        for block in (0, 1):
            _add(log, block)
            _add(log, block)

    threads = [threading.Thread(target=fail) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = list(read_failures(tmp_path))
    for block in (0, 1):
        attempts = [record.attempt for record in records if record.block == block]
        assert attempts == list(range(1, 17))
        assert [record.final for record in records if record.block == block] == [False] * 15 + [True]


def test_processes_that_fail_at_once_are_all_counted(tmp_path):
    """The same holds for processes, which share nothing but the folder."""
    program = (
        "import sys; from pathlib import Path; from blockflow.execution.failures import FailureLog\n"
        "log = FailureLog(Path(sys.argv[1]), 'cells', 40)\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for _ in range(10): log.add(3, None, 'exception', 'no', worker='', log='')"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert [record.attempt for record in read_failures(tmp_path)] == list(range(1, 41))
    assert FailureLog(tmp_path, "cells", 40).is_exhausted(3)
    assert not FailureLog(tmp_path, "cells", 41).is_exhausted(3)


def test_a_half_written_record_is_never_read(tmp_path):
    """While a record is being written, and after a kill in the middle of it, readers and counters see nothing of it."""
    log = FailureLog(tmp_path, "cells", 1)
    (tmp_path / ".4-1.json.0123456789abcdef.partial").write_text('{"task": "ce')
    assert list(read_failures(tmp_path)) == []
    assert not log.is_exhausted(4)
    record = _add(log, 4)
    assert list(read_failures(tmp_path)) == [record]


def test_readers_see_whole_records_while_others_write(tmp_path):
    """Reading again and again while records are written never meets a part of one."""
    over = threading.Event()

    def fail():
        log = FailureLog(tmp_path, "cells", 1000)
        for block in range(100):
            _add(log, block, message="x" * 20_000)
        over.set()

    thread = threading.Thread(target=fail)
    thread.start()
    seen = 0
    while not over.is_set():
        records = list(read_failures(tmp_path))
        assert len(records) >= seen
        assert all(len(record.message) == 20_000 for record in records)
        seen = len(records)
    thread.join()
    assert len(list(read_failures(tmp_path))) == 100


def test_no_folder_means_no_failures(tmp_path):
    """Nothing is written until something fails, and nothing to read is no error."""
    log = FailureLog(tmp_path / "failures", "cells", 1)
    assert not log.is_exhausted(0)
    assert list(read_failures(tmp_path / "failures")) == []
    assert not (tmp_path / "failures").exists()


def test_records_are_plain_json_with_all_fields(tmp_path):
    """A record is a JSON file that other programs can read, named by block and attempt."""
    record = _add(FailureLog(tmp_path, "cells", 2), 5)
    assert json.loads((tmp_path / "5-1.json").read_text()) == record.__dict__
    write_json(tmp_path / "6-1.json", record.__dict__ | {"block": 6})
    assert [found.block for found in read_failures(tmp_path)] == [5, 6]


def test_groups_hold_what_failed_alike_the_largest_first():
    """Records of one task, cause and last line of the message are one group, numbers aside; none is lost."""
    records = [
        _record(block=0, message="ValueError: 3 of 8 voxels\nKeyError: 'x'"),
        _record(block=1, message="IndexError: 17 is out of bounds"),
        _record(block=2, message="IndexError: 4 is out of bounds\n"),
        _record(block=3, message="TypeError\nIndexError: 250 is out of bounds"),
        _record(block=4, message="IndexError: 4 is out of bounds", task="other"),
        _record(block=5, message="IndexError: 4 is out of bounds", cause="check_failed"),
        _record(block=6, message="IndexError: 4 is out of bounds", cause="check_failed"),
    ]
    groups = [[record.block for record in group.records] for group in group_failures(records)]
    assert groups[:2] == [[1, 2, 3], [5, 6]]
    assert sorted(groups[2:]) == [[0], [4]]
    assert group_failures([]) == []
