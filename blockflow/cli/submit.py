"""`blockflow submit`."""

import sys
from pathlib import Path

import click

__all__ = ["command"]


@click.command("submit")
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a value of the config, as for `blockflow run`.",
)
@click.option("--time", default=None, help="How long the driver's job may run before the next one goes on.")
@click.option("--memory", default="4 GB", show_default=True, help="Memory of the driver's job.")
@click.option("--cpus", default=2, show_default=True, help="CPUs of the driver's job.")
@click.option("--partition", default=None, help="Where the driver runs; by default as compute.partition.")
@click.option("--dry-run", is_flag=True, help="Only print the script.")
def command(
    config: Path,
    overrides: tuple[str, ...],
    time: str | None,
    memory: str,
    cpus: int,
    partition: str | None,
    dry_run: bool,  # noqa: FBT001
) -> int:
    """Run CONFIG from a Slurm job, so that nothing depends on this terminal; prints the job's number.

    Before its time is over the job submits itself again, lets the workers finish their blocks, and ends; the next
    one goes on with what is left. What it prints is in a file beside the run directory.
    """
    from blockflow.compute import create_compute_context
    from blockflow.compute.slurm import Commands, SlurmOptions, driver_script
    from blockflow.config import build_run, load_config
    from blockflow.execution.assignment import workers_of
    from blockflow.tasks import prepare
    from blockflow.utility.files import write_aside
    from blockflow.utility.quantity import parse_bytes

    try:
        amount = parse_bytes(memory)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--memory") from None
    loaded = load_config(config, overrides)
    compute = loaded.config.compute
    context = create_compute_context(compute.spec())
    run_dir = loaded.run_dir.absolute()
    for prepared in prepare(build_run(loaded).tasks):  # what is wrong is said now, not in an hour
        task = prepared.task
        context.of_task(workers_of(run_dir, task.name, task.num_workers, task.memory))
    script = run_dir.with_name(f"{run_dir.name}.driver.sh")
    arguments = [part for override in overrides for part in ("--set", override)]
    text = driver_script(
        SlurmOptions(
            memory=amount,
            time=time,
            cpus_per_worker=cpus,
            partition=partition or compute.partition,
            account=compute.account,
            qos=compute.qos,
            modules=compute.modules,
            prologue=compute.prologue,
        ),
        [sys.executable, "-P", "-m", "blockflow", "run", str(loaded.path), *arguments],
        name=f"{loaded.name}.driver",
        script=script,
        output=run_dir.with_name(f"{run_dir.name}.driver-%j.out"),
        folder=Path.cwd(),
    )
    if dry_run:
        click.echo(text)
        return 0
    script.parent.mkdir(parents=True, exist_ok=True)
    write_aside(script, text.encode())
    job = Commands().submit(script)
    click.echo(job)
    click.echo(
        f"job {job} runs {loaded.name}; see how far it is: blockflow status {run_dir}; what it says: "
        f"{run_dir}.driver-{job}.out",
        err=True,
    )
    return 0
