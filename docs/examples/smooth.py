"""Worker file: the mean over a cube of (2 * radius + 1) voxels along each axis.

blockflow run smooth.yaml
"""

import sys
from itertools import product

import click
import numpy as np

import blockflow
from blockflow import compute
from blockflow.execution.client import is_committed
from blockflow.storage import open_array, spec_like

fit = "shrink"
read_write_conflict = False
check_function = is_committed


def arrays(input, output, radius=1, **storage):
    """What is read, and what is written. Blockflow makes the output if it is not there."""
    spec = spec_like(open_array(input), output, dtype=np.float32, **storage)
    return {"inputs": {"input": input}, "outputs": {"output": spec}}


def spawn_worker(input, output, radius=1, **_storage):
    """A function without arguments that does blocks: it runs this file's `start-worker`."""
    command = [sys.executable, __file__, "start-worker"]
    command += ["--input", input, "--output", output, "--radius", str(radius)]
    return lambda: compute.current().execute(command)


def mean(data, radius):
    """The mean over a cube, of the voxels that have `radius` neighbours on each side."""
    size = 2 * radius + 1
    inner = [count - 2 * radius for count in data.shape]
    total = np.zeros(inner, np.float32)
    for shift in product(range(size), repeat=data.ndim):
        total += data[tuple(slice(low, low + count) for low, count in zip(shift, inner, strict=True))]
    return total / size**data.ndim


@click.group()
def cli():
    pass


@cli.command()
@click.option("--input", required=True)
@click.option("--output", required=True)
@click.option("--radius", type=int, default=1)
def start_worker(input, output, radius):
    """Do blocks until none is left."""
    source, target = open_array(input), open_array(output, "r+")
    for block in blockflow.blocks():
        wanted = block.write_roi.grow(source.voxel_size * radius, source.voxel_size * radius)
        if not block.read_roi.contains(wanted):
            raise ValueError(f"radius {radius} needs {wanted}, but the block reads only {block.read_roi}")
        target[block.write_roi] = mean(source[wanted], radius)


if __name__ == "__main__":
    cli()
