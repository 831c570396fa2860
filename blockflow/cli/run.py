"""`blockflow run`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blockflow.compute import ComputeContext
    from blockflow.config import LoadedConfig
    from blockflow.execution.failures import FailureRecord
    from blockflow.execution.fork_server import ForkServer

__all__ = ["command", "describe_config", "run_config"]

DONE, SOME_FAILED, INTERRUPTED = 0, 1, 130


@click.command("run")
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a value of the config, as in --set compute.num_workers=8. May be given several times.",
)
@click.option("--quiet", is_flag=True, help="No progress, only the summary.")
@click.option("--dry-run", is_flag=True, help="Only say how the workers would be started.")
def command(config: Path, overrides: tuple[str, ...], quiet: bool, dry_run: bool) -> int:  # noqa: FBT001
    """Run CONFIG to its end, or go on with the run that it began.

    Blocks that are done by the same recipe are skipped. Exit status: 0 all blocks are done, 1 some are not,
    2 the config or the usage is wrong, 130 interrupted.
    """
    if dry_run:
        return describe_config(config, overrides)
    return run_config(config, overrides, quiet=quiet)


def describe_config(config: Path, overrides: "Sequence[str]") -> int:
    """Say what a run would start for each task, and start nothing."""
    from blockflow.compute import create_compute_context
    from blockflow.config import build_run, load_config
    from blockflow.execution.assignment import workers_of
    from blockflow.tasks import prepare

    loaded = load_config(config, overrides)
    compute = create_compute_context(loaded.config.compute.spec())
    for prepared in prepare(build_run(loaded).tasks):
        task, blocks = prepared.task, prepared.grid.number_of_blocks
        most = min(task.num_workers, blocks)
        workers = workers_of(loaded.run_dir.absolute(), task.name, most, task.memory)
        click.echo(f"# task {task.name}: {blocks} blocks, at most {most} workers at one time")
        click.echo(compute.describe(workers))
    return DONE


def run_config(
    config: Path, overrides: "Sequence[str]", *, quiet: bool, failed: "Sequence[FailureRecord]" = ()
) -> int:
    """Run a config, say how it went, and give the exit status; `failed` as for `run_prepared`."""
    from blockflow.compute import create_compute_context
    from blockflow.config import load_config
    from blockflow.execution.fork_server import ARRAYS, GRAPH, ForkServer

    loaded = load_config(config, overrides)
    context = create_compute_context(loaded.config.compute.spec())
    libraries = GRAPH if loaded.config.operators else ARRAYS
    with ForkServer(loaded.run_dir, context, libraries) as server:
        return _run(loaded, context, server, failed, quiet=quiet)


def _run(
    loaded: "LoadedConfig",
    context: "ComputeContext",
    server: "ForkServer",
    failed: "Sequence[FailureRecord]",
    *,
    quiet: bool,
) -> int:
    from blockflow.config import build_run
    from blockflow.execution.assignment import workers_of
    from blockflow.execution.driver import run_prepared
    from blockflow.execution.progress import Silent, progress_for
    from blockflow.tasks import prepare

    built = build_run(loaded)
    progress = Silent() if quiet else progress_for()
    if built.planned is not None:
        for line in (*built.planned.plan.warnings, *built.planned.plan.notes):
            progress.note(line)
    num_workers = loaded.config.compute.num_workers
    outcome = run_prepared(
        prepare(built.tasks),
        loaded.run_dir,
        name=loaded.name,
        compute=context,
        server=server,
        num_workers=num_workers,
        config=loaded.text,
        plan=built.planned.plan.to_json() if built.planned is not None else None,
        origin={"config": str(loaded.path), "overrides": list(loaded.overrides)},
        failed=failed,
        progress=progress,
    )
    click.echo(f"{loaded.name}: {outcome.word}")
    for name, task in outcome.tasks.items():
        click.echo(f"  {name}: {task}")
        if task.stopped:
            click.echo(f"  {name}: {task.stopped}", err=True)
        workers = workers_of(loaded.run_dir.absolute(), name, num_workers, None)
        if (used := context.usage(workers)) is not None:
            click.echo(f"  {name}: {used}")
    for problem in outcome.problems:
        click.echo(f"  {problem}", err=True)
    click.echo(f"run directory: {loaded.run_dir}")
    if outcome.problems:  # a thread of the server that broke down aborts the process when Python ends
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(SOME_FAILED)
    if outcome.interrupted:
        click.echo("interrupted: run the same command again to go on")
        return INTERRUPTED
    if not outcome.complete:
        click.echo(f"see why: blockflow failures {loaded.run_dir}")
        return SOME_FAILED
    return DONE
