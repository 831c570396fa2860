"""A plan for people: as text, and as a drawing."""

from collections.abc import Sequence
from html import escape

from blockflow.planning import Plan, PlannedTask
from blockflow.utility.quantity import format_bytes

__all__ = ["draw_plan", "plan_as_text"]


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
        _context(task),
        format_bytes(plan.baseline + task.memory),
        format_bytes(task.bytes_read),
        f"{task.read_amplification:.2f}",
        format_bytes(task.bytes_written),
        f"{task.recomputation:.2f}",
    )


def _context(task: PlannedTask) -> str:
    if not any(size for pair in task.context for size in pair):
        return "none"
    return " x ".join(str(a) if a == b else f"{a}/{b}" for a, b in task.context)


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


_WIDTH, _HEIGHT, _GAP, _MARGIN = 250, 92, 70, 20


def draw_plan(plan: Plan) -> str:
    """An SVG of the tasks, each to the right of those it waits for."""
    column: dict[str, int] = {}
    for task in plan.tasks:
        column[task.name] = 1 + max((column[name] for name in task.upstream if name in column), default=-1)
    rows: dict[int, int] = {}
    places: dict[str, tuple[int, int]] = {}
    for task in plan.tasks:
        at = column[task.name]
        row = rows.get(at, 0)
        rows[at] = row + 1
        places[task.name] = (_MARGIN + at * (_WIDTH + _GAP), _MARGIN + row * (_HEIGHT + _MARGIN))
    width = _MARGIN * 2 + (max(column.values(), default=0) + 1) * (_WIDTH + _GAP) - _GAP
    height = _MARGIN + max(rows.values(), default=1) * (_HEIGHT + _MARGIN)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            'font-family="sans-serif" font-size="12">'
        ),
        (
            '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
            '<path d="M0,0 L8,4 L0,8 z" fill="#555"/></marker></defs>'
        ),
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    parts += [
        _arrow(places[name], places[task.name])
        for task in plan.tasks
        for name in task.upstream
        if name in places
    ]
    parts += [_box(plan, task, places[task.name]) for task in plan.tasks]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _arrow(begin: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1, x2, y2 = begin[0] + _WIDTH, begin[1] + _HEIGHT // 2, end[0], end[1] + _HEIGHT // 2
    bend = (x1 + x2) // 2
    return f'<path d="M{x1},{y1} C{bend},{y1} {bend},{y2} {x2},{y2}" fill="none" stroke="#555" marker-end="url(#tip)"/>'


def _box(plan: Plan, task: PlannedTask, place: tuple[int, int]) -> str:
    x, y = place
    fill = {"apply": "#e8f0fe", "pass": "#fef3e0", "merge": "#fdeaea", "gate": "#eeeeee"}[task.kind]
    lines = [task.name, _clipped(" → ".join(task.operators))]
    if task.kind in ("apply", "pass"):
        lines += [
            f"{task.blocks} blocks of {' x '.join(map(str, task.block_shape))}",
            f"context {_context(task)}, {format_bytes(plan.baseline + task.memory)} per worker",
        ]
    texts = [_line(x + 10, y + 20 + 19 * number, line, bold=not number) for number, line in enumerate(lines)]
    box = f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="{fill}" stroke="#888"/>'
    return "\n".join([box, *texts])


def _line(x: int, y: int, text: str, *, bold: bool) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}"{weight}>{escape(text)}</text>'


def _clipped(text: str, length: int = 38) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
