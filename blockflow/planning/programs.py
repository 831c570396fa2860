"""What the workers of a planned task are given to do."""

from collections.abc import Container, Iterable, Sequence
from typing import Any

from blockflow.graph import Operator, Slot
from blockflow.planning.part import ApplyPart, Part, PassPart
from blockflow.planning.plan import PlannedTask
from blockflow.planning.planner import Draft, Stage, needs
from blockflow.storage import ResultsSpec
from blockflow.tasks.graph_data import SlotRef, reference
from blockflow.tasks.program import ApplyProgram, GateProgram, MergeProgram, PassProgram, Program

__all__ = ["inputs_of", "program_of"]


def program_of(draft: Draft, planned: PlannedTask) -> tuple[Any, dict[str, Any]]:
    """What is called with each block of a planned task, and what the task creates, by name."""
    if planned.kind == "gate":
        return GateProgram(), {}
    if planned.kind == "merge":
        stage = next(stage for stage in draft.stages.values() if stage.merged in planned.outputs)
        common = _common(draft, planned, stage.part, ())
        grid = stage.part.grid(draft.choices[stage.part.name].shape)
        program: Program = MergeProgram(
            **common,
            operator=_output_of(draft, stage.operator),
            grid=grid,
            results=stage.results,
            target=stage.merged,
        )
        return program, {"merged": ResultsSpec(stage.merged)}
    part = _part_of(draft, planned)
    _, merged = needs(part, draft.stages)
    common = _common(draft, planned, part, merged)
    if isinstance(part, ApplyPart):
        path = part.frame.path
        outputs = {path: reference(part.output.slot, draft.names)}
        return ApplyProgram(**common, outputs=outputs), {"output": part.output.spec}
    assert isinstance(part, PassPart)
    stage = draft.stages[part.operator]
    grid = part.grid(draft.choices[part.name].shape)
    program = PassProgram(
        **common, operator=_output_of(draft, part.operator), grid=grid, results=stage.results
    )
    return program, {"results": ResultsSpec(stage.results)}


def inputs_of(draft: Draft, planned: PlannedTask) -> dict[str, str]:
    """What a task reads, by the slots that have it: so the recipe knows which array is which input."""
    if planned.kind in ("merge", "gate"):
        return {"results": planned.inputs[0]} if planned.inputs else {}
    part = _part_of(draft, planned)
    _, merged = needs(part, draft.stages)
    read = {step.slot: part.stored.get(step.slot) for step in part.walk(part.frame.roi)}
    named = {
        str(reference(slot, draft.names)): array.path for slot, array in read.items() if array is not None
    }
    return named | {f"{_output_of(draft, stage.operator)}.merged": stage.merged for stage in merged}


def _part_of(draft: Draft, planned: PlannedTask) -> Part:
    return next(
        part for part in draft.parts if part.frame.path in planned.outputs or part.name == planned.name
    )


def _common(draft: Draft, planned: PlannedTask, part: Part, merged: Sequence[Stage]) -> dict[str, Any]:
    """What all programs have: the graph, and what other tasks leave for this one."""
    paths, _ = needs(part, draft.stages)
    made = paths & {output.array.path for output in draft.outputs}
    computing = part.operators(part.frame.roi)
    if isinstance(part, PassPart):
        computing.append(part.operator)
    deciding = _deciding(computing, part.stored)
    return {
        "graph": draft.graph,
        "stored": {
            reference(slot, draft.names): array.path
            for slot, array in part.stored.items()
            if array.path in made
        },
        "merged": {
            _output_of(draft, stage.operator): (
                stage.part.grid(draft.choices[stage.part.name].shape),
                stage.merged,
            )
            for stage in merged
        },
        "in_order": planned.in_order,
        "steps": tuple(sorted(draft.names[operator] for operator in deciding)),
        "keeps_memory": not any(operator.native_memory for operator in computing),
    }


def _deciding(computing: Iterable[Operator], stored: Container[Slot]) -> set[Operator]:
    """The operators that decide what some compute: those, and all that they take data from, up to what is stored.

    One that computes a parameter is not a step of the walk back, and yet decides the voxels.
    """
    found: set[Operator] = set()
    stack = list(computing)
    while stack:
        operator = stack.pop()
        if operator in found:
            continue
        found.add(operator)
        leaves = (leaf for slot in operator.inputs.values() for leaf in slot._leaves())
        sources = (leaf.source for leaf in leaves if leaf.upstream_slot is not None)
        computed = (source.operator for source in sources if not source.is_input and source not in stored)
        stack += [one for one in (operator.parent, *computed) if one is not None]
    return {operator for operator in found if operator.parent is None}


def _output_of(draft: Draft, operator: Operator) -> SlotRef:
    leaf: Slot = next(leaf for slot in operator.outputs.values() for leaf in slot._leaves())
    return reference(leaf, draft.names)
