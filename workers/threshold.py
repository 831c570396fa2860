"""Worker file: 1 where the input is above a threshold, else 0.

blockflow run configs/threshold.yaml
python workers/threshold.py start-worker --help
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
from blockflow.errors import TaskError
from blockflow.execution.client import is_committed
from blockflow.operators import OpThreshold
from blockflow.storage import open_array, spec_like

fit = "shrink"
read_write_conflict = False
check_function = is_committed


def arrays(input: str, output: str, threshold: float = 0.0, **storage: Any) -> Mapping[str, Any]:
    """What is read, and what is written: uint8, stored like the input unless `storage` says otherwise."""
    if isinstance(threshold, bool) or not isinstance(threshold, int | float):
        raise TaskError(f"threshold must be a number, not {threshold!r}")
    return {
        "inputs": {"input": input},
        "outputs": {"output": spec_like(open_array(input), output, dtype=np.uint8, **storage)},
    }


def number(text: str) -> float:
    """The number that `text` is, exact for integers of any size."""
    try:
        return int(text)
    except ValueError:
        value = float(text)
        return int(value) if value.is_integer() else value


def spawn_worker(input: str, output: str, threshold: float = 0.0, **_storage: Any) -> Callable[[], None]:
    """A function that runs this file's `start-worker`."""
    command = [sys.executable, __file__, "start-worker", "--input", input, "--output", output]
    command += ["--threshold", repr(threshold)]
    return lambda: compute.current().execute(command)


@click.group(help=__doc__)
def cli() -> None:
    pass


@cli.command()
@click.option("--input", required=True, help="The array to read.")
@click.option("--output", required=True, help="The array to write; it must exist.")
@click.option("--threshold", default="0", show_default=True, help="Voxels above it become 1.")
def start_worker(input: str, output: str, threshold: str) -> None:
    """Do blocks until none is left."""
    source, target = open_array(input), open_array(output, "r+")
    above = OpThreshold()
    above.threshold.setValue(number(threshold))
    for block in blockflow.blocks():
        above.Input.setValue(source[block.write_roi], check_changed=False)
        target[block.write_roi] = above.Output[:].wait()


if __name__ == "__main__":
    cli()
