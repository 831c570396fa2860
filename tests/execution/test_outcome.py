"""How a run went, as data and for people."""

import json

import pytest

from blockflow.execution.outcome import Outcome, TaskOutcome

DONE = TaskOutcome(blocks=8, done=5, skipped=3, failed=0, orphaned=0, left=0)
FAILED = TaskOutcome(blocks=8, done=4, skipped=1, failed=1, orphaned=2, left=0)
LEFT = TaskOutcome(blocks=8, done=4, skipped=0, failed=0, orphaned=0, left=4, stopped="workers cannot start")


def test_a_task_is_complete_when_all_its_blocks_are_done():
    """Done now and done before are all there is."""
    assert DONE.complete
    assert not FAILED.complete
    assert not LEFT.complete


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (DONE, "8 blocks: 5 done, 3 skipped"),
        (FAILED, "8 blocks: 4 done, 1 skipped, 1 failed, 2 orphaned"),
        (LEFT, "8 blocks: 4 done, 0 skipped, 4 left"),
    ],
)
def test_a_task_is_told_in_counts(outcome, words):
    """Done and skipped are always told, the rest only if there is any."""
    assert str(outcome) == words


def test_a_task_is_json():
    """The outcome of a task makes the round trip through JSON."""
    for outcome in (DONE, FAILED, LEFT):
        assert TaskOutcome(**json.loads(json.dumps(outcome.to_json()))) == outcome


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        (Outcome({"a": DONE, "b": DONE}), "done"),
        (Outcome({}), "done"),
        (Outcome({"a": DONE, "b": FAILED}), "failed"),
        (Outcome({"a": LEFT}, interrupted=True), "interrupted"),
        (Outcome({"a": DONE}, interrupted=True), "done"),
        (Outcome({"a": DONE}, problems=["the server broke down"]), "failed"),
    ],
)
def test_a_run_has_one_word(outcome, word):
    """A run is done if all is, else interrupted if it was, else failed; `complete` says no more than `done`."""
    assert outcome.word == word
    assert outcome.complete == (word == "done")
