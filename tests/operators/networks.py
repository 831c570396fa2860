"""Small networks in files, ONNX and TorchScript."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from blockflow.graph import InputSlot, Operator, OutputSlot
from blockflow.operators import OpPredict


def weights_of(channels_out, channels_in, size=3, dims=3, whole=False):
    """Of a convolution: random ones, or whole numbers, of which sums are exact in any order."""
    random = np.random.default_rng(0)
    shape = (channels_out, channels_in, *(size,) * dims)
    return random.integers(-3, 4, shape).astype("f4") if whole else random.standard_normal(shape).astype("f4")


def write_network(path, weights, batch=None):
    """One convolution with these weights, which keeps the shape; by the ending of the path. Returns the path."""
    {".onnx": _write_onnx, ".pt": _write_torchscript}[Path(path).suffix](str(path), weights, batch)
    return str(path)


def torch_or_skip():
    return pytest.importorskip(
        "torch",
        reason="PyTorch is not installed, so NOTHING of TorchScript is tested: pip install '.[torch]'",
    )


def save(module, path):
    """As TorchScript, by `torch.jit.script`, whose advice is not for us."""
    torch = torch_or_skip()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.", DeprecationWarning)
        torch.jit.save(torch.jit.script(module.eval()), path)
    return str(path)


def _write_torchscript(path, weights, _batch):
    torch = torch_or_skip()
    kind = {2: torch.nn.Conv2d, 3: torch.nn.Conv3d}[weights.ndim - 2]
    size = weights.shape[2]
    network = kind(weights.shape[1], weights.shape[0], size, padding=size // 2, bias=False)
    network.weight = torch.nn.Parameter(torch.from_numpy(weights))
    save(network, path)


def _write_onnx(path, weights, batch):
    import onnx
    from onnx import TensorProto, helper

    shape = [batch, *[None] * (weights.ndim - 1)]
    dtype = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}[str(weights.dtype)]
    pads = [weights.shape[2] // 2] * (2 * (weights.ndim - 2))
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=pads)],
        "convolution",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", dtype, shape)],
        [helper.make_tensor("w", dtype, weights.shape, weights.ravel())],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8),
        path,
    )


class OpWithin(Operator):
    """OpPredict as a part of it."""

    Input = InputSlot()
    Output = OutputSlot()

    def __init__(self, model, **kwargs):
        super().__init__(**kwargs)
        self.predict = OpPredict(parent=self)
        self.predict.memory.setValue(100)
        self.predict.model.setValue(model)
        self.predict.Input.connect(self.Input)
        self.Output.connect(self.predict.Output)

    def propagateDirty(self, slot, subindex, roi):
        pass
