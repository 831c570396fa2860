"""The texts that Slurm is given: batch scripts, names of jobs, arguments of srun. Pure functions."""

import hashlib
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from blockflow.compute.slurm.options import SlurmOptions, parse_time
from blockflow.errors import ConfigError

__all__ = [
    "array_script",
    "comment_of",
    "driver_script",
    "element_command",
    "is_of_run",
    "job_name",
    "prologue_of",
    "resource_arguments",
    "run_mark",
]

#: seconds before the end of its time at which a worker is told to finish its block and leave, if time is plentiful
_GRACE = 60

#: seconds before the end of its time at which a driver's job hands over to the next
_HAND_OVER = 120

_MIB = 1024**2


def run_mark(run: Path) -> str:
    """What the names of all jobs of a run end with; from it the jobs of a dead driver are known."""
    return "blockflow-" + hashlib.sha256(str(run).encode()).hexdigest()[:12]


def job_name(run: Path, task: str) -> str:
    """The name of the jobs of a task's workers."""
    return f"{task}.{run_mark(run)}"


def comment_of(run: Path) -> str:
    """The comment of a run's jobs, for people: whose they are."""
    return f"blockflow run {run}"


def is_of_run(run: Path, name: str, comment: str) -> bool:
    """Whether a job of this name and comment is a worker's of this run; some sites do not keep comments."""
    return name.endswith(f".{run_mark(run)}") and comment in ("", comment_of(run))


def element_command(folder: Path) -> list[str]:
    """The command of an element whose task has its files in `folder`."""
    return [sys.executable, "-P", "-m", "blockflow.compute.slurm.element", str(folder)]


def resource_arguments(options: SlurmOptions, memory: int | None, excluded: Sequence[str] = ()) -> list[str]:
    """What one worker asks for, in arguments that sbatch and srun share."""
    arguments = [f"--cpus-per-task={options.cpus_per_worker}"]
    if memory is not None:
        arguments.append(f"--mem={math.ceil(memory / _MIB)}M")
    arguments += [
        f"--{name}={value}"
        for name in ("partition", "account", "qos", "constraint", "time", "gres")
        if (value := getattr(options, name)) is not None
    ]
    if options.gpus is not None:
        arguments.append(f"--gpus-per-task={options.gpus}")
    if excluded:
        arguments.append(f"--exclude={','.join(excluded)}")
    return arguments


def prologue_of(options: SlurmOptions) -> list[str]:
    """The lines of shell that come before a worker."""
    lines = [f"module load {shlex.quote(module)} || exit 1" for module in options.modules]
    lines += [f"export {name}={shlex.quote(str(value))}" for name, value in options.environment.items()]
    return [*lines, *options.prologue]


def array_script(
    options: SlurmOptions,
    run: Path,
    task: str,
    folder: Path,
    *,
    elements: int,
    most: int,
    memory: int | None,
    excluded: Sequence[str] = (),
) -> str:
    """The batch script of an array of `elements`, of which `most` may run at one time."""
    arguments = [
        f"--job-name={job_name(run, task)}",
        f"--comment={comment_of(run)}",
        f"--array=0-{elements - 1}%{most}",
        f"--output={_no_pattern(folder)}/slurm-%A.out",
        "--open-mode=append",
        "--ntasks=1",
        f"--signal=B:TERM@{_grace(options)}",
        *resource_arguments(options, memory, excluded),
        *options.sbatch_args,
    ]
    shell = "/bin/bash -l" if options.modules else "/bin/bash"
    return "\n".join(
        [
            f"#!{shell}",
            *(f"#SBATCH {_quote(argument)}" for argument in arguments),
            *prologue_of(options),
            f"exec {shlex.join(element_command(folder))}",
            "",
        ]
    )


def driver_script(
    options: SlurmOptions, command: Sequence[str], name: str, script: Path, output: Path, folder: Path
) -> str:
    """The batch script of a driver that hands over to another job before its time is over.

    Parameters
    ----------
    options : SlurmOptions
        What the driver's job asks for.
    command : sequence of str
        What runs the driver; interrupted, it finishes what is at hand, and the same command goes on later.
    name : str
        The name of the job.
    script : Path
        Where this script will be: it submits itself again.
    output : Path
        The file for what is printed; `%j` in it is the job's number.
    folder : Path
        Where the driver is to run.
    """
    arguments = [
        f"--job-name={name}",
        f"--output={output}",
        "--open-mode=append",
        f"--chdir={folder}",
        "--ntasks=1",
        f"--signal=B:USR1@{_HAND_OVER}",
        *resource_arguments(options, options.memory if isinstance(options.memory, int) else None),
        *options.sbatch_args,
    ]
    shell = "/bin/bash -l" if options.modules else "/bin/bash"
    return "\n".join(
        [
            f"#!{shell}",
            *(f"#SBATCH {_quote(argument)}" for argument in arguments),
            *prologue_of(options),
            "hand_over() {",
            f'  next=$(sbatch --parsable --dependency=afterany:"$SLURM_JOB_ID" {shlex.quote(str(script))}) || return',
            '  echo "blockflow: the time of this job is nearly over; job $next goes on"',
            '  kill -INT "$driver"',
            "}",
            "trap hand_over USR1",
            f"{shlex.join(command)} &",
            "driver=$!",
            'wait "$driver"; status=$?',
            'while kill -0 "$driver" 2>/dev/null; do wait "$driver"; status=$?; done',
            '[ -z "$next" ] || exit 0',
            'exit "$status"',
            "",
        ]
    )


def _grace(options: SlurmOptions) -> int:
    """Seconds before the end for the signal to leave; a short time would otherwise be all grace."""
    return _GRACE if options.time is None else min(_GRACE, parse_time(options.time) // 10)


def _no_pattern(path: Path) -> str:
    """A path for `--output`, in which sbatch takes `%` and a backslash for its own."""
    if "\\" in str(path):
        raise ConfigError(f"{path}: a run directory whose path has a backslash cannot be used with Slurm")
    return str(path).replace("%", "%%")


def _quote(argument: str) -> str:
    """An argument as sbatch reads it in a script: what holds spaces or signs of the shell stands in quotes."""
    name, equals, value = argument.partition("=")
    if not equals or shlex.quote(value) == value:
        return argument
    if '"' in value or "\n" in value:
        raise ConfigError(f"{argument!r}: a value with a quote or a line end cannot be given to sbatch")
    return f'{name}="{value}"'
