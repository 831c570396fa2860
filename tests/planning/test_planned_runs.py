"""Runs of graphs as people start them: resumed, changed, killed; and what plan and check say of them."""

import gc
import json
import textwrap
import weakref
from pathlib import Path

import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from scipy.ndimage import gaussian_filter

import blockflow
from blockflow.cli import cli
from blockflow.config import build_run, load_config
from blockflow.execution.client import Client
from blockflow.execution.graph_runs import run
from blockflow.graph.window import UndeclaredRegionError
from blockflow.operators.normalising import OpNormalizeMinMax
from blockflow.operators.smoothing import OpGaussianSmoothing
from blockflow.operators.thresholding import OpThreshold
from blockflow.planning import Plan, Target
from blockflow.storage import open_array

GRAPH = """
compute: {context: serial}
arrays:
  raw: {path: raw.zarr}
operators:
  own: {type: "own.py:scaled", inputs: {image: raw}, params: {gain: 2}}
  smooth: {type: GaussianSmoothing, inputs: {Input: own}, params: {sigma: 1.0}}
  norm: {type: NormalizeMinMax, inputs: {Input: smooth}}
  mask: {type: Threshold, inputs: {Input: norm}, params: {threshold: 0.5}}
  side: {type: Downsample, inputs: {Input: raw}, params: {factor: 2}}
outputs:
  mask: {slot: mask, path: mask.zarr}
  side: {slot: side, path: side.zarr}
"""

OWN = """
from blockflow import neighbourhood, pointwise
from blockflow.graph import InputSlot, Operator, OutputSlot
from blockflow.rtype import SubRegion

BIAS = 0


@pointwise
def scaled(image, gain=1):
    return image.astype("f4") * gain + BIAS


@neighbourhood(context=1)
def short(image):
    from scipy.ndimage import maximum_filter

    return maximum_filter(image, 5)


class OpGreedy(Operator):
    Input = InputSlot()
    Output = OutputSlot()

    def setupOutputs(self):
        self.Output.meta.assignFrom(self.Input.meta)

    def requiredInputRoi(self, slot, subindex, roi):
        return {self.Input: SubRegion(self.Input, roi.start, roi.stop)}

    def execute(self, slot, roi, result):
        start = [max(0, a - 1) for a in roi.start]
        data = self.Input(start, roi.stop).wait()
        result[...] = data[tuple(slice(a - low, None) for a, low in zip(roi.start, start))]

    def propagateDirty(self, slot, roi):
        self.Output.setDirty()
"""


@pytest.fixture
def raw(tmp_path):
    data = np.random.default_rng(0).integers(0, 200, (40, 48), dtype=np.uint8)
    zarr.create_array(str(tmp_path / "raw.zarr"), data=data, chunks=(16, 16))
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "g.yaml").write_text(GRAPH)
    return data


def command(*arguments, status=0):
    """What a command says, and its exit status as expected."""
    result = CliRunner().invoke(cli, list(arguments), standalone_mode=False, catch_exceptions=False)
    assert (result.return_value or 0) == status, result.output
    return result.output


def started(*overrides):
    """What a run says, and how many blocks each task did."""
    said = command("run", "g.yaml", "--quiet", *(part for one in overrides for part in ("--set", one)))
    results = json.loads(Path("blockflow_runs/g/run.json").read_text())["results"]
    return said, {name: result["done"] for name, result in results.items()}


def expected_mask(raw, gain=2, sigma=1.0, threshold=0.5, bias=0):
    smooth = gaussian_filter(raw.astype("f4") * np.float32(gain) + np.float32(bias), sigma, output=np.float32)
    low, high = smooth.min().astype("f8"), smooth.max().astype("f8")
    return ((smooth.astype("f8") - low) / (high - low)).astype("f4") > threshold


def test_a_change_does_again_what_depends_on_it_and_nothing_else(raw):
    """Nothing twice; other workers, nothing; a parameter or the source of an operator, what follows from it."""
    _, done = started()
    assert all(done.values())
    np.testing.assert_array_equal(zarr.open("mask.zarr")[:], expected_mask(raw))
    for override in ("name=g", "compute.num_workers=7", "compute.memory=3 GB"):
        assert not any(started(override)[1].values())
    plan = Plan.from_json(json.loads(Path("blockflow_runs/g/plan.json").read_text()))
    assert [task.name for task in plan.tasks if task.kind == "merge"] == ["norm-merge"]
    for override, changed, values in (
        ("operators.mask.params.threshold=0.6", {"mask"}, {"threshold": 0.6}),
        ("operators.smooth.params.sigma=1.5", {"norm-pass", "norm-merge", "mask"}, {"sigma": 1.5}),
        ("operators.own.params.gain=3", {"norm-pass", "norm-merge", "mask"}, {"gain": 3}),
    ):
        _, done = started(override)
        assert {name for name, count in done.items() if count} == changed
        np.testing.assert_array_equal(zarr.open("mask.zarr")[:], expected_mask(raw, **values))
    started()
    Path("own.py").write_text(OWN.replace("BIAS = 0", "BIAS = 9"))
    _, done = started()
    assert {name for name, count in done.items() if count} == {"norm-pass", "norm-merge", "mask"}
    np.testing.assert_array_equal(zarr.open("mask.zarr")[:], expected_mask(raw, bias=9))


def changes_after(edit):
    """What recipes say that has changed since before an edit, by task."""
    from blockflow.tasks import prepare

    def recipes():
        return {task.name: task.recipe for task in prepare(build_run(load_config(Path("g.yaml"), ())).tasks)}

    before = recipes()
    edit()
    return {name: recipe.changes_since(before[name]) for name, recipe in recipes().items()}


def test_what_changed_is_said_in_plain_words(raw):
    """A parameter by the names of operator and input, code by what of it, and nothing of digests."""

    def replace(path, old, new):
        text = Path(path).read_text()
        assert old in text
        Path(path).write_text(text.replace(old, new))

    found = changes_after(lambda: replace("g.yaml", "threshold: 0.5", "threshold: 0.75"))
    assert found == {
        "side": [],
        "norm-pass": [],
        "norm-merge": [],
        "mask": ["code.mask.threshold: 0.5 -> 0.75"],
    }
    found = changes_after(lambda: replace("own.py", "* gain", "* gain * 1"))
    assert found["side"] == []
    lines = set(found["norm-pass"])
    assert lines
    assert all(line.startswith("code.own.operator.class.") for line in lines)
    assert any(line.endswith(".source: changed") for line in lines)
    assert {"upstream.norm-merge: changed"} | lines <= set(found["mask"])


def test_swapped_inputs_are_a_change(raw):
    """Which array is which input of an operator belongs to the recipe."""
    zarr.create_array("other.zarr", data=raw[::-1].copy(), chunks=(16, 16))

    def text(one, other):
        Path("g.yaml").write_text(
            textwrap.dedent(f"""
                arrays: {{a: {{path: raw.zarr}}, b: {{path: other.zarr}}}}
                operators: {{d: {{type: Subtract, inputs: {{A: {one}, B: {other}}}}}}}
                outputs: {{d: {{slot: d, path: d.zarr}}}}
            """)
        )

    text("a", "b")
    found = changes_after(lambda: text("b", "a"))
    assert [line for line in found["d"] if line.startswith("inputs.d.A")]


def test_an_output_more_does_nothing_else_again(raw):
    """What is stored beside the other outputs is done alone."""
    started()
    Path("g.yaml").write_text(GRAPH + "  more: {slot: own, path: more.zarr, fit: valid}\n")
    _, done = started()
    assert {name for name, count in done.items() if count} == {"more"}


@pytest.mark.parametrize("context", ["serial", "local"])
def test_a_run_from_python_is_what_the_slot_answers(raw, context):
    """`blockflow.run` stores voxel for voxel what the slot answers lazily, in either context; twice does nothing."""
    smooth, norm, mask = OpGaussianSmoothing(), OpNormalizeMinMax(), OpThreshold()
    smooth.Input.setValue(open_array("raw.zarr"))
    norm.Input.connect(smooth.Output)
    mask.Input.connect(norm.Output)
    mask.threshold.setValue(0.4)
    target = Target("out.zarr", block_shape=(16, 32), fit="overhang")
    plan = blockflow.plan(mask.Output, target, num_workers=2, run_dir="r")
    assert run(mask.Output, target, num_workers=2, compute_context=context, run_dir="r")
    np.testing.assert_array_equal(zarr.open("out.zarr")[:], mask.Output[:].wait())
    assert Plan.from_json(json.loads(Path("r/plan.json").read_text())) == plan
    assert blockflow.run(mask.Output, target, num_workers=2, compute_context=context, run_dir="r")
    about = json.loads(Path("r/run.json").read_text())
    assert not any(result["done"] for result in about["results"].values())


def test_what_valid_leaves_out_is_not_read_in_place_of_its_slot(raw):
    """An intermediate whose border is not written does not spoil what follows from it."""
    smooth, mask = OpGaussianSmoothing(), OpThreshold()
    smooth.Input.setValue(open_array("raw.zarr"))
    mask.Input.connect(smooth.Output)
    mask.threshold.setValue(90)
    slots = {
        smooth.Output: Target("smooth.zarr", block_shape=(32, 32), fit="valid"),
        mask.Output: "mask.zarr",
    }
    assert run(slots, compute_context="serial")
    np.testing.assert_array_equal(zarr.open("mask.zarr")[:], mask.Output[:].wait())
    assert not zarr.open("smooth.zarr")[32:].any()


def own_graph(kind, slot="Input"):
    Path("g.yaml").write_text(
        textwrap.dedent(f"""
            compute: {{context: serial}}
            arrays: {{raw: {{path: raw.zarr}}}}
            operators: {{mine: {{type: "own.py:{kind}", inputs: {{{slot}: raw}}}}}}
            outputs: {{mine: {{slot: mine, path: mine.zarr, block_shape: [16, 16], max_retries: 0}}}}
        """)
    )


def test_check_finds_a_context_that_is_too_small(raw):
    """An operator that looks farther than it declares is found on its own data, and named; status 1."""
    own_graph("short", "image")
    said = command("check", "g.yaml", status=1)
    assert "voxels differ" in said
    assert "mine reads farther than it says" in said
    assert not Path("mine.zarr").exists()


def test_check_finds_a_request_beyond_what_is_declared(raw):
    """An operator that asks for more than it tells is a finding of check, with its name; status 1."""
    own_graph("OpGreedy")
    said = command("check", "g.yaml", status=1)
    assert "mine.Output (OpGreedy)" in said
    assert "reads more of its inputs than its requiredInputRoi says" in said


def test_check_says_that_all_is_equal(raw):
    """Where contexts are right every block is equal, and the status is 0."""
    said = command("check", "g.yaml", "--blocks", "4").splitlines()
    assert len(said) >= 2
    assert all(line.endswith(": equal") for line in said)


def test_a_request_outside_of_the_read_roi_fails_the_block_and_names_the_operator(raw):
    """At run time it is the failure of the block: the record has the operator, what it asked and the cure."""
    own_graph("OpGreedy")
    command("run", "g.yaml", "--quiet", status=1)
    said = command("failures", "blockflow_runs/g")
    assert "mine.Output (OpGreedy)" in said
    assert "outside of the block's read ROI" in said
    assert issubclass(UndeclaredRegionError, blockflow.errors.BlockflowError)


def test_plan_prints_warnings_first_and_runs_nothing(raw, tmp_path):
    """The plan as a table, as JSON that is read back, and as a drawing; nothing is written but that."""
    Path("g.yaml").write_text(
        GRAPH.replace("side.zarr", "side.zarr, fit: valid, block_shape: [16, 16], chunks: [16, 16]")
    )
    said = command("plan", "g.yaml", "--graph", "plan.svg").splitlines()
    assert said[0].startswith("warning: ")
    assert any(line.startswith("warning: side: fit 'valid' leaves") for line in said)
    (head,) = [line for line in said if line.startswith("task ")]
    assert "block shape" in head
    assert "norm-pass: own -> smooth -> norm" in said
    assert "mask: own -> smooth -> norm -> mask; after norm-merge" in said
    data = json.loads(command("plan", "g.yaml", "--json"))
    plan = Plan.from_json(data)
    assert plan.to_json() == data
    drawn = Path("plan.svg").read_text()
    assert drawn.startswith("<svg")
    assert all(f">{task.name}<" in drawn for task in plan.tasks)
    assert {path.name for path in tmp_path.iterdir()} == {
        "raw.zarr",
        "own.py",
        "g.yaml",
        "plan.svg",
        "__pycache__",
    } - (set() if (tmp_path / "__pycache__").exists() else {"__pycache__"})


def test_blocks_that_failed_leave_no_client_to_another_thread(raw, monkeypatch):
    """Daisy's client is gone when a serial run ends, whoever keeps the errors: it must go in the thread it is of."""
    made = []
    begin = Client.__init__
    monkeypatch.setattr(Client, "__init__", lambda self: (begin(self), made.append(weakref.ref(self)))[0])
    fails = "+ [0][not image.flags.writeable]"  # for a block's data, not for those that the planner makes
    Path("own.py").write_text(OWN.replace("+ BIAS", fails))
    gc.disable()
    try:
        command("run", "g.yaml", "--quiet", status=1)
        assert made
        assert [one() for one in made] == [None] * len(made)
    finally:
        gc.enable()
