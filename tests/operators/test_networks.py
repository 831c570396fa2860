"""OpPredict with networks in files: blocks are those of the whole, bit for bit; what is wrong with a file is told."""

import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.ndimage as ndi
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from operators.arrays import slots
from operators.networks import save, torch_or_skip, weights_of, write_network

from blockflow.errors import OperatorError
from blockflow.graph import SlotNotReadyError
from blockflow.operators import OpPredict, networks, predicting
from blockflow.operators.models import load_model
from blockflow.rtype import SubRegion
from blockflow.storage import ArraySpec, VolumeMetadata, open_array
from blockflow.tasks.graph_data import GraphData
from blockflow.testing.operators import check_operator

torch = torch_or_skip()

KINDS = pytest.mark.parametrize("ending", [".pt", ".onnx"])


@pytest.fixture
def image():
    return np.random.default_rng(2).integers(0, 256, (13, 17, 11), np.uint8)


def stored(path, image):
    """The image as an array of ours."""
    metadata = VolumeMetadata((1,) * 3, (0,) * 3, ("nm",) * 3, ("z", "y", "x"), ("space",) * 3)
    ArraySpec(str(path), image.shape, image.dtype, metadata, (8,) * 3).create()
    zarr.open(str(path), mode="r+")[:] = image
    return open_array(path)


def correlated(weights):
    """What a convolution with these weights makes of an image, or of channels."""

    def reference(image):
        channels = image if image.ndim == weights.ndim - 1 else image[np.newaxis]
        made = [
            sum(
                ndi.correlate(one.astype(float), row.astype(float), mode="constant")
                for one, row in zip(channels, rows)
            )
            for rows in weights
        ]
        return np.stack(made).astype(np.float32)

    return reference


@KINDS
@pytest.mark.parametrize("batch", [None, 1, 3])
def test_with_tiles_blocks_are_those_of_the_whole(tmp_path, image, ending, batch):
    """Any region of a network of real weights is that of the whole, bit for bit, whatever the size of a batch."""
    weights = weights_of(2, 1)
    path = write_network(tmp_path / f"net{ending}", weights)
    op = slots(OpPredict(), model=path, channels=2, tile=6, Input=image)
    if batch:
        op.batch.setValue(batch)
    check_operator(op, correlated(weights), tolerance=1e-6)


@KINDS
def test_without_tiles_too_where_sums_are_exact(tmp_path, image, ending):
    """A network of whole numbers gives the very voxels of the whole for regions of any shape."""
    weights = weights_of(2, 1, whole=True)
    op = slots(OpPredict(), model=write_network(tmp_path / f"net{ending}", weights), channels=2, Input=image)
    check_operator(op, correlated(weights))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_blocks_with_any_tiles(tmp_path, data):
    """Whatever the shapes of array, tile and block, and the batch: blocks are the whole, to the last bit."""
    dims = data.draw(st.sampled_from([2, 3]))
    ending = data.draw(st.sampled_from([".pt", ".onnx"]))
    path = tmp_path / f"net{dims}{ending}"
    if not path.exists():
        write_network(path, weights_of(2, 3, dims=dims))
    shape = [data.draw(st.integers(1, 14)) for _ in range(dims)]
    tile = [data.draw(st.integers(2, 9)) for _ in range(dims)]
    block = [data.draw(st.integers(1, size)) for size in shape]
    op = slots(OpPredict(), model=str(path), channels=2, context=1, tile=tile)
    batch = data.draw(st.sampled_from([None, 1, 2, 5]))
    if batch:
        op.batch.setValue(batch)
    image = np.random.default_rng(dims).standard_normal((3, *shape)).astype("f4")
    op.Input.setValue(image, extra_meta={"axistags": "czyx" if dims == 3 else "cyx"})
    whole = op.Output[:].wait()
    tiled = np.empty_like(whole)
    for corner in itertools.product(*(range(0, size, edge) for size, edge in zip(shape, block))):
        stop = [min(a + edge, size) for a, edge, size in zip(corner, block, shape)]
        region = (slice(0, 2), *map(slice, corner, stop))
        tiled[region] = op.Output[region].wait()
    np.testing.assert_array_equal(tiled, whole)


@KINDS
def test_channels_go_in_and_come_out(tmp_path, image, ending):
    """Three channels become two, and a part of the channels can be asked for."""
    weights = weights_of(2, 3)
    op = slots(OpPredict(), model=write_network(tmp_path / f"net{ending}", weights), channels=2, tile=8)
    three = np.stack([image, image[::-1], image[:, ::-1]])
    op.Input.setValue(three, extra_meta={"axistags": "czyx"})
    assert op._context() == (1, 1, 1)
    check_operator(op, correlated(weights), tolerance=1e-6)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_the_context_is_found_once_and_goes_to_workers(tmp_path, image, monkeypatch, size):
    """How far a network looks is found by itself; who builds the graph again does not look again."""
    path = write_network(tmp_path / "net.pt", weights_of(1, 1, size))
    op = slots(OpPredict(), model=path, Input=stored(tmp_path / "raw.zarr", image))
    assert op._context() == (size // 2,) * 3
    whole = op.Output[:].wait()

    def never(*args):
        raise AssertionError("looked for again")

    monkeypatch.setattr(predicting, "probed_context", never)
    (again,) = GraphData.of([op.Output]).build(windows=False).values()
    np.testing.assert_array_equal(again.Output[:].wait(), whole)
    again.context.setValue(4)
    assert again._context() == (4, 4, 4)
    monkeypatch.undo()
    write_network(tmp_path / "net.pt", weights_of(1, 1, 7))
    assert slots(OpPredict(), model=path, Input=image)._context() == (3, 3, 3)


def test_a_changed_file_is_another_recipe_and_is_read_anew(tmp_path, image):
    """The hash of a TorchScript file is among the parameters, and a new file is what is used next."""
    path = write_network(tmp_path / "net.pt", weights_of(1, 1))
    before = slots(OpPredict(), model=path, context=1, Input=image)
    first = before.Output[:].wait()
    write_network(path, 2 * weights_of(1, 1))
    after = slots(OpPredict(), model=path, context=1, Input=image)
    assert len(before.digest.value) == len(after.digest.value) == 32
    assert before.digest.value != after.digest.value
    np.testing.assert_array_equal(after.Output[:].wait(), 2 * first)


class Inner(torch.nn.Module):
    """Gives back the voxels, and has a parameter of some dtype."""

    def __init__(self, dtype):
        super().__init__()
        if dtype is not None:
            self.factor = torch.nn.Parameter(torch.ones((), dtype=dtype))

    def forward(self, x):
        return x


class Pair(torch.nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize(
    ("inner", "kept"),
    [
        (None, "f4"),
        (torch.float32, "f4"),
        (torch.float64, "f8"),
        (torch.float16, "f2"),
        (torch.bfloat16, None),
    ],
)
def test_a_network_gets_the_dtype_of_its_parameters(tmp_path, inner, kept):
    """Voxels are rounded as that dtype does, and no further."""
    path = save(Inner(inner), tmp_path / "net.pt")
    image = np.random.default_rng(0).standard_normal((4, 5))
    op = slots(OpPredict(), model=path, context=0, dtype="float64", Input=image)
    bfloat16 = torch.from_numpy(image).to(torch.bfloat16).to(torch.float64).numpy()
    np.testing.assert_array_equal(op.Output[:].wait(), image.astype(kept) if kept else bfloat16)


def test_one_thread_within_a_call_and_as_many_as_before_after_it(tmp_path, monkeypatch):
    """Networks compute with one thread, also several at a time, and leave the number as it was."""
    seen = []

    class Watched:
        def __call__(self, given):
            seen.append(torch.get_num_threads())
            return given

        def eval(self):
            return self

        def parameters(self):
            return iter(())

    monkeypatch.setattr(torch.jit, "load", lambda *args, **kwargs: Watched())
    (tmp_path / "net.pt").touch()
    model = load_model(str(tmp_path / "net.pt"), "cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: model([np.ones((1, 40, 40), "f4")], 1), range(40)))
        model([np.ones((1, 2, 2), "f4")], 1)
        assert seen == [1] * 41
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_it_is_loaded_once_by_many_threads(tmp_path, monkeypatch):
    """Threads that ask at one time get one and the same network."""
    path = write_network(tmp_path / "net.pt", weights_of(1, 1))
    loads = []
    real = torch.jit.load
    monkeypatch.setattr(torch.jit, "load", lambda *args, **kwargs: loads.append(1) or real(*args, **kwargs))
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: load_model(path, "cpu"), range(8)))
    assert len(found) == len(loads) == 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, 1),
        ({"tile": 6}, 2),
        ({"tile": 40, "context": 10}, 1),
        ({"tile": 48, "context": 1}, 2),
        ({"tile": 49, "context": 1}, 1),
        ({"tile": 49, "context": 1, "batch": 3}, 3),
        ({"tile": 20, "context": 0, "memory": 2**29 / 8000 / 2}, 2),
        ({"tile": 20, "context": 0, "memory": 1e9}, 1),
    ],
)
def test_as_many_tiles_go_into_a_call_as_memory_allows(tmp_path, values, expected):
    """Two for PyTorch, unless their voxels or bytes would be too many; one for ONNX runtime, and for a function."""
    image = np.zeros((100, 100, 100), np.uint8)
    path = write_network(tmp_path / "net.pt", weights_of(1, 1))
    op = slots(OpPredict(), model=path, **values, Input=image)
    assert op._at_once() == expected
    other = write_network(tmp_path / "net.onnx", weights_of(1, 1))
    op = slots(OpPredict(), model=other, **values, Input=image)
    assert op._at_once() == values.get("batch", 1)
    (tmp_path / "same.py").write_text("def same(image): return image\n")
    function = slots(OpPredict(), model=f"{tmp_path / 'same.py'}:same", **values, Input=image)
    assert function._at_once() == values.get("batch", 1)


def test_an_onnx_file_of_one_size_of_batch_gets_that(tmp_path, image):
    """Where the file says how many arrays go in, so many do; another number is refused."""
    weights = weights_of(1, 1)
    path = write_network(tmp_path / "net.onnx", weights, batch=3)
    op = slots(OpPredict(), model=path, tile=8, Input=image)
    assert op._at_once() == 3
    check_operator(op, lambda image: correlated(weights)(image)[0], tolerance=1e-6)
    op.batch.setValue(5)
    with pytest.raises(OperatorError, match="takes 3 arrays in a call, not 5: give batch 3"):
        op.Output[:].wait()


def test_an_onnx_file_of_half_precision_gets_it(tmp_path, image):
    """Its input has the dtype that the file says."""
    path = write_network(tmp_path / "net.onnx", weights_of(1, 1, whole=True).astype("f2"))
    made = load_model(path, "cpu")([image[np.newaxis]], 1)
    assert made.dtype == np.float16


def test_what_is_wrong_with_a_file_is_told(tmp_path, image, monkeypatch):
    """Each mistake has its message, with the way out, before anything is computed."""

    def said(path, **values):
        op = slots(OpPredict(), model=str(path), Input=image, **values)
        with pytest.raises((SlotNotReadyError, OperatorError)) as error:
            op.Output[:].wait()
        return str(error.value)

    assert "there is no such file" in said(tmp_path / "nowhere.pt")
    torch.save(torch.nn.Conv3d(1, 1, 3).state_dict(), tmp_path / "state.pth")
    assert "torch.jit.script(network)" in said(tmp_path / "state.pth")
    (tmp_path / "junk.ts").write_text("junk")
    assert "cannot be loaded as TorchScript" in said(tmp_path / "junk.ts")
    assert ".onnx, .pt, .pth, .ts" in said(tmp_path / "net.keras")
    assert "it must return one tensor" in said(save(Pair(), tmp_path / "pair.pt"), context=0)
    good = write_network(tmp_path / "net.pt", weights_of(1, 1))
    assert "cannot be measured" in _unmeasured(write_network(tmp_path / "two.pt", weights_of(1, 2)), image)
    assert "channels instead. Declare it: context" in said(tmp_path / "two.pt")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "finds no CUDA device; choose device cpu" in said(good, device="cuda")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "pip install 'blockflow[torch]'" in said(write_bytes(tmp_path / "other.pt"))


def _unmeasured(path, image):
    op = slots(OpPredict(), model=path, context=1, Input=image)
    with pytest.raises(OperatorError) as error:
        op.scratch_bytes(op.Output, (), SubRegion(op.Output, (0, 0, 0), (9, 9, 9)))
    return str(error.value)


def write_bytes(path):
    path.write_bytes(b"PK")
    return path


@KINDS
def test_memory_is_measured(tmp_path, ending):
    """The figure is at most twice what the process is seen to take, and at least that."""
    large = np.ones((70, 90, 100), np.float32)
    path = write_network(tmp_path / f"net{ending}", weights_of(16, 1))
    op = slots(OpPredict(), model=path, channels=16, context=1, Input=large)
    assert op.native_memory
    assert 0.5 <= check_operator(op, regions=1).scratch_ratio <= 1
    assert op.held_memory()[path] == (tmp_path / f"net{ending}").stat().st_size
    assert len(op.held_memory()) == 2


LOGGED = '''
"""Predict that says which process does a block, and how many models were loaded there."""
import os
from blockflow.operators import OpPredict
from blockflow.operators.models import _loaded

class OpLogged(OpPredict):
    def execute(self, slot, subindex, roi, result):
        super().execute(slot, subindex, roi, result)
        with open(os.environ["LOADED"], "a") as file:
            file.write(f"{os.getpid()} {_loaded.cache_info().misses}\\n")
'''

CONFIG = """
name: net
compute: {{context: local, num_workers: 2}}
arrays: {{raw: {{path: raw.zarr}}}}
operators:
  net: {{type: "logged.py:OpLogged", inputs: {{Input: raw}}, params: {{model: "{model}", channels: 2, tile: 8}}}}
outputs:
  net: {{slot: net, path: net.zarr, chunks: [2, 8, 8, 8], block_shape: [16, 16, 16]}}
"""


def test_a_config_with_a_torchscript_model_runs(tmp_path, monkeypatch):
    """`blockflow run`: the array is what the operator gives lazily, and each worker loads the model once."""
    stored(tmp_path / "raw.zarr", np.random.default_rng(3).integers(0, 256, (40, 32, 36), np.uint8))
    model = write_network(tmp_path / "net.pt", weights_of(2, 1))
    (tmp_path / "logged.py").write_text(LOGGED)
    (tmp_path / "net.yaml").write_text(CONFIG.format(model=model))
    monkeypatch.setenv("LOADED", str(tmp_path / "loaded"))
    command = [sys.executable, "-m", "blockflow", "run", "net.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    op = slots(OpPredict(), model=model, channels=2, tile=8, Input=open_array(tmp_path / "raw.zarr"))
    np.testing.assert_array_equal(zarr.open(str(tmp_path / "net.zarr"))[:], op.Output[:].wait())
    lines = (tmp_path / "loaded").read_text().split("\n")[:-1]
    assert len(lines) == 18
    assert {line.split()[1] for line in lines} == {"1"}


def test_endings_count_whatever_their_case(tmp_path, image):
    """A file NET.PT is read as net.pt is."""
    path = write_network(tmp_path / "net.pt", weights_of(1, 1))
    (tmp_path / "NET.PT").write_bytes((tmp_path / "net.pt").read_bytes())
    assert networks.is_network(str(tmp_path / "NET.PT"))
    one, other = (slots(OpPredict(), model=str(p), Input=image) for p in (path, tmp_path / "NET.PT"))
    np.testing.assert_array_equal(one.Output[:].wait(), other.Output[:].wait())
