"""Graphs in configs: operators and outputs beside tasks, and what is said of those that cannot be."""

import numpy as np
import pytest
import zarr

from blockflow.config import build_run, load_config
from blockflow.planning import Plan

GRAPH = """
arrays:
  raw: {path: raw.zarr}
operators:
  smooth: {type: GaussianSmoothing, inputs: {Input: raw}, params: {sigma: 2.0}}
  mask: {type: Threshold, inputs: {Input: smooth}, params: {threshold: 5}}
outputs:
  mask: {slot: mask, path: out/mask.zarr}
"""

#: a worker-file task, from line 9 on
TASK = """
tasks:
  above:
    worker_file: threshold
    inputs: {input: INPUT}
    outputs: {output: out/above.zarr}
    write_roi: {offset: [0, 0], shape: [16, 16]}
    args: {threshold: 7}
"""

OWN = """
import numpy as np

from blockflow import pointwise
from blockflow.graph import InputSlot, Operator, OutputSlot


@pointwise
def doubled(image):
    return image * 2


class OpWild(Operator):
    Input = InputSlot()
    Output = OutputSlot()

    def setupOutputs(self):
        self.Output.meta.assignFrom(self.Input.meta)

    def execute(self, slot, roi, result):
        last = 1 + sum(roi.start) % 5
        result[...] = self.Input([0, 0], [last, last]).wait().max()

    def propagateDirty(self, slot, roi):
        self.Output.setDirty()


class OpBroken(OpWild):
    def setupOutputs(self):
        raise KeyError("oh")
"""


@pytest.fixture
def graph(folder):
    """A folder with an array of 40 x 36 pixels in chunks of 16, and a file with operators."""
    data = np.random.default_rng(0).integers(0, 9, (40, 36), dtype=np.uint8)
    zarr.create_array(str(folder / "raw.zarr"), data=data, chunks=(16, 16))
    (folder / "own.py").write_text(OWN)
    (folder / "broken.py").write_text("1 / 0\n")
    return folder


def build(path, overrides=()):
    return build_run(load_config(path, overrides))


def edited(*edits):
    text = GRAPH
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return text


def with_task(source="mask", **edits):
    text = GRAPH.rstrip("\n") + TASK.replace("INPUT", source)
    for old, new in edits.items():
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ([("Gaussian", "Gausian")], "4: operators.smooth.type: there is no operator 'GausianSmoothing'"),
        ([("Gaussian", "Gausian")], "did you mean 'GaussianSmoothing'?"),
        ([("GaussianSmoothing", "no.py:OpX")], "4: operators.smooth.type: HERE/no.py: there is no such file"),
        ([("GaussianSmoothing", "own.py:OpWidl")], "own.py has no 'OpWidl'; valid are OpBroken, OpWild, "),
        (
            [("GaussianSmoothing", "nomodule.sub:OpX")],
            "there is no module 'nomodule.sub'; install it, or name",
        ),
        (
            [("GaussianSmoothing", "broken.py:OpX")],
            "4: operators.smooth.type: HERE/broken.py cannot be loaded:",
        ),
        ([("Threshold", "own.py:np")], "5: operators.mask.type: operator 'own.py:np' is a module, not an"),
        (
            [("sigma:", "sigmas:")],
            "4: operators.smooth.params.sigmas: smooth has no input or parameter 'sigmas'",
        ),
        (
            [("sigma: 2.0", "sigma: -1")],
            "4: operators.smooth.params.sigma: smooth.sigma is -1; give at least 0",
        ),
        ([("sigma: 2.0", "Input: 5")], "4: operators.smooth.params.Input: smooth: 'Input' is given both as"),
        (
            [("{Input: raw}", "{Inptu: raw}")],
            "4: operators.smooth.inputs.Inptu: smooth has no input or param",
        ),
        (
            [("Input: raw", "Input: rwa")],
            "4: operators.smooth.inputs.Input: there is no array, operator or task",
        ),
        ([("Input: raw", "Input: rwa")], "valid are mask, raw, smooth, did you mean 'raw'?"),
        (
            [("Input: smooth", "Input: smooth.Out")],
            "5: operators.mask.inputs.Input: operator 'smooth' has no",
        ),
        (
            [("Input: raw", "Input: [raw]")],
            "4: operators.smooth.inputs.Input: smooth.Input takes one array or",
        ),
        (
            [("inputs: {Input: raw}, ", "")],
            "7: outputs.mask: mask.Output is not ready, so it cannot be stored: ",
        ),
        ([("inputs: {Input: raw}, ", "")], "smooth.Input is neither connected nor has a value"),
        (
            [("Input: raw", "Input: mask")],
            "operators take their input from each other: mask -> smooth -> mask; let",
        ),
        (
            [("slot: mask", "slot: msak")],
            "7: outputs.mask.slot: there is no operator 'msak'; valid are mask, smoo",
        ),
        (
            [("slot: mask", "slot: raw")],
            "7: outputs.mask.slot: there is no operator 'raw'; valid are mask, smooth",
        ),
        (
            [("slot: mask", "slot: mask.Out")],
            "7: outputs.mask.slot: operator 'mask' has no output 'Out'; valid a",
        ),
        (
            [("path: raw.zarr", "path: rwa.zarr")],
            "4: operators.smooth.inputs.Input: HERE/rwa.zarr: there is no",
        ),
        ([("mask.zarr", "mask.zarr, chunks: [8]")], "7: outputs.mask: mask.Output cannot be stored: "),
        (
            [("mask.zarr", "mask.zarr, compressor: lz")],
            "unknown compressor 'lz'; valid are zstd, gzip, blosc, ",
        ),
        (
            [("mask.zarr", "mask.zarr, block_shape: [24, 32]")],
            (
                "7: outputs.mask: mask: blocks of [24, 32] voxels would share write units of an output, which are "
                "[16, 16], and lose each other's voxels. The nearest good block_shape is [32, 32]"
            ),
        ),
        (
            [("mask.zarr", "mask.zarr, block_shape: [16]")],
            "block_shape [16] must be 2 positive numbers, one for",
        ),
        (
            [("out/mask.zarr", "./raw.zarr")],
            "7: outputs.mask.path: HERE/raw.zarr is read as arrays.raw.path (FI",
        ),
        (
            [("mask.zarr}", "mask.zarr}\n  two: {slot: smooth, path: ./out/mask.zarr}")],
            "8: outputs.two.path: HERE/out/mask.zarr is written as outputs.mask.path (FILE:7), too; give each",
        ),
        (
            [("mask.zarr}", "mask.zarr}\n  two: {slot: mask.Output, path: two.zarr}")],
            "8: outputs.two.slot: output 'mask' stores this slot, too; store it once",
        ),
        (
            [("  smooth: {", "  raw: {")],
            "4: operators.raw: the name 'raw' is taken by an array (FILE:2); rename",
        ),
        (
            [("  mask: {slot", "  raw: {slot")],
            "7: outputs.raw: the name 'raw' is taken by an array (FILE:2); ren",
        ),
        (
            [("arrays:", "compute: {memory: 90 MB}\narrays:")],
            "1: compute.memory: a worker may hold 90 MB, and holds ",
        ),
        (
            [("type: Threshold", "type: 'own.py:OpWild'"), (", params: {threshold: 5}", "")],
            "7: outputs.mask: mask.Output does not tell which region of Input it needs, and no scale and margin",
        ),
        (
            [("type: Threshold", "type: 'own.py:OpBroken'"), (", params: {threshold: 5}", "")],
            "5: operators.mask.inputs.Input: KeyError: 'oh' (raised at HERE/own.py:",
        ),
    ],
)
def test_what_cannot_be_planned_is_named_with_its_line_and_cure(complaints, graph, edits, expected):
    """Whatever is wrong with operators and outputs: one message says where, what, and what to do."""
    message = "\n".join(complaints(edited(*edits), use=build)).replace(str(graph), "HERE")
    assert message.startswith("FILE:")
    assert message.count("FILE:") - expected.count("(FI") <= 1  # one place, not a trail of places
    assert (f"FILE:{expected}" if expected[0].isdigit() else expected) in message, message


def test_memory_that_no_block_fits_is_refused_with_both_numbers(complaints, graph):
    """A limit between what a worker holds at its start and its smallest block names the output and the numbers."""
    from blockflow.planning.planner import BASELINE

    text = f"compute: {{memory: {BASELINE + 100}}}\n" + GRAPH.lstrip("\n")
    (message,) = complaints(text, use=build)
    assert message.startswith("FILE:8: outputs.mask: mask: even its smallest block, [16, 16] voxels, needs ")
    assert message.endswith("and there are 100 B. Give more memory, or smaller chunks")


def test_tasks_and_operators_that_wait_for_each_other_are_refused(complaints, graph):
    """A circle through a task and the graph is shown, at a line where it can be cut."""
    text = with_task("mask").replace("{Input: raw}", "{Input: above}")
    (message,) = complaints(text, use=build)
    assert message.startswith(
        "FILE:11: tasks.above.inputs.input: tasks wait for each other: above -> mask -> above"
    )


def test_a_task_cannot_read_what_is_not_stored(complaints, graph):
    """A task that names an operator is told to store it."""
    (message,) = complaints(with_task("smooth"), use=build)
    assert message == (
        "FILE:11: tasks.above.inputs.input: 'smooth' is an operator, and nothing of it is stored; add it to outputs, "
        "and name that output here"
    )


def test_a_task_cannot_be_called_as_one_of_the_plan(complaints, graph):
    """The names of the tasks that a stage becomes are taken, also where the other task has no outputs."""
    text = (
        with_task("raw")
        .replace("above:", "mask-pass:")
        .replace("    outputs: {output: out/above.zarr}\n", "")
    )
    text = text.replace("type: Threshold", "type: NormalizeMinMax").replace(", params: {threshold: 5}", "")
    text = text.replace("worker_file: threshold", "worker_file: worker.py")
    (message,) = complaints(text, use=build)
    assert message.startswith(
        "FILE:9: tasks.mask-pass: two tasks of the plan would be called 'mask-pass'; give one"
    )


def test_tasks_before_and_after_the_graph(write, graph):
    """A graph may read what a task writes, before it is there, and a task what the graph stores."""
    after = {task.name: task for task in build(write(with_task("mask"))).tasks}
    assert [task.name for task in after["above"].upstream] == ["mask"]
    assert after["above"].inputs == {"input": str(graph / "out/mask.zarr")}
    for source in ("above", "above.output"):
        text = with_task("raw").replace("{Input: raw}", f"{{Input: {source}}}")
        run = build(write(text))
        tasks = {task.name: task for task in run.tasks}
        assert [task.name for task in run.tasks] == ["above", "mask"]
        assert [task.name for task in tasks["mask"].upstream] == ["above"]
        assert tasks["mask"].inputs == {"smooth.Input": str(graph / "out/above.zarr")}


def test_upstream_may_name_an_output(write, graph):
    """A task can wait for an output that it does not read."""
    text = with_task("raw") + "    upstream: [mask]\n"
    tasks = {task.name: task for task in build(write(text)).tasks}
    assert [task.name for task in tasks["above"].upstream] == ["mask"]


def test_operators_that_nothing_stored_needs_are_not_made(write, graph):
    """What no output needs costs nothing: its file is not even loaded."""
    text = GRAPH.replace("outputs:", "  spare: {type: 'broken.py:OpX', inputs: {Input: raw}}\noutputs:")
    assert [task.name for task in build(write(text)).tasks] == ["mask"]


def test_operators_of_a_file_count_from_the_config(write, graph, tmp_path_factory, monkeypatch):
    """A relative file of operators, and ${CONFIG_DIR}, are meant from the config on, wherever the command is given."""
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    for place in ("own.py", "./own.py", '"${CONFIG_DIR}/own.py'):
        kind = f"{place}:doubled" + ('"' if place.startswith('"') else "")
        text = GRAPH.replace("{type: GaussianSmoothing, inputs: {Input: raw}, params: {sigma: 2.0}}",
                             f"{{type: {kind}, inputs: {{image: raw}}}}")  # fmt: skip
        planned = build(write(text)).planned
        assert planned.plan["mask"].operators == ("smooth", "mask")
        assert planned.plan["mask"].context == ((0, 0), (0, 0))


def test_what_an_output_says_reaches_its_task_and_array(write, graph):
    """Every key of an output counts."""
    keys = {
        "chunks": "[8, 9]", "shards": "[16, 18]", "block_shape": "[16, 36]", "fit": "overhang", "compressor": "gzip:3",
        "fill_value": "7", "num_workers": "2", "max_retries": "5", "timeout": "60",
    }  # fmt: skip
    said = ", ".join(f"{key}: {value}" for key, value in keys.items())
    text = "compute: {num_workers: 3}\n" + GRAPH.replace("mask.zarr", f"mask.zarr, {said}").lstrip("\n")
    run = build(write(text))
    (task,) = run.tasks
    assert (task.num_workers, task.max_retries, task.timeout, task.fit) == (2, 5, 60, "overhang")
    assert run.planned.plan["mask"].block_shape == (16, 36)
    spec = task.outputs["output"]
    assert (spec.chunks, spec.shards, spec.compressor, spec.fill_value) == ((8, 9), (16, 18), "gzip:3", 7)
    assert spec.zarr_format == 3
    (task,) = build(write(GRAPH.replace("mask.zarr", "mask.zarr, zarr_format: 2"))).tasks
    assert task.outputs["output"].zarr_format == 2


def test_the_same_config_gives_the_same_plan(write, graph):
    """Plans are stable, and survive JSON."""
    path = write(with_task("mask"))
    first, second = (build(path).planned.plan for _ in range(2))
    assert first == second
    assert Plan.from_json(first.to_json()) == first
