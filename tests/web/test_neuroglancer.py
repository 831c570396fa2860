"""neuroglancer shows what is served: there are pixels, and they are those of the volume."""

import io
import json
import subprocess
import sys
import time

import numpy as np
import pytest
from browser import chromium, showing
from PIL import Image

from blockflow.storage import ArraySpec, VolumeMetadata, open_array

METADATA = VolumeMetadata((32, 32, 32), (0, 0, 0), ("nm",) * 3, ("z", "y", "x"), ("space",) * 3)
CONFIG = """
arrays: {raw: {path: raw}}
operators:
  inverse: {type: Subtract, inputs: {B: raw}, params: {A: 255}}
outputs:
  stored: {slot: inverse, path: inverse.zarr}
"""
#: in a process of its own: what this package does at import is none of ours
VIEWER = """
import json, sys, neuroglancer
neuroglancer.set_server_bind_address("127.0.0.1")
viewer = neuroglancer.Viewer()
viewer.set_state(json.loads(sys.argv[1]))
print(viewer.get_viewer_url(), flush=True)
sys.stdin.read()
"""
PATIENCE = 60


def thirds(picture):
    """The middle of the picture as grey values: left, middle and right third of the volume, as it is shown."""
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("L"))
    height, width = pixels.shape
    row = pixels[height // 2 + 20]
    return row[width // 2 - 80], row[width // 2 - 5], row[width // 2 + 80]


@pytest.mark.skipif(chromium() is None, reason="there is no Chromium")
def test_neuroglancer_shows_a_slot(tmp_path):
    """A slot that was never stored appears in neuroglancer: dark, middle and bright where the volume is."""
    pytest.importorskip("neuroglancer")
    ArraySpec(str(tmp_path / "raw"), (48, 48, 48), "u1", METADATA, (16, 16, 16)).create()
    bands = np.repeat(np.array([255, 100, 0], "u1"), 16)
    open_array(tmp_path / "raw", "r+").data[...] = np.broadcast_to(bands, (48, 48, 48))
    (tmp_path / "c.yaml").write_text(CONFIG)
    serve = subprocess.Popen(
        [sys.executable, "-m", "blockflow", "array", "serve", "c.yaml", "--slot", "inverse", "--port", "0"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    url = serve.stdout.readline().strip()
    state = {
        "layers": [
            {
                "type": "image",
                "name": "inverse",
                "source": f"{url}inverse/|zarr3:",
                "shaderControls": {"normalized": {"range": [0, 255]}},
            }
        ],
        "layout": "xy",
        "dimensions": {axis: [32e-9, "m"] for axis in "xyz"},
        "crossSectionScale": 0.2,
        "showAxisLines": False,
    }
    viewer = subprocess.Popen(
        [sys.executable, "-c", VIEWER, json.dumps(state)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        with showing(viewer.stdout.readline().strip(), tmp_path / "profile") as picture:
            end, shown = time.monotonic() + PATIENCE, None
            while shown != (0, 155, 255) and time.monotonic() < end:
                shown = tuple(map(int, thirds(picture())))
        assert shown == (0, 155, 255)
    finally:
        for process in (viewer, serve):
            process.kill()
            process.communicate()
