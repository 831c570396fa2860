"""Tasks as data, and the order in which they can run."""

import pytest
from funlib.geometry import Roi

from blockflow.errors import TaskError
from blockflow.tasks import BlockwiseTask, in_order

ROI = Roi((0,), (4,))


def _task(name, *upstream, **more):
    if "worker_file" not in more:
        more.setdefault("process_function", print)
    return BlockwiseTask(name, ROI, ROI, ROI, upstream=upstream, **more)


def test_each_task_comes_once_and_after_what_it_depends_on():
    """A diamond of tasks is ordered, with those that were not named, each once."""
    raw = _task("raw")
    left, right = _task("left", raw), _task("right", raw)
    last = _task("last", left, right)
    ordered = in_order([last, raw])
    assert sorted(task.name for task in ordered) == ["last", "left", "raw", "right"]
    for task in ordered:
        assert all(ordered.index(upstream) < ordered.index(task) for upstream in task.upstream)


def test_two_tasks_of_one_name_are_refused():
    """Names are folders, so two tasks of one run cannot share one, however they came in."""
    with pytest.raises(TaskError, match="two tasks of one run are called 'same'"):
        in_order([_task("same"), _task("same")])
    with pytest.raises(TaskError, match="two tasks of one run are called 'same'"):
        in_order([_task("same", _task("same"))])


@pytest.mark.parametrize("name", ["", ".hidden", "-flag", "a/b", "a b", "x" * 101, "..", "täsk"])
def test_names_that_are_no_folder_are_refused(name):
    """A name must be fit for a folder; the error says what is allowed."""
    with pytest.raises(TaskError, match="must be 1 to 100 letters, digits"):
        _task(name)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"num_workers": 0}, "task t: num_workers is 0, at least 1"),
        ({"max_retries": -1}, "task t: max_retries is -1, it must be 0 or more"),
        ({"timeout": 0}, "task t: timeout is 0; give seconds"),
        ({"timeout": float("nan")}, "task t: timeout is nan; give seconds"),
        ({"process_function": None}, "task t: give either a worker file or a process_function"),
        ({"process_function": print, "worker_file": "a.py"}, "task t: give either a worker file or"),
    ],
)
def test_values_that_cannot_be_are_refused_when_given(more, message):
    """A value that makes no sense is refused with the task's name, the value and what to give."""
    with pytest.raises(TaskError, match=message):
        _task("t", **more)
