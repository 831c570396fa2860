"""`blockflow retry`."""

from pathlib import Path

import click

__all__ = ["command"]


@click.command("retry")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--task", help="Only blocks of this task that failed.")
@click.option("--cause", help="Only blocks that failed for this cause, as timeout or out_of_memory.")
@click.option("--quiet", is_flag=True, help="No progress, only the summary.")
def command(run: Path, task: str | None, cause: str | None, quiet: bool) -> int:  # noqa: FBT001
    """Try the failed blocks of the run in directory RUN again, with a new budget of attempts.

    Blocks that failed in another task or for another cause stay failed, with their records. What was left
    undone or depends on a failed block is done too. The config is the one that the run was started with.
    """
    from blockflow.cli.run import run_config
    from blockflow.errors import ConfigError, RunDirectoryError
    from blockflow.execution.failures import CAUSES
    from blockflow.execution.look import failures_of
    from blockflow.execution.run_directory import RunDirectory

    if cause is not None and cause not in CAUSES:
        raise ConfigError(f"unknown cause {cause!r}; valid are {', '.join(CAUSES)}")
    origin = RunDirectory.open(run).about.get("origin")
    if origin is None:
        raise RunDirectoryError(f"{run}: this run was started from Python: call run_blockwise again")
    if not isinstance(origin, dict) or not isinstance(origin.get("config"), str):
        raise RunDirectoryError(
            f"{run}: run.json does not say which config it was. Use `blockflow run CONFIG`"
        )
    list(failures_of(run, task))  # says it if there is no such task
    stays = [
        record
        for record in failures_of(run)
        if record.final and (task not in (None, record.task) or cause not in (None, record.cause))
    ]
    return run_config(Path(origin["config"]), origin.get("overrides") or (), quiet=quiet, failed=stays)
