"""What the mode `wrap` costs beside `reflect`, and percentiles of wide integers beside numpy, in memory.

python benchmarks/bench_around.py [RUNS] [EDGE]        writes benchmarks/around.md
"""

import statistics
import sys
from pathlib import Path

import numpy as np
import scipy.ndimage as ndi
from bench_operators import THREADS, blockwise, made, seconds
from harness import write_report

from blockflow.operators.scratch import peak_bytes
from blockflow.request import Request

FOLDER = Path(__file__).parent
F32 = np.float32

FILTERS = {
    "GaussianSmoothing": ({"sigma": 2.0}, lambda a, mode: ndi.gaussian_filter(a, 2.0, output=F32, mode=mode)),
    "MaximumFilter": ({"size": 7}, lambda a, mode: ndi.maximum_filter(a, 7, mode=mode)),
    "Median": ({"size": 3}, lambda a, mode: ndi.median_filter(a, 3, mode=mode)),
    "GreyOpening": ({"size": 5}, lambda a, mode: ndi.grey_opening(a, 5, mode=mode)),
}

NOTES = """
In a corner `wrap` reads the whole volume, here that in memory; with half the edge for blocks all eight are corners, so
this is the most it costs: each block copies the volume and then what is around it. Percentiles of 32 and 64 bits are
slower than numpy's, which looks for two values in an array that it holds: a block is sorted, since what it leaves must
be merged with what others leave. Noise is the worst case: every voxel is a value of its own, and asked lazily the
results of all blocks are held. The machine did other work meanwhile.
"""


def pairs(runs, whole, prepared):
    """Medians of the seconds of the whole and of all blocks, and of their ratio; and the peaks of memory."""
    found = []
    for turn in range(runs + 1):
        one, other = seconds(whole), seconds(prepared())
        if turn:
            found.append((one, other, one / other))
    middle = [statistics.median(values) for values in zip(*found, strict=True)]
    peaks = [peak_bytes(whole) / 2**20, peak_bytes(prepared()) / 2**20]
    return f"{middle[0]:.3f} | {middle[1]:.3f} | {middle[2]:.2f} | {peaks[0]:.0f} | {peaks[1]:.0f} |"


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    edge = int(sys.argv[2]) if len(sys.argv) > 2 else 192
    Request.reset_thread_pool(THREADS)
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (edge,) * 3, np.uint8)
    head = "| whole s | blockwise s | speed | whole MiB | blockwise MiB |\n|---|---|---:|---:|---:|---:|---:|"

    def row(*said, whole, name, params, data):
        def prepared():
            operator = made(name, params, data)  # anew, so that a pass over the whole is made each time
            return lambda: blockwise(operator, edge // 2)

        line = f"| {' | '.join(said)} | {pairs(runs, whole, prepared)}"
        print(line, file=sys.stderr, flush=True)
        return line

    filters = [f"| operator | mode {head}"]
    for name, (params, function) in FILTERS.items():
        for mode in ("reflect", "wrap"):

            def whole(function=function, mode=mode):
                return function(image, mode)

            given = params | {"mode": mode}
            filters.append(row(name, mode, whole=whole, name=name, params=given, data=image))
    integers = [f"| Percentile | of {head}"]
    labels = np.kron(image[::16, ::16, ::16].astype(np.int64) * 1000, np.ones((16,) * 3, np.int64))
    for dtype in ("uint8", "uint16", "int32", "uint64"):
        limits = np.iinfo(dtype)
        noise = random.integers(limits.min // 2, limits.max // 2, image.shape, dtype)
        for kind, data in (("noise", noise), ("labels", labels.astype(dtype))):

            def whole(data=data):
                return np.percentile(data, 99)

            given = {"percent": 99}
            integers.append(row(dtype, kind, whole=whole, name="Percentile", params=given, data=data))
    about = (
        f"A volume of {edge}^3 voxels in memory (uint8, noise, where nothing else is said). Blockwise: blocks of "
        f"{edge // 2}^3 voxels, {THREADS} at a time on {THREADS} threads, each written into its place. Whole: scipy or "
        f"numpy in one call, on one thread. Speed is whole / blockwise, the median of {runs} pairs, one after the "
        "other: 1 is as fast, 2 is twice as fast. MiB: what Python and numpy allocate at one time, the result included."
    )
    sections = [about, "\n".join(filters), "\n".join(integers), NOTES]
    write_report(
        FOLDER / "around.md", "Around the array, and percentiles", sections, ("blockflow", "numpy", "scipy")
    )


if __name__ == "__main__":
    main()
