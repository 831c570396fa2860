"""Slurm: everything that can happen to a run on a real cluster of two nodes, and how soon the first block is done.

python benchmarks/bench_slurm.py [SCENARIO ...]        writes benchmarks/slurm.md (all scenarios) or prints those named

Needs what `tests/slurm/cluster.py` needs: root, and Debian's packages of Slurm. Each node claims 8 CPUs, whatever the
machine has.
"""

import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness import write_report

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent / "tests"))

from slurm.cluster import Cluster, MissingError, wait_until  # noqa: E402 (it is among the tests)
from slurm.runs import Run  # noqa: E402

PYTHON = sys.executable
REPETITIONS = 5


@dataclass(frozen=True)
class Row:
    """How a scenario went."""

    name: str
    seconds: float
    right: bool
    records: str
    commands: int
    left: int

    def cells(self) -> str:
        return (
            f"| {self.name} | {self.seconds:.1f} s | {'right' if self.right else '**wrong**'} | {self.records} "
            f"| {self.commands} | {self.left} |"
        )


SCENARIOS: dict[str, Callable[[Cluster, Path], Row]] = {}


def scenario(name: str, blocks: int = 12, compute=None, seconds: float = 240, **arguments):
    """Make a scenario of a function that disturbs a run which has begun: `disturb(cluster, run)`."""

    def make(disturb):
        def play(cluster: Cluster, folder: Path) -> Row:
            run = Run(cluster, folder, blocks)
            run.write(compute, **arguments)
            begun = time.monotonic()
            run.start()
            disturb(cluster, run)
            status = run.end(seconds)
            took = time.monotonic() - begun
            assert status == 0, run.output
            left = len(cluster.queue())
            records = sorted({(f.cause, "counts" if f.attempt else "does not count") for f in run.failures()})
            said = ", ".join(f"{cause} ({counts})" for cause, counts in records) or "none"
            return Row(name, took, run.is_right(), said, len(run.commands()), left)

        SCENARIOS[name] = play
        return play

    return make


@scenario("nothing happens")
def undisturbed(cluster, run):
    pass


@scenario("200 workers on 2 nodes of 8 CPUs", blocks=400, compute={"num_workers": 200})
def many(cluster, run):
    pass


@scenario("a worker is killed", hold=[0])
def kill(cluster, run):
    worker = run.begun(0)[0]
    cluster.run("kill", "-9", str(worker["pid"]), on=worker["host"])


@scenario("scancel of an element", hold=[0])
def cancel(cluster, run):
    cluster.run("scancel", run.begun(0)[0]["job"])


@scenario("scontrol requeue", hold=[0])
def requeue(cluster, run):
    cluster.run("scontrol", "requeue", run.begun(0)[0]["job"])


@scenario("an urgent job pushes out", hold=[0])
def preempt(cluster, run):
    worker = run.begun(0)[0]
    cluster.run(
        "sbatch",
        *(
            "-p",
            "urgent",
            "-w",
            worker["host"],
            "-N1",
            "-n8",
            "--mem=7000M",
            "-o",
            "/dev/null",
            "--wrap",
            "sleep 1",
        ),
    )


@scenario("the slurmd of a node is killed, its jobs run on", hold=[0, 1, 2, 3])
def slurmd(cluster, run):
    worker = run.begun(0)[0]
    cluster.kill_slurmd(worker["host"])
    wait_until(
        lambda: cluster.run("sinfo", "-h", "-n", worker["host"], "-o", "%t").split()[0].startswith("down"),
        "the node to be down",
        90.0,
    )
    run.let_go(0, 1, 2, 3)


@scenario("a node is powered off", hold=[0, 1, 2, 3])
def power(cluster, run):
    notes = [run.begun(block)[0] for block in range(4)]
    cluster.power_off(notes[0]["host"])
    run.let_go(*(note["block"] for note in notes if note["host"] != notes[0]["host"]))


@scenario("a job is over its time", hold=[0])
def walltime(cluster, run):
    cluster.run("scontrol", "update", f"jobid={run.begun(0)[0]['job']}", "EndTime=now+2")


@scenario("a block needs twice the memory", compute={"memory": "200 MB"}, eat={"3": 260})
def memory(cluster, run):
    pass


@scenario(
    "driver and supervisor get SIGKILL, and the run goes on", blocks=60, compute={"num_workers": 60}, hold=[0]
)
def driver(_cluster, run):
    run.begun(0)
    run.kill_all()
    run.let_go(0)
    run.start()


@scenario("SIGTERM, and the run goes on", hold=[0])
def terminate(cluster, run):
    run.begun(0)
    run.process.send_signal(signal.SIGTERM)
    run.end()
    assert cluster.queue() == []
    run.let_go(0)
    run.start()


@scenario("the controller is away for 20 s", hold=[0])
def away(cluster, run):
    worker = run.begun(0)[0]
    cluster.stop_controller()
    cluster.run("kill", "-9", str(worker["pid"]), on=worker["host"])
    time.sleep(20)  # this is what is tried
    cluster.start_controller()


def sbatch_fails(cluster: Cluster, folder: Path) -> Row:
    shim = folder / "bin"
    shim.mkdir()
    (shim / "sbatch").write_text(
        f"#!/bin/sh\necho x >> {shim}/count\n"
        f'[ "$(wc -l < {shim}/count)" -gt 2 ] || {{ echo "sbatch: error: out of luck" >&2; exit 1; }}\n'
        'exec /usr/bin/sbatch "$@"\n'
    )
    (shim / "sbatch").chmod(0o755)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{shim}:{path}"
    try:
        return SCENARIOS["nothing happens"](cluster, folder)
    finally:
        os.environ["PATH"] = path


SCENARIOS["sbatch fails twice"] = sbatch_fails


def play(cluster: Cluster, name: str) -> Row:
    folder = Path(tempfile.mkdtemp(prefix="bench-slurm-"))
    cluster.up()
    row = SCENARIOS[name](cluster, folder)
    row = Row(name, row.seconds, row.right, row.records, row.commands, row.left)
    print(row.cells(), flush=True)
    wait_until(lambda: cluster.queue() == [], "the queue to be empty", 60.0)
    shutil.rmtree(folder)
    return row


def first_block(cluster: Cluster, workers: int) -> tuple[list[float], list[float]]:
    """Seconds to the first block done: with `blockflow run`, and with plain sbatch of an array that does the same."""
    ours, plain = [], []
    for _ in range(REPETITIONS + 1):
        folder = Path(tempfile.mkdtemp(prefix="bench-slurm-"))
        run = Run(cluster, folder, workers)
        run.write({"num_workers": workers})
        begun = time.time()
        run.start()
        assert run.end() == 0, run.output
        ours.append(_first_done(run) - begun)
        (folder / "plain.py").write_text(_PLAIN)
        begun = time.time()
        cluster.run(
            "sbatch",
            *("--wait", f"--array=0-{workers - 1}%{workers}", "--mem=400M", "-o", "/dev/null", "--wrap"),
            f"{PYTHON} {folder}/plain.py {folder}",
        )
        plain.append(min(float(path.read_text()) for path in folder.glob("plain-*.txt")) - begun)
        shutil.rmtree(folder)
    return ours[1:], plain[1:]


_PLAIN = """
import os, sys, time, zarr
folder, index = sys.argv[1], int(os.environ["SLURM_ARRAY_TASK_ID"])
source, target = zarr.open_array(folder + "/raw.zarr", mode="r"), zarr.open_array(folder + "/out.zarr", mode="r+")
target[index * 8 : index * 8 + 8] = source[index * 8 : index * 8 + 8] + 1
open(f"{folder}/plain-{index}.txt", "w").write(str(time.time()))
"""


def _first_done(run: Run) -> float:
    times = []
    for path in (run.directory / "events").glob("*.add-[0-9]*.jsonl"):
        events = [json.loads(line) for line in path.read_text().splitlines()]
        times += [event["t"] for event in events if event["event"] == "done"]
    return min(times)


def blocks_a_second(cluster: Cluster, context: str, blocks: int = 3000) -> float:
    """How fast four workers do blocks that are next to nothing."""
    folder = Path(tempfile.mkdtemp(prefix="bench-slurm-"))
    run = Run(cluster, folder, blocks)
    run.write({"context": context, "num_workers": 4})
    run.start()
    assert run.end() == 0, run.output
    times = [
        json.loads(line)["t"]
        for path in (run.directory / "events").glob("*.add-[0-9]*.jsonl")
        for line in path.read_text().splitlines()
        if '"done"' in line
    ]
    shutil.rmtree(folder)
    return (len(times) - 1) / (max(times) - min(times))


def report(rows: list[Row], starts: tuple[list[float], list[float]], speeds: dict[str, float]) -> None:
    table = [
        "| what happens | took | output | failure records | scheduler commands | jobs left |",
        "| --- | --- | --- | --- | --- | --- |",
        *(row.cells() for row in rows),
    ]
    ours, plain = starts
    difference = statistics.median(a - b for a, b in zip(ours, plain, strict=True))
    start = [
        "| | median | least | most |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {statistics.median(times):.2f} s | {min(times):.2f} s | {max(times):.2f} s |"
            for name, times in (
                ("from `blockflow run` to the first block done", ours),
                ("from plain `sbatch` of an array that does the same blocks, to the first", plain),
            )
        ),
        f"| difference, pair by pair | {difference:.2f} s | | |",
    ]
    speed = [
        "| context | blocks a second |",
        "| --- | --- |",
        *(f"| `{name}` | {value:.0f} |" for name, value in speeds.items()),
    ]
    about = (
        "A real Slurm, one controller and two nodes, each with a network of its own, all on one machine "
        "(`tests/slurm/cluster.py`). A run of 12 small blocks by 4 workers, unless said otherwise. *Counts*: the block "
        "has used up an attempt. Scheduler commands are those of the task's supervisor: sbatch, squeue, scancel, "
        "scontrol, sinfo."
    )
    about_start = (
        "## The first block\n\nFour workers, pair by pair. The plain array imports zarr and does one block each; "
        f"{len(ours)} repetitions."
    )
    about_speed = (
        "## Blocks a second\n\nFour workers, 3,000 blocks of 8 voxels that each leave a file. With `slurm` every word "
        "between worker and engine goes through the element and the door of the supervisor."
    )
    parts = [about, "\n".join(table), about_start, "\n".join(start), about_speed, "\n".join(speed)]
    write_report(FOLDER / "slurm.md", "Slurm", parts)


def main(names: list[str]) -> int:
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        cluster = Cluster(folder)
    except MissingError as missing:
        print(f"not measured: {missing}")
        return 0
    cluster.up()
    try:
        with cluster.entered():
            rows = [play(cluster, name) for name in names or SCENARIOS]
            if not names:
                starts = first_block(cluster, 4)
                report(rows, starts, {name: blocks_a_second(cluster, name) for name in ("local", "slurm")})
    finally:
        cluster.down()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
