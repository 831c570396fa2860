"""Slots: one block at a time, and nobody waits for the dead."""

import fcntl
import os
import subprocess
import sys

import pytest

from blockflow.execution.slots import Slot

_HOLDER = """
import sys
from pathlib import Path
from blockflow.execution.slots import Slot
slot = Slot(Path(sys.argv[1]))
print("ready", flush=True)
for order in sys.stdin:
    slot.take() if order == "take\\n" else slot.release()
    print(order.strip(), flush=True)
"""

#: takes and releases the slot again and again, each time looking whether it is alone
_RACER = """
import os, sys
from pathlib import Path
from blockflow.execution.slots import Slot
slot, mark = Slot(Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for _ in range(300):
    slot.take()
    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    os.unlink(mark)
    slot.release()
"""


def _start(program, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.fixture
def holders(tmp_path):
    """Makes processes that take and release the slot when they are told."""
    processes = []

    def make():
        processes.append(_start(_HOLDER, tmp_path / "slots" / "0"))
        return processes[-1]

    yield make
    for process in processes:
        process.kill()
        process.communicate()


def _tell(process, order):
    process.stdin.write(f"{order}\n")


def _answer(process):
    return process.stdout.readline().strip()


def _is_free(path):
    """Whether the slot could be taken now, by a look that does not wait."""
    file = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


def test_two_workers_take_a_slot_in_turns(tmp_path, holders):
    """While one has the slot the other waits; released, it goes to the other, again and again."""
    slot = tmp_path / "slots" / "0"
    first, second = holders(), holders()
    _tell(first, "take")
    assert _answer(first) == "take"
    for _ in range(5):
        assert not _is_free(slot)
        _tell(second, "take")
        _tell(first, "release")
        assert (_answer(first), _answer(second)) == ("release", "take")
        first, second = second, first
    _tell(first, "release")
    assert _answer(first) == "release"
    assert _is_free(slot)


def test_no_two_workers_have_a_slot_at_one_time(tmp_path):
    """Of processes that race for a slot each finds itself alone each time it has it."""
    racers = [_start(_RACER, tmp_path / "slots" / "0", tmp_path / "mark") for _ in range(3)]
    for racer in racers:
        racer.stdin.write("go\n")
    for racer in racers:
        racer.communicate()
    assert [racer.returncode for racer in racers] == [0, 0, 0]


def test_a_killed_worker_frees_its_slot(tmp_path, holders):
    """Whoever waits for the slot of a worker that is killed gets it."""
    first, second = holders(), holders()
    _tell(first, "take")
    assert _answer(first) == "take"
    _tell(second, "take")
    first.kill()
    assert _answer(second) == "take"


def test_slots_are_independent(tmp_path):
    """Having one slot keeps nobody from another; closing one gives it back."""
    slots = [Slot(tmp_path / "slots" / str(number)) for number in range(2)]
    for slot in slots:
        slot.take()
    slots[0].close()
    assert _is_free(tmp_path / "slots" / "0")
    assert not _is_free(tmp_path / "slots" / "1")
    slots[1].close()
