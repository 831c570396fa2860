"""Files that are never half written."""

import os
import threading
from pathlib import Path

import pytest

from blockflow.utility.files import read_json, write_aside, write_json


def test_json_round_trip(tmp_path):
    """What is written as JSON is read back equal."""
    value = {"a": [1, 2.5, None], "b": {"c": "µm"}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value


def test_a_new_content_replaces_the_old_and_leaves_nothing_aside(tmp_path):
    """After a write there is the file with its new content, and no other file."""
    for content in (b"old", b"new"):
        write_aside(tmp_path / "a", content)
    assert (tmp_path / "a").read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("method", ["replace", "write_bytes"])
def test_a_failed_write_leaves_the_old_content(tmp_path, monkeypatch, error, method):
    """Whatever stops the write, the old content stays and nothing is left aside."""
    write_aside(tmp_path / "a", b"old")

    def fail(*args):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(Path, method, fail)
        with pytest.raises(type(error)):
            write_aside(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_json_that_cannot_be_written_touches_nothing(tmp_path):
    """A value that is no JSON leaves the old file as it was."""
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", object())
    assert read_json(tmp_path / "a.json") == 1


def test_exclusive_keeps_what_is_there(tmp_path):
    """An exclusive write makes a new file, and refuses to replace one."""
    write_json(tmp_path / "a.json", 1, exclusive=True)
    with pytest.raises(FileExistsError):
        write_json(tmp_path / "a.json", 2, exclusive=True)
    assert read_json(tmp_path / "a.json") == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "a.json"]


def test_exactly_one_of_many_exclusive_writers_wins(tmp_path):
    """Of writers that start together one makes the file, and its content is whole."""
    barrier, winners = threading.Barrier(8), []

    def write(number):
        barrier.wait()
        try:
            write_json(tmp_path / "a.json", [number] * 1000, exclusive=True)
        except FileExistsError:
            return
        winners.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1
    assert read_json(tmp_path / "a.json") == winners * 1000
    assert os.listdir(tmp_path) == ["a.json"]
