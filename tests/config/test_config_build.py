"""From a config to tasks."""

import pytest
from funlib.geometry import Roi

from blockflow.config import build_run, load_config

CHAIN = """
compute: {num_workers: 4}
arrays:
  raw: {path: data/raw.zarr}
tasks:
  last:
    worker_file: worker.py
    inputs: {input: mask.labels, other: small}
    write_roi: {offset: [0, 0], shape: [64, 64]}
    upstream: [first, mask]
    num_workers: 9
  mask:
    worker_file: worker.py
    inputs: {input: small}
    outputs: {labels: data/labels.zarr, scores: data/scores.zarr}
    write_roi: {offset: [0, 0], shape: [64, 64]}
  small:
    worker_file: ./worker.py
    inputs: {input: raw}
    outputs: {output: /abs/small.zarr}
    total_roi: {offset: [-8, 0], shape: [512, 512]}
    read_roi: {offset: [-8, -8], shape: [80, 80]}
    write_roi: {offset: [0, 0], shape: [64, 64]}
    fit: shrink
    read_write_conflict: false
    num_workers: 2
    max_retries: 0
    timeout: 60
    args: {threshold: 5, table: [1, 2]}
  first:
    worker_file: worker.py
    write_roi: {offset: [0, 0], shape: [64, 64]}
"""


def build(path, overrides=()):
    return build_run(load_config(path, overrides)).tasks


@pytest.fixture
def build_complaints(complaints):
    return lambda text, *overrides: complaints(text, *overrides, use=build)


def task(name, *lines):
    """A task, as lines of a config: its own first, those given from the fourth on."""
    head = [f"{name}:", "  worker_file: worker.py", "  write_roi: {offset: [0], shape: [64]}"]
    return "".join(f"  {line}\n" for line in [*head, *(f"  {line}" for line in lines)])


def test_tasks_hold_what_the_config_says(write, folder):
    """Names become absolute paths, everything else arrives unchanged, defaults are filled in."""
    tasks = {task.name: task for task in build(write(CHAIN))}
    small, mask, last = tasks["small"], tasks["mask"], tasks["last"]
    assert small.worker_file == folder / "worker.py"
    assert small.inputs == {"input": str(folder / "data/raw.zarr")}
    assert small.outputs == {"output": "/abs/small.zarr"}
    assert small.kwargs == {**small.inputs, **small.outputs, "threshold": 5, "table": [1, 2]}
    assert small.total_roi == Roi((-8, 0), (512, 512))
    assert (small.read_roi, small.write_roi) == (Roi((-8, -8), (80, 80)), Roi((0, 0), (64, 64)))
    assert (small.fit, small.read_write_conflict) == ("shrink", False)
    assert (small.num_workers, small.max_retries, small.timeout) == (2, 0, 60)
    assert (mask.total_roi, mask.read_roi) == (None, mask.write_roi)
    assert (mask.num_workers, last.num_workers) == (4, 4)
    assert last.inputs == {"input": str(folder / "data/labels.zarr"), "other": "/abs/small.zarr"}


def test_tasks_follow_what_they_depend_on(write):
    """Each task comes after its upstream tasks: those whose outputs it reads, and those it names."""
    tasks = build(write(CHAIN))
    assert sorted(task.name for task in tasks) == ["first", "last", "mask", "small"]
    for position, known in enumerate(tasks):
        assert all(any(needed is other for other in tasks[:position]) for needed in known.upstream)
    upstream = {task.name: [needed.name for needed in task.upstream] for task in tasks}
    assert upstream == {"first": [], "small": [], "mask": ["small"], "last": ["mask", "small", "first"]}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            ["inputs: {input: rwa}"],
            "18: inputs.input: there is no array, output or task output 'rwa'; valid are one, one.a, raw, ",
        ),
        (["inputs: {input: two}"], "18: inputs.input: task 'two' has 2 outputs; say which one: two.a, two.b"),
        (["inputs: {input: two.c}"], "18: inputs.input: task 'two' has no output 'c'; valid are a, b"),
        (
            ["inputs: {input: none}"],
            "18: inputs.input: task 'none' has no outputs; name what it writes under its",
        ),
        (
            ["upstream: [oen]"],
            "18: upstream.0: there is no task or output 'oen'; valid are bad, none, one, two, did you mean",
        ),
        (
            ["upstream:", "- one", "- raw"],
            "20: upstream.1: there is no task or output 'raw'; valid are bad, none, one, two",
        ),
        (["worker_file: missing.py"], "16: worker_file: worker file 'missing.py': there is no file "),
        (
            ["inputs: {i: raw}", "args: {i: 5}"],
            "19: args.i: 'i' is given under inputs, too (FILE:18); remove",
        ),
        (
            ["outputs: {x: x}", "args: {x: 5}"],
            "19: args.x: 'x' is given under outputs, too (FILE:18); remove",
        ),
        (
            ["inputs: {x: raw}", "outputs: {x: x}"],
            "19: outputs.x: 'x' is given under inputs, too (FILE:18); remove",
        ),
        (
            ["outputs: {x: ./raw.zarr/}"],
            "18: outputs.x: HERE/raw.zarr is read as arrays.raw.path (FILE:2), too; write",
        ),
        (
            ["outputs: {x: link.zarr}"],
            "18: outputs.x: HERE/link.zarr is read as arrays.raw.path (FILE:2), too; write",
        ),
        (
            ["outputs: {x: b/../a1}"],
            "18: outputs.x: HERE/a1 is written as tasks.one.outputs.a (FILE:7), too; give",
        ),
        (
            ["outputs: {x: x, y: x}"],
            "18: outputs.y: HERE/x is written as tasks.bad.outputs.x (FILE:18), too; give",
        ),
        (
            ["inputs: {a: bad}", "outputs: {x: x}"],
            "18: inputs.a: tasks wait for each other: bad -> bad (each is",
        ),
    ],
)
def test_what_cannot_be_built_is_named_with_its_line_and_cure(build_complaints, folder, lines, expected):
    """Names, worker files, keywords and paths that do not work out are errors of the config."""
    (folder / "link.zarr").symlink_to(folder / "raw.zarr")
    bad = task("bad", *lines)
    if lines[0].startswith("worker_file"):
        bad = task("bad").replace("worker_file: worker.py", lines[0])
    text = "arrays:\n  raw: {path: raw.zarr}\ntasks:\n" + task("one", "outputs: {a: a1}")
    text += task("two", "outputs: {a: a2, b: b2}") + task("none") + bad
    (message,) = build_complaints(text)
    line, _, rest = expected.partition(": ")
    assert message.replace(str(folder), "HERE").startswith(f"FILE:{line}: tasks.bad.{rest}"), message


def test_tasks_that_wait_for_each_other_are_refused(build_complaints):
    """A circle is shown whole, at the line of the first task in it."""
    text = "tasks:\n" + task("end", "inputs: {i: a}") + task("a", "upstream: [c]", "outputs: {o: oa}")
    text += task("b", "inputs: {i: a}", "outputs: {o: ob}") + task("c", "inputs: {i: b.o}")
    (message,) = build_complaints(text)
    assert message.startswith(
        "FILE:9: tasks.a.upstream.0: tasks wait for each other: a -> b -> c -> a (each is"
    )
    assert message.endswith("; remove one of these inputs or upstream entries")


def test_a_name_that_can_mean_two_things_is_refused(build_complaints):
    """A task called like another one's output cannot be told from it."""
    text = (
        "tasks:\n"
        + task("a", "outputs: {o: x}")
        + task("a.o", "outputs: {o: y}")
        + task("b", "inputs: {i: a.o}")
    )
    assert build_complaints(text) == [
        "FILE:13: tasks.b.inputs.i: 'a.o' is the name of something, and output 'o' of 'a'; rename one"
    ]


def test_all_names_that_mean_nothing_are_said_at_once(build_complaints):
    """One run tells every reference that does not work out, in file order; overrides come last."""
    text = "tasks:\n" + task("a", "upstream: [x, y]") + task("b", "inputs: {i: z}")
    lines = build_complaints(text, "tasks.a.worker_file=w.py")
    starts = ["FILE:5: tasks.a.upstream.0", "FILE:5: tasks.a.upstream.1", "FILE:9: tasks.b.inputs.i"]
    starts.append("--set tasks.a.worker_file=w.py: tasks.a.worker_file")
    assert [line[: len(start)] for line, start in zip(lines, starts, strict=True)] == starts


def test_a_long_chain_of_tasks_is_ordered(write):
    """Hundreds of tasks, each after the last, given from the last to the first."""
    tasks = [task(f"t{number}", f"upstream: [t{number - 1}]") for number in range(300, 0, -1)]
    built = build(write("tasks:\n" + "".join(tasks) + task("t0")))
    assert [task.name for task in built] == [f"t{number}" for number in range(301)]


def test_what_a_tasks_workers_hold_is_passed_on(load):
    """A task may say what its workers hold; without that, nobody knows."""
    config = """
tasks:
  small: {worker_file: threshold, write_roi: {offset: [0], shape: [8]}, total_roi: {offset: [0], shape: [64]}%s}
"""
    (known,) = build_run(load(config % ", memory: 2 GB")).tasks
    (unknown,) = build_run(load(config % "")).tasks
    assert (known.memory, unknown.memory) == (2_000_000_000, None)
