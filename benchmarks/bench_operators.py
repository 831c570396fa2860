"""Each operator block by block on 2 threads, against scipy or numpy on the whole array in one thread.

python benchmarks/bench_operators.py [RUNS] [EDGE] [OPERATOR ...]      writes benchmarks/operators.md

With operators named, their rows are printed and nothing is written.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from harness import write_report
from operator_cases import CASES, EXCEPTIONS, REASONS, arrays_of, data_of, operator_of

import blockflow
from blockflow.graph import Slot, StagedOperator, StageGrid
from blockflow.operators import OpLookup
from blockflow.operators.scratch import peak_bytes
from blockflow.planning import Target, describe_output
from blockflow.request import Request, RequestPool
from blockflow.rtype import SubRegion

FOLDER = Path(__file__).parent
WORKERS = 2
SLOW = 0.75

#: pairs are repeated until they have taken so many seconds, or this many times
_ENOUGH, _MOST = 1.0, 15


@dataclass(frozen=True)
class Blocks:
    """The blocks that the planner gives an operator: of its output, and, if it works in stages, of its pass."""

    output: tuple[int, ...]
    measured: tuple[int, ...] | None = None


def planned_blocks(name: str, data: dict[str, Any], folder: Path) -> Blocks:
    """What the planner chooses for an operator that reads from zarr and writes to it, for 2 workers."""
    operator = operator_of(name, data, folder)
    slot = asked = CASES[name].output(operator)
    if isinstance(operator, StagedOperator) and len(slot.meta.shape) == 1:
        # a number of the whole is not stored by itself: one that uses it is planned, and its pass taken
        reader = OpLookup()
        reader.Input.connect(operator.inputs[operator.stage_input].source)
        reader.Table.connect(slot)
        asked = reader.Output
    target = Target(str(folder / "output.zarr"))
    plan = blockflow.plan(asked, target, num_workers=WORKERS, run_dir=folder / "run")
    passed = next((task.block_shape for task in plan.tasks if task.kind == "pass"), None)
    if asked is not slot:
        return Blocks(tuple(slot.meta.shape), passed)
    block = list(slot.meta.shape)  # all channels, and of the axes of space what the planner says
    axes = describe_output(slot, target).metadata.spatial_axes
    for axis, size in zip(axes, plan.tasks[-1].block_shape, strict=True):
        block[axis] = size
    return Blocks(tuple(block), passed)


def blockwise(operator: Any, slot: Slot, blocks: Blocks) -> np.ndarray[Any, Any]:
    """All blocks of the output into one array, several at a time; those of the pass and its merge before."""
    if isinstance(operator, StagedOperator):
        shape = tuple(operator.inputs[operator.stage_input].meta.shape)
        grid = StageGrid(shape, blocks.measured)
        results: list[Any] = [None] * len(grid)

        def measure(index: int) -> None:
            results[index] = operator.measure(grid, index)

        _all(partial(measure, index) for index in range(len(grid)))
        operator.give_merged(grid, operator.merge(grid, results))
    grid = StageGrid(tuple(slot.meta.shape), blocks.output)
    result = np.empty(grid.shape, slot.dtype)

    def write(start: tuple[int, ...], stop: tuple[int, ...]) -> None:
        slot(start, stop).writeInto(result[tuple(map(slice, start, stop))]).wait()

    _all(partial(write, *grid.bounds(index)) for index in range(len(grid)))
    return result


def _all(jobs: Iterator[Callable[[], None]]) -> None:
    with RequestPool() as pool:
        for job in jobs:
            pool.add(Request(job))


def beyond_kernel(operator: Any, slot: Slot) -> float | None:
    """Microseconds of a request for one voxel, beyond calling `execute` for it: what a block costs the graph."""
    start, stop = [0] * len(slot.meta.shape), [1] * len(slot.meta.shape)
    result = np.empty(stop, slot.dtype)
    roi = SubRegion(slot, start, stop)
    executes = slot.source.operator is operator and not slot.source.is_input
    asked, called = [], []
    for _ in range(200):
        begin = time.perf_counter()
        slot(start, stop).wait()
        asked.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        if executes:
            operator.execute(slot.source, slot.source.subindex, roi, result)
        called.append(time.perf_counter() - begin)
    kernel = statistics.median(called)
    return None if kernel > 1e-3 else 1e6 * (statistics.median(asked) - kernel)


@dataclass
class Row:
    """What was measured of one operator: seconds of each pair, and the greatest bytes held, by either side."""

    name: str
    blocks: Blocks
    count: int
    wholes: list[float] = field(default_factory=list)
    in_blocks: list[float] = field(default_factory=list)
    whole_bytes: int = 0
    block_bytes: int = 0
    microseconds: float | None = None

    @property
    def speed(self) -> float:
        """Whole by blockwise, the median of all pairs: 2 is twice as fast."""
        return statistics.median(one / other for one, other in zip(self.wholes, self.in_blocks, strict=True))

    def markdown(self) -> str:
        """As a line of the table."""
        params = {key: value for key, value in CASES[self.name].params.items() if np.size(value) < 10}
        params |= {key: Path(value).name for key, value in params.items() if key == "model"}
        cells = [
            self.name + ("" if CASES[self.name].whole else " *"),
            ", ".join(f"{key} {value}" for key, value in params.items()),
            f"{self.count} of {' x '.join(map(str, self.blocks.measured or self.blocks.output))}",
            f"{1000 * statistics.median(self.wholes):.1f}",
            f"{1000 * statistics.median(self.in_blocks):.1f}",
            f"{self.speed:.2f}",
            f"{self.whole_bytes / 1e6:.1f}",
            f"{self.block_bytes / 1e6:.1f}",
            f"{self.block_bytes / max(1, self.whole_bytes):.2f}",
            "" if self.microseconds is None else f"{self.microseconds:.0f}",
        ]
        return f"| {' | '.join(cells)} |"


HEAD = (
    "| operator | parameters | blocks | whole ms | blockwise ms | speed | whole MB | blockwise MB | memory | us per "
    "block |\n|---|---|---|---:|---:|---:|---:|---:|---:|---:|"
)


def measured(name: str, data: dict[str, Any], folder: Path, runs: int) -> Row:
    """Compare one operator: memory first, which is the warm-up, then time, pair by pair."""
    case = CASES[name]
    arrays = arrays_of(case, data)
    blocks = planned_blocks(name, data, folder)

    def fresh() -> tuple[Any, Slot]:
        operator = operator_of(name, data)
        return operator, case.output(operator)

    def whole(_operator: Any, slot: Slot) -> Any:
        return case.whole(*arrays) if case.whole else slot[:].wait()

    operator, slot = fresh()
    space = (
        tuple(operator.inputs[operator.stage_input].meta.shape) if blocks.measured else tuple(slot.meta.shape)
    )
    row = Row(name, blocks, len(StageGrid(space, blocks.measured or blocks.output)))
    row.whole_bytes = peak_bytes(partial(whole, *fresh()))
    row.block_bytes = peak_bytes(partial(blockwise, operator, slot, blocks))
    row.microseconds = beyond_kernel(operator, slot)
    begin = time.perf_counter()
    while len(row.wholes) < runs or (time.perf_counter() - begin < _ENOUGH and len(row.wholes) < _MOST):
        row.wholes.append(_seconds(whole, *fresh()))
        row.in_blocks.append(_seconds(blockwise, *fresh(), blocks))
    return row


def _seconds(function: Callable[..., Any], *arguments: Any) -> float:
    begin = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - begin


def explained(rows: list[Row]) -> str:
    """Of each operator below three quarters why it is, by the figures of this run."""
    slow = [row for row in rows if row.speed < SLOW]
    if not slow:
        return f"All of them reach {SLOW}."
    lines = [f"{len(rows) - len(slow)} of {len(rows)} reach {SLOW}. Of the others:", ""]
    for reason, sentence in REASONS.items():
        names = [f"`{row.name}` {row.speed:.2f}" for row in slow if CASES[row.name].reason == reason]
        if names:
            lines.append(f"- {', '.join(names)}: {sentence}.")
    names = [f"`{row.name}` {row.speed:.2f}" for row in slow if not CASES[row.name].reason]
    if names:
        lines.append(f"- **Not explained**: {', '.join(names)}.")
    return "\n".join(lines)


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    edge = int(sys.argv[2]) if len(sys.argv) > 2 else 256
    names = sys.argv[3:] or list(CASES)
    Request.reset_thread_pool(WORKERS)
    data, small = data_of(edge), data_of(edge // 2)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            rows.append(measured(name, small if CASES[name].small else data, Path(folder), runs))
            print(rows[-1].markdown(), file=sys.stderr, flush=True)
    about = (
        f"A volume of {edge}^3 voxels in memory (uint8; a mask for binary operators, distances and components; "
        f"{edge // 2} x {edge} x {edge} voxels with 4 channels for those of channels; for "
        f"{', '.join(name for name in CASES if CASES[name].small)} half of each edge).\n\n"
        "Blockwise: the blocks that the planner chooses for the same operator from zarr to zarr in chunks of 64^3, for "
        f"{WORKERS} workers and 2 GB each, with their context, {WORKERS} at a time on {WORKERS} threads, each written "
        "into its place. Operators in stages: the blocks of the pass are shown; pass, merge and apply are counted. "
        "Whole: scipy or numpy in one call or the few that it takes, on one thread; with a *, where there is nothing "
        "alike, one request to the operator itself.\n\n"
        f"Speed is whole / blockwise, the median of at least {runs} pairs, one after the other: 1 is as fast, 2 is "
        "twice as fast. Memory is the most that Python and numpy held at one time beyond the input, result included "
        "(tracemalloc, in a run of its own; what scipy and cc3d take for themselves is not in it), and blockwise / "
        "whole of it. Where the result is all that is held, that is 1: in a run it is written block by block. The last "
        "column is what a request costs beyond the operator's own code, for one voxel; where that code takes more "
        "than a millisecond by itself, it is not shown."
    )
    load, cores = os.getloadavg()[2], len(os.sched_getaffinity(0))
    if load > cores:
        about += (
            f"\n\nThe machine did other work meanwhile (load {load:.1f} on {cores} cores), which takes more from two "
            "threads than from one: on a quiet machine speeds are higher."
        )
    left = "Not compared: " + "; ".join(f"`{name}` ({why})" for name, why in EXCEPTIONS.items()) + "."
    if sys.argv[3:]:
        print(explained(rows))
        return
    table = "\n".join([HEAD, *(row.markdown() for row in rows)])
    sections = [about, table, "## Below 0.75\n\n" + explained(rows), left]
    write_report(FOLDER / "operators.md", "Operators", sections, ("blockflow", "numpy", "scipy"))


if __name__ == "__main__":
    main()
