"""A plan as a drawing: what it shows, and that nothing covers anything else."""

import itertools
import re
import unicodedata
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from blockflow.planning import Plan, PlannedRoi, PlannedTask
from blockflow.report.plan_drawing import draw_plan

SVG = "{http://www.w3.org/2000/svg}"
KINDS = ("apply", "pass", "merge", "gate")
WORDS = st.text("abWM _-.<&é網", min_size=1, max_size=60).filter(str.strip)


def task(name, kind="apply", upstream=(), operators=("smooth", "mask"), shape=(64, 64, 64)):
    roi = PlannedRoi((0,) * 3, (512,) * 3)
    context = ((8, 8), (4, 3), (0, 0))
    amounts = {"memory": 10**8, "bytes_read": 10**9, "bytes_written": 10**8}
    ratios = {"read_amplification": 1.3, "recomputation": 1.1}
    where = {"total_roi": roi, "read_roi": roi, "write_roi": roi, "fit": "shrink", "block_shape": shape}
    return PlannedTask(
        name=name,
        kind=kind,
        operators=tuple(operators),
        inputs=(),
        outputs=(),
        blocks=512,
        context=context,
        num_workers=2,
        upstream=tuple(upstream),
        **where,
        **amounts,
        **ratios,
    )


def plan_of(*tasks, name="plan"):
    return Plan(name, tasks, ("1",) * 3, 2, 2 * 10**9, 96 * 2**20, ())


@st.composite
def plans(draw):
    """Up to 20 tasks, each after some of those before it and after some that are not in the plan."""
    tasks = []
    for number in range(draw(st.integers(0, 20))):
        name = f"{draw(WORDS)}{number}"
        before = draw(st.lists(st.sampled_from(tasks), max_size=4)) if tasks else []
        upstream = {one.name for one in before} | draw(st.sampled_from([set(), {"elsewhere"}]))
        shape = draw(st.sampled_from([(64, 64, 64), (123456789,) * 3]))
        operators = draw(st.lists(WORDS, max_size=6))
        tasks.append(task(name, draw(st.sampled_from(KINDS)), sorted(upstream), operators, shape))
    return plan_of(*tasks, name=draw(WORDS))


@dataclass(frozen=True)
class Box:
    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def of(cls, rect):
        x, y, width, height = (float(rect.get(key, 0)) for key in ("x", "y", "width", "height"))
        return cls(x, y, x + width, y + height)

    def holds(self, x, y):
        return self.left <= x <= self.right and self.top <= y <= self.bottom

    def meets(self, other):
        return (
            min(self.right, other.right) > max(self.left, other.left)
            and min(self.bottom, other.bottom) > max(self.top, other.top)
        )  # fmt: skip


class Drawing:
    """The boxes of a drawing with their texts, its arrows as points, and its ground."""

    def __init__(self, plan):
        root = ET.fromstring(draw_plan(plan))
        self.ground = Box.of(root.find(f"{SVG}rect"))
        self.title = root.find(f"{SVG}text")
        groups = [(group.find(f"{SVG}title").text, group) for group in root.findall(f"{SVG}g")]
        self.boxes = {name: Box.of(group.find(f"{SVG}rect")) for name, group in groups}
        self.texts = {name: group.findall(f"{SVG}text") for name, group in groups}
        self.arrows = [
            (path.find(f"{SVG}title").text, points(path.get("d"))) for path in root.findall(f"{SVG}path")
        ]


def points(path):
    """Points along a path of straight lines and curves, no more than some pixels from one to the next."""
    found = []
    for command, numbers in re.findall(r"([MCH])([^MCH]*)", path):
        values = [float(number) for number in re.findall(r"-?[\d.]+", numbers)]
        if command == "M":
            found.append(tuple(values))
            continue
        start = found[-1]
        corners = [start, start, (values[0], start[1]), (values[0], start[1])]
        if command == "C":
            corners = [start, *zip(values[::2], values[1::2])]
        for step in range(1, 101):
            t = step / 100
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
            found.append(
                tuple(
                    sum(weight * corner[axis] for weight, corner in zip(weights, corners)) for axis in (0, 1)
                )
            )
    return found


def extent(text, size):
    """The box of a line of text in a monospaced font: 0.602 of its size a letter, twice that where it is wide."""
    letters = sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text.text)
    x, y = float(text.get("x")), float(text.get("y"))
    return Box(x, y - size, x + letters * size * 0.602, y + 0.25 * size)


@settings(max_examples=60, deadline=None)
@given(plans())
def test_nothing_covers_anything_else(plan):
    """Texts lie within their boxes and below one another, boxes lie apart, and all of it is on the ground."""
    drawing = Drawing(plan)
    for name, box in drawing.boxes.items():
        lines = [extent(text, 12) for text in drawing.texts[name]]
        for line in lines:
            assert box.holds(line.left, line.top)
            assert box.holds(line.right, line.bottom)
        assert not any(one.meets(other) for one, other in itertools.combinations(lines, 2))
    placed = [*drawing.boxes.values(), extent(drawing.title, 16)]
    assert not any(one.meets(other) for one, other in itertools.combinations(placed, 2))
    for one in placed:
        assert drawing.ground.holds(one.left, one.top)
        assert drawing.ground.holds(one.right, one.bottom)


@settings(max_examples=60, deadline=None)
@given(plans())
def test_each_edge_is_one_arrow_that_crosses_no_box(plan):
    """An arrow goes from the right side of a task that is waited for to the left side of the one that waits."""
    drawing = Drawing(plan)
    known = {task.name for task in plan.tasks}
    edges = [(name, task.name) for task in plan.tasks for name in task.upstream if name in known]
    assert sorted(title for title, _ in drawing.arrows) == sorted(f"{one} → {other}" for one, other in edges)
    for (one, other), (_, way) in zip(edges, drawing.arrows):
        begin, end = drawing.boxes[one], drawing.boxes[other]
        assert begin.right < end.left
        assert way[0][0] == begin.right
        assert way[-1][0] == end.left
        assert begin.holds(*way[0])
        assert end.holds(*way[-1])
        for x, y in way[1:-1]:
            assert not any(box.holds(x, y) for box in drawing.boxes.values())
            assert drawing.ground.holds(x, y)


@settings(max_examples=60, deadline=None)
@given(plans())
def test_a_lane_is_of_one_task(plan):
    """Where arrows of two tasks cross a column, they are apart."""
    drawing = Drawing(plan)
    lanes = {}
    for title, way in drawing.arrows:
        for (x, y), (to_x, to_y) in itertools.pairwise(way[1:-1]):
            crossing = [box for box in drawing.boxes.values() if box.left < (x + to_x) / 2 < box.right]
            if crossing:
                assert abs(y - to_y) < 1e-6
                lanes.setdefault((crossing[0].left, round(y)), set()).add(title.split(" → ")[0])
    assert all(len(sources) == 1 for sources in lanes.values())


@settings(max_examples=60, deadline=None)
@given(plans())
def test_all_texts_are_there(plan):
    """Names, operators, shapes and contexts are written out in full, broken into lines where they are long."""
    drawing = Drawing(plan)
    for one in plan.tasks:
        written = "".join("".join(text.text.split()) for text in drawing.texts[one.name])
        wanted = [one.name, "→".join(one.operators)]
        if one.kind in ("apply", "pass"):
            wanted += ["512blocksof" + "x".join(map(str, one.block_shape)), "context8x4/3x0", "perworker"]
        for text in wanted:
            assert "".join(text.split()) in written
        assert all(len(text.text) <= 42 for text in drawing.texts[one.name])


def test_columns_are_aligned_and_a_chain_is_straight():
    """Boxes of a column have one left and one right side; what follows one task alone stands at its height."""
    chain = Drawing(plan_of(task("a"), task("b", upstream=["a"]), task("c", upstream=["b"])))
    assert len({box.top for box in chain.boxes.values()}) == 1
    diamond = Drawing(
        plan_of(
            task("a"),
            task("b", upstream=["a"]),
            task("c", "merge", ["a"], ["a_name_that_is_much_longer", "than_the_other"]),
            task("d", upstream=["b", "c", "a"]),
        )
    )
    assert diamond.boxes["b"].left == diamond.boxes["c"].left
    assert diamond.boxes["b"].right == diamond.boxes["c"].right
    assert diamond.boxes["a"].right < diamond.boxes["b"].left
