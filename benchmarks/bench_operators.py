"""Each operator block by block on 2 threads, against scipy or numpy on the whole array in one thread.

python benchmarks/bench_operators.py [RUNS] [EDGE]        writes benchmarks/operators.md
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import scipy.ndimage as ndi
from harness import write_report

from blockflow.graph import StagedOperator, StageGrid
from blockflow.operators import resolve_operator
from blockflow.request import Request, RequestPool

FOLDER = Path(__file__).parent
THREADS = 2
F32 = np.float32


def median_windows(image, size):
    return ndi.median_filter(image, size)


def reduced(image):
    half = [size // 2 for size in image.shape]
    return image.reshape(half[0], 2, half[1], 2, half[2], 2).mean((1, 3, 5))


def cut_distance(mask):
    return np.minimum(ndi.distance_transform_edt(mask), 8).astype(F32)


def local_normalisation(image):
    image = image.astype(float)
    mean = ndi.gaussian_filter(image, 2)
    deviation = np.sqrt(np.maximum(ndi.gaussian_filter(image * image, 2) - mean * mean, 0))
    return ((image - mean) / (deviation + 1e-6)).astype(F32)


def hessian(image):
    parts = {}
    tensor = np.empty((*image.shape, 3, 3))
    for one in range(3):
        for other in range(one, 3):
            order = [(axis == one) + (axis == other) for axis in range(3)]
            parts = ndi.gaussian_filter(image, 1, order, F32)
            tensor[..., one, other] = tensor[..., other, one] = parts
    return np.linalg.eigvalsh(tensor)


def scaled(image):
    return ((image - image.min()) / float(image.max() - image.min())).astype(F32)


#: operator -> (parameters, what the whole is computed by); inputs: uint8, or a mask
CASES = {
    "Add": ({"B": 10}, lambda a: a + np.uint8(10)),
    "Divide": ({"B": 3}, lambda a: a / 3),
    "Greater": ({"B": 128}, lambda a: a > 128),
    "Threshold": ({"threshold": 128}, lambda a: (a > 128).astype(np.uint8)),
    "Cast": ({"dtype": "float32"}, lambda a: a.astype(F32)),
    "Clip": ({"low": 20, "high": 200}, lambda a: np.clip(a, 20, 200)),
    "Rescale": ({}, lambda a: np.clip(a / 255.0, 0, 1).astype(F32)),
    "Gamma": ({"gamma": 0.7}, lambda a: np.rint((a / 255.0) ** 0.7 * 255).astype(np.uint8)),
    "Invert": ({}, lambda a: 255 - a),
    "Expression": (
        {"expression": "(a - 10) / (a + 10)"},
        lambda a: ((a.astype(float) - 10) / (a.astype(float) + 10)).astype(F32),
    ),
    "GaussianSmoothing": ({"sigma": 2.0}, lambda a: ndi.gaussian_filter(a, 2.0, output=F32)),
    "GaussianDerivative": ({"sigma": 2.0}, lambda a: ndi.gaussian_filter(a, 2.0, 1, F32)),
    "DifferenceOfGaussians": (
        {"sigma": 1, "sigma_outer": 1.6},
        lambda a: ndi.gaussian_filter(a, 1, output=F32) - ndi.gaussian_filter(a, 1.6, output=F32),
    ),
    "LaplacianOfGaussian": ({"sigma": 1.5}, lambda a: ndi.gaussian_laplace(a, 1.5, F32)),
    "GaussianGradientMagnitude": ({"sigma": 1.5}, lambda a: ndi.gaussian_gradient_magnitude(a, 1.5, F32)),
    "HessianEigenvalues": ({"sigma": 1.0}, hessian),
    "Median": ({"size": 3}, lambda a: ndi.median_filter(a, 3)),
    "Rank": ({"size": 3, "rank": 20}, lambda a: ndi.percentile_filter(a, 20, 3)),
    "Uniform": ({"size": 7}, lambda a: ndi.uniform_filter(a, 7, F32)),
    "MinimumFilter": ({"size": 7}, lambda a: ndi.minimum_filter(a, 7)),
    "MaximumFilter": ({"size": 7}, lambda a: ndi.maximum_filter(a, 7)),
    "LocalNormalization": ({"sigma": 2}, local_normalisation),
    "BinaryErosion": ({}, ndi.binary_erosion),
    "BinaryDilation": ({"iterations": 3}, lambda a: ndi.binary_dilation(a, iterations=3)),
    "BinaryOpening": ({}, ndi.binary_opening),
    "GreyErosion": ({"size": 5}, lambda a: ndi.grey_erosion(a, 5)),
    "GreyOpening": ({"size": 5}, lambda a: ndi.grey_opening(a, 5)),
    "WhiteTopHat": ({"size": 5}, lambda a: ndi.white_tophat(a, 5)),
    "MorphologicalGradient": ({"size": 3}, lambda a: ndi.morphological_gradient(a, 3)),
    "DistanceTransform": ({"limit": 8}, cut_distance),
    "Downsample": ({"factor": 2}, reduced),
    "Upsample": ({"factor": 2}, lambda a: np.repeat(np.repeat(np.repeat(a, 2, 0), 2, 1), 2, 2)),
    "Flip": ({}, lambda a: np.ascontiguousarray(np.flip(a))),
    "Transpose": ({}, lambda a: np.ascontiguousarray(a.T)),
    "Pad": ({"before": 8, "after": 8, "mode": "reflect"}, lambda a: np.pad(a, 8, "symmetric")),
    "Sum": ({}, lambda a: a.sum()),
    "Mean": ({}, lambda a: a.mean()),
    "Variance": ({}, lambda a: a.var()),
    "Histogram": ({}, lambda a: np.histogram(a, 256, (0, 256))[0]),
    "Percentile": ({"percent": 99}, lambda a: np.percentile(a, 99)),
    "NormalizeMinMax": ({}, scaled),
}

NOTES = """
Where the speed is below 0.75: arithmetic, comparisons, `Threshold`, `Cast`, `Clip`, `Invert`, `Sum`,
`Mean` and what only moves voxels are bound by memory, and most take some milliseconds for the whole: one call streams
through it in one piece, while blocks are strided parts of it, and each costs its request. `NormalizeMinMax` reads the
volume twice, block by block. The machine did other work meanwhile, which disturbs short times most.
"""

#: operators that take long: on an eighth of the volume
SLOW = ("HessianEigenvalues", "Median", "Rank")

MASKS = ("BinaryErosion", "BinaryDilation", "BinaryOpening", "DistanceTransform")


def made(name, params, image):
    operator = resolve_operator(name)()
    for parameter, value in params.items():
        operator.inputs[parameter].setValue(value)
    first = next(slot for slot in operator.inputs.values() if slot.name in ("Input", "A", "a"))
    first.setValue(image)
    return operator


def blockwise(operator, edge):
    """All blocks of the output into one array, several at a time."""
    slot = operator.Output
    shape = tuple(slot.meta.shape)
    result = np.empty(shape, slot.dtype)
    block = tuple(min(size, edge) for size in shape)
    grid = StageGrid(shape, block if len(shape) == 3 else shape[:-3] + block[-3:])
    with RequestPool() as pool:
        for index in range(len(grid)):
            start, stop = grid.bounds(index)
            part = result[tuple(map(slice, start, stop))]
            pool.add(
                Request(lambda start=start, stop=stop, part=part: slot(start, stop).writeInto(part).wait())
            )
    return len(grid)


def beyond_kernel(operator):
    """Microseconds of a request for one voxel, beyond calling `execute` for it: what a block costs the graph."""
    slot = operator.Output
    stop = [1] * len(slot.meta.shape)
    start = [0] * len(stop)
    result = np.empty(stop, slot.dtype)
    from blockflow.rtype import SubRegion

    roi = SubRegion(slot, start, stop)
    asked, called = [], []
    for _ in range(200):
        begin = time.perf_counter()
        slot(start, stop).wait()
        asked.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        operator.execute(slot, (), roi, result)
        called.append(time.perf_counter() - begin)
    return 1e6 * (statistics.median(asked) - statistics.median(called))


def seconds(function, *arguments):
    begin = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - begin


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    edge = int(sys.argv[2]) if len(sys.argv) > 2 else 256
    Request.reset_thread_pool(THREADS)
    random = np.random.default_rng(0)
    image = ndi.gaussian_filter(random.integers(0, 256, (edge,) * 3, np.uint8), 1) + np.uint8(10)
    mask = ndi.binary_dilation(random.random((edge,) * 3) < 0.02, iterations=3)
    lines = [
        "| operator | parameters | whole s | blockwise s | speed | us per block |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name, (params, whole) in CASES.items():
        given = mask if name in MASKS else image
        if name in SLOW:
            given = np.ascontiguousarray(given[tuple(slice(edge // 2) for _ in range(3))])
        ratios, wholes, blocks = [], [], []
        for turn in range(runs + 1):
            operator = made(name, params, given)  # anew, so that a pass over the whole is made each time
            one, other = seconds(whole, given), seconds(blockwise, operator, given.shape[0] // 2)
            if turn:
                wholes.append(one)
                blocks.append(other)
                ratios.append(one / other)
        cost = "" if isinstance(operator, StagedOperator) else f"{beyond_kernel(operator):.0f}"
        said = ", ".join(f"{key} {value}" for key, value in params.items())
        lines.append(
            f"| {name} | {said} | {statistics.median(wholes):.3f} | {statistics.median(blocks):.3f} | "
            f"{statistics.median(ratios):.2f} | {cost} |"
        )
        print(lines[-1], file=sys.stderr, flush=True)
    about = (
        f"A volume of {edge}^3 voxels in memory (uint8; a mask for binary operators and distances). Blockwise: blocks "
        f"of {edge // 2}^3 voxels with their context, {THREADS} at a time on {THREADS} threads, each written into its "
        f"place ({', '.join(SLOW)}: half of either edge). Whole: scipy or numpy in one call, on one thread. Speed is "
        f"whole / blockwise, the median of {runs} pairs, one after the other: 1 is as fast, 2 is twice as fast. The "
        "last column is what a request costs beyond the operator's own code, for one voxel."
    )
    sections = [about, "\n".join(lines), NOTES]
    write_report(FOLDER / "operators.md", "Operators", sections, ("blockflow", "numpy", "scipy"))


if __name__ == "__main__":
    main()
