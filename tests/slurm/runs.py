"""Runs of blockflow on a cluster, whose workers do as a test says."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml
import zarr
from slurm.cluster import wait_until

from blockflow.execution.look import failures_of

#: a worker file whose blocks do as the test says: `hold` those that wait, in their first attempt, until the
#: test lets them go; `eat` so many megabytes; `take` so many seconds
WORKER = """
import json, os, time
from pathlib import Path
import blockflow
from blockflow.storage import open_array, spec_like

fit = "shrink"
read_write_conflict = False

def arrays(input, output, **_):
    return {"inputs": {"input": input}, "outputs": {"output": spec_like(open_array(input), output)}}

def spawn_worker(input, output, trace, hold=(), eat=None, take=0.0):
    trace = Path(trace)
    def work():
        source, target = open_array(input), open_array(output, "r+")
        for block in blockflow.blocks():
            index = block.write_roi.offset[0] // block.write_roi.shape[0]
            about = {"block": index, "pid": os.getpid(), "job": os.environ.get("BLOCKFLOW_JOB"),
                     "host": os.uname().nodename, "memory": os.environ.get("BLOCKFLOW_MEMORY")}
            first = not list(trace.glob(f"block-{index}-*"))
            (trace / f"block-{index}-{time.time_ns()}").write_text(json.dumps(about))
            while first and index in hold and not (trace / f"go-{index}").exists():
                time.sleep(0.02)
            if eat and str(index) in eat:
                held = bytearray(eat[str(index)] * 1_000_000)
                held[::4096] = b"x" * len(held[::4096])
            time.sleep(take)
            target[block.write_roi] = source[block.write_roi] + 1
    return work
"""


class Run:
    """A run of blockflow in a folder of its own: `blocks` blocks of 8 voxels, each of which adds one."""

    def __init__(self, cluster, folder, blocks):
        self.cluster = cluster
        self.folder = folder
        self.trace = folder / "trace"
        self.trace.mkdir()
        self.directory = folder / "run"
        self.data = np.arange(blocks * 8, dtype=np.int32)
        array = zarr.create_array(
            str(folder / "raw.zarr"),
            shape=self.data.shape,
            dtype=self.data.dtype,
            chunks=(8,),
            attributes={"voxel_size": [1], "offset": [0], "axis_names": ["x"]},
        )
        array[:] = self.data
        (folder / "add.py").write_text(WORKER)
        self.process = None
        self.output = ""

    def write(self, compute=None, task=None, **args):
        config = {
            "run_dir": "run",
            "compute": {"context": "slurm", "num_workers": 4, "memory": "400 MB", **(compute or {})},
            "arrays": {"raw": {"path": "raw.zarr"}},
            "tasks": {
                "add": {
                    "worker_file": "add.py",
                    "inputs": {"input": "raw"},
                    "outputs": {"output": "out.zarr"},
                    "write_roi": {"offset": [0], "shape": [8]},
                    "args": {"trace": str(self.trace), **args},
                    **(task or {}),
                }
            },
        }
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))

    def start(self, *command, environment=None):
        self.process = subprocess.Popen(
            [str(Path(sys.executable).with_name("blockflow")), *(command or ("run", "config.yaml"))],
            cwd=self.folder,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self, seconds=60):
        """The exit status, once the run has ended."""
        try:
            self.output, _ = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGTERM)
            self.output, _ = self.process.communicate(timeout=20)
            raise AssertionError(
                f"the run did not end; it said\n{self.output}\n{self.commands()}\n{self.events()}"
            ) from None
        return self.process.returncode

    def notes(self):
        """What workers noted as they began blocks, in order."""
        return [
            json.loads(path.read_text())
            for path in sorted(self.trace.glob("block-*"), key=lambda path: int(path.name.rpartition("-")[2]))
        ]

    def begun(self, block, times=1):
        """What the workers noted as they began this block; waits for so many of them."""

        def notes():
            return sorted(self.trace.glob(f"block-{block}-*"))

        def there():
            assert self.process.poll() is None, self.process.communicate()[0]
            return len(notes()) >= times and all(note.stat().st_size for note in notes())

        wait_until(there, f"block {block} to begin", 60.0)
        return [json.loads(note.read_text()) for note in notes()]

    def let_go(self, *blocks):
        for block in blocks:
            (self.trace / f"go-{block}").touch()

    def kill_all(self):
        """End the driver and the supervisors at once, as a power cut of their machine would."""
        family = [self.process.pid]
        for pid in family:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                family += map(int, children.read_text().split())
        for pid in family:
            os.kill(pid, signal.SIGKILL)
        self.process.communicate()

    def is_right(self):
        return np.array_equal(zarr.open_array(str(self.folder / "out.zarr"), mode="r")[:], self.data + 1)

    def failures(self):
        return list(failures_of(self.directory))

    def commands(self):
        """The scheduler's commands so far, as their lines in the log."""
        path = self.directory / "tasks" / "add" / "compute" / "commands.log"
        return path.read_text().splitlines() if path.exists() else []

    def events(self):
        return "\n".join(path.read_text() for path in (self.directory / "events").glob("*supervisor*"))
