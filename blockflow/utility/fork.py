"""A function in a fork of this process, held as `subprocess.Popen` holds a command.

A fork has loaded at once what this process has loaded. That is for a process that has one thread, and holds nothing
that must not be twice: here the fork server, and the supervisors that it forks.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NoReturn
from weakref import WeakSet

__all__ = ["Fork"]

#: the ends of pipes by which forks of this process know that it lives: a fork must not hold those of the others
_lifelines: "WeakSet[BinaryIO]" = WeakSet()


class Fork:
    """A function that runs in a fork of this process, which leads a session of its own and ends when it returns.

    Its standard input is a pipe that closes when this process ends. `returncode` is as `subprocess.Popen` has it.

    Parameters
    ----------
    run : callable
        What it raises is printed, and the exit status 1 then; `SystemExit` gives the status as ever.
    name : str
        What the system calls the process, up to 15 characters.
    environment : mapping
        Is added to that of this process.
    output : int
        A file descriptor, for what it prints.
    closing : sequence of int
        File descriptors of this process that the fork must not hold.
    """

    def __init__(
        self,
        run: Callable[[], object],
        name: str,
        environment: Mapping[str, str],
        output: int,
        closing: Sequence[int] = (),
    ) -> None:
        self.returncode: int | None = None
        read, write = os.pipe()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # else both would print what is left
        self.pid = os.fork()
        if self.pid == 0:
            _live(run, name, environment, (read, output), (write, *closing))
        os.close(read)
        self.stdin: BinaryIO = os.fdopen(write, "wb", 0)
        _lifelines.add(self.stdin)

    def poll(self) -> int | None:
        """The exit status, or minus the signal that ended it; `None` while it lives."""
        return self._wait(os.WNOHANG)

    def wait(self) -> int | None:
        """Wait for its end; gives what `poll` gives."""
        return self._wait(0)

    def _wait(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def _live(
    run: Callable[[], object],
    name: str,
    environment: Mapping[str, str],
    streams: tuple[int, int],
    closing: Sequence[int],
) -> NoReturn:
    """The life of the fork."""
    status = 1
    try:
        os.setsid()
        read, output = streams
        for descriptor, place in ((read, 0), (output, 1), (output, 2)):
            os.dup2(descriptor, place)
        for descriptor in (read, *closing):
            os.close(descriptor)
        for lifeline in _lifelines:
            lifeline.close()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.environ.update(environment)
        _call_process(name)
        _seed()
        run()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)  # noqa: T201 (as Python itself does)
    except BaseException:  # noqa: BLE001 (it is shown, and the process ends)
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


def _call_process(name: str) -> None:
    """Tell the system what this process is, for `ps` and `pgrep`, where it has a place for that."""
    comm = Path("/proc/self/comm")
    if comm.exists():
        comm.write_text(name)


def _seed() -> None:
    """Let numpy's own generator give this process other numbers than its siblings; `random` sees to itself."""
    if (generators := sys.modules.get("numpy.random")) is not None:
        generators.seed()
