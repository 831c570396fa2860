"""A folder with a worker file, and configs written into it."""

import textwrap

import pytest

from blockflow.config import load_config
from blockflow.errors import ConfigError

WORKER = "def spawn_worker(**kwargs):\n    return lambda: None\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    return tmp_path


@pytest.fixture
def write(folder):
    """Write a config and return its path."""

    def write(text, name="cells.yaml"):
        path = folder / name
        path.write_text(textwrap.dedent(text).lstrip("\n"))
        return path

    return write


@pytest.fixture
def load(write):
    return lambda text, *overrides: load_config(write(text), overrides)


@pytest.fixture
def complaints(write):
    """The lines of the error that a config gives, with FILE for its path."""

    def complaints(text, *overrides, use=load_config):
        path = write(text)
        with pytest.raises(ConfigError) as caught:
            use(path, overrides)
        return str(caught.value).replace(str(path), "FILE").splitlines()

    return complaints
