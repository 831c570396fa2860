"""A plan for people, as text."""

from collections.abc import Sequence

from blockflow.planning import Plan, PlannedTask
from blockflow.report.plan_drawing import context_as_text
from blockflow.utility.quantity import format_bytes

__all__ = ["plan_as_text"]


def plan_as_text(plan: Plan) -> str:
    """Warnings first, then a table of the tasks, and what the whole takes."""
    lines = [f"warning: {line}" for line in plan.warnings] + [f"note: {line}" for line in plan.notes]
    if lines:
        lines.append("")
    rows = [_HEADINGS, *(_row(plan, task) for task in plan.tasks)]
    lines += _table(rows)
    lines.append("")
    for task in plan.tasks:
        done = " -> ".join(task.operators) or "-"
        lines.append(
            f"{task.name}: {done}" + (f"; after {', '.join(task.upstream)}" if task.upstream else "")
        )
    lines += [
        "",
        (
            f"workers: {plan.num_workers}, each holds at most {format_bytes(plan.memory)} of "
            f"{format_bytes(plan.memory_limit)}"
        ),
        f"blocks: {sum(task.blocks for task in plan.tasks)}",
        (
            f"bytes: {format_bytes(sum(task.bytes_read for task in plan.tasks))} read, "
            f"{format_bytes(sum(task.bytes_written for task in plan.tasks))} written (uncompressed)"
        ),
        f"critical path: {' -> '.join(plan.critical_path)}",
    ]
    return "\n".join(lines)


_HEADINGS = ("task", "blocks", "block shape", "context", "memory", "read", "x", "written", "computed x")


def _row(plan: Plan, task: PlannedTask) -> tuple[str, ...]:
    if task.kind in ("merge", "gate"):
        return (task.name, "1", task.kind, "", "", "", "", "", "")
    return (
        task.name,
        str(task.blocks),
        " x ".join(map(str, task.block_shape)),
        context_as_text(task),
        format_bytes(plan.baseline + task.memory),
        format_bytes(task.bytes_read),
        f"{task.read_amplification:.2f}",
        format_bytes(task.bytes_written),
        f"{task.recomputation:.2f}",
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as they must be; numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in (1, 4, 5, 6, 7, 8) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
