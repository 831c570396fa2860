"""The driver: from prepared tasks to finished voxels, and the record of how it went."""

import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from blockflow.compute import ComputeContext, create_compute_context
from blockflow.errors import BlockflowError, ComputeError, RunDirectoryError, StorageError
from blockflow.execution.assignment import Assignment, Calls, workers_of
from blockflow.execution.engine import EnginePanicError, build_pipeline, build_task, serve, serve_in_process
from blockflow.execution.events import EventLog
from blockflow.execution.failures import FailureLog, FailureRecord
from blockflow.execution.fork_server import ARRAYS, ForkServer
from blockflow.execution.journal import Mark
from blockflow.execution.outcome import Outcome, TaskOutcome
from blockflow.execution.progress import Progress, Silent
from blockflow.execution.run_directory import RunDirectory, TaskDirectory
from blockflow.execution.session import WorkerSession, record_failed_worker
from blockflow.execution.stopping import Stop
from blockflow.execution.tracking import TrackingPlan, done_blocks, plan_tracking
from blockflow.storage import ResultsSpec, claim, note_session, open_stored
from blockflow.storage.formats import lock_place
from blockflow.tasks import PreparedTask
from blockflow.tasks.worker_file import folders_of_files
from blockflow.utility.files import read_json, write_aside, write_json
from blockflow.utility.lease import Lease

__all__ = ["run_prepared"]


def run_prepared(
    prepared: Sequence[PreparedTask],
    run_dir: Path,
    *,
    name: str,
    compute: ComputeContext,
    server: ForkServer | None = None,
    num_workers: int | None = None,
    config: str | None = None,
    plan: Mapping[str, Any] | None = None,
    origin: Mapping[str, Any] | None = None,
    failed: Sequence[FailureRecord] = (),
    progress: Progress | None = None,
    unknown_outputs: Path | None = None,
) -> Outcome:
    """Run prepared tasks to their end.

    Parameters
    ----------
    prepared : sequence of PreparedTask
        As `blockflow.tasks.prepare` gives them: each after those that it depends on.
    run_dir : Path
        The run directory: new, or one to go on with.
    name : str
        The name of the run.
    compute : ComputeContext
    server : ForkServer, optional
        What supervisors are forked from, if it was started ahead; it is the caller's to close.
    num_workers : int, optional
        How many blocks may be processed at one time, all tasks together.
    config : str, optional
        The text of the config file, to be kept.
    plan : mapping, optional
        What the planner made of a graph, as JSON data, to be kept.
    origin : mapping, optional
        How the run can be started again: `config`, a path, and `overrides`.
    failed : sequence of FailureRecord
        Blocks that are not tried: they stay failed, with these records.
    progress : Progress, optional
    unknown_outputs : Path, optional
        A file that stands for what tasks without known outputs write, shared by the runs that may write it: a
        run trusts its own marks only as long as no other has used the file.

    Returns
    -------
    Outcome
        What was done, skipped, failed and left, for each task.

    Raises
    ------
    BlockflowError
        If the run cannot begin; then no voxel has been written.
    """
    progress = progress or Silent()
    for task in prepared:
        compute.of_task(workers_of(run_dir.absolute(), task.name, task.task.num_workers, task.task.memory))
    with (
        _explained(run_dir),
        RunDirectory.begin(run_dir, name, config, origin) as run,
        ExitStack() as held,
    ):
        if server is None:
            libraries = ARRAYS if any(task.outputs for task in prepared) else ()
            server = held.enter_context(ForkServer(run.path, compute, libraries))
        for task in prepared:
            _create_outputs(task)
            for path in task.outputs.values():
                held.enter_context(Lease(lock_place(path), f"output array {path}"))
            for spec in task.specs:
                if isinstance(spec, ResultsSpec):
                    spec.adopt()
        if plan is not None:
            write_json(run.plan, plan)
        _keep_failed(run, prepared, failed)
        return _run(run, prepared, compute, server, num_workers, progress, unknown_outputs)


@contextmanager
def _explained(run_dir: Path) -> Iterator[None]:
    """Say what to do where a file system refuses what the driver itself must write or read."""
    try:
        yield
    except OSError as error:
        if isinstance(error, BlockflowError):
            raise
        raise RunDirectoryError(
            f"{run_dir}: the run cannot go on: {error}. What is done is kept: see to the file system (room, quota, "
            "permission), then run again"
        ) from error


def _run(
    run: RunDirectory,
    prepared: Sequence[PreparedTask],
    compute: ComputeContext,
    server: ForkServer,
    num_workers: int | None,
    progress: Progress,
    unknown_outputs: Path | None,
) -> Outcome:
    events = EventLog(run.events("driver"))
    events.write("run started", tasks=[task.name for task in prepared])
    if run.about["compute"] is not None:
        _end_leftovers(run, create_compute_context(run.about["compute"]), progress)
    run.about["compute"] = compute.to_json()
    trackings: dict[str, TrackingPlan] = {}
    for task in prepared:
        upstream = [trackings[before.name] for before in task.task.upstream]
        trackings[task.name] = _begin(run, task, compute, progress, unknown_outputs, upstream)
    _assign(run, prepared, trackings, compute, num_workers)
    written = [path for task in prepared if trackings[task.name].to_do for path in task.outputs.values()]
    for path in written:
        note_session(open_stored(path, "r+"), f"{run.session} begun")
    run.about["tasks"] = [task.name for task in prepared]
    run.save()
    pipeline = build_pipeline(
        {task.name: build_task(task, trackings[task.name]) for task in prepared},
        {task.name: [before.name for before in task.task.upstream] for task in prepared},
    )

    def when_started() -> None:
        stop.listen()
        for tracking in trackings.values():
            tracking.reserve()

    problems: list[str] = []
    states: Mapping[str, Any] = {}
    with Stop(run, progress) as stop:
        try:
            if not any(tracking.to_do for tracking in trackings.values()):
                progress.note("every block is done already")
            elif compute.distribute_workers:
                states = serve(
                    pipeline,
                    progress,
                    when_started,
                    stop.is_overdue,
                    lambda name, context: server.supervise(run.task(name).description, context),
                )
            else:
                workers = _serial_workers(run, prepared, progress, stop)
                states = serve_in_process(pipeline, progress, when_started, stop.is_overdue, workers)
        except EnginePanicError as error:
            write_aside(run.stop_file, b"now")
            problems.append(str(error))
        finally:
            _end_leftovers(run, compute, progress)
    for path in written:
        try:
            note_session(open_stored(path, "r+"), f"{run.session} ended")
        except (StorageError, OSError) as error:
            problems.append(f"output {path} is not what it was when the run began: {error}")
    outcome = Outcome(
        {
            task.name: _task_outcome(
                run.task(task.name), trackings[task.name], states.get(task.name), interrupted=stop.asked
            )
            for task in prepared
        },
        interrupted=stop.asked,
        problems=problems,
    )
    events.write("run ended", outcome=outcome.word)
    events.close()
    run.about |= {
        "ended": time.time(),
        "outcome": outcome.word,
        "results": {task: result.to_json() for task, result in outcome.tasks.items()},
    }
    run.save()
    return outcome


def _end_leftovers(run: RunDirectory, compute: ComputeContext, progress: Progress) -> None:
    """End the workers of this run that no supervisor looks after, since it was killed."""
    try:
        ended = compute.end_leftovers(run.path)
    except ComputeError as error:
        ended = f"it cannot be seen whether workers are left somewhere: {error}"
    if ended is not None:
        progress.note(ended)


def _keep_failed(
    run: RunDirectory, prepared: Sequence[PreparedTask], failed: Sequence[FailureRecord]
) -> None:
    """Give blocks that are not to be tried their records, with which no attempt is left to them."""
    for task in prepared:
        kept = [record for record in failed if record.task == task.name]
        if not kept:
            continue
        directory = run.task(task.name)
        if Assignment.load(directory.description).grid != task.grid.to_json():
            raise RunDirectoryError(
                f"task {task.name}: its blocks are not those that failed, since the config has changed. "
                "Use `blockflow run`, which tries all blocks that are not done"
            )
        log = FailureLog(directory.failures, task.name, task.task.max_retries + 1)
        for record in kept:
            log.keep(record)


def _create_outputs(task: PreparedTask) -> None:
    for spec in task.specs:
        if not spec.is_there():
            spec.create()


def _claim_file(path: Path, writer: str) -> str:
    """As `blockflow.storage.claim`, for outputs that are not known: `path` stands for them all."""
    note = read_json(path) if path.exists() else {}
    if note.get("writer") != writer:
        note = {"writer": writer, "generation": uuid.uuid4().hex}
        write_json(path, note)
    return str(note["generation"])


def _begin(
    run: RunDirectory,
    task: PreparedTask,
    compute: ComputeContext,
    progress: Progress,
    unknown_outputs: Path | None,
    upstream: Sequence[TrackingPlan],
) -> TrackingPlan:
    """Make the task's folder, and find out what is done already."""
    directory = run.task(task.name)
    directory.tracking.mkdir(parents=True, exist_ok=True)
    writer = f"{run.path} {task.name}"
    generations = {path: claim(open_stored(path, "r+"), writer) for path in task.outputs.values()}
    if not generations and unknown_outputs is not None:
        generations = {"what this worker file writes": _claim_file(unknown_outputs, writer)}
    plan = plan_tracking(directory.tracking, task.recipe, task.grid, generations, upstream)
    for line in (*task.warnings, *plan.changes):
        progress.note(f"{task.name}: {line}")
    if not compute.distribute_workers and task.task.num_workers > 1:
        progress.note(f"{task.name}: the {compute.name} context has one worker, not {task.task.num_workers}")
    if not compute.can_kill and compute.memory is not None:
        progress.note(
            f"{task.name}: the {compute.name} context cannot end a worker, so its memory is not limited"
        )
    if not compute.can_kill and task.task.timeout is not None:
        progress.note(
            f"{task.name}: the {compute.name} context cannot end a block, so timeout {task.task.timeout:g} is not kept"
        )
    return plan


def _assign(
    run: RunDirectory,
    prepared: Sequence[PreparedTask],
    trackings: Mapping[str, TrackingPlan],
    compute: ComputeContext,
    num_workers: int | None,
) -> None:
    """Write down for each task what its supervisor and its workers must know."""
    import cloudpickle

    shares = len(prepared) > 1 and compute.distribute_workers and compute.shares_locks
    shared = num_workers if shares else None
    dealt = 0
    for task in prepared:
        directory, tracking = run.task(task.name), trackings[task.name]
        slots: list[str] = []
        if shared is not None:
            slots = [
                str(run.path / "slots" / str((dealt + worker) % shared))
                for worker in range(task.task.num_workers)
            ]
            dealt += task.task.num_workers
        write_aside(directory.call, cloudpickle.dumps(_calls(task)))
        Assignment(
            run=str(run.path),
            session=run.session,
            name=task.name,
            worker_file=str(task.task.worker_file) if task.task.worker_file else None,
            grid=task.grid.to_json(),
            lattice=task.lattice.texts() if task.lattice else None,
            compute=compute.to_json(),
            num_workers=task.task.num_workers,
            max_retries=task.task.max_retries,
            timeout=task.task.timeout,
            memory=task.task.memory,
            blocks=task.grid.number_of_blocks,
            to_do=tracking.to_do,
            store=str(tracking.store),
            journal=str(tracking.journal),
            inputs=dict(task.inputs),
            outputs=dict(task.outputs),
            slots=slots,
            upstream=[before.name for before in task.task.upstream],
            recipe=task.recipe.hash,
            import_path=[entry or str(Path.cwd()) for entry in sys.path if entry not in folders_of_files],
            initialises=task.init_callback_fn is not None,
        ).save(directory.description)


def _calls(task: PreparedTask) -> Calls:
    return Calls(
        task.task.args,
        dict(task.task.kwargs),
        task.task.process_function,
        task.before_check,
        task.after_check,
        task.init_callback_fn,
    )


def _serial_workers(
    run: RunDirectory, prepared: Sequence[PreparedTask], progress: Progress, stop: Stop
) -> dict[str, Any]:
    """For each task a function that does its blocks in this process.

    A task whose blocks are all done has one too: Daisy finds that out only when a worker asks for a block.
    """
    from blockflow.execution.worker import do_blocks

    def worker(task: PreparedTask, assignment: Assignment) -> Any:
        def work(address: Any) -> None:
            calls = _calls(task)
            try:
                if calls.init_callback_fn is not None and assignment.to_do:
                    calls.init_callback_fn(address.to_env())
                with closing(WorkerSession(assignment, calls, f"{task.name}-0")) as session:
                    session.leaving = stop.asked
                    session.address = address
                    stop.session = session
                    do_blocks(session, assignment, calls)
            except KeyboardInterrupt:
                progress.note(f"{task.name}: stopped in the middle of a block")
            except Exception as error:  # noqa: BLE001 (what a worker raises is its record, as in any context)
                record_failed_worker(assignment, f"{task.name}-0", error)
                progress.note(f"{task.name}: the worker cannot do blocks: {error}")

        return work

    assignments = {task.name: Assignment.load(run.task(task.name).description) for task in prepared}
    return {task.name: worker(task, assignments[task.name]) for task in prepared}


def _task_outcome(
    directory: TaskDirectory, tracking: TrackingPlan, state: Any, *, interrupted: bool
) -> TaskOutcome:
    grid, done, journal = done_blocks(tracking.store)
    blocks = grid.number_of_blocks
    if state is None:  # the engine broke down: its marks are what there is
        kept = done | tracking.skip if tracking.skip is not None else done
        finished = int(np.count_nonzero(kept))
        skipped = blocks - tracking.to_do
        return TaskOutcome(blocks, finished - skipped, skipped, 0, 0, blocks - finished)
    found = int(np.count_nonzero(journal == Mark.FOUND_DONE))
    skipped = state.skipped_count + found
    failed, orphaned = state.failed_count, state.orphaned_count
    complete = state.completed_count
    left = blocks - complete - failed - orphaned
    if state.abandoned:  # Daisy counts the blocks of a task that was given up as orphaned
        left, orphaned = left + orphaned, 0
    stopped = None
    if state.abandoned and not interrupted:
        stopped = directory.why_given_up() or state.last_worker_error or state.abandon_reason
    return TaskOutcome(blocks, complete - skipped, skipped, failed, orphaned, left, stopped)
