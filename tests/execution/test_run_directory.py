"""Run directories: begun, gone on with, and refused."""

import json
import os
import signal
import subprocess
import sys

import pytest

from blockflow.errors import RunDirectoryError
from blockflow.execution.run_directory import FORMAT, RunDirectory
from blockflow.utility.lease import Lease, LockedError

_DRIVER = """
import sys
from pathlib import Path
from blockflow.execution.run_directory import RunDirectory
with RunDirectory.begin(Path(sys.argv[1]), "cells"):
    print("running", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_driver(tmp_path):
    """A process that has the run directory `tmp_path / "run"`."""
    process = subprocess.Popen(
        [sys.executable, "-c", _DRIVER, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"running\n"
    yield process
    process.kill()
    process.communicate()


def _begin(path, name="cells", config=None):
    with RunDirectory.begin(path, name, config) as run:
        return run


@pytest.mark.parametrize("prepare", [lambda path: None, lambda path: path.mkdir(parents=True)])
def test_a_new_or_empty_folder_becomes_a_run_directory(tmp_path, prepare):
    """A folder that is new, with those above it, or empty is taken; run.json says who, when, where and with what."""
    path = tmp_path / "runs" / "cells"
    prepare(path)
    with RunDirectory.begin(path, "cells", "name: cells\n") as run:
        assert run.is_held()
        about = json.loads((path / "run.json").read_text())
    assert about == run.about
    assert about["format"] == FORMAT
    assert (about["name"], about["pid"], about["tasks"]) == ("cells", os.getpid(), [])
    assert (about["ended"], about["outcome"]) == (None, None)
    assert about["created"] == about["started"]
    assert {"python", "blockflow", "daisy", "zarr", "numpy"} == set(about["versions"])
    assert about["user"]
    assert about["host"]
    assert (path / "config.yaml").read_text() == "name: cells\n"
    assert not run.is_held()
    assert sorted(os.listdir(path)) == ["config.yaml", "run.json"]


def test_a_relative_path_stays_where_it_was_given(tmp_path, monkeypatch):
    """A run directory does not move when the process changes its folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    from pathlib import Path

    with RunDirectory.begin(Path("run"), "cells") as run:
        monkeypatch.chdir(tmp_path / "elsewhere")
        run.save()
    assert run.path == tmp_path / "run"


def test_a_run_is_gone_on_with_as_a_new_session(tmp_path):
    """Each start is a session of its own; when the run was created, and what it left, stays."""
    first = _begin(tmp_path / "run", config="first")
    (tmp_path / "run" / "tasks").mkdir()
    second = _begin(tmp_path / "run")
    assert second.session != first.session
    assert second.about["created"] == first.about["created"]
    assert second.about["started"] >= first.about["started"]
    assert (tmp_path / "run" / "tasks").is_dir()
    assert (tmp_path / "run" / "config.yaml").read_text() == "first"


def test_a_new_session_does_not_stop_for_the_last_ones_sake(tmp_path):
    """The stop file of an earlier session is gone when a session begins."""
    _begin(tmp_path / "run").stop_file.write_text("drain")
    with RunDirectory.begin(tmp_path / "run", "cells") as run:
        assert not run.stop_file.exists()


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path):
    """A folder that holds something else is refused with the way out, and nothing is written into it."""
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(RunDirectoryError, match=r"not empty and no run directory.*Choose another run_dir"):
        _begin(tmp_path)
    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_what_a_driver_left_that_was_killed_as_it_began_is_no_foreign_folder(tmp_path):
    """Killed between its first file and run.json, a run can still be begun again."""
    path = tmp_path / "run"
    path.mkdir()
    (path / ".run.json.0123.partial").write_text("{")
    (path / "lock").write_text("")
    assert _begin(path).name == "cells"


def test_another_runs_directory_is_refused(tmp_path):
    """A run directory of another name is refused with both names, and stays as it was."""
    _begin(tmp_path / "run", "nuclei")
    before = (tmp_path / "run" / "run.json").read_text()
    with pytest.raises(
        RunDirectoryError,
        match=r"of 'nuclei', not of 'cells'\. Choose another run_dir, or give the run its old name",
    ):
        _begin(tmp_path / "run", "cells")
    assert (tmp_path / "run" / "run.json").read_text() == before
    assert os.listdir(tmp_path / "run") == ["run.json"]


@pytest.mark.parametrize("about", [{"format": FORMAT + 1, "name": "cells"}, {"name": "cells"}, []])
def test_another_format_is_refused(tmp_path, about):
    """A run.json of another format is refused with both formats and the ways out."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps(about))
    for use in (_begin, RunDirectory.open):
        with pytest.raises(
            RunDirectoryError, match=rf"has format .*reads format {FORMAT}.*Choose another run_dir, or"
        ):
            use(tmp_path / "run")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"\x00" * 100])
def test_a_broken_run_file_is_refused_with_what_to_do(tmp_path, content):
    """A run.json that is no JSON is refused, named, and left as it is."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_bytes(content)
    for use in (_begin, RunDirectory.open):
        with pytest.raises(
            RunDirectoryError, match=r"run\.json cannot be read.*Restore it, or choose another run_dir"
        ):
            use(tmp_path / "run")
    assert (tmp_path / "run" / "run.json").read_bytes() == content


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    """Where the run directory, or a folder above it, is a file, the error names the run directory."""
    (tmp_path / "file").write_text("precious")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunDirectoryError, match=f"^{path}: cannot be used as run directory: "):
            _begin(path)
    assert (tmp_path / "file").read_text() == "precious"


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    """When the file system refuses to write, the error names the run directory and the reason."""

    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(RunDirectoryError, match=r"run: cannot be used as run directory: .*Permission denied"):
        _begin(tmp_path / "run")


def test_errors_of_the_run_itself_are_not_taken_for_the_directorys(tmp_path):
    """What is raised while a session lasts comes out as it is, and the directory is free again."""
    with pytest.raises(OSError, match="disk full"), RunDirectory.begin(tmp_path / "run", "cells") as run:
        raise OSError("disk full")
    assert not run.is_held()


def test_a_second_driver_is_refused_with_who_has_it(tmp_path, other_driver):
    """While a driver has the directory another one is refused with its process, and looking is allowed."""
    before = (tmp_path / "run" / "run.json").read_text()
    with pytest.raises(
        LockedError, match=f"run directory {tmp_path / 'run'} is in use by process {other_driver.pid} on"
    ):
        _begin(tmp_path / "run")
    assert RunDirectory.open(tmp_path / "run").is_held()
    assert (tmp_path / "run" / "run.json").read_text() == before


def test_a_driver_that_is_just_beginning_is_no_foreign_folder(tmp_path):
    """A folder that so far only has another driver's lock is refused as locked, not as somebody else's."""
    (tmp_path / "run").mkdir()
    with Lease(tmp_path / "run" / "lock", "the run"), pytest.raises(LockedError):
        _begin(tmp_path / "run")


def test_a_dead_drivers_directory_is_taken_over(tmp_path, other_driver):
    """After a driver was killed its run can be gone on with at once."""
    other_driver.send_signal(signal.SIGKILL)
    other_driver.wait()
    assert not RunDirectory.open(tmp_path / "run").is_held()
    assert RunDirectory.open(tmp_path / "run").about["outcome"] is None
    assert _begin(tmp_path / "run").about["pid"] == os.getpid()


def test_there_is_nothing_to_look_at_where_no_run_is(tmp_path):
    """Opening a folder without run.json, or none at all, says so."""
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunDirectoryError, match=r"there is no run directory here \(no run\.json\)"):
            RunDirectory.open(path)


def test_the_tasks_of_the_last_session_are_known_in_order(tmp_path):
    """Whoever opens a run finds its tasks in the order in which they can run, each with this session's folders."""
    with RunDirectory.begin(tmp_path / "run", "cells") as run:
        run.about["tasks"] = ["b", "a"]
        run.save()
    found = dict(RunDirectory.open(tmp_path / "run").tasks())
    assert list(found) == ["b", "a"]
    assert found["a"].failures == tmp_path / "run" / "tasks" / "a" / "failures" / run.session
    assert run.events("a-0").name == f"{run.session}.a-0.jsonl"


def test_a_task_was_given_up_only_in_the_session_that_says_so(tmp_path):
    """Why a task was given up holds for that session; the next one tries again."""
    run = _begin(tmp_path / "run")
    task = run.task("a")
    assert task.why_given_up() is None
    task.path.mkdir(parents=True)
    task.given_up.write_text(json.dumps({"session": run.session, "why": "no luck"}))
    assert task.why_given_up() == "no luck"
    assert _begin(tmp_path / "run").task("a").why_given_up() is None
