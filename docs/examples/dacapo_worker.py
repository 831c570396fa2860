"""A worker file written for DaCapo. Only the imports were replaced."""

import sys
from pathlib import Path

import click
import daisy

from blockflow.compute import create_compute_context
from blockflow.storage import LocalArrayIdentifier, open_from_identifier

fit = "shrink"
read_write_conflict = False


@click.group()
def cli():
    pass


@cli.command()
@click.option("-ic", "--input_container", required=True, type=click.Path(path_type=Path))
@click.option("-id", "--input_dataset", required=True, type=str)
@click.option("-oc", "--output_container", required=True, type=click.Path(path_type=Path))
@click.option("-od", "--output_dataset", required=True, type=str)
@click.option("-t", "--threshold", type=float, default=0.0)
def start_worker(input_container, input_dataset, output_container, output_dataset, threshold):
    """Do blocks until none is left."""
    input_array = open_from_identifier(LocalArrayIdentifier(input_container, input_dataset))
    output_array = open_from_identifier(LocalArrayIdentifier(output_container, output_dataset))
    client = daisy.Client()
    while True:
        with client.acquire_block() as block:
            if block is None:
                break
            data = input_array.to_ndarray(block.read_roi)
            output_array[block.write_roi] = data > threshold


def spawn_worker(input_array_identifier, output_array_identifier, threshold=0.0):
    """A function that runs this file's `start-worker`."""
    compute_context = create_compute_context()
    command = [
        sys.executable,
        __file__,
        "start-worker",
        "--input_container",
        str(input_array_identifier.container),
        "--input_dataset",
        input_array_identifier.dataset,
        "--output_container",
        str(output_array_identifier.container),
        "--output_dataset",
        output_array_identifier.dataset,
        "--threshold",
        str(threshold),
    ]

    def run_worker():
        compute_context.execute(command)

    return run_worker


if __name__ == "__main__":
    cli()
