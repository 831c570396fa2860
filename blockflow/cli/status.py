"""`blockflow status`."""

import json
from pathlib import Path

import click

__all__ = ["command"]


@click.command("status")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(run: Path, as_json: bool) -> None:  # noqa: FBT001
    """Say how far the run in directory RUN has got, from what is on disk."""
    from blockflow.execution.look import look_at

    status = look_at(run)
    if as_json:
        click.echo(json.dumps(status.to_json(), indent=2))
        return
    click.echo(f"{status.name}: {status.state} (session {status.session}, begun {status.started})")
    width = max((len(name) for name in status.tasks), default=0)
    for name, task in status.tasks.items():
        share = 100 * task.done / task.blocks
        line = f"  {name:{width}}  {task.done}/{task.blocks} done ({share:.1f} %)"
        if task.failed:
            line += f", {task.failed} failed"
        if task.attempts_failed:
            line += f", {task.attempts_failed} failed attempts"
        click.echo(line)
    if any(task.failed for task in status.tasks.values()):
        click.echo(f"see why: blockflow failures {run}")
