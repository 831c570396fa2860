"""`blockflow failures`."""

import json
from dataclasses import asdict
from pathlib import Path

import click

__all__ = ["command"]


@click.command("failures")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--task", help="Only this task.")
@click.option("--cause", help="Only this cause, as exception, timeout, killed or check_failed.")
@click.option(
    "--traceback/--no-traceback", default=True, help="Show the traceback of each group's first failure."
)
@click.option("--json", "as_json", is_flag=True, help="Every record as a line of JSON.")
def command(run: Path, task: str | None, cause: str | None, traceback: bool, as_json: bool) -> None:  # noqa: FBT001
    """Say which blocks of the last session of the run in directory RUN failed, and why, grouped by cause."""
    from blockflow.errors import BlockflowError
    from blockflow.execution.failures import CAUSES, group_failures
    from blockflow.execution.look import failures_of

    if cause is not None and cause not in CAUSES:
        raise BlockflowError(f"unknown cause {cause!r}; valid are {', '.join(CAUSES)}")
    records = [record for record in failures_of(run, task) if cause in (None, record.cause)]
    if as_json:
        for record in records:
            click.echo(json.dumps(asdict(record)))
        return
    if not records:
        click.echo("no failures")
        return
    for group in group_failures(records):
        first = group.records[0]
        click.echo(f"{first.task}: {first.cause}: {first.message.splitlines()[-1] if first.message else ''}")
        blocks = sorted({record.block for record in group.records if record.block is not None})
        lost = sum(record.final for record in group.records)
        if blocks:
            shown = ", ".join(map(str, blocks[:10])) + (", ..." if len(blocks) > 10 else "")
            click.echo(
                f"  {len(blocks)} blocks ({shown}), {len(group.records)} attempts, {lost} blocks failed for good"
            )
        for record in group.records[:3]:
            if record.write_roi is not None:
                offset, shape = record.write_roi
                which = (
                    f"attempt {record.attempt}" if record.attempt else "lost, without using up an attempt,"
                )
                click.echo(
                    f"  block {record.block} writes {shape} at {offset}: {which} on {record.host}, log {record.log}"
                )
            else:
                click.echo(f"  worker {record.worker} on {record.host}, log {record.log}")
        if traceback and first.traceback:
            click.echo("  the first one:")
            for line in first.traceback.rstrip().splitlines():
                click.echo(f"    {line}")
