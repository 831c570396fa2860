"""Models whose files are replaced while a run goes on: no voxel is another model's than the recipe's."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import zarr
from operators.networks import OpWithin, torch_or_skip, write_network
from planned_runs import planned_here

import blockflow
from blockflow.errors import BlockflowError, OperatorError
from blockflow.execution.checking import check_blocks
from blockflow.execution.failures import read_failures
from blockflow.graph import Graph, OperatorWrapper
from blockflow.operators import OpPredict, models
from blockflow.operators.models import digest_of_model, load_model
from blockflow.planning import Target
from blockflow.storage import on_commit, open_array, use_lattice

VOXELS = 1 + np.arange(1024, dtype=np.float32).reshape(32, 32)

#: a model that puts `other.py` in its own place, where there is one, as soon as it has been called
FUNCTION = """
from pathlib import Path

def model(image):
    other = Path(__file__).with_name("other.py")
    try:
        other.rename(__file__)
    except FileNotFoundError:
        pass
    return image * FACTOR
"""


def write(path, factor):
    """A model that multiplies by a factor of one digit, so that all have one size. Returns it as OpPredict takes it."""
    if path.suffix != ".py":
        return write_network(path, np.full((1, 1, 1, 1), factor, "f4"))
    path.write_text(FUNCTION.replace("FACTOR", str(factor)))
    return f"{path}:model"


def replace(path, other):
    """Put a file in the place of another one, as old as that to the last digit."""
    was = path.stat()
    os.utime(other, ns=(was.st_atime_ns, was.st_mtime_ns))
    other.replace(path)


@pytest.fixture
def raw(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    zarr.create_array("raw.zarr", data=VOXELS, chunks=(8, 8))
    return open_array("raw.zarr")


def predicting(raw, model, context=0):
    op = OpPredict(graph=Graph())
    op.memory.setValue(100)
    op.model.setValue(model)
    if context is not None:
        op.context.setValue(context)
    op.Input.setValue(raw)
    return op


def run(op, context, workers=1):
    """Whether a run of 16 blocks ended well, how many blocks it did, and what failure records say, places aside."""
    good = blockflow.run(
        op.Output,
        Target(path="out.zarr", block_shape=(8, 8), max_retries=0),
        num_workers=workers,
        run_dir="run",
        compute_context=context,
    )
    about = json.loads(Path("run/run.json").read_text())
    (done,) = (result["done"] for result in about["results"].values())
    records = read_failures(Path("run/tasks/out/failures") / about["session"])
    return good, done, {record.message.partition("\n")[0] for record in records}


def stored():
    return zarr.open_array("out.zarr", mode="r")[:]


def blocks_of(planned):
    """What does a block of the one task of a plan, in this process, and its blocks."""
    (task,) = planned.tasks()
    for spec in task.outputs.values():
        spec.create()
    with use_lattice(task.lattice):
        grid = blockflow.tasks.BlockGrid(task.total_roi, task.read_roi, task.write_roi, task.fit)
        yield task.process_function
        for read_roi, write_roi in grid:
            yield SimpleNamespace(read_roi=read_roi, write_roi=write_roi)


def planned(slot):
    return planned_here({slot: Target(path="out.zarr", block_shape=(8, 8))}, Path("work"), num_workers=1)


@pytest.mark.parametrize("ending", [".pt", ".onnx", ".py"])
def test_a_run_stops_at_a_model_that_was_replaced_and_the_next_takes_it(raw, ending):
    """After the first block no block is done, and each record says why; the next run does all with the new model."""
    if ending == ".pt":
        torch_or_skip()
    file = Path(f"net{ending}").absolute()
    op = predicting(raw, write(file, 2), context=None)
    write(Path(f"new{ending}"), 7)
    before = digest_of_model(op.model.value)

    def replace_once(*_):
        stop()
        replace(file, Path(f"new{ending}"))

    stop = on_commit(replace_once)
    good, done, said = run(op, "serial")
    assert (good, done, len(said)) == (False, 1, 1)
    (said,) = said
    for part in (
        op.model.value,
        str(file),
        before[:8],
        digest_of_model(op.model.value)[:8],
        "put the old file back",
    ):
        assert part in said
    assert np.count_nonzero(stored()) == 64
    assert np.array_equal(np.unique(stored() / VOXELS), [0, 2])
    assert run(op, "serial") == (True, 16, set())
    np.testing.assert_array_equal(stored(), 7 * VOXELS)


def test_workers_leave_no_voxel_of_a_model_that_came_meanwhile(raw):
    """Each of two workers refuses the file that came after a block; with the old one back, what is left is done."""
    file = Path("net.py").absolute()
    op = predicting(raw, write(file, 2))
    shutil.copy(file, "old.py")
    write(Path("other.py"), 7)
    good, done, said = run(op, "local", workers=2)
    assert not good
    assert done in (1, 2)  # both may have loaded it before the first call
    assert len(said) == 1
    assert "was replaced: its digest is" in said.pop()
    assert np.array_equal(np.unique(stored() / VOXELS), [0, 2])
    replace(file, Path("old.py"))
    assert run(op, "local", workers=2) == (True, 16 - done, set())
    np.testing.assert_array_equal(stored(), 2 * VOXELS)


def test_a_model_of_a_part_is_held_to_the_plan_too(raw):
    """An operator that has OpPredict as a part, which looks for its context in each process, refuses as well."""
    file = Path("net.onnx").absolute()
    op = OpWithin(write(file, 2), graph=Graph())
    op.Input.setValue(raw)
    program, first, second, *_ = blocks_of(planned(op.Output))
    write(Path("new.onnx"), 7)
    program(first)
    replace(file, Path("new.onnx"))
    with pytest.raises(BlockflowError, match="was replaced: its digest is"):
        program(second)
    fresh = program.__class__(**program.__getstate__())
    with pytest.raises(BlockflowError, match="was replaced: its digest is"):
        fresh(second)
    assert np.array_equal(np.unique(stored() / VOXELS), [0, 2])


@pytest.mark.parametrize("promoted", [["Input"], ["Input", "model"]])
def test_each_lane_is_held_to_its_own_model(raw, promoted):
    """Lanes of a wrapper share a model or have their own, and each is held to the file of the one that it uses."""
    own = "model" in promoted
    wrapper = OperatorWrapper(OpPredict, graph=Graph(), promotedSlotNames=promoted)
    wrapper.memory.setValue(100)
    wrapper.Input.resize(2)
    files = [Path(f"net{lane}.onnx").absolute() for lane in (range(2) if own else (0, 0))]
    for lane, file in enumerate(files):
        (wrapper.model[lane] if own else wrapper.model).setValue(write(file, 2 + lane * own))
        wrapper.Input[lane].setValue(raw)
    for lane, file in enumerate(files):
        program, first, second, *_ = blocks_of(planned(wrapper.Output[lane]))
        program(first)
        assert np.array_equal(np.unique(stored() / VOXELS), [0, 2 + lane * own])
        write(file, 7)
        with pytest.raises(OperatorError, match="was replaced: its digest is"):
            program(second)
        write(file, 2 + lane * own)
        shutil.rmtree("out.zarr")


def test_a_lazy_graph_takes_the_new_file_and_a_planned_one_does_not(raw):
    """`refresh` is for who asks lazily; `check` compares nothing of a file that the plan is not of."""
    file = Path("net.onnx").absolute()
    op = predicting(raw, write(file, 2))
    drafted = planned(op.Output).draft
    assert all(found.equal for found in check_blocks(drafted, 3, 4))
    write(file, 7)
    with pytest.raises(OperatorError, match="was replaced: its digest is"):
        list(check_blocks(drafted, 3, 4))
    op.refresh()
    np.testing.assert_array_equal(op.Output[:].wait(), 7 * VOXELS)
    assert all(found.equal for found in check_blocks(planned(op.Output).draft, 3, 4))


def test_a_file_is_hashed_when_it_changed_and_not_for_each_block(raw, monkeypatch):
    """All blocks together hash it when it is loaded; of another file, all that are refused hash it once."""
    file = Path("net.onnx").absolute()
    op = predicting(raw, write(file, 2))
    program, *blocks = blocks_of(planned(op.Output))
    models._loaded.cache_clear()
    models._digest_at.cache_clear()
    hashed = []
    monkeypatch.setattr(models, "digest_of_model", lambda text: hashed.append(1) or digest_of_model(text))
    for block in blocks:
        program(block)
    assert len(hashed) == 3  # is it the planned one; and before and after it is read
    hashed.clear()
    write(file, 7)
    for block in blocks:
        with pytest.raises(OperatorError, match="was replaced"):
            program(block)
    assert len(hashed) == 1


def test_the_digest_is_of_the_bytes_that_were_loaded(raw, monkeypatch):
    """A file that is replaced between the look at it and its reading is read again, or refused."""
    file = Path("net.onnx").absolute()
    text, factors = write(file, 2), iter([7])
    planned_with = digest_of_model(text)
    real = models.read_network

    def replaced_just_now(path, device):
        for factor in factors:
            write(file, factor)
        return real(path, device)

    monkeypatch.setattr(models, "read_network", replaced_just_now)
    with pytest.raises(OperatorError, match=f"the plan was made with {planned_with[:8]}"):
        load_model(text, "cpu", planned_with, strict=True)
    factors = iter([5])
    model = load_model(text, "cpu")
    assert model([np.ones((1, 2, 2), "f4")], 1).max() == 5
    assert model.digest == digest_of_model(text)
    assert load_model(text, "cpu", model.digest, strict=True).digest == model.digest


def test_a_file_that_never_rests_is_refused(raw, monkeypatch):
    """One that is another after each reading is no model."""
    file = Path("net.onnx").absolute()
    text, factors, real = write(file, 1), iter(range(2, 9)), models.read_network
    monkeypatch.setattr(models, "read_network", lambda _, device: real(write(file, next(factors)), device))
    with pytest.raises(OperatorError, match="changed each of the 3 times that it was read"):
        load_model(text, "cpu")
    assert next(factors) == 5


def test_a_module_that_was_imported_before_its_file_changed(raw, tmp_path, monkeypatch):
    """Python imports once: what this process has is not what the new file says, and so does not compute."""
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "module_that_changes.py"
    write(file, 2)
    op = predicting(raw, "module_that_changes:model")
    program, first, second, *_ = blocks_of(planned(op.Output))
    program(first)
    write(file, 7)
    with pytest.raises(OperatorError, match="was replaced: its digest is"):
        program(second)
    shutil.rmtree("out.zarr")
    program, first, *_ = blocks_of(planned(op.Output))
    with pytest.raises(OperatorError, match=r"had imported it.*Start Python anew"):
        program(first)
