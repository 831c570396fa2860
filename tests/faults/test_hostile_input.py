"""Input that nobody should give: each is refused in one line that says what to do, or healed; never a traceback."""

import json
import os
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from funlib.geometry import Roi

import blockflow
from blockflow.cli import main
from blockflow.errors import BlockflowError, StorageError, TaskError, WorkerFileError

CONFIG = """
name: cells
run_dir: run
compute: {context: serial, num_workers: 2}
arrays:
  raw: {path: volume.zarr}
tasks:
  mask:
    worker_file: threshold
    inputs: {input: raw}
    outputs: {output: mask.zarr}
    write_roi: {offset: [0, 0, 0], shape: [64, 48, 48]}
    args: {threshold: 4}
"""


@pytest.fixture
def command(monkeypatch, capsys):
    """Run a command of the command line in this process; gives exit status and what it printed on both streams."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["blockflow", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:  # anything else would be a traceback
            main()
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err, printed.err
        return end.value.code or 0, printed.out + printed.err

    return run


def refused(answer, *parts):
    """The command ended with status 2 and one line with these parts."""
    status, text = answer
    assert status == 2, text
    assert len(text.strip().splitlines()) == 1, text
    for part in parts:
        assert part in text


# --- shapes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", ["valid", "shrink", "overhang"])
def test_a_grid_of_too_many_blocks_is_refused_with_the_number_and_the_cure(fit):
    """10^36 blocks are refused before memory is touched; the message has the number and says to enlarge blocks."""
    total, block = Roi((0,) * 3, (10**12,) * 3), Roi((0,) * 3, (1,) * 3)
    with pytest.raises(TaskError, match="Give larger write ROIs") as caught:
        blockflow.run_blockwise(
            None, total, block, block, 1, process_function=print, name="much", run_dir="run", fit=fit
        )
    assert str(10**36) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("total", "read", "write", "message"),
    [
        ((10**6,), (10**15,), (10**15,), "zero blocks"),
        ((10**19,), (10**19,), (10**19,), "farther out"),
        ((100,), (10,), (-10,), "size of at least 1"),
        ((-100,), (10,), (10,), "size of at least 1"),
        ((100,), (0,), (0,), "size of at least 1"),
        ((), (), (), "at least one axis"),
        ((100,), (10,), (20,), "within the read ROI"),
        ((100, 100), (10,), (10,), "same number of axes"),
    ],
)
def test_shapes_that_make_no_blocks_are_refused(total, read, write, message):
    """Sizes beyond all bounds, negative, zero or of no axis at all give a `TaskError` of one line."""
    rois = [Roi((0,) * len(shape), shape) for shape in (total, read, write)]
    with pytest.raises(TaskError, match=message) as caught:
        blockflow.run_blockwise(
            None, *rois, 1, process_function=print, name="odd", run_dir="run", fit="valid"
        )
    assert "\n" not in str(caught.value)
    assert not Path("run").exists()


def test_one_block_larger_than_everything_is_cut_to_the_volume(volume):
    """A write ROI of 10^15 voxels with fit 'shrink' is one block that writes what there is."""
    path, data = volume
    block = Roi((0, 0, 0), (4 * 10**15, 3 * 10**15, 3 * 10**15))
    arguments = dict(input=path, output="out.zarr", run_dir="run", compute_context="serial")
    assert blockflow.run_blockwise("copy", None, block, block, 1, **arguments)
    np.testing.assert_array_equal(zarr.open("out.zarr")[:], data)


def test_absurd_shapes_in_a_config_are_refused(volume, command):
    """The same holds on the command line: status 2, one line, nothing written."""
    for key, value, part in [
        ("write_roi", "{offset: [0, 0, 0], shape: [0, 48, 48]}", "shape"),
        ("write_roi", "{offset: [0, 0, 0], shape: [-64, 48, 48]}", "shape"),
        ("write_roi", "{offset: [], shape: []}", ""),
        ("total_roi", "{offset: [8, 0, 3], shape: [4000000000000, 3000000000000, 3000000000000]}", "blocks"),
    ]:
        Path("config.yaml").write_text(CONFIG)
        status, text = command("run", "config.yaml", "--set", f"tasks.mask.{key}={value}")
        assert status == 2, text
        assert part in text
    assert not Path("run").exists()


def test_a_yaml_bomb_is_refused(volume, command):
    """Aliases that unfold to billions of values are refused at once."""
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    Path("config.yaml").write_text("\n".join(levels) + CONFIG)
    status, text = command("run", "config.yaml")
    assert status == 2, text
    assert len(text) < 4000


# --- worker files ---------------------------------------------------------------------------------------------

BLOCK = Roi((0, 0, 0), (64, 48, 48))
SPAWN = "def spawn_worker(**kwargs):\n    return lambda: None\n"


def start(worker_file, **arguments):
    return blockflow.run_blockwise(
        worker_file, None, BLOCK, BLOCK, 1, run_dir="run", name="odd", compute_context="serial", **arguments
    )


def test_worker_files_that_are_none_are_refused():
    """A folder, bytes, a syntax error and an exit while loading are each refused; the message names the file."""
    Path("folder.py").mkdir()
    Path("bytes.py").write_bytes(bytes(range(256)) * 10)
    Path("huge.py").write_bytes(b"x = (\n" * 200_000)
    Path("syntax.py").write_text("def spawn_worker(:\n")
    Path("leaves.py").write_text("import sys; sys.exit(3)\n")
    Path("other.txt").write_text(SPAWN)
    for name in ("folder.py", "bytes.py", "huge.py", "syntax.py", "leaves.py", "other.txt"):
        with pytest.raises(WorkerFileError, match=name):
            start(name)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    "body",
    [
        "return []",
        "return None",
        "return {'inputs': None}",
        "return {'outputs': ['a']}",
        "return {'inputs': {'input': 3}}",
        "return {'outputs': {'output': None}}",
        "return {'files': [3]}",
        "return {'files': 3}",
        "return {'files': ['nothere.txt']}",
        "return {'input': {}}",
        "raise RuntimeError('no idea')",
        "raise SystemExit(4)",
        "import sys; sys.exit('bye')",
        "return {'inputs': {'input': 'a\\0b'}}",
        "return arrays(**kwargs)",
    ],
)
def test_an_arrays_function_that_fails_or_gives_nonsense_is_refused(body):
    """Whatever `arrays` raises or returns, the error is one of ours, names the task, and nothing is written."""
    Path("odd.py").write_text(f"def arrays(**kwargs):\n    {body}\n{SPAWN}")
    with pytest.raises((TaskError, StorageError), match=r"task odd|cannot be the path") as caught:
        start("odd.py")
    assert len(str(caught.value).splitlines()) == 1
    assert not Path("run").exists()


@pytest.mark.parametrize(
    "output", ["volume.zarr", "volume.zarr/inner", "volume.zarr/../volume.zarr", "alias"]
)
def test_an_output_that_is_or_lies_in_an_input_is_refused(volume, output):
    """An output that is one's own input, by whatever path, or in its folder, is refused and the input untouched."""
    Path("alias").symlink_to("volume.zarr")
    with pytest.raises((TaskError, StorageError), match="task odd"):
        start("copy", input=volume[0], output=output, chunks=(8, 8, 8))
    np.testing.assert_array_equal(zarr.open(volume[0])[:], volume[1])
    assert sorted(path.name for path in Path("volume.zarr").iterdir()) == ["c", "zarr.json"]
    assert not Path("run").exists()


@pytest.mark.parametrize("name", ["a/b", "../a", "a\0b", "", ".", "-x", "a" * 200, "a\nb"])
def test_names_that_are_no_folder_names_are_refused(volume, name):
    """A task name with a separator, a NUL or that is too long is refused."""
    with pytest.raises(TaskError, match="names a folder"):
        blockflow.run_blockwise(
            "copy", None, BLOCK, BLOCK, 1, name=name, input=volume[0], output="out.zarr", run_dir="run"
        )
    assert not Path("run").exists()


def test_output_paths_that_cannot_be_are_refused(volume):
    """A symlink loop, a NUL or a file in the way of the output are refused in one line."""
    Path("loop").symlink_to("loop")
    Path("file").write_text("mine")
    for output in ("loop", "loop/out.zarr", "file", "file/out.zarr", "a\0b", "n" * 300):
        with pytest.raises(BlockflowError) as caught:
            start("copy", input=volume[0], output=output)
        assert len(str(caught.value).splitlines()) == 1
    assert Path("file").read_text() == "mine"


def test_run_directories_that_cannot_be_are_refused(volume, command):
    """A run directory that is a file, a symlink loop or has a NUL is refused; so is looking at one."""
    Path("config.yaml").write_text(CONFIG)
    Path("loop").symlink_to("loop")
    Path("file").write_text("mine")
    for path in ("loop", "loop/run", "file", "file/run"):
        refused(command("run", "config.yaml", "--set", f"run_dir={path}", "--quiet"), path)
        for name in ("status", "failures", "retry", "reset"):
            refused(command(name, path), path)
    assert Path("file").read_text() == "mine"


# --- run directories ------------------------------------------------------------------------------------------


@pytest.fixture
def damaged(volume, command):
    """A run directory with 9 of 27 blocks done, of which the other voxels are wrong; gives its store's folder."""
    Path("config.yaml").write_text(CONFIG)
    assert command("run", "config.yaml", "--quiet")[0] == 0
    assert command("reset", "run", "--roi", "72:500,0:500,0:500")[0] == 0
    zarr.open("mask.zarr")[16:] = 7
    (store,) = Path("run/tasks/mask/tracking").iterdir()
    return store


def change(path, **more):
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))


def record(text):
    folder = Path("run/tasks/mask/failures") / json.loads(Path("run/run.json").read_text())["session"]
    folder.mkdir(parents=True)
    (folder / "3-1.json").write_text(text)


def replaced_by_file(path):
    shutil.rmtree(path)
    path.write_text("x")


def lock(**what):
    mine = {"host": socket.gethostname(), "pid": 1, "process_started": "1", "since": 0.0}
    Path("run/lock").write_text(json.dumps({**mine, **what}))


HEALS = {
    "Daisy's marks cut": lambda store: os.truncate(store / "daisy/done/c/0/0/0", 5),
    "Daisy's marks empty": lambda store: os.truncate(store / "daisy/done/c/0/0/0", 0),
    "Daisy's metadata empty": lambda store: os.truncate(store / "daisy/done/zarr.json", 0),
    "tasks gone": lambda _: shutil.rmtree("run/tasks"),
    "task.json gone": lambda _: Path("run/tasks/mask/task.json").unlink(),
    "task.json garbage": lambda _: Path("run/tasks/mask/task.json").write_text("{"),
    "task.json list": lambda _: Path("run/tasks/mask/task.json").write_text("[]"),
    "task.json of the future": lambda _: change(Path("run/tasks/mask/task.json"), format=99, more=1),
    "about.json gone": lambda store: (store / "about.json").unlink(),
    "Daisy's marks gone": lambda store: shutil.rmtree(store / "daisy/done/c"),
    "Daisy's metadata gone": lambda store: (store / "daisy/done/zarr.json").unlink(),
    "Daisy's store gone": lambda store: shutil.rmtree(store / "daisy"),
    "Daisy's failures gone": lambda store: shutil.rmtree(store / "daisy/failures"),
    "call.pkl gone": lambda _: Path("run/tasks/mask/call.pkl").unlink(),
    "call.pkl garbage": lambda _: Path("run/tasks/mask/call.pkl").write_bytes(b"\x80garbage"),
    "events gone": lambda _: shutil.rmtree("run/events"),
    "lock garbage": lambda _: Path("run/lock").write_bytes(b"\xff\xfe}{"),
    "lock of other types": lambda _: lock(pid="x", since=[]),
    "lock from elsewhere with nonsense": lambda _: lock(host="elsewhere", since="x"),
    "given-up.json garbage": lambda _: Path("run/tasks/mask/given-up.json").write_text("{"),
    "given-up.json list": lambda _: Path("run/tasks/mask/given-up.json").write_text("[]"),
    "initialised binary": lambda _: Path("run/tasks/mask/initialised").write_bytes(b"\xff\xfe"),
    "a failure record garbage": lambda _: record("{"),
    "a failure record of the future": lambda _: record('{"format": 99}'),
}

REFUSED = {
    "run.json empty": (lambda _: os.truncate("run/run.json", 0), "Restore it"),
    "run.json gone": (lambda _: Path("run/run.json").unlink(), "Choose another run_dir"),
    "run.json of other types": (lambda _: change(Path("run/run.json"), tasks=3, started="x"), "nonsense"),
    "run.json with a path": (lambda _: change(Path("run/run.json"), tasks=["../../.."]), "nonsense"),
    "tasks is a file": (lambda _: replaced_by_file(Path("run/tasks")), "run/tasks"),
    "tracking is a file": (lambda store: replaced_by_file(store.parent), "tracking"),
    "events is a file": (lambda _: replaced_by_file(Path("run/events")), "events"),
    "stop is a folder": (lambda _: Path("run/stop").mkdir(), "stop"),
    "lock is a folder": (lambda _: Path("run/lock").mkdir(), "lock"),
    "about.json garbage": (lambda store: (store / "about.json").write_text("{"), "Remove its folder"),
    "about.json list": (lambda store: (store / "about.json").write_text("[]"), "Remove its folder"),
    "about.json of other types": (lambda s: change(s / "about.json", generations=3), "Remove its folder"),
    "about.json with another recipe": (lambda s: change(s / "about.json", recipe=[]), "Remove its folder"),
    "about.json with no grid": (lambda s: change(s / "about.json", grid={"fit": "x"}), "Remove its folder"),
    "journal gone": (lambda store: (store / "journal").unlink(), "Remove its folder"),
    "journal cut": (lambda store: os.truncate(store / "journal", 5), "Remove its folder"),
    "journal empty": (lambda store: os.truncate(store / "journal", 0), "Remove its folder"),
    "Daisy's metadata list": (lambda s: (s / "daisy/done/zarr.json").write_text("[]"), "Remove its folder"),
    "Daisy's group empty": (lambda s: os.truncate(s / "daisy/zarr.json", 0), "store's folder"),
}


def looked_at(command):
    """Looking never shows a traceback; what cannot be read is said in one line."""
    for name in ("status", "failures"):
        answer = command(name, "run")
        if answer[0]:
            refused(answer)


@pytest.mark.parametrize("damage", HEALS)
def test_what_is_lost_from_a_run_directory_is_made_again(damaged, command, volume, damage):
    """With this file lost or spoilt, the run does all blocks that are not known as done; every voxel is right."""
    HEALS[damage](damaged)
    looked_at(command)
    status, text = command("run", "config.yaml", "--quiet")
    assert status == 0, text
    np.testing.assert_array_equal(zarr.open("mask.zarr")[:], volume[1] > 4)
    status, text = command("run", "config.yaml", "--quiet")
    assert (status, "0 done, 27 skipped" in text) == (0, True), text
    looked_at(command)


@pytest.mark.parametrize("damage", REFUSED)
def test_a_run_directory_that_cannot_be_trusted_is_refused(damaged, command, volume, damage):
    """With this file spoilt, the run is refused in one line, and with the folder away all blocks are done right."""
    spoil, message = REFUSED[damage]
    spoil(damaged)
    looked_at(command)
    for _ in range(2):
        refused(command("run", "config.yaml", "--quiet"), message)
    if message in ("Remove its folder", "store's folder"):
        shutil.rmtree(damaged)
    else:
        shutil.rmtree("run")
    status, text = command("run", "config.yaml", "--quiet")
    assert status == 0, text
    np.testing.assert_array_equal(zarr.open("mask.zarr")[:], volume[1] > 4)


def test_retry_of_a_run_whose_origin_is_nonsense_is_refused(damaged, command):
    """`retry` says which command to use where run.json does not name the config."""
    change(Path("run/run.json"), origin="x")
    refused(command("retry", "run"), "blockflow run CONFIG")
