"""One cluster for all of these tests; they run on its login node's network."""

import shutil
import tempfile
from pathlib import Path

import pytest
from slurm.cluster import Cluster, MissingError, wait_until


@pytest.fixture(scope="session")
def running_cluster():
    folder = Path(tempfile.mkdtemp(prefix="blockflow-slurm-"))
    try:
        cluster = Cluster(folder)
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
    with running_cluster.entered():
        yield running_cluster
        try:
            wait_until(lambda: running_cluster.queue() == [], "the queue to be empty", 20.0)
        finally:
            running_cluster.run("scancel", "--me")
