"""A value and its recipe, or its pickle's hash, or just the value: CASE value|pickle|recipe"""

import hashlib
import json
import os
import pickle
import resource
import sys
import time
from pathlib import Path

import numpy as np

from blockflow.tasks import Recipe


class Node:
    def __init__(self, value):
        self.value, self.following = value, None


def _linked(count):
    first = last = Node(0)
    for index in range(1, count):
        last.following = Node(index)
        last = last.following
    return first


def _nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


CASES = {
    "dict of 300,000 numbers to tuples": lambda: {i: (i, i + 1, 0.5) for i in range(300_000)},
    "dict of 500,000 names to numbers": lambda: {f"name {i}": i for i in range(500_000)},
    "list of 1,000,000 numbers": lambda: list(range(1_000_000)),
    "set of 300,000 tuples": lambda: {(i, i + 1) for i in range(300_000)},
    "list of 100,000 objects": lambda: [Node(i) for i in range(100_000)],
    "array of 1 GiB": lambda: np.zeros(2**30, np.uint8),
    "linked list of 50,000 objects": lambda: _linked(50_000),
    "100,000 lists in each other": lambda: _nested(100_000),
}

HOW = {
    "pickle": lambda value: hashlib.sha256(pickle.dumps(value)).hexdigest(),
    "recipe": lambda value: Recipe.of(arguments={"it": value}).hash,
}

if __name__ == "__main__":
    case, how = sys.argv[1:]
    value = CASES[case]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    try:
        HOW[how](value)
        took = time.perf_counter() - begin
    except RecursionError:
        took = None
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    Path(os.environ["BENCHMARK_FIGURES"]).write_text(json.dumps({"seconds": took, "memory": more}))
    os._exit(0)  # to take a value apart takes long, too
