"""Each operator that the planner builds on keeps the promises of the kit, and is what numpy and scipy compute."""

import numpy as np
import pytest
import scipy.ndimage as ndi
from operators.arrays import FLOATS, INTEGERS, SHAPES, array, slots

from blockflow.errors import OperatorError
from blockflow.graph import SlotNotReadyError
from blockflow.operators import (
    OpAbsoluteDifference,
    OpAdd,
    OpCrop,
    OpDivide,
    OpDownsample,
    OpGaussianSmoothing,
    OpNormalizeMinMax,
    OpThreshold,
    OpTranspose,
    OpUpsample,
)
from blockflow.testing.operators import check_operator

CASES = [(shape, (INTEGERS + FLOATS)[place % 10]) for place, shape in enumerate(SHAPES)]


@pytest.fixture
def random():
    return np.random.default_rng(5)


@pytest.mark.parametrize("mode", ["reflect", "constant", "nearest", "mirror"])
@pytest.mark.parametrize(("shape", "dtype"), CASES)
def test_gaussian_smoothing(random, shape, dtype, mode):
    """Smoothed blocks are those of scipy on the whole, bit for bit, for every boundary mode."""
    sigma = tuple(random.choice([0, 0.4, 1.3, 2.0]) for _ in shape)
    image = array(random, shape, dtype)
    op = slots(OpGaussianSmoothing(), sigma=sigma, mode=mode, cval=3.5, Input=image)
    output = np.float64 if dtype == "float64" else np.float32

    def reference(image):
        image = image.astype(np.float32) if dtype == "float16" else image
        return ndi.gaussian_filter(image, sigma, output=output, mode=mode, cval=3.5)

    check_operator(op, reference)


@pytest.mark.parametrize("threshold", [0, -1, 300, 1.5, 127, 2.0**63])
@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
def test_threshold(random, dtype, threshold):
    """A voxel is 1 where it is above the threshold as a real number, whatever the dtype."""
    op = slots(OpThreshold(), threshold=threshold, Input=array(random, (7, 11), dtype))

    def reference(image):
        above = [value > threshold for value in image.ravel().tolist()]
        return np.array(above, np.uint8).reshape(image.shape)

    check_operator(op, reference, regions=3)


@pytest.mark.parametrize("method", ["mean", "max", "min", "mode", "stride"])
@pytest.mark.parametrize(("shape", "dtype"), CASES)
def test_downsample(random, shape, dtype, method):
    """Each voxel is what its window gives, also windows that are cut off at the end."""
    factor = tuple(int(random.integers(1, 4)) for _ in shape)
    image = array(random, shape, dtype)
    if method == "mode" and image.dtype.kind != "b":
        image = (image.astype(np.float64) % 3).astype(dtype)
    op = slots(OpDownsample(), method=method, factor=factor, Input=image)

    def one(window):
        values = window.ravel()
        if method == "stride":
            return values[0]
        if method == "mode":
            found, counts = np.unique(values, return_counts=True)
            return found[counts.argmax()]
        if method == "mean" and image.dtype.kind in "biu":
            total, count = sum(map(int, values)), len(values)
            quotient, rest = divmod(total, count)
            return quotient + (2 * rest > count or (2 * rest == count and quotient % 2))
        return {"mean": lambda v: v.astype(float).sum() / len(v), "max": np.max, "min": np.min}[method](
            values
        )

    def reference(image):
        result = np.empty([-(-size // f) for size, f in zip(shape, factor)], dtype)
        for place in np.ndindex(*result.shape):
            result[place] = one(image[tuple(slice(p * f, p * f + f) for p, f in zip(place, factor))])
        return result

    check_operator(op, reference, tolerance=1e-6 if dtype in FLOATS and method == "mean" else 0)


@pytest.mark.parametrize(("shape", "dtype"), CASES)
def test_upsample_crop_and_transpose(random, shape, dtype):
    """Voxels that only move are those of numpy."""
    image = array(random, shape, dtype)
    factor = tuple(int(random.integers(1, 4)) for _ in shape)

    def repeated(image):
        for axis, times in enumerate(factor):
            image = np.repeat(image, times, axis)
        return image

    check_operator(slots(OpUpsample(), factor=factor, Input=image), repeated)
    start = tuple(int(random.integers(0, size)) for size in shape)
    stop = tuple(int(random.integers(a + 1, size + 1)) for a, size in zip(start, shape))
    part = tuple(map(slice, start, stop))
    check_operator(slots(OpCrop(), start=start, stop=stop, Input=image), lambda image: image[part])
    order = tuple(random.permutation(len(shape)))
    check_operator(slots(OpTranspose(), order=order, Input=image), lambda image: image.transpose(order))
    check_operator(slots(OpTranspose(), Input=image), np.transpose)


@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
def test_arithmetic(random, dtype):
    """Two arrays, or an array and a number, give what numpy gives."""
    one, other = (array(random, (5, 7, 11), dtype) for _ in range(2))
    with np.errstate(all="ignore"):
        check_operator(slots(OpAdd(), A=one, B=other), np.add)
        check_operator(slots(OpAdd(), A=one, B=1), lambda a: a + 1)
        check_operator(slots(OpDivide(), A=1, B=one), lambda b: 1 / b)
        check_operator(slots(OpDivide(), A=one, B=other), np.divide)
        if dtype not in ("bool", "float16", "float32", "float64"):
            check_operator(
                slots(OpAbsoluteDifference(), A=one, B=other),
                lambda a, b: np.where(a > b, a - b, b - a),
            )


@pytest.mark.parametrize(("shape", "dtype"), CASES)
def test_normalize(random, shape, dtype):
    """The whole is brought to 0 to 1, the same whatever the blocks of the pass."""
    image = array(random, shape, dtype)

    def reference(image):
        values = image.astype(np.float64)
        width = values.max() - values.min()
        return ((values - values.min()) / (width or 1)).astype(np.float32)

    check_operator(slots(OpNormalizeMinMax(), Input=image), reference)


def test_normalize_leaves_nan():
    """NaN stays, and counts for neither the least nor the greatest."""
    op = slots(OpNormalizeMinMax(), Input=np.array([np.nan, 2.0, 4.0]))
    np.testing.assert_array_equal(op.Output[:].wait(), [np.nan, 0, 1])


def test_large_arrays_keep_the_memory_promise(random):
    """Scratch memory of regions that matter is at least half of what is projected, and no more but for buffers."""
    image = random.integers(0, 256, (96, 96, 96), np.uint8)
    ratios = [
        check_operator(op, regions=1).scratch_ratio
        for op in (
            slots(OpGaussianSmoothing(), sigma=2.0, Input=image),
            slots(OpDownsample(), method="mean", Input=image),
            slots(OpDownsample(), method="mode", Input=image),
            slots(OpDownsample(), method="mean", Input=image.astype(np.int64)),
            slots(OpNormalizeMinMax(), Input=image),
            slots(OpAbsoluteDifference(), A=image.astype(float), B=image.astype(float)),
        )
    ]
    assert all(ratio is not None and 0.5 <= ratio <= 1.1 for ratio in ratios), ratios


def test_what_does_not_fit_leaves_the_output_not_ready_and_says_why():
    """A parameter or shapes that do not fit the input are told when data are asked for, and can be mended."""
    op = slots(OpGaussianSmoothing(), sigma=(1, 2), Input=np.zeros((3, 4, 5)))
    with pytest.raises(SlotNotReadyError, match="2 values for 3 axes"):
        op.Output[:].wait()
    op.sigma.setValue((1, 2, 3))
    assert op.Output[:].wait().shape == (3, 4, 5)
    add = slots(OpAdd(), A=np.zeros((3, 4)), B=np.zeros((4, 3)))
    with pytest.raises(SlotNotReadyError, match=r"one shape, these have A \(3, 4\), B \(4, 3\)"):
        add.Output[:].wait()
    with pytest.raises(OperatorError, match="give at least 0"):
        op.sigma.setValue(-1)


def test_the_physical_grid_goes_along():
    """Voxel size, offset, units and names stay exact through changes of the voxels."""
    place = {
        "voxel_size": (40, 0.3),
        "offset": (400, 0.1),
        "units": ("nm", "um"),
        "axis_names": ("c^", "z", "y"),
    }
    source = slots(OpCrop(), start=(0, 1, 1))
    source.Input.setValue(np.zeros((2, 9, 9)), extra_meta=place)
    assert source.Output.meta.offset == (440, 0.4)
    down = OpDownsample()
    down.Input.connect(source.Output)
    assert down.factors() == (1, 2, 2)
    assert (down.Output.meta.voxel_size, down.Output.meta.offset) == ((80, 0.6), (440, 0.4))
    turned = slots(OpTranspose(), order=("y", "c^", "z"))
    turned.Input.connect(down.Output)
    meta = turned.Output.meta
    assert (meta.voxel_size, meta.offset, meta.units) == ((0.6, 80), (0.4, 440), ("um", "nm"))
    assert meta.axis_names == ("y", "c^", "z")
    up = slots(OpUpsample(), factor=(2, 1, 2))
    up.Input.connect(turned.Output)
    assert (up.Output.meta.voxel_size, up.Output.meta.shape) == ((0.3, 40), (8, 2, 8))
