"""A plan as a drawing: boxes in columns, and arrows that never run behind one.

Each task stands one column to the right of the last of those it waits for. Where an arrow skips columns, it crosses
them in a lane of its own between the boxes; tasks that wait for one and the same task share its lane. All that is
not horizontal happens in the gaps between columns, where there are no boxes.
"""

import itertools
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import fmean

from blockflow.planning import Plan, PlannedTask
from blockflow.utility.quantity import format_bytes

__all__ = ["context_as_text", "draw_plan"]

_GAP, _MARGIN, _PADDING, _SPACE, _LANE = 70, 20, 10, 20, 8

#: a letter of any monospaced font is 0.6 of its size wide, give or take little
_SIZE, _TITLE_SIZE, _LINE, _LETTER = 12, 16, 17, 0.62

#: letters of a line before it is broken
_MOST_LETTERS = 42

_FILL = {"apply": "#e8f0fe", "pass": "#fef3e0", "merge": "#fdeaea", "gate": "#eeeeee"}


@dataclass(frozen=True)
class _Item:
    """What stands in a column: the box of a task, or, without lines, the lane of arrows that come from it."""

    task: str
    lines: tuple[str, ...] = ()

    @property
    def height(self) -> int:
        return len(self.lines) * _LINE + 2 * _PADDING if self.lines else _LANE


def draw_plan(plan: Plan) -> str:
    """An SVG of the tasks, each to the right of those it waits for."""
    boxes = {task.name: _Item(task.name, tuple(_texts(plan, task))) for task in plan.tasks}
    waits = {task.name: [name for name in task.upstream if name in boxes] for task in plan.tasks}
    column = _columns(waits)
    items = _filled(boxes, waits, column)
    middles = _middles(items, waits)
    lefts, widths = [], []
    right = _MARGIN - _GAP
    for here in items:
        lefts.append(right + _GAP)
        widths.append(max(_width(line) for item in here for line in item.lines) + 2 * _PADDING)
        right = lefts[-1] + widths[-1]
    blocks = sum(task.blocks for task in plan.tasks)
    title = f"{plan.name}: {_count(len(plan.tasks), 'task')}, {_count(blocks, 'block')}"
    top = _MARGIN + _TITLE_SIZE + _SPACE - min(_tops(items, middles), default=0)
    spans = list(zip(lefts, widths, strict=True))
    parts = []
    for task in plan.tasks:
        for name in waits[task.name]:
            ys = [top + middles[at, name] for at in range(column[name], column[task.name])]
            ys.append(top + middles[column[task.name], task.name])
            parts.append(_arrow(f"{name} → {task.name}", spans[column[name] : column[task.name] + 1], ys))
    for task in plan.tasks:
        left, width = spans[column[task.name]]
        y = top + middles[column[task.name], task.name] - boxes[task.name].height / 2
        parts.append(_box(boxes[task.name], left, y, width, _FILL[task.kind]))
    bottom = max(
        (top + middles[at, item.task] + item.height / 2 for at, here in enumerate(items) for item in here),
        default=top,
    )
    width = max(right, _MARGIN + _width(title, _TITLE_SIZE)) + _MARGIN
    height = round(bottom) + _MARGIN
    head = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            f'font-family="monospace" font-size="{_SIZE}">'
        ),
        (
            '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
            '<path d="M0,0 L8,4 L0,8 z" fill="#555"/></marker></defs>'
        ),
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{_MARGIN}" y="{_MARGIN + _TITLE_SIZE}" font-size="{_TITLE_SIZE}">{escape(title)}</text>',
    ]
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


def context_as_text(task: PlannedTask) -> str:
    """The context of a task's blocks in voxels, axis by axis."""
    if not any(size for pair in task.context for size in pair):
        return "none"
    return " x ".join(str(a) if a == b else f"{a}/{b}" for a, b in task.context)


def _texts(plan: Plan, task: PlannedTask) -> list[str]:
    """The lines of a task's box: all of them, broken where they are long."""
    lines = [task.name, " →\N{NO-BREAK SPACE}".join(task.operators)]
    if task.kind == "gate":
        lines.append("waits for all blocks")
    elif task.kind == "merge":
        lines.append("merges what all blocks left")
    else:
        lines += [
            f"{_count(task.blocks, 'block')} of {' x '.join(map(str, task.block_shape))}",
            f"context {context_as_text(task)}",
            f"{format_bytes(plan.baseline + task.memory)} per worker",
        ]
    return [part for line in lines for part in textwrap.wrap(line, _MOST_LETTERS)]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _width(text: str, size: int = _SIZE) -> int:
    letters = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
    return round(letters * size * _LETTER + 0.5)


def _columns(waits: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The column of each task; tasks come after those they wait for."""
    column: dict[str, int] = {}
    for task, names in waits.items():
        column[task] = 1 + max((column[name] for name in names), default=-1)
    return column


def _filled(
    boxes: Mapping[str, _Item], waits: Mapping[str, Sequence[str]], column: Mapping[str, int]
) -> list[list[_Item]]:
    """Boxes and lanes of each column, from top to bottom: each as near as may be to what it comes from."""
    items: list[list[_Item]] = [[] for _ in range(max(column.values(), default=-1) + 1)]
    for task, box in boxes.items():
        items[column[task]].append(box)
        last = max((column[other] for other, names in waits.items() if task in names), default=0)
        for at in range(column[task] + 1, last):
            items[at].append(_Item(task))
    for before, here in itertools.pairwise(items):
        place = {item.task: number for number, item in enumerate(before)}
        here.sort(key=lambda item: fmean(place[name] for name in _sources(item, waits)))
    return items


def _sources(item: _Item, waits: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """The tasks that an item's arrows come from: all pass the column before it, in their boxes or lanes."""
    return waits[item.task] if item.lines else [item.task]


def _middles(
    items: Sequence[Sequence[_Item]], waits: Mapping[str, Sequence[str]]
) -> dict[tuple[int, str], float]:
    """The height at which each item has its middle, by column and task: about that of what it comes from."""
    middles: dict[tuple[int, str], float] = {}
    for at, here in enumerate(items):
        wanted = [
            fmean(middles[at - 1, name] for name in _sources(item, waits)) if at else 0.0 for item in here
        ]
        placed: list[float] = []
        bottom = float("-inf")
        for item, middle in zip(here, wanted, strict=True):
            placed.append(max(middle, bottom + _SPACE + item.height / 2))
            bottom = placed[-1] + item.height / 2
        shift = fmean(wanted) - fmean(placed)
        middles |= {(at, item.task): middle + shift for item, middle in zip(here, placed, strict=True)}
    return middles


def _tops(items: Sequence[Sequence[_Item]], middles: Mapping[tuple[int, str], float]) -> Iterable[float]:
    return (middles[at, item.task] - item.height / 2 for at, here in enumerate(items) for item in here)


def _arrow(title: str, spans: Sequence[tuple[int, int]], ys: Sequence[float]) -> str:
    """From the right of the first column to the left of the last, straight through those between."""
    path = f"M{spans[0][0] + spans[0][1]},{ys[0]:.1f}"
    for (left, width), (following, across), y, to in zip(spans, spans[1:], ys, ys[1:], strict=False):
        bend = (left + width + following) // 2
        path += f" C{bend},{y:.1f} {bend},{to:.1f} {following},{to:.1f}"
        if following != spans[-1][0]:
            path += f" H{following + across}"
    return f'<path d="{path}" fill="none" stroke="#555" marker-end="url(#tip)"><title>{escape(title)}</title></path>'


def _box(item: _Item, x: int, y: float, width: int, fill: str) -> str:
    """A task's box with its lines, those of its name in bold."""
    parts = [
        f"<g><title>{escape(item.task)}</title>",
        f'<rect x="{x}" y="{y:.1f}" width="{width}" height="{item.height}" rx="6" fill="{fill}" stroke="#888"/>',
    ]
    of_name = len(textwrap.wrap(item.task, _MOST_LETTERS))
    for number, line in enumerate(item.lines):
        place = f'x="{x + _PADDING}" y="{y + _PADDING + _LINE * (number + 0.75):.1f}"'
        weight = ' font-weight="bold"' if number < of_name else ""
        parts.append(f"<text {place}{weight}>{escape(line)}</text>")
    return "\n".join([*parts, "</g>"])
