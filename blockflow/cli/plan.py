"""`blockflow plan`."""

import json
from pathlib import Path

import click

__all__ = ["command"]


@click.command("plan")
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a value of the config, as for run.",
)
@click.option("--json", "as_json", is_flag=True, help="The plan as JSON.")
@click.option(
    "--graph", type=click.Path(path_type=Path, dir_okay=False), help="Draw the tasks into this SVG file, too."
)
def command(config: Path, overrides: tuple[str, ...], as_json: bool, graph: Path | None) -> None:  # noqa: FBT001
    """Say what CONFIG comes to, before anything runs.

    For each task of its graph: the operators that are computed together, block shape and number of blocks, context,
    what a worker is projected to hold, and the bytes that are read and written. Warnings come first.
    """
    from blockflow.config import build_run, load_config
    from blockflow.errors import ConfigError
    from blockflow.report.plan_drawing import draw_plan
    from blockflow.report.plans import plan_as_text
    from blockflow.utility.files import write_aside

    planned = build_run(load_config(config, overrides)).planned
    if planned is None:
        raise ConfigError(
            f"{config}: it has no outputs, so there is no graph to plan; its tasks are as they stand there"
        )
    if graph is not None:
        write_aside(graph.absolute(), draw_plan(planned.plan).encode())
    click.echo(json.dumps(planned.plan.to_json(), indent=2) if as_json else plan_as_text(planned.plan))
