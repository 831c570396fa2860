"""The test kit of compute contexts: a class to subclass, with a fixture that gives the context.

    class TestMyContext(ComputeContextTests):
        @pytest.fixture
        def context(self):
            return MyContext(queue="short")

Workers here are small Python programs that report to the test over a TCP connection: what they say arrives as
lines, and that they are gone shows as the end of the connection, wherever they ran.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockflow.compute import ComputeContext, WorkerHandle, create_compute_context, run_commands_with

__all__ = ["ComputeContextTests", "Reports"]

#: seconds after which what has not happened is taken never to happen
_PATIENCE = 60.0

_REPORTER = """
import os, signal, socket, subprocess, sys
report = socket.create_connection((os.environ["REPORT_HOST"], int(os.environ["REPORT_PORT"])))
def say(word):
    report.sendall(word.encode() + b"\\n")
"""

_SUPERVISOR = """
import json, sys, time
from pathlib import Path
from blockflow.compute import create_compute_context
spec, program, environment, log = json.loads(sys.argv[1])
context = create_compute_context(spec)
handle = context.start_worker([sys.executable, "-c", program], environment, Path(log))
sys.stdin.read()
"""


class Reports:
    """The listening end of what workers report.

    Parameters
    ----------
    host : str
        The address of this machine, as the workers reach it.
    """

    def __init__(self, host: str) -> None:
        self._server = socket.create_server((host, 0))
        self._server.settimeout(_PATIENCE)
        self._connections: list[socket.socket] = []
        name, port = self._server.getsockname()[:2]
        self.environment = {"REPORT_HOST": str(name), "REPORT_PORT": str(port)}

    def listen(self) -> Iterator[str]:
        """The lines of the next worker that connects, until it and all that shares its connection are gone."""
        connection, _ = self._server.accept()
        connection.settimeout(_PATIENCE)
        self._connections.append(connection)
        rest = b""
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(4096):
                *lines, rest = (rest + data).split(b"\n")
                yield from (line.decode() for line in lines)

    def answer(self) -> None:
        """Let the last worker that connected go on: it waits in `report.recv(1)`."""
        self._connections[-1].sendall(b".")

    def close(self) -> None:
        for connection in (*self._connections, self._server):
            connection.close()


class ComputeContextTests:
    """What every compute context promises.

    Subclasses give a fixture `context`. `host` is the address at which the workers reach the machine that
    runs the tests. The log's folder is `tmp_path`: where workers run on other machines, have pytest's
    `--basetemp` on a shared file system.
    """

    host = "127.0.0.1"

    @pytest.fixture
    def context(self) -> ComputeContext:
        """The compute context to test."""
        raise NotImplementedError(f"{type(self).__name__} must have a fixture `context`")

    @pytest.fixture
    def reports(self) -> Iterator[Reports]:
        reports = Reports(self.host)
        yield reports
        reports.close()

    @pytest.fixture
    def workers(self, context: ComputeContext) -> Iterator[list[WorkerHandle]]:
        """The workers that a test started; those that are left are ended after it."""
        if not context.distribute_workers:
            pytest.skip(f"the workers of {context.name} are no processes of their own")
        handles: list[WorkerHandle] = []
        yield handles
        for handle in handles:
            handle.kill()

    def test_json_round_trip(self, context: ComputeContext) -> None:
        """Its JSON data makes the same context again, and names it."""
        data = json.loads(json.dumps(context.to_json()))
        again = create_compute_context(data)
        assert data["context"] == context.name
        assert type(again) is type(context)
        assert again.to_json() == context.to_json()

    def test_create_gives_a_context_back_as_it_is(self, context: ComputeContext) -> None:
        """Where a context is asked for, one itself will do."""
        assert create_compute_context(context) is context

    def test_only_processes_can_be_killed(self, context: ComputeContext) -> None:
        """A context that says it can end workers has workers that are processes."""
        assert context.distribute_workers or not context.can_kill

    def test_current_finds_it_in_a_child_process(self, context: ComputeContext) -> None:
        """With its environment, `current` in another process is this context."""
        program = "import json; from blockflow.compute import current; print(json.dumps(current().to_json()))"
        found = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, **context.environment()},
            stdout=subprocess.PIPE,
            check=True,
        )
        assert json.loads(found.stdout) == context.to_json()

    def test_execute_runs_a_command_to_its_end(self, context: ComputeContext, tmp_path: Path) -> None:
        """When `execute` returns, the command has done its work."""
        made = tmp_path / "made"
        program = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('made')"
        context.execute([sys.executable, "-c", program, str(made)])
        assert made.read_text() == "made"

    def test_execute_raises_if_the_command_fails(self, context: ComputeContext) -> None:
        """A command that fails is an error with its exit status."""
        with pytest.raises(subprocess.CalledProcessError) as caught:
            context.execute([sys.executable, "-c", "raise SystemExit(3)"])
        assert caught.value.returncode == 3

    def test_execute_hands_over_to_a_runner(self, context: ComputeContext) -> None:
        """Where somebody else runs the commands, it gets them as the context words them."""
        commands: list[list[str]] = []
        run_commands_with(lambda command: commands.append(list(command)))
        try:
            context.execute(["program", "1"])
        finally:
            run_commands_with(None)
        assert commands == [context.wrap_command(["program", "1"])]

    def test_a_context_without_workers_of_its_own_refuses_to_start_one(
        self, context: ComputeContext, tmp_path: Path
    ) -> None:
        """Where workers are no processes, starting one is a clear error."""
        if context.distribute_workers:
            pytest.skip(f"{context.name} starts workers")
        with pytest.raises(TypeError, match="starts no worker processes"):
            context.start_worker([sys.executable, "-c", ""], {}, tmp_path / "log")

    def test_a_worker_gets_its_environment(
        self, context: ComputeContext, workers: list[WorkerHandle], reports: Reports, tmp_path: Path
    ) -> None:
        """A worker sees what was added to its environment, and what this process has."""
        program = _worker("say(os.environ['GIVEN']); say(str('PATH' in os.environ))")
        workers.append(
            context.start_worker(program, {**reports.environment, "GIVEN": "a b\u00b5"}, tmp_path / "log")
        )
        assert list(reports.listen()) == ["a b\u00b5", "True"]

    def test_what_a_worker_prints_is_appended_to_its_log(
        self, context: ComputeContext, workers: list[WorkerHandle], reports: Reports, tmp_path: Path
    ) -> None:
        """Standard output and error go to the log, after what it holds already."""
        log = tmp_path / "log"
        log.write_text("before\n")
        program = _worker("print('out', flush=True); print('err', file=sys.stderr, flush=True)")
        workers.append(context.start_worker(program, reports.environment, log))
        assert list(reports.listen()) == []
        assert _exit_code(workers[0]) == 0
        assert log.read_text().splitlines() == ["before", "out", "err"]

    @pytest.mark.parametrize("status", [0, 7])
    def test_the_exit_code_is_the_workers(
        self,
        context: ComputeContext,
        workers: list[WorkerHandle],
        reports: Reports,
        tmp_path: Path,
        status: int,
    ) -> None:
        """There is no exit code while a worker lives; then it is its exit status."""
        program = _worker(f"say('up'); report.recv(1); raise SystemExit({status})")
        workers.append(context.start_worker(program, reports.environment, tmp_path / "log"))
        lines = reports.listen()
        assert next(lines) == "up"
        assert workers[0].exit_code() is None
        reports.answer()
        assert list(lines) == []
        assert _exit_code(workers[0]) == status
        assert workers[0].exit_code() == status

    def test_ask_to_leave_delivers_sigterm(
        self, context: ComputeContext, workers: list[WorkerHandle], reports: Reports, tmp_path: Path
    ) -> None:
        """A worker that is asked to leave gets SIGTERM, and may take its time to end."""
        program = _worker(
            "signal.signal(signal.SIGTERM, lambda *_: (say('asked'), report.recv(1), sys.exit(0)))",
            "say('up')",
            "while True: signal.pause()",
        )
        workers.append(context.start_worker(program, reports.environment, tmp_path / "log"))
        lines = reports.listen()
        assert next(lines) == "up"
        workers[0].ask_to_leave()
        assert next(lines) == "asked"
        assert workers[0].exit_code() is None
        reports.answer()
        assert list(lines) == []
        assert _exit_code(workers[0]) == 0
        workers[0].ask_to_leave()  # nobody is there any more: no error

    def test_kill_ends_a_worker_and_all_that_it_started(
        self, context: ComputeContext, workers: list[WorkerHandle], reports: Reports, tmp_path: Path
    ) -> None:
        """A worker that does not listen is ended, with the processes that it started; once more does no harm."""
        _needs_kill(context)
        workers.append(context.start_worker(_stubborn(), reports.environment, tmp_path / "log"))
        lines = reports.listen()
        assert [next(lines), next(lines)] == ["up", "child up"]
        assert workers[0].exit_code() is None
        workers[0].kill()
        assert list(lines) == []
        assert _exit_code(workers[0]) not in (None, 0)
        workers[0].kill()

    def test_a_worker_that_ended_leaves_nothing_behind(
        self, context: ComputeContext, workers: list[WorkerHandle], reports: Reports, tmp_path: Path
    ) -> None:
        """What a worker started does not outlive it, once its end is known."""
        _needs_kill(context)
        program = _stubborn(then="report.recv(1); os._exit(5)")
        workers.append(context.start_worker(program, reports.environment, tmp_path / "log"))
        lines = reports.listen()
        assert [next(lines), next(lines)] == ["up", "child up"]
        reports.answer()
        assert _exit_code(workers[0]) == 5
        assert list(lines) == []

    def test_a_worker_can_tell_that_its_supervisor_is_gone(
        self, context: ComputeContext, reports: Reports, tmp_path: Path
    ) -> None:
        """A worker's standard input stays open while its supervisor lives, and closes when that is killed."""
        _needs_kill(context)
        _, _, program = _worker(
            "import select",
            "say('closed' if select.select([0], [], [], 0)[0] else 'open')",
            "sys.stdin.read()",
            "say('alone')",
        )
        order = json.dumps([context.to_json(), program, reports.environment, str(tmp_path / "log")])
        with subprocess.Popen(
            [sys.executable, "-c", _SUPERVISOR, order], stdin=subprocess.PIPE
        ) as supervisor:
            try:
                lines = reports.listen()
                assert next(lines) == "open"
            finally:
                supervisor.kill()
            assert list(lines) == ["alone"]


def _worker(*lines: str) -> list[str]:
    """The command of a worker that runs these lines of Python, with `report` and `say`."""
    return [sys.executable, "-c", "\n".join([_REPORTER, *lines])]


def _stubborn(then: str = "while True: signal.pause()") -> list[str]:
    """A worker that does not heed SIGTERM, nor does the child that it starts; both share its connection."""
    child = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.write(FD, b'child up\\n'); signal.pause()"
    return _worker(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "say('up')",
        f"child = 'import os; ' + {child!r}.replace('FD', str(report.fileno()))",
        "subprocess.Popen([sys.executable, '-c', child], pass_fds=[report.fileno()], stdin=subprocess.DEVNULL)",
        then,
    )


def _exit_code(worker: WorkerHandle) -> int:
    """The exit code of a worker that ends, or is about to."""
    deadline = time.monotonic() + _PATIENCE
    while (code := worker.exit_code()) is None:
        assert time.monotonic() < deadline, "the worker is still there"
        time.sleep(0.01)
    return code


def _needs_kill(context: ComputeContext) -> None:
    if not context.can_kill:
        pytest.skip(f"{context.name} cannot kill")
