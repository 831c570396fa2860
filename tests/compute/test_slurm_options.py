"""What may be said of a Slurm cluster, and the scripts that it becomes."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockflow.compute import SlurmContext, SrunContext, create_compute_context
from blockflow.compute.context import WorkersOf
from blockflow.compute.slurm.commands import scheduler_environment
from blockflow.compute.slurm.options import SlurmOptions, parse_time
from blockflow.compute.slurm.script import (
    array_script,
    comment_of,
    driver_script,
    is_of_run,
    job_name,
    run_mark,
)
from blockflow.errors import ConfigError

_A = Path("/a")

FULL = {
    "memory": 4_000_000_000,
    "max_memory": 16_000_000_000,
    "partition": "gpu",
    "account": "lab",
    "qos": "long",
    "constraint": "a100|h100",
    "time": "4:00:00",
    "cpus_per_worker": 3,
    "gpus": "a100:1",
    "gres": "scratch:10",
    "modules": ["cuda/12"],
    "prologue": ["source activate em"],
    "environment": {"OMP_NUM_THREADS": "3", "NOTE": "it's a b"},
    "sbatch_args": ["--reservation=night"],
    "host": "10.0.0.1",
}


@pytest.fixture
def workers(tmp_path):
    return WorkersOf(run=tmp_path / "run", task="cells", folder=tmp_path / "run" / "tasks" / "cells", most=7)


@pytest.mark.parametrize("context", ["slurm", "srun"])
def test_all_options_come_back(context):
    """What a config says makes a context that says the same."""
    made = create_compute_context({"context": context, **FULL})
    assert made.to_json() == {"context": context, **FULL}
    assert create_compute_context(context).to_json() == {"context": context}


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        (90, 5400),
        ("90", 5400),
        ("10:30", 630),
        ("4:00:00", 14400),
        ("2-0", 172800),
        ("1-12:30", 131400),
        ("1-00:00:05", 86405),
    ],
)
def test_times_are_understood_as_slurm_does(time, seconds):
    """Minutes, minutes and seconds, hours, days."""
    assert parse_time(time) == seconds


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"queue": "long"}, "takes no 'queue'; its keys are 'context', 'memory', 'max_memory', 'partition'"),
        ({"memory": "lots"}, "memory 'lots' is no amount"),
        ({"memory": "4 GB", "max_memory": "2 GB"}, "max_memory 2000000000 is less than memory"),
        ({"time": "soon"}, "'soon' is no time for sbatch"),
        ({"time": "0:00"}, "is no time for sbatch"),
        ({"cpus_per_worker": 0}, "at least 1"),
        ({"partition": "a\nb"}, "give one line"),
        ({"prologue": "module load x"}, "give a list of lines"),
        ({"environment": {"A B": "1"}}, "no name of a variable"),
        ({"sbatch_args": ["--array=0-9"]}, "which blockflow sets itself"),
        ({"sbatch_args": ["-Jname"]}, "which blockflow sets itself"),
        ({"sbatch_args": ["reservation=x"]}, "as in --reservation=night"),
    ],
)
def test_what_cannot_be_is_refused(options, part):
    """A wrong value is named, with what would do."""
    with pytest.raises(ConfigError, match="compute context 'slurm'") as caught:
        create_compute_context({"context": "slurm", **options})
    assert part in str(caught.value)


def test_a_script_says_all_that_was_asked_for(workers):
    """Each option is in the script, once, and the element is what runs."""
    text = SlurmContext(options=SlurmOptions(**FULL)).describe(workers)
    for line in (
        f"#SBATCH --job-name=cells.{run_mark(workers.run)}",
        f'#SBATCH --comment="blockflow run {workers.run}"',
        "#SBATCH --array=0-6%7",
        "#SBATCH --cpus-per-task=3",
        "#SBATCH --mem=3815M",
        "#SBATCH --partition=gpu",
        "#SBATCH --account=lab",
        "#SBATCH --qos=long",
        '#SBATCH --constraint="a100|h100"',
        "#SBATCH --time=4:00:00",
        "#SBATCH --gres=scratch:10",
        "#SBATCH --gpus-per-task=a100:1",
        "#SBATCH --signal=B:TERM@60",
        "#SBATCH --reservation=night",
        "module load cuda/12 || exit 1",
        "export OMP_NUM_THREADS=3",
        """export NOTE='it'"'"'s a b'""",
        "source activate em",
    ):
        assert text.splitlines().count(line) == 1, line
    assert "-m blockflow.compute.slurm.element" in text
    assert "memory: 4 GB; when that runs out 6 GB, 8 GB, 12 GB, 16 GB" in text


@settings(max_examples=40)
@given(
    st.dictionaries(
        st.from_regex(r"BF_[A-Z]{1,5}", fullmatch=True),
        st.text(st.characters(exclude_categories=["C"]), min_size=1),
        max_size=3,
    )
)
def test_a_script_is_shell_whatever_the_values_are(environment):
    """Values reach the shell as they are: nothing in them is run."""
    options = SlurmOptions(environment=environment)
    workers = WorkersOf(run=_A, task="t", folder=_A, most=1)
    text = array_script(options, workers.run, "t", _A, elements=1, most=1, memory=None)
    lines = [line for line in text.split("\n") if not line.startswith("exec ")]
    script = "\n".join([*lines, *(f'printf "%s\\0" "${name}"' for name in environment)])
    printed = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout.decode()
    assert printed.split("\0")[:-1] == list(environment.values())


def test_short_times_are_not_all_grace(workers):
    """A worker with few minutes is told to leave when a tenth of them is left."""
    assert "--signal=B:TERM@12" in SlurmContext(options=SlurmOptions(time=2)).describe(workers)


def test_memory_auto_needs_a_projection(workers):
    """Without knowing what a task holds there is nothing to ask for; with it, there is a margin."""
    context = SlurmContext(options=SlurmOptions(memory="auto"))
    with pytest.raises(ConfigError, match=r"task cells: compute\.memory is 'auto', but nobody knows"):
        context.of_task(workers)
    known = WorkersOf(run=workers.run, task="cells", folder=workers.folder, most=1, memory=10**9)
    assert "#SBATCH --mem=1401M" in context.of_task(known).describe(known)


def test_the_jobs_of_a_run_are_known_by_their_names(tmp_path):
    """Tasks of one run share a mark that no other run's jobs have."""
    mark = run_mark(tmp_path / "a")
    assert job_name(tmp_path / "a", "x").endswith(f".{mark}")
    assert job_name(tmp_path / "a", "y").endswith(f".{mark}")
    assert not job_name(tmp_path / "b", "x").endswith(mark)
    name = job_name(tmp_path / "a", "x")
    assert is_of_run(tmp_path / "a", name, comment_of(tmp_path / "a"))
    assert is_of_run(tmp_path / "a", name, "")
    assert not is_of_run(tmp_path / "a", name, comment_of(tmp_path / "b"))
    assert not is_of_run(tmp_path / "a", f"x.{run_mark(tmp_path / 'b')}", "")


def test_srun_needs_an_allocation(workers, monkeypatch):
    """Outside of one, the error says where to go."""
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(ConfigError, match="run blockflow within salloc or sbatch"):
        SrunContext().of_task(workers)
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    SrunContext().of_task(workers)


def test_srun_starts_all_workers_in_one_step(workers):
    """One command, whatever the number; what belongs to the allocation is not asked for again."""
    text = SrunContext(options=SlurmOptions(**FULL)).describe(workers)
    assert "srun --ntasks=7 --exact" in text
    assert "--mem-per-cpu=1272M" in text
    assert "--partition" not in text


_DRIVER = """
import signal, sys
signal.signal(signal.SIGINT, lambda *_: (print("drained", flush=True), sys.exit(130)))
print("up", flush=True)
while True: signal.pause()
"""


def test_a_driver_hands_over_to_the_next_job(tmp_path):
    """Before its time is over the driver's job submits itself again, and interrupts the driver."""
    script = tmp_path / "driver.sh"
    text = driver_script(
        SlurmOptions(memory=2**31, time="1-0"),
        [sys.executable, "-c", _DRIVER],
        name="cells.driver",
        script=script,
        output=tmp_path / "out-%j",
        folder=tmp_path,
    )
    assert "#SBATCH --mem=2048M" in text
    assert "#SBATCH --signal=B:USR1@120" in text
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "sbatch").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/submitted\necho 78\n')
    (bin_ / "sbatch").chmod(0o755)
    script.write_text(text)
    with subprocess.Popen(
        ["bash", str(script)],
        env={"PATH": f"{bin_}:/usr/bin:/bin", "SLURM_JOB_ID": "77"},
        stdout=subprocess.PIPE,
        text=True,
    ) as job:
        assert job.stdout.readline() == "up\n"
        job.send_signal(10)  # SIGUSR1
        lines = job.communicate(timeout=30)[0].splitlines()
    assert sorted(lines) == ["blockflow: the time of this job is nearly over; job 78 goes on", "drained"]
    assert job.returncode == 0
    assert (tmp_path / "submitted").read_text().split() == [
        "--parsable",
        "--dependency=afterany:77",
        str(script),
    ]


def test_slurms_commands_do_not_see_the_job_they_are_in():
    """A driver within a job must not have its workers inherit what the job asked for."""
    inside = {"SLURM_MEM_PER_NODE": "100", "SLURM_JOB_ID": "7", "SLURM_CONF": "/x", "HOME": "/h"}
    assert scheduler_environment(inside) == {"SLURM_CONF": "/x", "HOME": "/h"}
