"""What a plan projects that a worker holds is what one holds: measured in a fresh process, with blocks of 256 MB."""

import json
import subprocess
import sys
from pathlib import Path

import cloudpickle
import pytest
from operators.networks import weights_of, write_network

from blockflow.operators import OpDownsample, OpGaussianSmoothing, OpPredict, OpThreshold
from blockflow.planning import Target, assemble, draft
from blockflow.planning.planner import BASELINE
from blockflow.storage import ArraySpec, VolumeMetadata, open_array
from blockflow.tasks import prepare

METADATA = VolumeMetadata((1,) * 3, (0,) * 3, ("nm",) * 3, ("z", "y", "x"), ("space",) * 3)

#: what a worker does: it loads what it needs, and does blocks; the peak counts from then on
WORKER = """
import json, re, sys
from types import SimpleNamespace

import cloudpickle

import blockflow.execution.worker
from blockflow.storage import use_lattice
from blockflow.utility.freed_memory import keep_freed_memory

def held(what):
    return 1024 * int(re.search(what + r":\\s+(\\d+)", open("/proc/self/status").read())[1])

program, blocks, lattice = cloudpickle.load(open(sys.argv[1], "rb"))
if program.keeps_memory:
    keep_freed_memory()
with use_lattice(lattice):
    program.targets, program.operators
    import scipy.ndimage
    baseline = held("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")
    for read_roi, write_roi in blocks:
        program(SimpleNamespace(read_roi=read_roi, write_roi=write_roi))
print(json.dumps([baseline, held("VmHWM") - baseline]))
"""


def smoothed(array):
    smooth = OpGaussianSmoothing()
    smooth.Input.setValue(array)
    smooth.sigma.setValue(2.0)
    return smooth


def threshold(array):
    """Gaussian and threshold of whole numbers: the data in between are 294 MB."""
    mask = OpThreshold()
    mask.Input.connect(smoothed(array).Output)
    return mask.Output, (320, 512, 448)


def chain(array):
    """Three Gaussians, one after another, of floats: 268 MB in, 268 MB out."""
    slot = array
    for _ in range(3):
        smooth = OpGaussianSmoothing()
        smooth.Input.setOrConnect(slot)
        smooth.sigma.setValue(0.5)
        slot = smooth.Output
    return slot, (256, 512, 512)


def downsampled(array):
    """Gaussian and downsampling: eight voxels for one, 352 MB in between."""
    small = OpDownsample()
    small.Input.connect(smoothed(array).Output)
    return small.Output, (192, 256, 224)


def network(array, ending, **values):
    """A convolution that makes 12 channels of the input, and what its library holds."""
    predict = OpPredict()
    predict.Input.setValue(array)
    path = write_network(Path(array.path).parent / f"net{ending}", weights_of(12, 1))
    for name, value in {"model": path, "channels": 12, **values}.items():
        predict.inputs[name].setValue(value)
    return predict.Output, (128, 128, 128)


def torchscript(array):
    """All of a block in one call: 100 MB out, and PyTorch."""
    return network(array, ".pt")


def tiles_of_torchscript(array):
    """Two tiles in a call."""
    return network(array, ".pt", tile=32)


def onnx(array):
    """As `torchscript`, with onnxruntime."""
    return network(array, ".onnx")


def around(array):
    """A Gaussian that goes around the array: a corner of 64^3 voxels reads all 299 MB."""
    smooth = smoothed(array)
    smooth.mode.setValue("wrap")
    return smooth.Output, (64, 64, 64)


@pytest.mark.parametrize(
    ("graph", "dtype", "shape"),
    [
        (threshold, "uint8", (768, 512, 448)),
        (chain, "float32", (512, 512, 512)),
        (downsampled, "uint8", (768, 512, 448)),
        (torchscript, "uint8", (512, 128, 128)),
        (tiles_of_torchscript, "uint8", (512, 128, 128)),
        (onnx, "uint8", (512, 128, 128)),
        (around, "uint8", (650, 640, 720)),
    ],
)
def test_the_peak_is_at_most_the_projection_and_at_least_half_of_it(tmp_path, graph, dtype, shape):
    """A worker holds no more than the plan says beyond its start, and not much less; nor at its start."""
    ArraySpec(str(tmp_path / "raw.zarr"), shape, dtype, METADATA, (64,) * 3).create()
    slot, block = graph(open_array(tmp_path / "raw.zarr"))
    chunks = (*slot.meta.shape[:-3], 64, 64, 64)
    target = Target(str(tmp_path / "out.zarr"), block_shape=block, chunks=chunks)
    planned = assemble(draft({slot: target}, tmp_path / "work", memory=4 * 10**9), "memory", None)
    (task,) = prepare(planned.tasks())
    for spec in task.specs:
        spec.create()
    blocks = list(task.grid)[:4]
    call = tmp_path / "call.pkl"
    call.write_bytes(cloudpickle.dumps((task.task.process_function, blocks, task.lattice)))
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(call)], check=True, capture_output=True, text=True
    )
    baseline, peak = json.loads(done.stdout)
    projected = planned.plan.tasks[0].memory
    assert projected > 256e6
    print(f"{peak / 1e6:.0f} MB at the peak, {projected / 1e6:.0f} MB projected")
    assert projected / 2 <= peak <= projected, (peak, projected)
    assert BASELINE / 2 <= baseline <= BASELINE
