"""A cluster for each file of these tests (only one is up at a time), and runs of blockflow on it."""

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest
from slurm.cluster import Cluster, MissingError, wait_until
from slurm.runs import Run
from zarr.core.sync import sync


@pytest.fixture(scope="module")
def running_cluster():
    folder = Path(tempfile.mkdtemp(prefix="blockflow-slurm-"))
    try:
        cluster = Cluster(folder, cpus=4)
    except MissingError as missing:
        shutil.rmtree(folder)
        pytest.skip(f"NOT TESTED AGAINST A REAL SLURM: {missing}")
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def cluster(running_cluster):
    """The cluster, with all its nodes up, entered; no job of a test is left in its queue."""
    running_cluster.up()
    # zarr's thread lives as long as the process: it must not begin on the network that is entered here
    sync(asyncio.sleep(0))
    with running_cluster.entered():
        yield running_cluster
        try:
            wait_until(lambda: running_cluster.queue() == [], "the queue to be empty", 20.0)
        finally:
            running_cluster.run("scancel", "--me")


@pytest.fixture
def make_run(cluster, tmp_path):
    runs = []

    def make(blocks=12):
        folder = tmp_path / f"run{len(runs)}"
        folder.mkdir()
        runs.append(Run(cluster, folder, blocks))
        return runs[-1]

    yield make
    for run in runs:
        if run.process is not None and run.process.poll() is None:
            run.process.kill()
            run.process.communicate()
