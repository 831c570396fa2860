"""Worker file: apply a model, any callable `model(ndarray) -> ndarray`, to each block with its context.

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
from blockflow.storage import open_array, spec_like

fit = "shrink"
read_write_conflict = False
check_function = is_committed


def model_file(model: str, folder: str) -> Path | None:
    """The file of the module of `module:name`, if it has one: in `folder`, or else installed."""
    module, colon, _ = model.partition(":")
    if not colon:
        raise TaskError(f"model {model!r} must be given as module:name")
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
    beside = file is not None and file.parent == Path(folder).absolute()
    return f"{file}:{model.partition(':')[2]}" if beside else model


def arrays(
    input: str,
    output: str,
    model: str,
    folder: str = ".",
    dtype: str = "float32",
    channels: int | None = None,
    **storage: Any,
) -> Mapping[str, Any]:
    """What is read and written, and the model's file, which decides the voxels as this file does."""
    code = model_file(model, folder)
    spec = spec_like(open_array(input), output, dtype=dtype, channels=channels, **storage)
    return {"inputs": {"input": input}, "outputs": {"output": spec}, "files": [code] if code else []}


def spawn_worker(
    input: str, output: str, model: str, folder: str = ".", **_storage: Any
) -> Callable[[], None]:
    """A function that runs this file's `start-worker`."""
    command = [sys.executable, __file__, "start-worker", "--input", input, "--output", output]
    command += ["--model", model, "--folder", folder]
    return lambda: compute.current().execute(command)


@click.group(help=__doc__)
def cli() -> None:
    pass


@cli.command()
@click.option("--input", required=True, help="The array to read.")
@click.option("--output", required=True, help="The array to write; it must exist.")
@click.option("--model", required=True, help="The callable, as module:name.")
@click.option(
    "--folder", default=".", show_default=True, help="Where its module may lie, if it is not installed."
)
def start_worker(input: str, output: str, model: str, folder: str) -> None:
    """Do blocks until none is left."""
    source, target = open_array(input), open_array(output, "r+")
    predict = OpPredict()
    predict.model.setValue(model_name(model, folder))
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
