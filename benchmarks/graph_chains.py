"""Two pointwise operators over a volume, block by block: by the graph, and by bare functions on a thread pool.

python benchmarks/graph_chains.py bare|graph light|heavy ROUNDS
"""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np

from blockflow.graph import InputSlot, Operator, OutputSlot
from blockflow.request import Request, RequestPool

THREADS = 2


def plus_one(data, out):
    np.add(data, 1, out=out)


def threshold(data, out):
    np.greater(data, 128, out=out, casting="unsafe")


def square_root_and_exponential(data, out):
    np.sqrt(data, out=out, dtype=np.float32, casting="unsafe")
    np.negative(out, out=out)
    np.exp(out, out=out)


#: the two functions of a chain, and the dtype they give
CHAINS = {
    "light": ((plus_one, threshold), np.uint8),
    "heavy": ((square_root_and_exponential,) * 2, np.float32),
}


class OpPointwise(Operator):
    """Applies a function of (data, out)."""

    Input = InputSlot()
    Output = OutputSlot()

    def __init__(self, function, dtype):
        super().__init__()
        self.function, self.dtype = function, dtype

    def setupOutputs(self):
        self.Output.meta.shape = self.Input.meta.shape
        self.Output.meta.dtype = self.dtype

    def execute(self, slot, subindex, roi, result):  # noqa: ARG002
        self.function(self.Input.get(roi).wait(), result)

    def propagateDirty(self, slot, subindex, roi):  # noqa: ARG002
        self.Output.setDirty(roi)


def volume(size):
    return np.random.default_rng(0).integers(0, 255, (size,) * 3, dtype=np.uint8)


def blocks(size, block):
    return [
        (corner, tuple(one + block for one in corner)) for corner in product(range(0, size, block), repeat=3)
    ]


class Chain:
    """One chain over one volume, to be run in several ways."""

    def __init__(self, name, size, block):
        self.functions, self.dtype = CHAINS[name]
        self.data, self.blocks = volume(size), blocks(size, block)
        self.out = np.empty(self.data.shape, self.dtype)
        operators = [OpPointwise(function, self.dtype) for function in self.functions]
        operators[0].Input.setValue(self.data)
        operators[1].Input.connect(operators[0].Output)
        self.slot = operators[1].Output

    def one_block(self, block):
        key = tuple(map(slice, *block))
        data = self.data[key]
        between = np.empty(data.shape, self.dtype)
        self.functions[0](data, between)
        self.functions[1](between, self.out[key])

    def loop(self):
        """Block after block, in one thread, without any of it."""
        for block in self.blocks:
            self.one_block(block)

    def bare(self):
        """The same on a ThreadPoolExecutor."""
        list(EXECUTOR.map(self.one_block, self.blocks))

    def graph(self):
        """The same by requests of the graph, written into one array."""
        pool = RequestPool()
        for start, stop in self.blocks:
            pool.add(self.slot(start, stop).writeInto(self.out[tuple(map(slice, start, stop))]))
        pool.wait()


EXECUTOR = ThreadPoolExecutor(THREADS)


if __name__ == "__main__":
    way, name, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    Request.reset_thread_pool(THREADS)
    chain = Chain(name, 256, 64)
    for _ in range(rounds):
        getattr(chain, way)()
    if "BENCHMARK_FIGURES" in os.environ:
        checksum = float(chain.out[::17, ::17, ::17].sum(dtype=np.float64))
        Path(os.environ["BENCHMARK_FIGURES"]).write_text(json.dumps({"checksum": round(checksum, 3)}))
