"""Networks, TorchScript and ONNX: tiles in one call, and runs against the library alone on the whole volume.

python benchmarks/bench_models.py [RUNS] [EDGE]        writes benchmarks/models.md
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import zarr
from harness import compare, measure, write_report
from models_program import BATCHES, TILES

FOLDER = Path(__file__).parent
LIBRARIES = ("blockflow", "daisy", "numpy", "onnxruntime", "torch", "zarr")


def table_of_calls(program, ending):
    """Times of calls with some tiles, relative to one tile in a call."""
    figures = measure([*program, ending, "calls"]).figures
    lines = [
        f"### {ending}: us for 1,000 voxels in one thread",
        "",
        "| edge with context | " + " | ".join(f"{batch} in a call" for batch in BATCHES) + " |",
        "| --- " * (len(BATCHES) + 1) + "|",
    ]
    for tile in TILES:
        cells = [f"{figures[f'{tile} {batch}']:.0f}" for batch in BATCHES]
        lines.append(f"| {tile}^3 | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    runs, edge = ([int(text) for text in sys.argv[1:]] + [3, 128][len(sys.argv) - 1 :])[:2]
    sections = [
        (
            "Four convolutions of 3^3 voxels with 12 channels between them, and ReLU. `whole` is the library alone: "
            "all of the volume in one call with two threads; the others are `blockflow.run` with two workers of one "
            "thread each. What they take longer is the context, which is computed again for each block or tile (the "
            "rows say how often a voxel is computed, beside tiles that stand in for missing ones), and the start of "
            "three processes with the library."
        )
    ]
    with tempfile.TemporaryDirectory() as place:
        program = [sys.executable, str(FOLDER / "models_program.py"), place]
        # in a process of its own, whose memory is not counted
        subprocess.run([*program, "make", str(edge)], check=True)
        for ending in (".pt", ".onnx"):
            sections.append(table_of_calls(program, ending))
            commands = {"whole": [*program, ending, "whole"], "blocks": [*program, ending, "blocks"]}
            for batch in (1, 2, 4):
                tiles = [*program, ending, "blocks", "tile=32", f"batch={batch}"]
                commands[f"tiles of 32, {batch} in a call"] = tiles
            sections.append(compare(f"{ending}: {edge}^3 voxels", commands, runs))
            one, other = (
                zarr.open_array(f"{place}/{name}.zarr", mode="r")[...] for name in ("whole", "blocks")
            )
            farthest = float(np.abs(one - other).max() / np.abs(one).max())
            assert farthest < 1e-5, farthest
            sections.append(f"Farthest from the whole, by the greatest value: {farthest:.1e}.")
    write_report(FOLDER / "models.md", "Networks", sections, LIBRARIES)
