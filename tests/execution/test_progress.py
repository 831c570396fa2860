"""Progress, for terminals and for files."""

import io
import re
from dataclasses import dataclass

import pytest

from blockflow.execution.progress import LiveProgress, PlainProgress, Silent, progress_for


@dataclass
class _State:
    """What Daisy says of a task."""

    total_block_count: int
    completed_count: int = 0
    skipped_count: int = 0
    processing_count: int = 0
    failed_count: int = 0
    orphaned_count: int = 0
    abandoned: bool = False


class _Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def stream():
    return io.StringIO()


def _lines(stream):
    """What was printed, line by line, without the rates."""
    return [re.sub(r", [-+.e\d]+ blocks/s$", ", RATE", line) for line in stream.getvalue().splitlines()]


def test_plain_progress_tells_what_changed(stream):
    """A line per task with its counts, and none for a task in which nothing changed."""
    progress = PlainProgress(stream, every=0)
    progress.on_start({"a": _State(10), "b": _State(4)})
    progress.on_progress({"a": _State(10, completed_count=3, processing_count=2), "b": _State(4)})
    progress.on_progress({"a": _State(10, completed_count=3, processing_count=2), "b": _State(4)})
    progress.on_progress(
        {
            "a": _State(10, completed_count=6, failed_count=1),
            "b": _State(4, processing_count=1, orphaned_count=2),
        }
    )
    progress.on_finish(
        {
            "a": _State(10, completed_count=9, failed_count=1),
            "b": _State(4, processing_count=1, orphaned_count=2),
        }
    )
    assert _lines(stream) == [
        "a: 10 blocks",
        "b: 4 blocks",
        "a: 3/10 done, 2 running, RATE",
        "b: 0/4 done, RATE",
        "a: 6/10 done, 1 failed, RATE",
        "b: 0/4 done, 1 running, 2 orphaned, RATE",
        "a: 9/10 done, 1 failed, RATE",
    ]


def test_plain_progress_is_quiet_in_between(stream):
    """Until its time has come nothing is printed; the end is always told."""
    progress = PlainProgress(stream, every=float("inf"))
    progress.on_start({"a": _State(10)})
    for count in range(10):
        progress.on_progress({"a": _State(10, completed_count=count)})
    progress.on_finish({"a": _State(10, completed_count=10)})
    assert _lines(stream) == ["a: 10 blocks", "a: 10/10 done, RATE"]


def test_blocks_that_were_skipped_do_not_count_as_speed(stream):
    """The rate is of blocks that were done in this session alone."""
    progress = PlainProgress(stream, every=0)
    progress.on_start({"a": _State(10)})
    progress.on_progress({"a": _State(10, completed_count=8, skipped_count=8)})
    assert stream.getvalue().splitlines()[-1] == "a: 8/10 done, 0 blocks/s"


def test_the_blocks_of_a_task_that_was_given_up_are_left(stream):
    """What Daisy calls orphaned since the task was given up is told as left."""
    progress = PlainProgress(stream, every=0)
    progress.on_finish({"a": _State(10, completed_count=3, orphaned_count=7, abandoned=True)})
    assert _lines(stream) == ["a: 3/10 done, 7 left, RATE"]


def test_notes_stand_beside_the_progress(stream):
    """A note is printed as it is, brackets and all."""
    for progress in (PlainProgress(stream), LiveProgress(stream)):
        progress.note("task [red] has 3 of [4]")
    assert stream.getvalue().splitlines() == ["task [red] has 3 of [4]"] * 2


def test_live_progress_shows_the_counts(stream):
    """On a console each task has its bar with done, running, failed and orphaned blocks."""
    progress = LiveProgress(stream)
    progress.on_start({"a": _State(10), "b": _State(4)})
    progress.on_progress({"a": _State(10, completed_count=3, processing_count=2), "b": _State(4)})
    progress.on_finish(
        {
            "a": _State(10, completed_count=9, failed_count=1),
            "b": _State(4, completed_count=1, processing_count=1, orphaned_count=2),
        }
    )
    text = " ".join(stream.getvalue().split())
    for part in ("a ", "9/10", "1 failed", "b ", "1/4", "1 running", "2 orphaned"):
        assert part in text
    assert "[red]" not in text


@pytest.mark.parametrize(
    "kind", [Silent, lambda: PlainProgress(io.StringIO(), 0), lambda: LiveProgress(io.StringIO())]
)
def test_every_progress_takes_every_call(kind):
    """No progress minds a run without blocks, or one that is told of its states twice."""
    progress = kind()
    states = {"a": _State(0)}
    progress.on_start(states)
    progress.on_progress(states)
    progress.on_progress(states)
    progress.note("text")
    progress.on_finish(states)


def test_a_terminal_gets_the_live_display(stream):
    """A terminal gets bars, anything else lines."""
    assert type(progress_for(_Terminal())) is LiveProgress
    assert type(progress_for(stream)) is PlainProgress
