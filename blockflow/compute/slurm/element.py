"""What the scheduler starts: `python -m blockflow.compute.slurm.element FOLDER`.

It goes to the door that `FOLDER/address.json` names, proves that it knows the run's token, and is told which worker to
start, or that none is needed. While the worker runs, the element passes on signals, tells how much memory is held,
and leads the worker's connections through the door, since the engine behind it listens to nobody else on the network.
When the connection to the door ends, so does the worker.
"""

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blockflow.compute.context import DOOR, ENDS_AT, JOB, MEMORY
from blockflow.compute.local import resident_memory_of
from blockflow.compute.slurm import handshake
from blockflow.utility.files import read_json, write_json

__all__ = ["job_id", "main"]

#: seconds for which a door that does not answer is tried again
_PATIENCE = 30.0

#: seconds between two looks at how much memory is held
_LOOK = 1.0

#: seconds that a worker has to end once its standard input is closed
_GRACE = 10.0

#: an exit status for the scheduler's records: a service cannot be reached
_UNREACHABLE = 69


class _RefusedError(Exception):
    """Whoever is behind the address is not this run's door, or does not believe us."""


def job_id(environment: Mapping[str, str]) -> str:
    """The name of the element that a process with this environment is in."""
    if "BLOCKFLOW_STEP" in environment:
        return f"{environment['BLOCKFLOW_STEP']}_{environment.get('SLURM_PROCID', '0')}"
    if "SLURM_ARRAY_JOB_ID" in environment:
        return f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
    return environment.get("SLURM_JOB_ID", "none")


def enter(folder: Path, purpose: dict[str, Any]) -> tuple[socket.socket, Any]:
    """A connection through the door that is for `purpose`, and a file over it.

    Raises `OSError` if nobody answers, `_RefusedError` if it is not the door of this run.
    """
    address = read_json(folder / "address.json")
    token = handshake.read_token(folder / "token")
    connection = socket.create_connection((address["host"], address["port"]), timeout=_GRACE)
    try:
        stream = connection.makefile("rwb", buffering=0)
        _prove(stream, token)
        stream.write(json.dumps(purpose).encode() + b"\n")
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        handshake.keep_alive(connection)
    except BaseException:
        connection.close()
        raise
    return connection, stream


def _prove(stream: Any, token: bytes) -> None:
    """Let both sides prove that they know the token."""
    greeting, _, challenge = stream.readline(handshake.LONGEST_LINE).decode().strip().rpartition(" ")
    if greeting != handshake.GREETING:
        raise _RefusedError("what listens there is no door of blockflow")
    own = handshake.new_challenge()
    stream.write(f"{own} {handshake.answer(token, challenge, own)}\n".encode())
    proof = stream.readline(handshake.LONGEST_LINE).decode().strip()
    if not handshake.is_answer(handshake.reply(token, challenge, own), proof):
        raise _RefusedError("what listens there does not know the token of this run")


class _Tunnel:
    """An address on this machine that leads through the door to the engine; for processes of this user alone.

    The first connection is made ahead of its use: if the engine has ended, the address refuses connections, as the
    engine's own would, and whoever needs it knows that the run is over.
    """

    def __init__(self, folder: Path, worker: int) -> None:
        self._folder = folder
        self._worker = worker
        self._server = socket.create_server(("127.0.0.1", 0))
        self._port: int = self._server.getsockname()[1]
        self.address = f"127.0.0.1:{self._port}"
        first = self._reach_engine()
        if first is None:
            self._server.close()
        else:
            threading.Thread(target=self._serve, args=(first,), name="tunnel", daemon=True).start()

    def _reach_engine(self) -> socket.socket | None:
        """A connection to the engine; `None` if it has ended."""
        connection, stream = enter(self._folder, {"purpose": "engine", "worker": self._worker})
        if stream.read(1) == handshake.GO_AHEAD:
            return connection
        connection.close()
        return None

    def _serve(self, far: socket.socket | None) -> None:
        while True:
            near, (_, port) = self._server.accept()
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(OSError, ValueError, _RefusedError):
                far = far or self._reach_engine()
            if far is None or not _is_own(port, self._port):
                near.close()
                continue
            for ends in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=ends, name="tunnel", daemon=True).start()
            far = None


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes until it ends; then end both."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _is_own(port: int, to: int) -> bool:
    """Whether the connection from this port of the loopback interface is from a process of this very user."""
    try:
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return True  # not Linux: nothing is known
    for line in lines:
        fields = line.split()
        local, remote = (int(end.rpartition(":")[2], 16) for end in fields[1:3])
        if (local, remote) == (port, to):
            return int(fields[7]) == os.geteuid()
    return False


class _Worker:
    """The worker that this element was told to start."""

    def __init__(self, order: dict[str, Any], stream: Any, tunnel: _Tunnel | None, job: str) -> None:
        self._stream = stream
        self._writing = threading.Lock()
        self._began = time.monotonic()
        environment = {**os.environ, **order["environment"], JOB: job}
        if tunnel is not None:
            environment[DOOR] = tunnel.address
        if order["memory"] is not None:
            environment[MEMORY] = str(order["memory"])
        # newer Slurms say it themselves
        if (ends_at := os.environ.get("SLURM_JOB_END_TIME", order["ends_at"])) is not None:
            environment[ENDS_AT] = f"{float(ends_at):.0f}"
        log = Path(order["log"])
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                order["command"],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self) -> int:
        """Stay with the worker to its end; gives its exit status, or minus the signal that ended it."""
        threading.Thread(target=self._listen, name="door", daemon=True).start()
        peak = 0
        while True:
            try:
                code = self._process.wait(_LOOK)
                break
            except subprocess.TimeoutExpired:
                held = resident_memory_of(self._process.pid)
                peak = max(peak, held)
                self._say({"memory": held})
        self._end_group()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._say(
            {
                "exit": code,
                "usage": {
                    "elapsed": time.monotonic() - self._began,
                    "cpu": used.ru_utime + used.ru_stime,
                    "peak_memory": max(peak, used.ru_maxrss * 1024),
                },
            }
        )
        return code

    def ask_to_leave(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while line := self._stream.readline():
                if line == b"leave\n":
                    self.ask_to_leave()
                elif line == b"kill\n":
                    self._end_group()
        # the supervisor is gone: its workers see that on their standard input
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        time.sleep(_GRACE)
        self._end_group()

    def _end_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _say(self, message: dict[str, Any]) -> None:
        with self._writing, contextlib.suppress(OSError):
            self._stream.write(json.dumps(message).encode() + b"\n")


def _reach(folder: Path, purpose: dict[str, Any]) -> tuple[socket.socket, Any]:
    """A connection to the door; one that does not answer is tried for a while."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return enter(folder, purpose)
        except _RefusedError:
            raise
        except (OSError, ValueError):
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)


def _say_unreachable(folder: Path, job: str, error: Exception) -> None:
    """One line for the log, and a note for whoever looks after this task."""
    try:
        address = "{host}:{port}".format(**read_json(folder / "address.json"))
    except (OSError, ValueError, KeyError):
        address = f"an address (there is none in {folder})"
    message = (
        f"{job} on {socket.gethostname()} cannot reach the driver at {address}: {error}. Set compute.host to an "
        "address of the driver's machine that the nodes can reach, or have the network let them through"
    )
    print(f"blockflow: {message}", file=sys.stderr, flush=True)  # noqa: T201 (this is the job's output)
    with contextlib.suppress(OSError):
        write_json(folder / f"unreachable-{job}.json", {"message": message, "host": socket.gethostname()})


def main() -> int:
    folder = Path(sys.argv[1])
    job = job_id(os.environ)
    purpose: dict[str, Any] = {
        "purpose": "worker",
        "job": job,
        "restarts": int(os.environ.get("SLURM_RESTART_COUNT", "0")),
        "host": socket.gethostname(),
    }
    if "SLURM_MEM_PER_NODE" in os.environ:
        purpose["memory"] = int(os.environ["SLURM_MEM_PER_NODE"]) * 1024**2
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        connection, stream = _reach(folder, purpose)
    except (OSError, ValueError, KeyError, _RefusedError) as error:
        _say_unreachable(folder, job, error)
        return _UNREACHABLE
    line = stream.readline()
    told: dict[str, Any] = json.loads(line) if line else {"leave": "the driver has ended"}
    if "leave" in told:
        print(f"blockflow: {job} is not needed: {told['leave']}", flush=True)  # noqa: T201 (this is the job's output)
        return 0
    try:
        tunnel = _Tunnel(folder, told["worker"]) if told["engine"] else None
    except (OSError, ValueError, _RefusedError) as error:
        _say_unreachable(folder, job, error)
        return _UNREACHABLE
    worker = _Worker(told, stream, tunnel, job)
    signal.signal(signal.SIGTERM, lambda *_: worker.ask_to_leave())
    if asked.is_set():
        worker.ask_to_leave()
    code = worker.run()
    with contextlib.suppress(OSError):  # nobody may be there any more
        connection.shutdown(socket.SHUT_WR)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    # threads of the tunnel may wait for what never comes
    os._exit(main())
