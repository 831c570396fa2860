"""The process that supervisors and workers are forked from: what they find loaded, and what becomes without it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from traces import processes_of, records

import blockflow
from blockflow.compute import LocalContext
from blockflow.errors import BlockflowError
from blockflow.execution.fork_server import ForkServer
from blockflow.storage import ArraySpec, VolumeMetadata

pytestmark = pytest.mark.skipif(not LocalContext.forks_workers, reason="workers are not forked here")

#: notes for each block what the process is that does it
NOTES = """
import json, os, random, sys
loaded = [name for name in ("numpy", "zarr") if name in sys.modules]
from pathlib import Path
import numpy as np
import blockflow

def spawn_worker():
    def work():
        for block in blockflow.blocks():
            about = {"name": Path("/proc/self/comm").read_text().strip(), "pid": os.getpid(), "parent": os.getppid(),
                     "loaded": loaded, "leads": os.getsid(0) == os.getpid(),
                     "drawn": [random.random(), float(np.random.random())]}
            Path(f"block-{block.write_roi.offset[0]}").write_text(json.dumps(about))
            HOOK
    return work
"""

OUTPUTS = """
def arrays():
    return {"outputs": {"output": "out.zarr"}}
"""


def notes(hook="pass"):
    Path("notes.py").write_text(NOTES.replace("HOOK", hook))
    return "notes.py"


def noted():
    return [json.loads(path.read_text()) for path in sorted(Path().glob("block-*"))]


def test_workers_are_forks_that_have_loaded_what_they_need(line):
    """Each leads its session, under a name of its own, and finds zarr loaded if its task has outputs."""
    ArraySpec(
        "out.zarr", (4,), np.uint8, VolumeMetadata((1,), (0,), ("",), ("x",), ("space",)), (1,)
    ).create()
    Path("notes.py").write_text(NOTES.replace("HOOK", "pass") + OUTPUTS)
    assert blockflow.run_blockwise("notes.py", *line(4), 2, run_dir="run", name="t")
    assert len(noted()) == 4
    for about in noted():
        assert about["name"] == "blockflow-work"
        assert about["leads"]
        assert about["loaded"] == ["numpy", "zarr"]


def test_forks_do_not_draw_the_same_numbers(line):
    """The generators of `random` and `numpy.random` differ between workers that nobody seeded."""
    # each waits for the other, so that both do a block
    wait = (
        "other = Path(f'block-{1 - block.write_roi.offset[0]}')\n            while not other.exists(): pass"
    )
    assert blockflow.run_blockwise(notes(wait), *line(2), 2, run_dir="run", name="t")
    one, other = noted()
    assert one["pid"] != other["pid"]
    assert one["drawn"][0] != other["drawn"][0]
    assert one["drawn"][1] != other["drawn"][1]


class Threads(LocalContext):
    """Sets what a library reads when it is loaded."""

    name = "threads"

    def environment(self):
        return {**super().environment(), "OMP_NUM_THREADS": "1"}


def test_an_environment_of_its_own_starts_a_worker_afresh(tmp_path):
    """A worker whose context sets variables of other libraries loads these after they are set."""
    from blockflow.compute.local import _program_of, offer_program, withdraw_programs

    command = [sys.executable, "-P", "-m", "a.module", "argument"]
    offer_program("a.module", lambda: sys.argv)
    try:
        assert _program_of(command, Threads().environment()) is None
        assert _program_of([sys.executable, "-m", "a.module"], {}) is None
        assert _program_of(command[:3], {}) is None
        withdraw_programs()
        assert _program_of(command, LocalContext().environment()) is None
    finally:
        withdraw_programs()


def test_workers_start_afresh_after_a_users_code_has_run(line):
    """What `init_callback_fn` leaves in its process is not in the workers: it may be threads, or a device."""
    Path("init.py").write_text(
        NOTES.replace(
            "HOOK", "assert not hasattr(blockflow, 'left'), 'the worker is a fork of where init ran'"
        )
        + "\ndef init_callback_fn(context):\n    blockflow.left = True\n    Path('called').touch()\n"
    )
    assert blockflow.run_blockwise("init.py", *line(2), 1, 0, run_dir="run", name="t"), records("run")
    assert Path("called").exists()
    assert {about["name"] for about in noted()} != {"blockflow-work"}


#: leaves a child, which holds all that the supervisor has open
LEAVES = """
def init_callback_fn(context):
    import time
    child = os.fork()
    if child == 0:
        time.sleep(120)
        os._exit(0)
    Path("child").write_text(str(child))
    ENDS
"""


@pytest.mark.parametrize(
    "ends", ["pass", "if not Path('once').exists(): Path('once').touch(); os.kill(os.getpid(), 9)"]
)
def test_what_init_left_running_does_not_keep_the_run(line, ends):
    """The end of a supervisor is seen whatever child of a user's code lives on, also if it was killed."""
    Path("init.py").write_text(NOTES.replace("HOOK", "pass") + LEAVES.replace("ENDS", ends))
    assert blockflow.run_blockwise("init.py", *line(2), 1, run_dir="run", name="t"), records("run")
    os.kill(int(Path("child").read_text()), signal.SIGKILL)  # it lives
    assert len(noted()) == 2


def test_a_fork_server_that_is_killed_is_replaced(line):
    """Its supervisors end their workers; the next ones do what is left, and no process stays."""
    kill = (
        "if block.write_roi.offset[0] == 2 and not Path('once').exists():\n"
        "                Path('once').touch()\n"
        "                supervisor = Path(f'/proc/{os.getppid()}/stat').read_text().rpartition(')')[2].split()\n"
        "                os.kill(int(supervisor[1]), 9)\n"
        "                import time; time.sleep(60)"
    )
    assert blockflow.run_blockwise(notes(kill), *line(6), 2, run_dir="run", name="t"), records("run")
    assert len(noted()) == 6
    assert Path("once").exists()
    assert processes_of(Path("run").absolute()) == []


def test_nothing_stays_when_planning_fails(tmp_path):
    """A fork server that was started ahead ends with the block that began it, whatever ends that."""
    with pytest.raises(BlockflowError), ForkServer(tmp_path / "run", LocalContext()):
        while not processes_of(tmp_path / "run"):
            pass
        raise BlockflowError("the graph is wrong")
    assert processes_of(tmp_path / "run") == []


FORKS = """
import os, signal, sys
from blockflow.utility.fork import Fork

def fork(run, environment={}):
    return Fork(run, "a-fork", environment, 2)

def fail():
    raise ValueError("as it should")

def ask():
    print(os.environ["ASKED"], sys.stdin.fileno(), os.read(0, 1))

ways = (lambda: None, fail, lambda: sys.exit("why"), lambda: sys.exit(7), lambda: os.kill(os.getpid(), 9))
ends = [fork(run) for run in ways]
print([end.wait() for end in ends], [end.poll() for end in ends])
first = fork(ask, {"ASKED": "for"})
second = fork(lambda: os.read(0, 1))
first.stdin.close()  # the second does not hold it open
print(first.wait(), second.poll())
second.stdin.write(b"x")
print(second.wait())
"""


def test_a_fork_ends_as_a_process_does(tmp_path):
    """Its exit status, what it prints, and the end of its standard input are those of any process."""
    done = subprocess.run(
        [sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == ["[0, 1, 1, 7, -9] [0, 1, 1, 7, -9]", "0 None", "0"]
    said = done.stderr.splitlines()
    assert "ValueError: as it should" in said
    assert "why" in done.stderr
    assert said[-1] == "for 0 b''"


def test_an_interrupt_of_the_terminal_reaches_the_driver_alone(line, tmp_path):
    """Ctrl-C drains the run: blocks at hand are finished, since nobody else has taken the signal."""
    wait = "            "
    hold = f"import time\n{wait}Path('begun').touch()\n{wait}time.sleep(1)\n{wait}Path('ended').touch()"
    notes(hold)
    script = (
        "import blockflow\nfrom funlib.geometry import Roi\n"
        "one = Roi((0,), (1,))\n"
        "blockflow.run_blockwise('notes.py', Roi((0,), (50,)), one, one, 1, run_dir='run', name='t')\n"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", script], process_group=0, stderr=subprocess.PIPE, text=True
    )
    while not Path("begun").exists():
        assert driver.poll() is None
    os.killpg(driver.pid, signal.SIGINT)
    _, said = driver.communicate(timeout=60)
    assert "stopping" in said
    assert Path("ended").exists()
    assert len(noted()) < 50
    assert processes_of(tmp_path / "run") == []


#: a driver, whose process is as a test says before it runs
DRIVER = """
import os, resource, signal, sys, threading, time
from pathlib import Path
import blockflow
from blockflow.execution.fork_server import ForkServer
from funlib.geometry import Roi

BEFORE
one = Roi((0,), (1,))
done = blockflow.run_blockwise("notes.py", Roi((0,), (int(sys.argv[1]),)), one, one, 2, 0, run_dir="run", name="t")
sys.exit(0 if done else 3)
"""

#: processes that a driver can be, in which a run is as in any other
STRANGE = {
    "SIGCHLD is blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])",
    "SIGCHLD is ignored": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "many files are open": (
        "resource.setrlimit(resource.RLIMIT_NOFILE, (2000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
        "kept = [os.open('/dev/null', os.O_RDONLY) for _ in range(1100)]"
    ),
    "nothing can be printed": "os.close(1); sys.stdout = None",
    "the standard input is closed": "os.close(0); sys.stdin = None",
}


def driver(before="", blocks=4):
    """A driver of `blocks` blocks."""
    script = DRIVER.replace("BEFORE", before)
    return subprocess.Popen([sys.executable, "-c", script, str(blocks)], stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("case", STRANGE)
def test_a_run_goes_well_in_a_driver_that_is_strange(case):
    """Whatever the driver's process has open, closed, blocked or ignored, all blocks are done."""
    notes()
    run = driver(STRANGE[case])
    _, said = run.communicate(timeout=60)
    assert run.returncode == 0, said
    assert len(noted()) == 4


def test_a_worker_that_closes_its_output_ends_alone(line):
    """A fork whose last words cannot be written ends all the same, and its siblings know nothing of it."""
    notes("import time\n            time.sleep(0.2)\n            sys.stdout.close()")
    assert blockflow.run_blockwise("notes.py", *line(8), 3, 0, run_dir="run", name="t"), records("run")
    assert [about["name"] for about in noted()] == ["blockflow-work"] * 8


def test_a_fork_server_killed_at_once_leaves_no_supervisor_beside_the_next(tmp_path):
    """However early it is killed, its supervisor ends before another begins: never more workers than were asked for."""
    hold = (
        "mine = Path(f'at-{os.getpid()}')\n            mine.touch()\n            import time; time.sleep(0.05)\n"
        "            at = len(list(Path().glob('at-*')))\n            mine.unlink()\n"
        "            Path(f'beside-{block.write_roi.offset[0]}').write_text(str(at))"
    )
    notes(hold)
    before = """
started, pauses = ForkServer._started, [0.002, 0.0]
def kill_at_once(self, *arguments):
    reply = started(self, *arguments)
    if pauses:
        time.sleep(pauses.pop())
        self._process.kill()
    return reply
ForkServer._started = kill_at_once
"""
    run = driver(before, 20)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 0, said
    assert max(int(path.read_text()) for path in Path().glob("beside-*")) <= 2 + len(
        list(Path().glob("at-*"))
    )
    assert len(noted()) == 20


def test_a_killed_driver_leaves_nothing_even_if_a_child_of_its_holds_its_sockets(tmp_path):
    """The fork server looks whose child it is."""
    notes("import time; time.sleep(0.2)")
    before = """
def fork():
    while not Path("block-0").exists():
        time.sleep(0.01)
    if os.fork() == 0:
        Path("child").write_text(str(os.getpid()))
        time.sleep(60)
        os._exit(0)
threading.Thread(target=fork, daemon=True).start()
"""
    run = driver(before, 200)
    try:
        while not Path("child").exists() or not Path("child").read_text():
            assert run.poll() is None
        run.kill()
        run.wait()
        deadline = time.monotonic() + 10
        while processes_of(tmp_path / "run") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert processes_of(tmp_path / "run") == []
    finally:
        os.kill(int(Path("child").read_text()), signal.SIGKILL)
        run.stderr.close()


def test_a_run_whose_fork_server_hangs_can_be_stopped(tmp_path):
    """A second interrupt ends the run, whatever the fork server does."""
    notes()
    before = """
start = ForkServer._start
def hang(self):
    server = start(self)
    os.kill(self._process.pid, signal.SIGSTOP)
    Path("hangs").touch()
    return server
ForkServer._start = hang
"""
    run = driver(before)
    while not Path("hangs").exists():
        assert run.poll() is None
    for _ in range(2):
        time.sleep(1.0)
        run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode != 0
    assert "stopping" in said
    assert processes_of(tmp_path / "run") == []
