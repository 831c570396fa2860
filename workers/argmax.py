"""Worker file: the number of the channel with the greatest value, the first one where several have it.

blockflow run configs/argmax.yaml
python workers/argmax.py start-worker --help
"""

import sys

sys.path[:] = [
    entry for entry in sys.path if entry != __file__.rpartition("/")[0]
]  # its `copy.py` is not Python's

from collections.abc import Callable, Mapping
from typing import Any

import click
import numpy as np

import blockflow
from blockflow import compute
from blockflow.errors import StorageError
from blockflow.execution.client import is_committed
from blockflow.operators import OpArgmax
from blockflow.storage import Array, open_array, spec_like

fit = "shrink"
read_write_conflict = False
check_function = is_committed


def channel_axis(array: Array) -> int:
    """The array's only axis that is no axis of space or time."""
    channels = sorted(set(range(len(array.shape))) - set(array.metadata.spatial_axes))
    if len(channels) != 1:
        raise StorageError(
            f"{array.path}: argmax needs an array with one channel axis, this has {len(channels)} "
            f"(axes {', '.join(array.axis_names)}; a channel's name ends in '^', or its type is 'channel')"
        )
    return channels[0]


def arrays(input: str, output: str, **storage: Any) -> Mapping[str, Any]:
    """What is read, and what is written: the smallest unsigned integers that hold the channel numbers."""
    source = open_array(input)
    dtype = np.min_scalar_type(source.shape[channel_axis(source)] - 1)
    return {
        "inputs": {"input": input},
        "outputs": {"output": spec_like(source, output, dtype=dtype, channels=None, **storage)},
    }


def spawn_worker(input: str, output: str, **_storage: Any) -> Callable[[], None]:
    """A function that runs this file's `start-worker`."""
    command = [sys.executable, __file__, "start-worker", "--input", input, "--output", output]
    return lambda: compute.current().execute(command)


@click.group(help=__doc__)
def cli() -> None:
    pass


@cli.command()
@click.option("--input", required=True, help="The array to read; one of its axes is a channel axis.")
@click.option("--output", required=True, help="The array to write; it must exist.")
def start_worker(input: str, output: str) -> None:
    """Do blocks until none is left."""
    source, target = open_array(input), open_array(output, "r+")
    greatest = OpArgmax()
    greatest.axis.setValue(channel_axis(source))
    for block in blockflow.blocks():
        greatest.Input.setValue(source[block.write_roi], check_changed=False)
        target[block.write_roi] = greatest.Output[:].wait()


if __name__ == "__main__":
    cli()
