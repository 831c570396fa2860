"""Every compute context passes the shipped kit; how a context is named, found and refused."""

import json
import subprocess
import sys
import types

import pytest

from blockflow.compute import ComputeContext, LocalContext, SerialContext, create_compute_context, current
from blockflow.errors import ConfigError
from blockflow.testing.compute import ComputeContextTests


class TestLocalContext(ComputeContextTests):
    @pytest.fixture
    def context(self):
        return LocalContext()


class TestSerialContext(ComputeContextTests):
    @pytest.fixture
    def context(self):
        return SerialContext()


@pytest.mark.parametrize(("name", "kind"), [("local", LocalContext), ("serial", SerialContext)])
def test_a_context_is_made_from_its_name_or_a_mapping(name, kind):
    """A name, and a mapping with `context`, make the context; the mapping is not changed."""
    spec = {"context": name}
    assert type(create_compute_context(name)) is kind
    assert type(create_compute_context(spec)) is kind
    assert spec == {"context": name}


@pytest.mark.parametrize("spec", ["slrum", {"context": "slrum"}])
def test_an_unknown_context_is_answered_with_the_valid_ones(spec):
    """A context that there is not is named, with those that there are."""
    with pytest.raises(ConfigError, match=r"unknown compute context 'slrum'; valid are serial, local"):
        create_compute_context(spec)


@pytest.mark.parametrize("spec", [{}, {"num_workers": 3}, {"context": None}, {"context": ["local"]}])
def test_a_mapping_that_names_no_context_is_refused(spec):
    """A mapping without a name of a context is refused with the valid ones."""
    with pytest.raises(ConfigError, match=r"unknown compute context .*; valid are serial, local"):
        create_compute_context(spec)


@pytest.mark.parametrize("name", ["local", "serial"])
def test_an_unknown_option_is_answered_with_the_valid_ones(name):
    """Options that a context does not take are named, with the one key that it has."""
    with pytest.raises(
        ConfigError, match=rf"'{name}' takes no 'queue', 'gpus'; its keys are 'context' and 'memory'"
    ):
        create_compute_context({"context": name, "queue": "long", "gpus": 1})


def test_without_a_worker_the_context_is_local(monkeypatch):
    """Outside of workers the context in force is `local`, and it is what no spec at all means."""
    monkeypatch.delenv("BLOCKFLOW_COMPUTE", raising=False)
    assert type(current()) is LocalContext
    assert type(create_compute_context()) is LocalContext
    assert type(create_compute_context(None)) is LocalContext


def test_the_commands_parts_may_be_of_any_type(tmp_path):
    """Paths and numbers in a command become text."""
    command = [sys.executable, tmp_path, 3]
    assert LocalContext().wrap_command(command) == [sys.executable, str(tmp_path), "3"]


@pytest.mark.parametrize(("available", "device"), [(True, "cuda"), (False, "cpu")])
def test_the_device_is_what_torch_sees(monkeypatch, available, device):
    """With torch the device is `cuda` if it sees a GPU, else `cpu`."""
    torch = types.ModuleType("torch")
    torch.cuda = types.SimpleNamespace(is_available=lambda: available)
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert LocalContext().device == device


def test_without_torch_the_device_is_the_cpu(monkeypatch):
    """Torch is not needed."""
    monkeypatch.setitem(sys.modules, "torch", None)
    assert SerialContext().device == "cpu"


def test_a_context_of_ones_own_needs_only_to_start_workers(tmp_path):
    """A subclass that says how a worker starts is a whole context."""

    class Nested(ComputeContext):
        name = "nested"
        distribute_workers = True
        can_kill = True

        def start_worker(self, command, environment, log):
            return LocalContext().start_worker(["env", "NESTED=1", *command], environment, log)

    handle = Nested().start_worker(["printenv", "NESTED"], {}, tmp_path / "log")
    while handle.exit_code() is None:
        pass
    assert (tmp_path / "log").read_text() == "1\n"
    assert json.loads(Nested().environment()["BLOCKFLOW_COMPUTE"]) == {"context": "nested"}


def test_importing_the_contexts_is_light():
    """The contexts are imported without numpy, Daisy, zarr or pytest: worker files import them first of all."""
    program = "import sys, blockflow.compute; print({'numpy', 'daisy', 'zarr', 'pytest'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert found.stdout.strip() == "set()"
