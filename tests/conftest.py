"""What the tests share: small volumes, and runs that leave nothing behind."""

import os
from pathlib import Path

import numpy as np
import pytest
import zarr
from funlib.geometry import Roi

from blockflow.execution.assignment import Assignment
from blockflow.execution.failures import FailureRecord
from blockflow.execution.look import failures_of
from blockflow.execution.run_directory import RunDirectory


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def volume(tmp_path):
    """A labelled volume of 40 x 36 x 44 voxels of 4 x 3 x 3 units, in chunks of 8, and its voxels."""
    data = np.random.default_rng(0).integers(0, 9, (40, 36, 44), dtype=np.uint32)
    array = zarr.create_array(
        str(tmp_path / "volume.zarr"),
        shape=data.shape,
        dtype=data.dtype,
        chunks=(8, 8, 8),
        attributes={"voxel_size": [4, 3, 3], "offset": [8, 0, 3], "axis_names": ["z", "y", "x"]},
    )
    array[:] = data
    return str(tmp_path / "volume.zarr"), data


@pytest.fixture
def voxels():
    """A ROI of so many voxels of `volume`, from its origin on or from another."""

    def roi(shape, offset=(0, 0, 0)):
        return Roi([o * v for o, v in zip(offset, (4, 3, 3))], [s * v for s, v in zip(shape, (4, 3, 3))])

    return roi


@pytest.fixture
def line():
    """`count` blocks of one step each, along one axis, without context."""

    def rois(count):
        return Roi((0,), (count,)), Roi((0,), (1,)), Roi((0,), (1,))

    return rois


def records(run: str | Path, task: str | None = None) -> list[FailureRecord]:
    """The failure records of the last session."""
    return list(failures_of(Path(run), task))


def events(run: str | Path, process: str) -> list[dict]:
    """The events of the processes of the last session whose name begins so."""
    import json

    directory = RunDirectory.open(Path(run))
    files = sorted((directory.path / "events").glob(f"{directory.session}.{process}*.jsonl"))
    return [json.loads(text) for file in files for text in file.read_text().splitlines()]


def assignment(run: str | Path, task: str) -> Assignment:
    """What the workers of a task were told in the last session."""
    return Assignment.load(Path(run) / "tasks" / task / "task.json")


def processes_of(run: str | Path) -> list[int]:
    """The processes that name the run directory on their command line or in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(run).encode() in command:
                found.append(int(entry.name))
    return found
