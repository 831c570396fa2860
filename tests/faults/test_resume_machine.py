"""Runs, cut short or not, with changes between them, against a model: what is kept, what is redone, what it gives."""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import zarr
from funlib.geometry import Roi
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

import blockflow

#: voxels of the volume, and of a chunk of the outputs
SIZE, CHUNK = 24, 2

#: each voxel tells of which recipe it is and of which block, so that one kept wrongly is seen
_WORKER = """
VERSION = 0
import json
from pathlib import Path
import daisy
from blockflow.storage import open_array, spec_like

fit = "shrink"
read_write_conflict = False
folder = Path(__file__).parent

def arrays(input, output, factor):
    return {"inputs": {"input": input}, "outputs": {"output": spec_like(open_array(input), output, chunks=(2,))}}

def spawn_worker(input, output, factor):
    def loop():
        source, target = open_array(input), open_array(output, "r+")
        client = daisy.Client()
        while True:
            with client.acquire_block() as block:
                if block is None:
                    return
                process(block, source, target, factor)
    return loop

def process(block, source, target, factor):
    begin, end = block.write_roi.begin[0], block.write_roi.end[0]
    with (folder / "log").open("a") as log:
        log.write(f"{begin} {end}\\n")
    what = json.loads((folder / "trouble.json").read_text()).get(str(begin))
    if what == "fails before it writes":
        raise ValueError(what)
    if what == "is interrupted":
        raise KeyboardInterrupt
    if what == "fails after it wrote nonsense":
        target[block.write_roi] = -1
        raise ValueError(what)
    data = source[block.read_roi]
    sums = data[:-2] + data[1:-1] + data[2:]
    target[block.write_roi] = factor * sums + 1000 * begin + 100000 * end + 10000000 * VERSION
    if what == "fails after it wrote":
        raise ValueError(what)
"""

TROUBLES = (
    "fails before it writes",
    "fails after it wrote nonsense",
    "fails after it wrote",
    "is interrupted",
)

#: what can change between runs, and to what
CHOICES = {
    "factor": (1, 2),
    "version": (0, 1),
    "block": (2, 4, 6),
    "begin": (0, 2, 4),
    "end": (9, 16, SIZE),
    "output": ("a.zarr", "b.zarr"),
    "run_dir": ("run", "other"),
}


class Resume(RuleBasedStateMachine):
    """Runs of one worker file over a line of voxels; the model is what the outputs hold and which blocks are done."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="resume-"))
        self.now = {name: values[0] for name, values in CHOICES.items()}
        self.now["end"] = SIZE
        self.inputs = 0  # how often the input was replaced
        self.content = {}  # of each output that is there, its voxels
        self.done = {}  # of each run directory and output, the blocks that are done: (recipe, begin, end)
        self.writer = {}  # of each output, the run directory that wrote it last
        self.latest = {}  # of each run directory, the output of its last run

    @initialize()
    def make_the_volume(self):
        self.replace_input()

    @rule()
    def replace_input(self):
        """Another volume at the input's place: what was made from the old one is not kept."""
        self.inputs += 1
        self.data = np.random.default_rng(self.inputs).integers(1, 100, SIZE)
        array = zarr.create_array(
            str(self.folder / "in.zarr"), shape=(SIZE,), dtype="i8", chunks=(4,), overwrite=True
        )
        array[:] = self.data

    @rule(change=st.sampled_from([(name, value) for name, values in CHOICES.items() for value in values]))
    def change(self, change):
        """Another parameter, worker file, block shape, total ROI (grown or shrunk), output path or run directory."""
        name, value = change
        self.now[name] = value

    @rule()
    def delete_output(self):
        """The output is removed; no block of it is done any more."""
        output = self.now["output"]
        shutil.rmtree(self.folder / output, ignore_errors=True)
        self.content.pop(output, None)

    @rule()
    def run_to_the_end(self):
        """A run does exactly the blocks that are not done, and then the output is as a fresh run makes it."""
        assert self.run({}) is True
        begin, end = self.now["begin"], self.now["end"]
        fresh = np.concatenate([self.values(*block) for block in self.blocks()])
        assert np.array_equal(self.voxels()[begin:end], fresh)

    @rule(
        trouble=st.dictionaries(
            st.integers(0, SIZE // CHUNK - 1), st.sampled_from(TROUBLES), min_size=1, max_size=4
        )
    )
    def run_that_is_cut_short(self, trouble):
        """A run whose blocks fail, before or after they wrote, or which is interrupted, keeps what it did."""
        self.run({CHUNK * place: what for place, what in trouble.items()})

    def run(self, trouble):
        """Run blockflow and the model, and compare them."""
        to_do = self.begin()
        log = self.folder / "log"
        log.write_text("")
        (self.folder / "trouble.json").write_text(json.dumps(trouble))
        (self.folder / "worker.py").write_text(
            _WORKER.replace("VERSION = 0", f"VERSION = {self.now['version']}")
        )
        begin, end = self.now["begin"], self.now["end"]
        complete = blockflow.run_blockwise(
            self.folder / "worker.py",
            Roi((begin - 1,), (end - begin + 2,)),
            Roi((-1,), (self.now["block"] + 2,)),
            Roi((0,), (self.now["block"],)),
            1,
            0,
            input=str(self.folder / "in.zarr"),
            output=str(self.folder / self.now["output"]),
            factor=self.now["factor"],
            run_dir=self.folder / self.now["run_dir"],
            compute_context="serial",
        )
        begun = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
        stopped = [place for place, block in enumerate(begun) if trouble.get(block[0]) == "is interrupted"]
        if stopped:
            assert stopped == [len(begun) - 1]
            assert len(set(begun)) == len(begun)
            assert set(begun) <= set(to_do)
        else:
            assert sorted(begun) == to_do
        for block in begun:
            self.process(block, trouble.get(block[0]))
        assert complete is not any(block[0] in trouble for block in begun)
        assert np.array_equal(self.voxels(), self.content[self.now["output"]])
        return complete

    def begin(self):
        """The blocks that a run has to do: those that its recipe has not done here, or whose voxels are not its own."""
        output, run_dir = self.now["output"], self.now["run_dir"]
        if output not in self.content:
            self.content[output] = np.zeros(SIZE, np.int64)
            self.writer.pop(output, None)
        if self.writer.get(output) != run_dir:
            self.writer[output] = run_dir
            self.done[run_dir, output] = set()
        return [block for block in self.blocks() if (self.recipe(), *block) not in self.done[run_dir, output]]

    def process(self, block, what):
        """What it means for the model that a block was begun, and what then went wrong."""
        output, (begin, end) = self.now["output"], block
        done = self.done[self.now["run_dir"], output]
        done -= {other for other in done if other[1] < end and begin < other[2]}
        if what == "fails after it wrote nonsense":
            self.content[output][begin:end] = -1
        elif what in (None, "fails after it wrote"):
            self.content[output][begin:end] = self.values(begin, end)
        if what is None:
            done.add((self.recipe(), begin, end))

    def recipe(self):
        return (self.now["factor"], self.now["version"], self.now["block"], self.inputs)

    def blocks(self):
        begin, end, size = self.now["begin"], self.now["end"], self.now["block"]
        return [(low, min(low + size, end)) for low in range(begin, end, size)]

    def values(self, begin, end):
        """What a block writes."""
        padded = np.pad(self.data, 1)
        sums = (padded[:-2] + padded[1:-1] + padded[2:])[begin:end]
        return self.now["factor"] * sums + 1000 * begin + 100000 * end + 10000000 * self.now["version"]

    def voxels(self):
        return zarr.open_array(str(self.folder / self.now["output"]), mode="r")[:]

    def teardown(self):
        shutil.rmtree(self.folder)


def test_whatever_happens_between_runs_nothing_is_wrong_and_nothing_is_done_twice():
    """After any history, a run does exactly the blocks that could not be kept, and each voxel is the last recipe's."""
    run_state_machine_as_test(
        Resume,
        settings=settings(
            max_examples=12,
            stateful_step_count=16,
            deadline=None,
            derandomize=True,  # the same histories each time, so that the time it takes is known
            suppress_health_check=list(HealthCheck),
        ),
    )
