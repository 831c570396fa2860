"""Event files: whole lines, whatever happens to who writes them."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from blockflow.execution.events import EventLog, last_event


@pytest.fixture
def log(tmp_path):
    log = EventLog(tmp_path / "events" / "a.jsonl")
    yield log
    log.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events" / "a.jsonl"


def _events(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_event_is_a_line_with_its_time_and_what_belongs_to_it(log, path):
    """A line is JSON with both clocks, the event, and what was given; the folder is made."""
    log.write("up", pid=7, text='a "quoted"\nline µ', nothing=None)
    log.write("idle")
    log.write_block("start", 12)
    up, idle, start = _events(path)
    assert {key: up[key] for key in up if key not in "tm"} == {
        "event": "up",
        "pid": 7,
        "text": 'a "quoted"\nline µ',
        "nothing": None,
    }
    assert (idle["event"], start["event"], start["block"]) == ("idle", "start", 12)
    assert up["t"] <= start["t"]
    assert up["m"] <= start["m"]


def test_the_last_event_is_the_one_written_last(log, path):
    """The last event is found after every write."""
    for block in range(200):
        log.write_block("done", block)
        assert last_event(path)["block"] == block


def test_a_missing_or_empty_file_has_no_last_event(tmp_path):
    """Where nothing was written there is no event, and no error."""
    assert last_event(tmp_path / "missing.jsonl") is None
    (tmp_path / "empty.jsonl").touch()
    assert last_event(tmp_path / "empty.jsonl") is None


@pytest.mark.parametrize(
    "torn", [b'{"t": 1.0, "m": 2.0, "event": "do', b'{"event": "done", "block": 1}', b"{"]
)
def test_a_torn_last_line_is_not_an_event(log, path, torn):
    """A line that was not ended is passed over, even if it looks whole: its block number may not be."""
    log.write_block("start", 4)
    with path.open("ab") as file:
        file.write(torn)
    assert last_event(path)["event"] == "start"


def test_a_file_of_one_torn_line_has_no_last_event(tmp_path):
    """Without a whole line there is no event."""
    (tmp_path / "a").write_bytes(b'{"event": "up"')
    assert last_event(tmp_path / "a") is None


@pytest.mark.parametrize("garbage", [b"\x00" * 600 + b"\n", b"[1, 2]\n", b'"text"\n', b"\n\n", b"\xff\xfe\n"])
def test_lines_that_are_no_events_are_passed_over(log, path, garbage):
    """What a crashed machine may leave in the file (zeros, foreign lines) does not hide the event before it."""
    log.write_block("start", 4)
    with path.open("ab") as file:
        file.write(garbage)
    assert last_event(path)["block"] == 4


@pytest.mark.parametrize("length", [1, 400, 500, 512, 600, 5000, 200_000])
def test_a_long_last_line_is_read_whole(log, path, length):
    """The last event is found however long its line is, and however long the one before it."""
    log.write("before", text="y" * length)
    log.write("why", text="x" * length)
    assert last_event(path)["text"] == "x" * length
    log.write_block("done", 3)
    assert last_event(path)["block"] == 3


def test_lines_of_many_writers_do_not_mix(tmp_path):
    """Should several threads and logs write to one file, each line stays whole and none is lost."""
    path = tmp_path / "shared.jsonl"
    logs = [EventLog(path) for _ in range(4)]

    def write(number):
        for count in range(200):
            logs[number].write("event", writer=number, count=count, text="x" * (count * 7))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for log in logs:
        log.close()
    events = _events(path)
    for number in range(4):
        assert [event["count"] for event in events if event["writer"] == number] == list(range(200))


def test_what_was_written_outlives_a_killed_process(path):
    """Every event that was written before a SIGKILL is in the file."""
    program = (
        "import os, signal, sys; from pathlib import Path; from blockflow.execution.events import EventLog\n"
        "log = EventLog(Path(sys.argv[1]))\n"
        "for block in range(1000): log.write_block('start', block)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert [event["block"] for event in _events(path)] == list(range(1000))
    assert last_event(path)["block"] == 999


def test_a_second_log_of_the_same_file_goes_on_after_the_first(tmp_path):
    """Opening a file again keeps what is in it."""
    for count in range(3):
        log = EventLog(tmp_path / "a.jsonl")
        log.write("up", count=count)
        log.close()
    assert [event["count"] for event in _events(tmp_path / "a.jsonl")] == [0, 1, 2]
    assert os.listdir(tmp_path) == ["a.jsonl"]
