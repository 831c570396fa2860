"""Worker files: found, loaded, asked, and sent to other processes."""

import subprocess
import sys
import textwrap
from pathlib import Path

import cloudpickle
import pytest

from blockflow.errors import WorkerFileError
from blockflow.tasks import bundled_worker_files, call_check, find_worker_file, load_worker_file
from blockflow.tasks import worker_file as worker_file_module

ROOT = Path(__file__).parents[2]


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    """A folder that stands in for the worker files that come with blockflow."""
    folder = tmp_path / "bundled"
    for name in ("threshold", "watershed"):
        _write(folder / f"{name}.py", "def spawn_worker(): ...")
    monkeypatch.setattr(worker_file_module, "_bundled_folder", lambda: folder)
    return folder


def test_a_bundled_file_is_found_by_name(bundled, monkeypatch, tmp_path):
    """The name of a bundled worker file finds it from any folder."""
    monkeypatch.chdir(tmp_path)
    assert bundled_worker_files() == {name: bundled / f"{name}.py" for name in ("threshold", "watershed")}
    assert find_worker_file("threshold") == bundled / "threshold.py"


def test_a_file_is_found_by_its_path(bundled, monkeypatch, tmp_path):
    """A relative path counts from the given folder or the working directory, an absolute one does not."""
    path = _write(tmp_path / "mine" / "own.py", "def spawn_worker(): ...")
    monkeypatch.chdir(tmp_path)
    assert find_worker_file("mine/own.py") == path
    assert find_worker_file("own.py", tmp_path / "mine") == path
    assert find_worker_file(path, tmp_path / "elsewhere") == path


def test_a_missing_file_is_answered_with_the_place_and_the_bundled_names(bundled, tmp_path):
    """A name that is neither a file nor bundled says where it was looked for and which names there are."""
    with pytest.raises(
        WorkerFileError, match=rf"'treshold': .* no file {tmp_path}/treshold.*threshold, watershed"
    ):
        find_worker_file("treshold", tmp_path)


def test_what_a_file_leaves_out_has_its_default(tmp_path):
    """A file with only `spawn_worker` has fit `valid`, read-write conflicts, and no checks or arrays."""
    loaded = load_worker_file(_write(tmp_path / "a.py", "def spawn_worker(n): return n"))
    assert loaded.spawn_worker(3) == 3
    assert (loaded.fit, loaded.read_write_conflict) == ("valid", True)
    assert loaded.check_function is loaded.init_callback_fn is loaded.arrays is None


def test_what_a_file_says_of_itself_is_heard(tmp_path):
    """Fit, conflicts, checks, callback and arrays come from the file."""
    path = _write(
        tmp_path / "a.py",
        """
        fit = "shrink"
        read_write_conflict = False
        def spawn_worker(): ...
        def check_function(block): ...
        def init_callback_fn(context): ...
        def arrays(**kwargs): ...
        """,
    )
    loaded = load_worker_file(path)
    assert (loaded.fit, loaded.read_write_conflict) == ("shrink", False)
    for name in ("check_function", "init_callback_fn", "arrays"):
        assert getattr(loaded, name) is getattr(loaded.module, name)


def test_a_file_without_spawn_worker_is_refused_with_what_to_add(tmp_path):
    """A file that defines no `spawn_worker` is named, with the signature to add, and is not left loaded."""
    path = _write(tmp_path / "a.py", "spawn_worker = 3")
    before = set(sys.modules)
    with pytest.raises(WorkerFileError, match=rf"{path} defines no spawn_worker. Add `def spawn_worker\("):
        load_worker_file(path)
    assert set(sys.modules) == before


def test_a_missing_or_foreign_file_is_refused(tmp_path):
    """A path without file, or of a file that is not Python, is refused."""
    with pytest.raises(WorkerFileError, match="there is no such file"):
        load_worker_file(tmp_path / "a.py")
    with pytest.raises(WorkerFileError, match=r"its name must end in \.py"):
        load_worker_file(_write(tmp_path / "a.txt", "def spawn_worker(): ..."))


@pytest.mark.parametrize(
    ("text", "line", "error"),
    [
        ("import os\nimport no_such_module\n", 2, "ModuleNotFoundError: No module named 'no_such_module'"),
        ("\n\ndef f(:\n", 3, "SyntaxError"),
        ("def f():\n    return 1 / 0\nf()\n", 2, "ZeroDivisionError: division by zero"),
        ("raise SystemExit('usage')\n", 1, "SystemExit: usage"),
    ],
)
def test_an_error_in_the_file_is_shown_with_its_own_traceback(tmp_path, text, line, error):
    """What goes wrong while the file loads is shown from the file's own lines on, and none of ours."""
    path = _write(tmp_path / "a.py", text)
    before = set(sys.modules)
    with pytest.raises(WorkerFileError) as caught:
        load_worker_file(path)
    message = str(caught.value)
    assert f"{path} cannot be loaded:" in message
    assert f'File "{path}", line {line}' in message
    assert error in message
    assert "importlib" not in message
    assert "worker_file.py" not in message
    assert set(sys.modules) - before <= {"os"}


def test_files_of_the_same_name_do_not_collide(tmp_path):
    """Two files of one name in two folders are two modules, each with its own functions."""
    files = [
        load_worker_file(
            _write(tmp_path / folder / "worker.py", f"value = {folder!r}\ndef spawn_worker(): return value")
        )
        for folder in ("one", "two")
    ]
    assert [file.spawn_worker() for file in files] == ["one", "two"]
    copies = [cloudpickle.loads(cloudpickle.dumps(file.spawn_worker)) for file in files]
    assert [copy() for copy in copies] == ["one", "two"]


def test_an_edit_is_seen_by_the_next_load(tmp_path):
    """An edit of the same length in the same second is loaded; no stale bytecode, and none is written."""
    path = tmp_path / "a.py"
    for value in (5, 7):
        _write(path, f"def spawn_worker(): return {value}")
        assert load_worker_file(path).spawn_worker() == value
    assert list(tmp_path.iterdir()) == [path]


def test_dataclasses_work_with_postponed_annotations(tmp_path):
    """A dataclass in a file with `from __future__ import annotations` can be defined."""
    path = _write(
        tmp_path / "a.py",
        """
        from __future__ import annotations
        from dataclasses import dataclass, field
        from typing import ClassVar

        @dataclass
        class Parameters:
            count: ClassVar[int] = 0
            names: list[str] = field(default_factory=list)

        def spawn_worker():
            return Parameters(["x"]).names
        """,
    )
    assert load_worker_file(path).spawn_worker() == ["x"]


def test_functions_travel_to_a_process_that_never_saw_the_file(tmp_path):
    """A function of a worker file, pickled, runs in a fresh process even after the file is gone."""
    path = _write(
        tmp_path / "a.py",
        """
        from __future__ import annotations
        from dataclasses import dataclass

        FACTOR = 3

        @dataclass
        class Parameters:
            n: int

        def helper(parameters):
            return parameters.n * FACTOR

        def spawn_worker(n):
            return helper(Parameters(n))
        """,
    )
    pickled = cloudpickle.dumps(load_worker_file(path).spawn_worker)
    path.unlink()
    (tmp_path / "function.pickle").write_bytes(pickled)
    code = "import sys, pickle; print(pickle.load(open(sys.argv[1], 'rb'))(14))"
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "function.pickle")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "42\n"


def test_a_check_gets_those_arguments_that_it_takes():
    """A check function takes the block alone, or with some or all of the task's keyword arguments."""
    kwargs = {"threshold": 5, "output": "a"}
    heard = []
    assert call_check(lambda block: block == "b", "b", kwargs) is True
    assert call_check(lambda block, threshold: threshold, "b", kwargs) is True
    assert call_check(lambda block, missing=0: missing, "b", kwargs) is False
    call_check(lambda block, **all_of_them: heard.append(all_of_them), "b", kwargs)
    assert heard == [kwargs]
