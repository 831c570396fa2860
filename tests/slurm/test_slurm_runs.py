"""Runs on a real Slurm: the life of workers, and whatever ends them. Then output, records and queue are right."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr
from slurm.cluster import wait_until

CONFIGS = Path(__file__).parents[2] / "configs"


def test_a_run_is_one_array_whatever_its_blocks(make_run):
    """Voxels are right, one sbatch was enough, and jobs that waited in vain are gone at the end."""
    run = make_run(60)
    run.write({"num_workers": 30}, hold=[0, 1, 2, 3, 4])  # one more than a node has CPUs
    run.start()
    hosts = {run.begun(block)[0]["host"] for block in range(5)}
    run.let_go(0, 1, 2, 3, 4)
    assert run.end() == 0, run.output
    assert run.is_right()
    assert hosts == {"n1", "n2"}
    assert run.cluster.queue() == []
    submissions = [line for line in run.commands() if "sbatch" in line]
    assert len(submissions) == 1
    looks = [line for line in run.commands() if "squeue" in line]  # how many is up to the time it takes
    assert len(run.commands()) - len(looks) < 8, run.commands()


def test_lost_workers_are_replaced_and_only_kills_count(make_run):
    """A killed worker costs its block an attempt, a cancelled or requeued one does not, SIGTERM lets it finish."""
    run = make_run(8)
    run.write(hold=[0, 1, 2, 3])
    run.start()
    killed, cancelled, requeued, told = (run.begun(block)[0] for block in range(4))
    run.cluster.run("scancel", "--batch", "--signal=TERM", told["job"])
    run.let_go(3)
    run.cluster.run("kill", "-9", str(killed["pid"]), on=killed["host"])
    run.cluster.run("scancel", cancelled["job"])
    run.cluster.run("scontrol", "requeue", requeued["job"])
    assert run.end() == 0, run.output
    assert run.is_right()
    found = {(record.block, record.cause, record.attempt) for record in run.failures()}
    assert found == {(0, "killed", 1), (1, "cancelled", 0), (2, "preemption", 0)}
    places = {record.block: (record.host, record.job) for record in run.failures()}
    assert places[1] == (cancelled["host"], cancelled["job"])


def test_a_node_that_goes_is_not_the_blocks_fault(make_run):
    """Work on a node that is powered off is done elsewhere, and the record says node_failure."""
    run = make_run(8)
    run.write(hold=[0, 1, 2, 3])
    run.start()
    notes = [run.begun(block)[0] for block in range(4)]
    node = notes[0]["host"]
    lost = [note["block"] for note in notes if note["host"] == node]
    run.cluster.power_off(node)
    run.cluster.declare_down(node)
    run.let_go(*(note["block"] for note in notes if note["host"] != node))
    assert run.end() == 0, run.output
    assert run.is_right()
    found = {(record.block, record.cause, record.attempt) for record in run.failures()}
    assert found == {(block, "node_failure", 0) for block in lost}


def test_memory_is_raised_in_steps(make_run):
    """A block that needs twice the memory gets it, one step at a time, and each record says what comes next."""
    run = make_run(6)
    run.write({"memory": "200 MB"}, eat={"3": 260})
    run.start()
    assert run.end() == 0, run.output
    assert run.is_right()
    records = [(record.block, record.cause) for record in run.failures()]
    assert records == [(3, "out_of_memory")] * len(records)
    assert 1 <= len(records) <= 2
    assert (
        "the next workers get 300 MB of memory in place of 200 MB (at most 400 MB"
        in run.failures()[0].message
    )


def test_a_worker_leaves_before_its_time_is_over(make_run):
    """With no time for another block a worker leaves, whole, and is replaced: no block is lost."""
    run = make_run(4)
    run.write({"num_workers": 2, "environment": {"SLURM_JOB_END_TIME": "1"}})
    run.start()
    assert run.end() == 0, run.output
    assert run.is_right()
    assert run.failures() == []
    assert len({note["job"] for note in run.notes()}) == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_is_told_to_stop_leaves_no_job(make_run, number):
    """After SIGINT or SIGTERM the queue is empty, and the same command goes on."""
    run = make_run(8)
    run.write({"num_workers": 30}, hold=[0])
    run.start()
    run.begun(0)
    run.process.send_signal(number)
    run.let_go(0)
    assert run.end() == 130, run.output
    wait_until(lambda: run.cluster.queue() == [], "the queue to be empty", 5.0)
    run.start()
    assert run.end() == 0, run.output
    assert run.is_right()
    assert run.failures() == []


def test_jobs_of_a_killed_driver_are_cancelled_by_the_next(make_run):
    """When driver and supervisors are killed, jobs may wait for ever; the next run cancels them, and says so."""
    run = make_run(24)
    run.write({"num_workers": 24}, hold=[0, 1])
    run.start()
    run.begun(0)
    run.kill_all()
    assert run.cluster.queue() != []
    run.start()
    run.let_go(0, 1)
    assert run.end() == 0, run.output
    assert "jobs of a driver of this run that is gone were cancelled" in run.output
    assert run.is_right()


#: lets blocks wait, once they are begun, until the test lets them go
HOLD = """
import time
from pathlib import Path
import blockflow

@blockflow.pointwise(dtype="float32", scratch=0)
def hold(image, trace=""):
    (Path(trace) / "applied").touch()
    while not (Path(trace) / "go-on").exists():
        time.sleep(0.02)
    return image
"""


def test_a_graph_killed_between_merge_and_apply_goes_on_there(make_run):
    """What the pass and the merge of a stage left on the nodes is kept; the voxels are those of the whole."""
    run = make_run(24)
    (run.folder / "own.py").write_text(HOLD)
    operators = {
        "norm": {"type": "NormalizeMinMax", "inputs": {"Input": "raw"}},
        "hold": {"type": "own.py:hold", "inputs": {"image": "norm"}, "params": {"trace": str(run.trace)}},
    }
    config = {
        "run_dir": "run",
        "compute": {"context": "slurm", "num_workers": 4, "memory": "600 MB"},
        "arrays": {"raw": {"path": "raw.zarr"}},
        "operators": operators,
        "outputs": {"out": {"slot": "hold", "path": "out.zarr", "block_shape": [16], "chunks": [8]}},
    }
    (run.folder / "config.yaml").write_text(yaml.safe_dump(config))
    run.start()
    wait_until((run.trace / "applied").exists, "a block to be applied", 60.0)
    run.kill_all()
    run.let_go("on")
    run.start()
    assert run.end() == 0, run.output
    assert re.search(r"pass: \d+ blocks: 0 done, \d+ skipped", run.output), run.output
    assert re.search(r"merge: 1 blocks: 0 done, 1 skipped", run.output), run.output
    wanted = ((run.data - run.data.min()) / (run.data.max() - run.data.min())).astype(np.float32)
    np.testing.assert_array_equal(zarr.open_array(str(run.folder / "out.zarr"), mode="r")[:], wanted)
    wait_until(lambda: run.cluster.queue() == [], "the queue to be empty", 5.0)


def test_sbatch_may_fail_for_a_while(make_run, tmp_path):
    """A submission that is refused twice is tried again, and the run goes well."""
    run = make_run(4)
    run.write()
    shim = tmp_path / "bin"
    shim.mkdir()
    (shim / "sbatch").write_text(
        "#!/bin/sh\n"
        f"n=$(cat {shim}/n 2>/dev/null || echo 0); echo $((n + 1)) > {shim}/n\n"
        'if [ "$n" -lt 2 ]; then echo "sbatch: error: Batch job submission failed: out of luck" >&2; exit 1; fi\n'
        'exec /usr/bin/sbatch "$@"\n'
    )
    (shim / "sbatch").chmod(0o755)
    run.start(environment={"PATH": f"{shim}:{os.environ['PATH']}"})
    assert run.end() == 0, run.output
    assert run.is_right()
    assert sum("sbatch" in line for line in run.commands()) == 3


def test_the_engine_cannot_be_reached_from_other_machines(make_run):
    """Nodes reach the supervisor's door alone, which says nothing to strangers; Daisy's port is this machine's."""
    run = make_run(2)
    run.write({"num_workers": 1}, hold=[0])
    run.start()
    run.begun(0)
    engine = json.loads((run.directory / "address.json").read_text())
    door = json.loads((run.directory / "tasks/add/compute/address.json").read_text())
    assert door["host"] == "10.77.0.1"
    speak = "import socket, sys; c = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5);"
    listen = "c.settimeout(5); c.sendall(b'x\\n' * 9); print(c.makefile('rb').read())"

    def come(on, host, port):
        return run.cluster.run(sys.executable, "-c", speak + listen, host, str(port), on=on)

    with pytest.raises(subprocess.CalledProcessError) as refused:
        come("n1", "10.77.0.1", engine["port"])
    assert "ConnectionRefusedError" in refused.value.stderr
    said = come("n1", door["host"], door["port"])
    assert said.startswith("b'blockflow-door 1 ")
    assert said.count("\\n") == 1
    run.let_go(0)
    assert run.end() == 0, run.output
    assert run.is_right()


def test_the_example_config_runs(cluster, tmp_path):
    """configs/slurm.yaml runs as its first lines say, and makes the same voxels as on a laptop."""
    folder = tmp_path / "configs"
    shutil.copytree(
        CONFIGS, folder, ignore=shutil.ignore_patterns("sample", "results", "runs", "__pycache__")
    )
    blockflow = str(Path(sys.executable).with_name("blockflow"))
    subprocess.run([blockflow, "sample", str(folder / "sample")], check=True, capture_output=True)
    config = str(folder / "slurm.yaml")
    script = subprocess.run(
        [blockflow, "run", "--dry-run", config], check=True, capture_output=True, text=True
    )
    done = subprocess.run([blockflow, "run", config], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    raw = zarr.open(str(folder / "sample/raw"))[:]
    np.testing.assert_array_equal(zarr.open(str(folder / "results/mask_by_slurm.zarr"))[:], raw > 128)
    submitted = (folder / "runs/slurm/tasks/mask/compute/array.sh").read_text()
    assert submitted in script.stdout
    assert "at most" in done.stdout
    assert "of memory each" in done.stdout


def test_a_driver_in_a_job_hands_over(make_run):
    """`blockflow submit` gives a job; told that its time is nearly over, it drains, and the next job goes on."""
    run = make_run(6)
    run.write({"num_workers": 2, "memory": "300 MB"}, hold=[0])
    run.start("submit", "config.yaml", "--memory", "600 MB", "--cpus", "1")
    job = run.process.communicate(timeout=30)[0].split()[0]
    wait_until(lambda: list(run.trace.glob("block-0-*")), "the first block", 60.0)
    run.cluster.run("scancel", "--batch", "--signal=USR1", job)
    wait_until((run.directory / "stop").exists, "the drain", 30.0)
    run.let_go(0)
    wait_until(lambda: run.cluster.queue() == [], "the last driver's end", 90.0)
    assert run.is_right()
    assert run.failures() == []
    assert len(list(run.folder.glob("run.driver-*.out"))) == 2


def test_workers_inside_an_allocation(make_run):
    """With `srun` workers are tasks of a step of the allocation that the driver is in; a killed one is replaced."""
    run = make_run(6)
    run.write({"context": "srun", "num_workers": 2, "memory": "300 MB"}, hold=[0])
    driver = f"{Path(sys.executable).with_name('blockflow')} run config.yaml"
    job = run.cluster.run(
        *("sbatch", "--parsable", "-n3", "--mem-per-cpu=600M", f"--chdir={run.folder}"),
        *(f"--output={run.folder}/driver.out", "--wrap", driver),
    ).strip()
    wait_until(lambda: list(run.trace.glob("block-0-*")), "the first block", 60.0)
    worker = next(note for note in run.notes() if note["block"] == 0)
    run.cluster.run("kill", "-9", str(worker["pid"]), on=worker["host"])
    wait_until(lambda: run.cluster.queue() == [], f"the end of job {job}", 90.0)
    said = (run.folder / "driver.out").read_text()
    assert "config: done" in said
    assert run.is_right()
    assert [(record.block, record.cause) for record in run.failures()] == [(0, "killed")]
