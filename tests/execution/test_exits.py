"""What the end of a worker means."""

import pytest

from blockflow.execution.exits import WorkerExit, classify_exit


def _event(name, **more):
    return {"t": 1.0, "m": 1.0, "event": name, **more}


@pytest.mark.parametrize(
    ("code", "event", "finished", "block", "progressed", "message"),
    [
        # no block is left for the task, whatever became of the worker after that
        (0, _event("finished", begun=3), True, None, True, "finished"),
        (1, _event("finished", begun=0), True, None, True, "finished"),
        (-9, _event("finished", begun=3), True, None, True, "finished"),
        # lost in the middle of a block
        (-9, _event("start", block=4), False, 4, True, "killed by signal 9 (SIGKILL)"),
        (-11, _event("start", block=0), False, 0, True, "killed by signal 11 (SIGSEGV)"),
        (0, _event("start", block=4), False, 4, True, "ended with exit status 0"),
        (87, _event("start", block=4), False, 4, True, "ended with exit status 87"),
        # lost between blocks: no block's fault
        (-9, _event("done", block=4), False, None, True, "killed by signal 9 (SIGKILL)"),
        (-9, _event("failed", block=4), False, None, True, "killed by signal 9 (SIGKILL)"),
        (1, _event("skipped", block=4), False, None, True, "ended with exit status 1"),
        (-2, _event("interrupted", block=4), False, None, True, "killed by signal 2 (SIGINT)"),
        # left on its own
        (0, _event("left", begun=0), False, None, True, "left when asked to"),
        (0, _event("left", begun=5), False, None, True, "left when asked to"),
        (1, _event("left", begun=5), False, None, True, "ended with exit status 1"),
        (1, _event("left", begun=0), False, None, False, "ended with exit status 1"),
        # never came so far
        (1, None, False, None, False, "ended with exit status 1"),
        (-9, None, False, None, False, "killed by signal 9 (SIGKILL)"),
        (1, _event("up", pid=3), False, None, False, "ended with exit status 1"),
        (-15, _event("up", pid=3), False, None, False, "killed by signal 15 (SIGTERM)"),
        (-200, None, False, None, False, "killed by signal 200"),
    ],
)
def test_an_exit_is_judged_by_its_status_and_the_last_event(
    code, event, finished, block, progressed, message
):
    """Which block was lost, whether the task is finished, and whether the worker had come to do any block at all."""
    assert classify_exit(code, event) == WorkerExit(finished, block, progressed, message)
