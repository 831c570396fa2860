"""The process that a run's supervisors are forked from, and from them the workers on this machine.

`python -P -m blockflow.execution.fork_server DRIVER RUN LIBRARY ...`, its standard input a socket to the driver. It
loads what workers need once, while the driver still plans; a supervisor or a worker that is forked from it has that at
once. It holds no file of the run, and never runs a user's code. It ends with the driver; supervisors notice that their
parent is gone, and end their workers.
"""

import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from blockflow.compute import ComputeContext, offer_program
from blockflow.errors import BlockflowError
from blockflow.utility.fork import Fork, keep_from_forks, status_of

__all__ = ["ARRAYS", "GRAPH", "SUPERVISOR", "ForkServer"]

#: what workers need that read and write arrays, and those of graphs
ARRAYS = ("blockflow.storage", "zarr")
GRAPH = (*ARRAYS, "blockflow.operators", "scipy.ndimage")

#: what the system calls a supervisor
SUPERVISOR = "blockflow-super"

#: what a supervisor says first, and at its end
_STARTED, _DONE, _FAILED = b"!", b".", b"?"

#: seconds between two looks whether the driver is still there; as a rule its socket closes
_DRIVER_LOOK = 1.0

#: seconds that the server may take to end, or to fork
_ORDERLY = 5.0

_LONGEST_MESSAGE = 65536


class ForkServer:
    """The driver's side. The process is started at once, and again if it was lost.

    Parameters
    ----------
    run : Path
        The run directory, which need not be there yet.
    compute : ComputeContext
        What starts the workers: if it forks them, they find loaded what they need.
    libraries : sequence of str
        Modules that these workers need beside what all do: `ARRAYS` or `GRAPH`.
    """

    def __init__(self, run: Path, compute: ComputeContext, libraries: Sequence[str] = ()) -> None:
        workers_need = ("blockflow.execution.worker", "cloudpickle", *libraries)
        self._arguments = [str(run.absolute()), *(workers_need if compute.forks_workers else ())]
        self._lock = threading.Lock()
        self._closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._server: socket.socket | None = None
        self._has_forked = False
        if compute.distribute_workers:
            self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process, also one that hangs; no other is started."""
        self._closed = True
        process = self._process
        if not self._lock.acquire(timeout=_ORDERLY) and process is not None:
            process.kill()  # the thread that waits for it goes on, and gives the lock back
            self._lock.acquire()
        self._end()
        self._lock.release()

    def supervise(self, description: Path, context: Any) -> None:
        """Run a task's supervisor to its end. May be called by several threads at one time.

        Parameters
        ----------
        description : Path
            The task's `task.json`.
        context : daisy.Context
            Where the driver listens.

        Raises
        ------
        BlockflowError
            If the supervisor fails, or is lost.
        """
        with tempfile.TemporaryFile() as said:
            with self._started(f"{description}\0{context.to_env()}".encode(), said.fileno()) as supervisor:
                end = supervisor.recv(1)
            said.seek(0)
            text = said.read().decode(errors="replace").strip()
        if end == _DONE:
            if text:
                print(text, file=sys.stderr)  # noqa: T201 (what a supervisor says is for whoever runs this)
        elif end:
            raise BlockflowError(text)
        else:
            raise BlockflowError(f"{description}: the supervisor was lost. It said: {text or 'nothing'}")

    def _started(self, order: bytes, said: int) -> socket.socket:
        """A supervisor's socket, once it lives: forked by a server started anew, if the one that was there is lost."""
        with self._lock:
            for _ in range(2):
                server = self._server or self._start()
                ours, theirs = socket.socketpair()
                with theirs, suppress(OSError):
                    socket.send_fds(server, [order], [theirs.fileno(), said])
                if ours.recv(1) == _STARTED:
                    self._has_forked = True
                    return ours
                ours.close()
                if self._lives():
                    raise BlockflowError("no supervisor can be started: the system has no room for a process")
                self._end()
        raise BlockflowError(
            "no supervisor can be started: the process that they are forked from ends at once"
        )

    def _start(self) -> socket.socket:
        if self._closed:
            raise BlockflowError("no supervisor can be started: the run is over")
        self._server, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", "blockflow.execution.fork_server", str(os.getpid())]
        with theirs:
            # a process group of its own: what a terminal interrupts is the driver, which decides
            self._process = subprocess.Popen(
                [*command, *self._arguments],
                stdin=theirs.fileno(),
                stdout=None if _is_open(1) else subprocess.DEVNULL,
                stderr=None if _is_open(2) else subprocess.DEVNULL,
                process_group=0,
            )
        return self._server

    def _lives(self) -> bool:
        """Whether the server lives that has just let go of a socket."""
        assert self._process is not None
        try:
            self._process.wait(0.0 if self._closed else _ORDERLY)
        except subprocess.TimeoutExpired:
            return True
        return False

    def _end(self) -> None:
        if self._server is not None and self._process is not None:
            with suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)  # whoever else may hold it
            self._server.close()
            with suppress(subprocess.TimeoutExpired):  # in order, so that what its children used is counted
                self._process.wait(_ORDERLY if self._has_forked else 0.0)
            self._process.kill()
            self._process.wait()
            self._server = self._process = None


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _serve(server: socket.socket, driver: int) -> None:
    """Fork a supervisor for each order of the driver, until the driver is gone."""
    server.settimeout(_DRIVER_LOOK)
    keep_from_forks(server)
    supervisors: dict[int, socket.socket] = {}
    while os.getppid() == driver:  # a child of the driver may hold its socket open
        _bury(supervisors)
        try:
            order, descriptors, _, _ = socket.recv_fds(server, _LONGEST_MESSAGE, 2)
        except TimeoutError:
            continue
        if not order:
            _bury(supervisors)
            return
        reply, said = descriptors
        description, context = order.decode().split("\0")
        supervise = partial(_supervise, description, reply, os.getpid())
        try:
            pid = Fork(supervise, SUPERVISOR, {"DAISY_CONTEXT": context}, said).pid
        except OSError:  # the driver sees that the socket closes
            os.close(reply)
        else:
            supervisors[pid] = socket.socket(fileno=reply)
            keep_from_forks(supervisors[pid])
        os.close(said)


def _bury(supervisors: dict[int, socket.socket]) -> None:
    """Take note of supervisors that have ended, whatever children of theirs may hold their sockets open."""
    with suppress(ChildProcessError):
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            with supervisors.pop(pid) as reply, suppress(OSError):
                reply.shutdown(socket.SHUT_RDWR)


def _supervise(description: str, reply: int, parent: int) -> None:
    """A supervisor's life, which begins and ends with a word to the driver."""
    import daisy

    from blockflow.execution.supervisor import supervise

    driver = socket.socket(fileno=reply)
    keep_from_forks(driver)
    driver.sendall(_STARTED)
    status = status_of(lambda: supervise(Path(description), daisy.Context.from_env(), parent))
    with suppress(OSError):
        driver.sendall(_FAILED if status else _DONE)
    sys.exit(status)


def main() -> None:
    """Load the libraries, and serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # as a driver may not have it, and hand that down
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    server = socket.socket(fileno=os.dup(0))
    driver, _, *libraries = sys.argv[1:]
    for library in ("daisy", "blockflow.execution.supervisor", *libraries):
        import_module(library)
    if libraries:
        from blockflow.execution import worker

        offer_program(worker.__name__, worker.main)
    gc.collect()
    gc.freeze()  # so that a collection in a fork does not copy what is shared
    _serve(server, int(driver))


if __name__ == "__main__":
    main()
