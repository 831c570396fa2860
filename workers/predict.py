"""Worker file: apply a model to each block with its context: a callable `model(ndarray) -> ndarray`, or a network.

The model gets the read ROI and returns as many voxels; the context is cut off. With `channels`, it returns
that many channels in front. Where a block reads beyond the input, it gets the input's fill value.

    blockflow run configs/predict.yaml
    python workers/predict.py start-worker --help
"""

import sys

sys.path[:] = [
    entry for entry in sys.path if entry != __file__.rpartition("/")[0]
]  # its `copy.py` is not Python's

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

import blockflow
from blockflow import compute
from blockflow.errors import TaskError
from blockflow.execution.client import is_committed
from blockflow.operators import OpPredict
from blockflow.operators.networks import ENDINGS, is_network
from blockflow.storage import open_array, spec_like

fit = "shrink"
read_write_conflict = False
check_function = is_committed

DEVICES = ("cpu", "cuda")


def model_file(model: str, folder: str) -> Path | None:
    """The file of a model, if it has one: a network's or a Python file, from `folder` on, or that of a module."""
    module, colon, _ = model.rpartition(":")
    place = model if is_network(model) else module
    if is_network(model) or place.endswith(".py"):
        file = Path(folder, place).absolute()
        if not file.is_file():
            raise TaskError(f"model {model!r}: there is no file {file}")
        return file
    if not colon:
        raise TaskError(
            f"model {model!r} must be given as module:name, path/to/file.py:name, or the path of a network ({ENDINGS})"
        )
    beside = Path(folder, f"{module}.py").absolute()
    if beside.is_file():
        return beside
    found = importlib.util.find_spec(module)
    if found is None:
        raise TaskError(f"model {model!r}: there is no module {module!r}, neither installed nor in {folder}")
    return Path(found.origin) if found.has_location and found.origin else None


def model_name(model: str, folder: str) -> str:
    """The model as the operator takes it: by the path of its file where that is in `folder`."""
    file = model_file(model, folder)
    if is_network(model):
        return str(file)
    module, _, name = model.rpartition(":")
    by_path = file is not None and (module.endswith(".py") or file.parent == Path(folder).absolute())
    return f"{file}:{name}" if by_path else model


def arrays(
    input: str,
    output: str,
    model: str,
    folder: str = ".",
    dtype: str = "float32",
    channels: int | None = None,
    device: str = "cpu",
    **storage: Any,
) -> Mapping[str, Any]:
    """What is read and written, and the model's file, which decides the voxels as this file does."""
    if device not in DEVICES:
        raise TaskError(f"device is {device!r}; give one of {', '.join(DEVICES)}")
    code = model_file(model, folder)
    spec = spec_like(open_array(input), output, dtype=dtype, channels=channels, **storage)
    return {"inputs": {"input": input}, "outputs": {"output": spec}, "files": [code] if code else []}


def spawn_worker(
    input: str, output: str, model: str, folder: str = ".", device: str = "cpu", **_storage: Any
) -> Callable[[], None]:
    """A function that runs this file's `start-worker`."""
    command = [sys.executable, __file__, "start-worker", "--input", input, "--output", output]
    command += ["--model", model, "--folder", folder, "--device", device]
    return lambda: compute.current().execute(command)


@click.group(help=__doc__)
def cli() -> None:
    pass


@cli.command()
@click.option("--input", required=True, help="The array to read.")
@click.option("--output", required=True, help="The array to write; it must exist.")
@click.option("--model", required=True, help="module:name, path/to/file.py:name, or the path of a network.")
@click.option(
    "--folder", default=".", show_default=True, help="Where its file may lie, if it is not installed."
)
@click.option("--device", type=click.Choice(DEVICES), default="cpu", show_default=True, help="For networks.")
def start_worker(input: str, output: str, model: str, folder: str, device: str) -> None:
    """Do blocks until none is left."""
    source, target = open_array(input), open_array(output, "r+")
    predict = OpPredict()
    predict.model.setValue(model_name(model, folder))
    predict.device.setValue(device)
    predict.context.setValue(0)  # the context is in what is read, and is cut off below
    predict.dtype.setValue(str(target.dtype))
    if len(target.shape) > target.voxel_size.dims:
        predict.channels.setValue(target.shape[0])
    axes = {"types": source.metadata.types, "axis_names": source.axis_names}
    for block in blockflow.blocks():
        predict.Input.setValue(source[block.read_roi], check_changed=False, extra_meta=axes)
        result = predict.Output[:].wait()
        before = (block.write_roi.begin - block.read_roi.begin) / target.voxel_size
        size = block.write_roi.shape / target.voxel_size
        inner = tuple(slice(low, low + count) for low, count in zip(before, size, strict=True))
        target[block.write_roi] = result[(..., *inner)]


if __name__ == "__main__":
    cli()
