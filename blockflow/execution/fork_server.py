"""The process that a run's supervisors are forked from, and from them the workers on this machine.

`python -P -m blockflow.execution.fork_server RUN LIBRARY ...`, its standard input a socket to the driver. It loads what
workers need once, while the driver still plans; a supervisor or a worker that is forked from it has that at once. It
has one thread, holds no file of the run, and never runs a user's code. When the driver is gone, or is done with it,
it ends; supervisors notice that their parent is gone, and end their workers.
"""

import gc
import os
import select
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
from blockflow.utility.fork import Fork

__all__ = ["ARRAYS", "GRAPH", "SUPERVISOR", "ForkServer"]

#: what the system calls a supervisor
SUPERVISOR = "blockflow-super"

#: what supervisors need, and what every worker needs
_SUPERVISOR = ("daisy", "blockflow.execution.supervisor")
_WORKER = ("blockflow.execution.worker", "cloudpickle")

#: what workers need beside it that read and write arrays, and those of graphs
ARRAYS = ("blockflow.storage", "zarr")
GRAPH = (*ARRAYS, "blockflow.operators", "scipy.ndimage")

#: lines of what a supervisor printed that its error has
_TAIL = 50

_STARTED = b"!"
_LONGEST_MESSAGE = 65536


class ForkServer:
    """The driver's side. The process is started at once, and again if it was lost.

    Parameters
    ----------
    run : Path
        The run directory, which need not be there yet.
    compute : ComputeContext
        What starts the workers: if it forks them, they find loaded what they need.
    libraries : sequence of str, optional
        Modules that the workers will need beside what all need; by default those of a graph's that this process has
        loaded, as it has zarr where it has looked at arrays.
    """

    def __init__(self, run: Path, compute: ComputeContext, libraries: Sequence[str] | None = None) -> None:
        if libraries is None:
            libraries = [library for library in GRAPH if library in sys.modules]
        loaded = (*_WORKER, *libraries) if compute.forks_workers else ()
        self._command = [
            sys.executable,
            "-P",
            "-m",
            "blockflow.execution.fork_server",
            str(run.absolute()),
            *loaded,
        ]
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._server: socket.socket | None = None
        if compute.distribute_workers:
            self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

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
        ours, theirs = socket.socketpair()
        with ours, tempfile.TemporaryFile() as said:
            with theirs, self._lock:
                self._ask(theirs, said.fileno(), str(description), context.to_env(), ours)
            code = ours.recv(16)
            said.seek(0)
            text = said.read().decode(errors="replace").strip()
        if code == b"0":
            if text:
                print(text, file=sys.stderr)  # noqa: T201 (what a supervisor says is for whoever runs this)
            return
        how = f"ended with exit code {code.decode()}" if code else "was lost"
        tail = "\n".join(text.splitlines()[-_TAIL:])
        raise BlockflowError(tail or f"{description}: the supervisor {how}")

    def _ask(
        self, reply: socket.socket, said: int, description: str, context: str, answer: socket.socket
    ) -> None:
        """Let a supervisor be forked: by a process started anew, if the one that was there is lost."""
        message = f"{description}\0{context}".encode()
        for _ in range(2):
            if self._server is None:
                self._start()
            assert self._server is not None
            with suppress(OSError):
                socket.send_fds(self._server, [message], [reply.fileno(), said])
                readable, _, _ = select.select([answer, self._server], [], [])
                if answer in readable and answer.recv(1) == _STARTED:
                    return
            self._end()
        raise BlockflowError(
            "the process that supervisors are forked from cannot be started, or ends at once"
        )

    def _start(self) -> None:
        self._server, theirs = socket.socketpair()
        with theirs:
            # a process group of its own: what a terminal interrupts is the driver, which decides
            self._process = subprocess.Popen(self._command, stdin=theirs.fileno(), process_group=0)

    def _end(self) -> None:
        if self._server is not None and self._process is not None:
            self._server.close()
            self._process.kill()
            self._process.wait()
            self._server = self._process = None


def _serve(server: socket.socket) -> None:
    """Fork a supervisor for each message of the driver, and say how it ended; until the driver is gone."""
    wake, waker = os.pipe()
    for end in (wake, waker):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker)
    children: dict[Fork, socket.socket] = {}
    while True:
        sources: list[socket.socket | int] = [server, wake]
        readable, _, _ = select.select(sources, [], [])
        if wake in readable:
            os.read(wake, _LONGEST_MESSAGE)
        for child in [child for child in children if child.poll() is not None]:
            with children.pop(child) as reply, suppress(OSError):
                reply.sendall(str(child.returncode).encode())
        if server in readable:
            message, (reply_to, said), _, _ = _receive(server)
            reply = socket.socket(fileno=reply_to)
            description, context = message.decode().split("\0")
            held = [server.fileno(), wake, waker, *(one.fileno() for one in (reply, *children.values()))]
            child = Fork(partial(_supervise, description), SUPERVISOR, {"DAISY_CONTEXT": context}, said, held)
            os.close(said)
            children[child] = reply
            reply.sendall(_STARTED)


def _receive(server: socket.socket) -> Any:
    received = socket.recv_fds(server, _LONGEST_MESSAGE, 2)
    if not received[0]:
        os._exit(0)  # the driver is gone
    return received


def _supervise(description: str) -> None:
    import daisy

    from blockflow.execution.supervisor import supervise

    supervise(Path(description), daisy.Context.from_env())


def main() -> None:
    """Load the libraries, and serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides
    server = socket.socket(fileno=os.dup(0))
    libraries = sys.argv[2:]
    for library in (*_SUPERVISOR, *libraries):
        import_module(library)
    if libraries:
        from blockflow.execution import worker

        offer_program(worker.__name__, worker.run_and_end)
    gc.collect()
    gc.freeze()  # so that a collection in a fork does not copy what is shared
    _serve(server)


if __name__ == "__main__":
    main()
