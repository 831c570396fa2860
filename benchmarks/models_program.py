"""A network of four convolutions on a volume, by its library alone or by blockflow; for bench_models.py.

python benchmarks/models_program.py FOLDER make EDGE
python benchmarks/models_program.py FOLDER .pt|.onnx calls
python benchmarks/models_program.py FOLDER .pt|.onnx whole
python benchmarks/models_program.py FOLDER .pt|.onnx blocks [NAME=NUMBER ...]
"""

import itertools
import json
import os
import shutil
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import zarr

CHANNELS = [1, 12, 12, 12, 2]
CONTEXT = len(CHANNELS) - 1
TILES, BATCHES = (8, 16, 32, 64), (1, 2, 4, 8)


def make(folder, edge):
    """The volume, and one network in both kinds of files."""
    import onnx
    import torch
    from onnx import TensorProto, helper

    random = np.random.default_rng(0)
    data = random.standard_normal((edge,) * 3).astype(np.float32)
    zarr.create_array(folder / "raw.zarr", data=data, chunks=(64, 64, 64))
    layers, nodes, held, name = [], [], [], "x0"
    for number, (before, after) in enumerate(itertools.pairwise(CHANNELS)):
        weights = (random.standard_normal((after, before, 3, 3, 3)) * 0.1).astype(np.float32)
        layer = torch.nn.Conv3d(before, after, 3, padding=1, bias=False)
        layer.weight = torch.nn.Parameter(torch.from_numpy(weights))
        layers += [layer, torch.nn.ReLU()]
        held.append(helper.make_tensor(f"w{number}", TensorProto.FLOAT, weights.shape, weights.ravel()))
        nodes.append(helper.make_node("Conv", [name, f"w{number}"], [f"c{number}"], pads=[1] * 6))
        name = f"x{number + 1}"
        nodes.append(helper.make_node("Relu", [f"c{number}"], [name]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(torch.nn.Sequential(*layers).eval()), folder / "net.pt")
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, [None] * 5) for end in ("x0", name)]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], held)
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "net.onnx")


def whole(folder, ending):
    """What one would write by hand: all in memory, one call, with the threads that the library takes."""
    image = zarr.open_array(folder / "raw.zarr", mode="r")[...][np.newaxis, np.newaxis]
    if ending == ".pt":
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            network = torch.jit.load(folder / "net.pt").eval()
        with torch.inference_mode():
            made = network(torch.from_numpy(image)).numpy()
    else:
        import onnxruntime

        made = onnxruntime.InferenceSession(folder / "net.onnx").run(None, {"x0": image})[0]
    zarr.create_array(folder / "whole.zarr", data=made[0], chunks=(2, 64, 64, 64), overwrite=True)


def blocks(folder, ending, values):
    """`blockflow.run`, with two workers and blocks as planned."""
    import blockflow
    from blockflow.operators import OpPredict
    from blockflow.planning import Target
    from blockflow.storage import open_array

    predict = OpPredict()
    predict.Input.setValue(open_array(folder / "raw.zarr"))
    given = {"model": str(folder / f"net{ending}"), "channels": 2, "context": CONTEXT}
    for name, value in (given | values).items():
        predict.inputs[name].setValue(value)
    for name in ("blocks.zarr", "run"):
        shutil.rmtree(folder / name, ignore_errors=True)
    target = Target(str(folder / "blocks.zarr"), chunks=(2, 64, 64, 64))
    assert blockflow.run(predict.Output, target, num_workers=2, run_dir=folder / "run")
    (task,) = json.loads((folder / "run" / "plan.json").read_text())["tasks"]
    edge, extent = task["block_shape"][0], predict.Input.meta.shape[0]
    tile = values.get("tile", edge)
    seen = sum(
        min(start + tile + CONTEXT, extent) - max(start - CONTEXT, 0) for start in range(0, extent, tile)
    )
    figures = {"edge of a block": edge, "times a voxel is computed": (seen / extent) ** 3}
    Path(os.environ["BENCHMARK_FIGURES"]).write_text(json.dumps(figures))


def calls(folder, ending):
    """Microseconds for a thousand voxels, by the edge of a tile with its context and the tiles in a call."""
    from blockflow.operators.models import load_model

    model = load_model(str(folder / f"net{ending}"), "cpu")
    found = {}
    for tile in TILES:
        number = max(8, min(64, 64**3 // tile**3))
        data = list(np.random.default_rng(1).standard_normal((number, 1, *(tile,) * 3)).astype(np.float32))
        for batch in BATCHES:
            seconds = []
            for _ in range(4):
                begin = time.perf_counter()
                for first in range(0, number, batch):
                    model(data[first : first + batch], 2)
                seconds.append(time.perf_counter() - begin)
            found[f"{tile} {batch}"] = min(seconds) / (number * tile**3) * 1e9
    Path(os.environ["BENCHMARK_FIGURES"]).write_text(json.dumps(found))


if __name__ == "__main__":
    place, way = Path(sys.argv[1]), sys.argv[3]
    if sys.argv[2] == "make":
        make(place, int(way))
    elif way == "blocks":
        pairs = (text.split("=") for text in sys.argv[4:])
        blocks(place, sys.argv[2], {name: int(value) for name, value in pairs})
    else:
        {"whole": whole, "calls": calls}[way](place, sys.argv[2])
