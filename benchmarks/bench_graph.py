"""The lazy graph against bare functions on a thread pool; what a request, a value and a change cost.

python benchmarks/bench_graph.py [RUNS]        writes benchmarks/graph.md

All but the memory is measured in this one process: the ways to be compared in turn, run by run; wall time, and the
CPU time of all threads, which other work on the machine disturbs less.
"""

import statistics
import sys
import time
import timeit
from itertools import pairwise
from pathlib import Path

import numpy as np
from graph_chains import THREADS, Chain, OpPointwise, plus_one
from harness import compare, write_report

from blockflow.request import Request, RequestPool

FOLDER = Path(__file__).parent


def seconds(work):
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def cpu_seconds(work):
    begin = time.process_time()
    work()
    return time.process_time() - begin


def in_turn(runs, *ways, clock=seconds):
    """The seconds of each way, run by run in turn, after a warm-up of each."""
    for way in ways:
        way()
    return list(zip(*[[clock(way) for way in ways] for _ in range(runs)], strict=True))


def ratio(reference, measured):
    """The median of the ratios run by run, with the quarters around it."""
    ratios = [b / a for a, b in zip(reference, measured, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"**{middle:.2f}** ({low:.2f} to {high:.2f})"


def milliseconds(values):
    return f"{statistics.median(values) * 1e3:.1f} ms"


def microseconds(work, count, runs):
    """The median and the least CPU time of one call, in microseconds."""
    repeated = timeit.repeat(work, number=count, repeat=runs, timer=time.process_time)
    times = [one / count * 1e6 for one in repeated]
    return f"{statistics.median(times):.2f} us (least {min(times):.2f})"


def chains(runs):
    """Rows on large blocks: both chains, by the graph and bare."""
    for name in ("light", "heavy"):
        chain = Chain(name, 256, 64)
        chain.bare()
        expected = chain.out.copy()
        chain.out[...] = 0
        chain.graph()
        assert np.array_equal(chain.out, expected)
        loop, bare, graph = in_turn(runs, chain.loop, chain.bare, chain.graph)
        yield (
            f"{name} chain, 256^3 uint8 in 64 blocks of 64^3",
            f"{milliseconds(bare)} (one thread: {milliseconds(loop)})",
            milliseconds(graph),
            ratio(bare, graph),
            ratio(*in_turn(runs, chain.bare, chain.graph, clock=cpu_seconds)),
            "1.1",
        )


def small_blocks(runs):
    """Rows on small blocks, where only the overhead counts."""
    chain = Chain("light", 128, 16)
    loop, bare, graph = in_turn(runs, chain.loop, chain.bare, chain.graph, clock=cpu_seconds)
    for name, reference in (("a loop in one thread", loop), ("the executor", bare)):
        extra = [(b - a) / len(chain.blocks) * 1e6 for a, b in zip(reference, graph, strict=True)]
        low, middle, high = statistics.quantiles(extra, n=4)
        yield (
            f"light chain, 128^3 in 512 blocks of 16^3, beyond {name} (CPU time)",
            milliseconds(reference),
            milliseconds(graph),
            "",
            f"**{middle:.0f} us** per block ({low:.0f} to {high:.0f})",
            "40 us" if reference is loop else "",
        )


def costs(runs):
    """Rows on what the parts cost."""

    def pool():
        requests = RequestPool()
        for _ in range(2000):
            requests.add(Request(int))
        requests.wait()

    def submitted():
        for request in [Request(int).submit() for _ in range(2000)]:
            request.wait()

    value = OpPointwise(plus_one, np.uint8)
    value.Input.setValue(np.zeros((64, 64, 64), np.uint8))
    region = value.Input._roi((8, 8, 8), (16, 16, 16))
    done = Request.with_value(1)
    yield "a request in a RequestPool, doing nothing", per_call(pool, 2000, runs), "10 us"
    yield "a request, submitted and waited for from outside", per_call(submitted, 2000, runs), ""
    yield (
        "a request, waited for at once",
        microseconds(lambda: Request(int).wait(), 2000, runs),
        "",
    )
    yield (
        "8^3 of a slot that has a value",
        microseconds(lambda: value.Input.get(region).wait(), 2000, runs),
        "4 us",
    )
    yield "wait() of a request that is done", microseconds(done.wait, 20000, runs), ""
    yield from values(runs)
    yield from deep(runs)


def per_call(work, count, runs):
    times = [cpu_seconds(work) / count * 1e6 for _ in range(runs)]
    return f"{statistics.median(times):.2f} us (least {min(times):.2f})"


def values(runs):
    """Rows on setting what is there already."""
    operator = OpPointwise(plus_one, np.uint8)
    data = np.zeros(2**27, np.uint8)
    copies = [data.copy(), data.copy()]
    operator.Input.setValue(data)
    yield (
        "setValue of the same 128 MiB array",
        microseconds(lambda: operator.Input.setValue(data), 2000, runs),
        "no compare",
    )
    compared, equal = in_turn(
        max(3, runs // 3),
        lambda: np.array_equal(copies[0], copies[1]),
        lambda: operator.Input.setValue(copies[len(changes) % 2]) or changes.append(1),
    )
    yield (
        "setValue of another, equal one",
        f"{milliseconds(equal)}; numpy.array_equal: {milliseconds(compared)}",
        "",
    )


#: how often an equal value was set: each time the other one of two copies
changes: list[int] = []


def deep(runs):
    """Rows on a chain of 1,000 operators."""
    operators = [OpPointwise(plus_one, np.uint8) for _ in range(1000)]

    def connect():
        for upstream, operator in pairwise(operators):
            operator.Input.connect(upstream.Output)

    shapes = [np.zeros((4 + k % 2, 4), np.uint8) for k in range(runs + 1)]
    first, last = operators[0].Input, operators[-1].Output
    yield "1,000 operators: connecting", milliseconds([seconds(connect)]), ""
    first.setValue(shapes.pop())
    for name, work in (  # the request is made anew each time
        ("metadata and dirtiness of a new shape", lambda: first.setValue(shapes.pop())),
        ("dirtiness", first.setDirty),
        ("a request", lambda: last((0, 0), (4, 4)).wait()),
    ):
        yield f"1,000 operators: {name}", milliseconds([seconds(work) for _ in range(runs)]), ""


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 25
    Request.reset_thread_pool(THREADS)
    memory = compare(
        "Whole processes, each with 10 rounds of the heavy chain: their memory",
        {
            way: [sys.executable, str(FOLDER / "graph_chains.py"), way, "heavy", "10"]
            for way in ("bare", "graph")
        },
        max(3, runs // 8),
    )
    speed = table(
        [
            "what",
            "bare",
            "graph",
            "graph / bare, run by run (median, quarters)",
            "the same in CPU time",
            "bound",
        ],
        [*chains(runs), *small_blocks(runs)],
    )
    parts = table(["what", "CPU time of one, median", "bound"], costs(runs))
    write_report(
        FOLDER / "graph.md",
        "The lazy graph, against bare functions on a thread pool",
        [
            "Two pointwise operators (light: + 1 and a threshold; heavy: square root and exponential in float32, "
            f"twice), {THREADS} threads. Bare: the same numpy calls, on a `ThreadPoolExecutor({THREADS})`. "
            "Graph: a `RequestPool` of requests with `writeInto`. Both give the same voxels.\n\n" + speed,
            "## What the parts cost\n\n" + parts,
            memory,
        ],
    )
