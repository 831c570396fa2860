"""OpPredict: small models on the CPU, with context, channels, tiles and batches."""

import numpy as np
import pytest
import scipy.ndimage as ndi
from operators.arrays import slots

from blockflow.errors import OperatorError
from blockflow.graph import SlotNotReadyError
from blockflow.operators import OpPredict
from blockflow.testing.operators import check_operator

MODULE = '''
"""Models that stand for networks."""
import numpy as np
from scipy.ndimage import uniform_filter1d
calls = []

def blurred(image):
    return uniform_filter1d(image.astype(np.float32), 3, axis=0, mode="constant")

def two(image):
    calls.append(image.shape)
    return np.stack([image * 2.0, image + 1.0])

def mixed(channels):
    return np.abs(channels[0] - channels[1])

def far(image):
    return np.full(image.shape, image.mean())

def cropped(image):
    return image[1:-1]
'''


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "models.py").write_text(MODULE)
    return tmp_path


@pytest.fixture
def image():
    return np.random.default_rng(2).integers(0, 256, (13, 17, 11), np.uint8)


def predict(folder, name, **values):
    return slots(OpPredict(), model=f"{folder / 'models.py'}:{name}", **values)


def convolution(path, channels_in, channels_out):
    """An ONNX file: one convolution of 3^3 voxels, which keeps the shape. Returns its weights."""
    import onnx
    from onnx import TensorProto, helper

    weights = (
        np.random.default_rng(0).standard_normal((channels_out, channels_in, 3, 3, 3)).astype(np.float32)
    )
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 6)
    shape = [None, None, None, None, None]
    graph = helper.make_graph(
        [node],
        "convolution",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.ravel())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return weights


def test_the_context_is_found(folder, image):
    """Without `context`, single voxels are changed to see how far a model looks."""
    op = predict(folder, "blurred", Input=image)
    assert op._context() == (1, 0, 0)
    check_operator(op, lambda image: ndi.uniform_filter1d(image.astype(np.float32), 3, 0, mode="constant"))


def test_channels_out_and_in(folder, image):
    """Models make channels, and take them; the axis is in front."""
    two = predict(folder, "two", channels=2, Input=image)
    check_operator(two, lambda image: np.stack([image * 2.0, image + 1.0]).astype(np.float32))
    pair = np.stack([image, image[::-1]]).astype(np.float32)
    mixed = predict(folder, "mixed")
    mixed.Input.setValue(pair, extra_meta={"axistags": "czyx"})
    check_operator(mixed, lambda pair: np.abs(pair[0] - pair[1]))


def test_tiles_lie_on_a_grid_whatever_is_asked(folder, image):
    """With `tile`, the model is called with the same tiles for any region, so results do not depend on blocks."""
    op = predict(folder, "two", channels=2, context=1, tile=(5, 8, 11), Input=image)
    check_operator(op, lambda image: np.stack([image * 2.0, image + 1.0]).astype(np.float32))
    calls = op._model().function.__globals__["calls"]
    calls.clear()
    op.Output[0, 6:7, 3:4, 0:2].wait()
    assert calls == [(7, 9, 11)]


@pytest.mark.parametrize("batch", [1, 3])
def test_onnx(tmp_path, image, batch):
    """An ONNX model is loaded once and called with batches of tiles; blocks are within rounding of the whole."""
    weights = convolution(tmp_path / "net.onnx", 1, 2)
    path = str(tmp_path / "net.onnx")
    op = slots(OpPredict(), model=path, channels=2, tile=6, batch=batch, Input=image.astype(np.float32))
    assert op._context() == (1, 1, 1)
    made = op.Output[:].wait()
    for channel in range(2):
        expected = ndi.correlate(
            image.astype(np.float64), weights[channel, 0].astype(np.float64), mode="constant"
        )
        np.testing.assert_allclose(made[channel], expected, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(op.Output[1, 3:9, 5, 2:].wait(), made[1:2, 3:9, 5:6, 2:], rtol=1e-5, atol=1e-3)


def test_onnx_with_channels_in(tmp_path, image):
    """Several channels go in."""
    weights = convolution(tmp_path / "net.onnx", 2, 1)
    op = slots(OpPredict(), model=str(tmp_path / "net.onnx"), context=1)
    pair = np.stack([image, image[::-1]]).astype(np.float32)
    op.Input.setValue(pair, extra_meta={"axistags": "czyx"})
    expected = sum(
        ndi.correlate(pair[c].astype(float), weights[0, c].astype(float), mode="constant") for c in range(2)
    )
    np.testing.assert_allclose(op.Output[:].wait(), expected, rtol=1e-4, atol=1e-2)


def test_a_network_of_two_inputs_is_refused(tmp_path, image):
    """There is one image to be given; what the inputs are called is said."""
    onnx = pytest.importorskip("onnx", reason="NOT TESTED: ONNX; it is not installed")
    from onnx import TensorProto, helper

    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("a", "b", "sum")]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["sum"])], "add", given[:2], given[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(tmp_path / "two.onnx"))
    op = OpPredict()
    op.Input.setValue(image)
    op.model.setValue(str(tmp_path / "two.onnx"))
    assert "two.onnx' has 2 inputs (a, b); it must have one" in op.Output.meta.NOTREADY


def test_memory_is_measured(folder, image):
    """The figure of a callable is what it was seen to take, or what was declared."""
    large = np.ones((40, 60, 60), np.uint8)
    op = predict(folder, "two", channels=2, context=0, Input=large)
    assert 0.5 <= check_operator(op, regions=1).scratch_ratio <= 1
    op.memory.setValue(100)
    from blockflow.rtype import SubRegion

    roi = SubRegion(op.Output, (0, 0, 0, 0), (2, 10, 10, 10))
    assert op.scratch_bytes(op.Output, (), roi) == 1000 * 101 + 1


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("far", {}, "looks farther than 32 voxels; declare how far: context"),
        ("two", {}, r"\(1, 1, 9, 9, 9\) is needed"),
        ("nothing", {}, "has no callable 'nothing'"),
        (
            "blurred",
            {"context": (1, 1)},
            r"context is \[1, 1\]; give one number, or one for each of the 3 axes",
        ),
        ("blurred", {"device": "cuda"}, "leave device at cpu"),
    ],
)
def test_models_that_cannot_be_used(folder, image, name, values, said):
    """What is wrong with a model is told when data are asked for, before anything is computed."""
    with pytest.raises(SlotNotReadyError, match=said):
        predict(folder, name, Input=image, **values).Output[:]


def test_a_result_of_another_shape_is_refused(folder, image):
    """A model that crops is told what it must return."""
    with pytest.raises(OperatorError, match="as many voxels as it gets"):
        predict(folder, "cropped", context=1, Input=image).Output[:].wait()
    missing = slots(OpPredict(), model="nowhere.onnx", Input=image)
    with pytest.raises(SlotNotReadyError, match="there is no such file"):
        missing.Output[:]


def test_a_changed_model_is_another_recipe_and_is_loaded_anew(folder, image):
    """The file's hash is among the parameters, and an edited file is what is used next."""
    file = folder / "models.py"
    op = predict(folder, "blurred", context=1, Input=image)
    before = op.digest.value
    assert len(before) == 32
    file.write_text(MODULE + "\ndef blurred(image):\n    return image + 5.0\n")
    again = predict(folder, "blurred", context=1, Input=image)
    assert again.digest.value != before
    np.testing.assert_array_equal(again.Output[:].wait(), image + np.float32(5))
