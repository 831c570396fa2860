"""The worker process: `python -m blockflow.execution.worker TASK.json NAME`.

It loads the worker file, calls `spawn_worker(*args, **kwargs)()`, and starts that again when it ends before
the blocks do. A Python command that the worker file executes is run in this very process, under our client.
"""

import os
import runpy
import shutil
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from blockflow import compute
from blockflow.errors import BlockflowError
from blockflow.execution.assignment import Assignment, Calls
from blockflow.execution.client import Client, standing_in
from blockflow.execution.session import (
    WorkerSession,
    current_session,
    record_failed_worker,
    session_of_process,
)
from blockflow.storage import use_lattice
from blockflow.tasks import load_worker_file
from blockflow.utility.freed_memory import keep_freed_memory

__all__ = ["do_blocks", "main"]

#: how often in a row a worker function may end without having done a block before the worker gives up
_IDLE_ENDS = 3


def main() -> None:
    description, name = Path(sys.argv[1]), sys.argv[2]
    _end_with_supervisor()
    _go_through_door()
    assignment = Assignment.load(description)
    try:
        calls = assignment.load_calls()
        if getattr(calls.process_function, "keeps_memory", False):
            keep_freed_memory()
        with closing(WorkerSession(assignment, calls, name)) as session:
            signal.signal(signal.SIGTERM, lambda *_: setattr(session, "leaving", True))
            os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
            do_blocks(session, assignment, calls)
    except Exception as error:
        record_failed_worker(assignment, name, error)
        raise SystemExit(f"{name}: cannot do blocks: {error}") from error


def do_blocks(session: WorkerSession, assignment: Assignment, calls: Calls) -> None:
    """Run a task's worker function, again and again, until no block is left or the worker is to leave.

    Raises what the function raises when it holds no block, and `BlockflowError` if it ends again and again
    without doing any.
    """
    compute.run_commands_with(_run_command)
    idle_ends = 0
    try:
        with session_of_process(session), standing_in(), use_lattice(session.lattice):
            function = _worker_function(assignment, calls)
            while not (session.finished or session.leaving):
                begun = session.begun
                try:
                    function()
                except BaseException as error:
                    if session.held is not None:
                        _give_back_held(session, error)
                    elif isinstance(error, SystemExit) and session.begun > begun:
                        continue  # a block ended the loop, and has its record
                    elif isinstance(error, SystemExit | GeneratorExit):
                        raise BlockflowError(f"the worker's function ended with {error!r}") from error
                    else:
                        raise
                    if isinstance(error, KeyboardInterrupt) and session.leaving:
                        raise
                else:
                    if session.held is not None:
                        _give_back_held(session, BlockflowError(_LEFT_EARLY))
                idle_ends = idle_ends + 1 if session.begun == begun else 0
                if idle_ends == _IDLE_ENDS and not session.finished:
                    raise BlockflowError(
                        "the worker's function ended without doing a block, though there are some. It must loop over "
                        "daisy.Client().acquire_block() or blockflow.blocks() until these end"
                    )
    finally:
        compute.run_commands_with(None)


_LEFT_EARLY = (
    "the loop over blocks() was left before the block was finished. A block counts as done when the next one is asked "
    "for: do not break out of the loop"
)


def _give_back_held(session: WorkerSession, error: BaseException) -> None:
    """Settle the block of a loop that was left in the middle of it."""
    session.client.give_back(session.held, error)


def _worker_function(assignment: Assignment, calls: Calls) -> Callable[[], Any]:
    if assignment.worker_file is None:
        return _loop_over(calls.process_function)
    function = load_worker_file(assignment.worker_file).spawn_worker(*calls.args, **calls.kwargs)
    if not callable(function):
        raise BlockflowError(
            f"{assignment.worker_file}: spawn_worker returned {function!r}; it must return a function without arguments"
        )
    return function  # type: ignore[no-any-return]


def _loop_over(process_function: Callable[..., Any]) -> Callable[[], Any]:
    """A worker's function that gives each block to `process_function`, unless it loops by itself."""
    import inspect

    try:
        takes_block = bool(inspect.signature(process_function).parameters)
    except (TypeError, ValueError):
        takes_block = True
    if not takes_block:
        return process_function

    def loop() -> None:
        client = Client()
        while True:
            with client.acquire_block() as block:
                if block is None:
                    return
                process_function(block)

    return loop


def _run_command(command: Sequence[str]) -> None:
    """Run a worker file's command: in this process if it is this Python, else as a child with Daisy's own client."""
    target = _python_target(command)
    if target is None:
        _run_foreign(command)
        return
    module, arguments = target
    with _arguments(arguments):
        try:
            if module is not None:
                runpy.run_module(module, run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(arguments[0], run_name="__main__")
        except SystemExit as end:
            if end.code not in (None, 0):
                raise BlockflowError(f"{' '.join(command)} ended with exit status {end.code}") from end


def _python_target(command: Sequence[str]) -> tuple[str | None, list[str]] | None:
    """The module (or `None`) and the `sys.argv` of a command that is this very Python; `None` if it is another."""
    called, own = (Path(shutil.which(name) or name) for name in (command[0], sys.executable))
    if called.parent != own.parent or called.resolve() != own.resolve():
        return None
    for place, part in enumerate(command[1:], start=1):
        if part == "-m" and place + 1 < len(command):
            return command[place + 1], list(command[place + 1 :])
        if not part.startswith("-"):
            return None, list(command[place:])
        if part.strip("-uBOqIEsS"):  # an option that is not about how Python starts
            return None
    return None


def _run_foreign(command: Sequence[str]) -> None:
    """Run a command that is another program; when it ends well, no block was left for it."""
    print(  # noqa: T201 (this is the worker's log)
        f"blockflow: {command[0]} is not this Python, so it runs under Daisy's own client: a block that raises ends "
        "the worker, and has no failure record",
        file=sys.stderr,
        flush=True,
    )
    subprocess.run(command, check=True)
    session = current_session()
    if session is not None:
        session.finished = True


@contextmanager
def _arguments(arguments: Sequence[str]) -> Iterator[None]:
    original = sys.argv
    sys.argv = list(arguments)
    try:
        yield
    finally:
        sys.argv = original


def _end_with_supervisor() -> None:
    """End this process, and all that it started, when the supervisor is gone: then standard input closes."""
    lifeline = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)

    def watch() -> None:
        while os.read(lifeline, 1):
            pass
        os.killpg(0, signal.SIGKILL)

    if os.getpgrp() == os.getpid():
        threading.Thread(target=watch, name="lifeline", daemon=True).start()


def _go_through_door() -> None:
    """Let Daisy's clients connect to the address at which this machine leads to the driver's."""
    door = os.environ.get(compute.DOOR)
    if door is not None:
        import daisy

        address = daisy.Context.from_env()
        address["hostname"], _, address["port"] = door.rpartition(":")
        os.environ["DAISY_CONTEXT"] = address.to_env()


def _run_and_end() -> None:
    """Run `main`, and end the process whatever threads the worker file has left running."""
    status: Any = 0
    try:
        main()
    except SystemExit as end:
        status = end.code
        if isinstance(status, str):
            print(status, file=sys.stderr)  # noqa: T201 (this is the worker's log)
            status = 1
    except BaseException:  # noqa: BLE001 (it is shown, and the process ends)
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)


if __name__ == "__main__":
    _run_and_end()
