"""What the worker of a graph's task does with a block: evaluates its part of the graph, rebuilt from data."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from blockflow.errors import TaskError
from blockflow.graph import Operator, Slot, StagedOperator, StageGrid
from blockflow.graph.regions import Bounds, at_hand, walk_back
from blockflow.graph.window import Window
from blockflow.storage import Array, BlockResults, open_array, open_results
from blockflow.tasks.graph_data import GraphData, Node, SlotRef
from blockflow.tasks.recipe import code_of_class
from blockflow.utility.freed_memory import give_back_freed_memory

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ApplyProgram", "GateProgram", "MergeProgram", "PassProgram", "Program"]


@dataclass(frozen=True)
class Program:
    """A part of a graph: `graph`, of which slots in `stored` are read from arrays that other tasks write.

    `merged` gives for operators in stages, by one of their outputs, the grid of the pass and where the result of the
    merge is. `steps` names the operators that decide what is computed; the others are there for their metadata.
    `keeps_memory`: blocks are alike, so what one has freed is kept for the next. Not where libraries take memory that
    is not numpy's: in six blocks a worker with a network grew to twice what it holds if each block gives all back.
    `in_order` are paths of arrays that another task writes meanwhile: of them, just what lies in a block's read ROI is
    sure to be done.
    """

    graph: GraphData
    stored: Mapping[SlotRef, str]
    merged: Mapping[SlotRef, tuple[StageGrid, str]]
    steps: tuple[str, ...]
    in_order: tuple[str, ...]
    keeps_memory: bool

    def recipe_code(self) -> dict[str, Any]:
        """All that decides what the task computes, but for its blocks and what is in its arrays."""
        nodes = {node.name: node for node in self.graph.nodes}
        origins = {
            name: {path: _origin(source, nodes) for path, source in nodes[name].links.items()}
            | {path: SlotRef(name, path) for path in nodes[name].arrays}
            for name in self.steps
        }
        arrays = {
            ref: nodes[ref.node].arrays[ref.slot]
            for refs in origins.values()
            for ref in refs.values()
            if ref.slot in nodes[ref.node].arrays
        }
        paths = sorted(set(arrays.values()))
        return {
            name: {
                **nodes[name].values,
                "operator": {
                    "class": code_of_class(nodes[name].cls),
                    "args": list(nodes[name].args),
                    **nodes[name].kwargs,
                    "connections": {path: str(ref) for path, ref in refs.items()},
                    "linked values": {
                        path: nodes[ref.node].values.get(ref.slot) for path, ref in refs.items()
                    },
                    **_extra_meta(name, refs, nodes),
                    **({"parts": dict(nodes[name].parts)} if nodes[name].parts else {}),
                    "arrays": {path: paths.index(arrays[ref]) for path, ref in refs.items() if ref in arrays},
                    "stages": {str(ref): list(grid.block_shape) for ref, (grid, _) in self.merged.items()},
                },
            }
            for name, refs in origins.items()
        }

    @cached_property
    def operators(self) -> dict[str, Operator]:
        """The graph, built once in a process."""
        operators = self.graph.build(windows=True)
        for ref, path in self.stored.items():
            slot = ref.of(operators).source
            slot._value = Window(path, open_array(path), is_computed=True)
        for ref, (grid, path) in self.merged.items():
            self._staged(ref, operators).give_merged(grid, open_results(path).read(0))
        return operators

    def _end_block(self) -> None:
        if not self.keeps_memory:
            give_back_freed_memory()

    @contextmanager
    def at_hand(
        self, wanted: Mapping[Slot, Bounds], block: Any
    ) -> Iterator[dict[Slot, "np.ndarray[Any, Any]"]]:
        """What a block computes. TaskError where that needs what may not be written yet."""
        for step in walk_back(wanted) if self.in_order else ():
            window = step.slot._value
            if isinstance(window, Window) and window.name in self.in_order:
                assert isinstance(window.array, Array)
                roi = window.array.roi_of(step.start, step.stop)
                if not block.read_roi.contains(roi):
                    raise TaskError(
                        f"{roi} of {window.name} is needed, and the block's read ROI is {block.read_roi}: blocks need "
                        "more in some places than in those that the plan looked at. Let requiredInputRoi say the same "
                        "context everywhere, the largest"
                    )
        with at_hand(wanted) as data:
            yield data

    def _staged(self, ref: SlotRef, operators: Mapping[str, Operator]) -> StagedOperator:
        operator = ref.of(operators).source.operator
        assert isinstance(operator, StagedOperator)
        return operator

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("operators", "targets")}

    def __call__(self, block: Any) -> None:
        raise NotImplementedError


def _extra_meta(name: str, refs: Mapping[str, SlotRef], nodes: Mapping[str, Node]) -> dict[str, Any]:
    """What was said of the inputs of an operator beside their values; nothing where nothing was."""
    of_links = ((path, nodes[ref.node].extra_meta.get(ref.slot)) for path, ref in refs.items())
    said = dict(nodes[name].extra_meta) | {path: fields for path, fields in of_links if fields}
    return {"extra_meta": said} if said else {}


def _origin(ref: SlotRef, nodes: Mapping[str, Node]) -> SlotRef:
    """Where a connection begins that leads from input to input."""
    while not ref.children and ref.slot in nodes[ref.node].links:
        ref = nodes[ref.node].links[ref.slot]
    return ref


@dataclass(frozen=True)
class ApplyProgram(Program):
    """Computes a block of slots and writes it to their arrays: `outputs` maps each array's path to its slot."""

    outputs: Mapping[str, SlotRef]

    @cached_property
    def targets(self) -> dict[str, tuple[Array, Slot]]:
        """The arrays, open, with their slots."""
        return {path: (open_array(path, "r+"), ref.of(self.operators)) for path, ref in self.outputs.items()}

    def __call__(self, block: Any) -> None:
        """Do a block."""
        wanted: dict[Slot, Bounds] = {}
        for array, slot in self.targets.values():
            bounds = array.voxels_of(block.write_roi)
            if all(a < b for a, b in zip(*bounds, strict=True)):
                wanted[slot] = bounds
        with self.at_hand(wanted, block) as data:
            for array, slot in self.targets.values():
                if slot in data:  # else the block lies beside the array
                    array[block.write_roi.intersect(array.roi)] = data[slot]
        self._end_block()


@dataclass(frozen=True)
class PassProgram(Program):
    """The pass of an operator in stages: `operator` is one of its outputs, `results` where its blocks leave theirs."""

    operator: SlotRef
    grid: StageGrid
    results: str

    def recipe_code(self) -> dict[str, Any]:
        return {"pass": str(self.operator), **super().recipe_code()}

    def __call__(self, block: Any) -> None:
        """Do a block."""
        operator = self._staged(self.operator, self.operators)
        results = open_results(self.results)
        index = results.index_of(block.write_roi.begin)
        needed = {
            slot: (tuple(roi.start), tuple(roi.stop))
            for slot, roi in operator.measureInputRoi(self.grid, index).items()
        }
        with self.at_hand(needed, block):
            results.write(index, **operator.measure(self.grid, index))
        self._end_block()


@dataclass(frozen=True)
class GateProgram:
    """A task of one block that waits for all of another one; its dependants wait for it."""

    def recipe_code(self) -> dict[str, Any]:
        """It computes nothing."""
        return {"gate": True}

    def __call__(self, block: Any) -> None:
        """There is nothing to be done."""


class _Results(Sequence[Mapping[str, "np.ndarray[Any, Any]"]]):
    """The results of all blocks, read when they are asked for."""

    def __init__(self, results: BlockResults) -> None:
        self._results = results

    def __len__(self) -> int:
        return len(self._results)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._results.read(index % len(self))


@dataclass(frozen=True)
class MergeProgram(Program):
    """The merge of an operator in stages: of the results at `results`, into block 0 of those at `target`."""

    operator: SlotRef
    grid: StageGrid
    results: str
    target: str

    def recipe_code(self) -> dict[str, Any]:
        return {"merge": str(self.operator), **super().recipe_code()}

    def __call__(self, block: Any) -> None:  # noqa: ARG002 - there is one
        """Merge."""
        operator = self._staged(self.operator, self.operators)
        results = open_results(self.results)
        if len(results) != len(self.grid):
            raise TaskError(f"{self.results} has {len(results)} blocks, the pass had {len(self.grid)}")
        open_results(self.target).write(0, **operator.merge(self.grid, _Results(results)))
