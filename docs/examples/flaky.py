"""Worker file: a copy in which some blocks fail, to look at failures. `blockflow run flaky.yaml`."""

from pathlib import Path

import blockflow
from blockflow.storage import open_array, spec_like


def arrays(input, output, **_parameters):
    """What is read, and what is written."""
    return {"inputs": {"input": input}, "outputs": {"output": spec_like(open_array(input), output)}}


def spawn_worker(input, output, cure):
    """A function that loops over blocks by itself: no command, no click."""

    def loop():
        source, target = open_array(input), open_array(output, "r+")
        for block in blockflow.blocks():
            if block.write_roi.offset[0] == 0 and not Path(cure).exists():
                raise RuntimeError(f"the upper blocks fail until there is a file {Path(cure).name}")
            target[block.write_roi] = source[block.read_roi]

    return loop
