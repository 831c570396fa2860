"""A sample volume that the tests of the documentation copy, and the environment of the commands that they run."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from blockflow.report.sample import make_sample


@pytest.fixture(scope="session")
def sample_of_session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("documentation") / "sample"
    make_sample(folder, (96, 128, 128), 0)
    return folder


@pytest.fixture
def beside_sample(tmp_path, sample_of_session):
    """A temporary folder with the sample volume in `sample`, as a reader of the documentation has it."""
    shutil.copytree(sample_of_session, tmp_path / "sample")
    return tmp_path


@pytest.fixture(scope="session")
def environment():
    """What commands need so that `blockflow` and `python` are those that run the tests."""
    scripts = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "PATH": os.pathsep.join([scripts, os.environ.get("PATH", "")]),
        "PYTHONWARNINGS": "error",
    }
