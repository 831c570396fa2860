"""`blockflow plan` for a volume of ten million chunks: FOLDER chunk|auto (a block for each chunk, or as planned)"""

import sys
from pathlib import Path

EDGE, CHUNK = 216, 64  # 216^3 is a little more than 10^7

CONFIG = """
name: many
run_dir: {folder}/run
compute: {{context: local, num_workers: 64}}
arrays:
  raw: {{path: {folder}/raw.zarr}}
operators:
  smooth: {{type: GaussianSmoothing, inputs: {{Input: raw}}, params: {{sigma: 2.0}}}}
  mask: {{type: Threshold, inputs: {{Input: smooth}}, params: {{threshold: 128}}}}
outputs:
  mask: {{slot: mask.Output, path: {folder}/mask.zarr, block_shape: {shape}}}
"""


def make(folder):
    """An array of that many chunks, none of them written, and a config."""
    import zarr

    zarr.create_array(
        store=f"{folder}/raw.zarr", shape=(EDGE * CHUNK,) * 3, chunks=(CHUNK,) * 3, dtype="uint8"
    )
    for name, shape in (("chunk", [CHUNK] * 3), ("auto", "auto")):
        (Path(folder) / f"{name}.yaml").write_text(CONFIG.format(folder=folder, shape=shape))


if __name__ == "__main__":
    folder, how = sys.argv[1:]
    from blockflow.cli import main

    sys.argv = ["blockflow", "plan", f"{folder}/{how}.yaml", "--json"]
    main()
