"""Worker files as the first task of a segmentation: they write the labels, and what the merge needs is left after."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blockflow.errors import TaskError
from blockflow.labels import Stitch, left_by_block
from blockflow.segment.programs import spatial_axes
from blockflow.storage import open_array, open_results
from blockflow.tasks import BlockwiseTask, Check, load_worker_file

__all__ = ["LeaveLabels", "Worker", "worker_task"]


@dataclass(frozen=True)
class Worker:
    """How a worker file is called: with `args`, and `kwargs` among which two name the arrays.

    `input` and `output` are these two keywords; `identifier` is what the output's path becomes, such as DaCapo's
    `LocalArrayIdentifier`, or None if it stays a path.
    """

    input: str
    output: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    identifier: Any = None


@dataclass(frozen=True)
class LeaveLabels:
    """A check after a block: leaves of the labels that a worker file has written what the merge needs."""

    labels: str
    results: str
    after: Check | None

    def __call__(self, block: Any) -> bool:
        array, results = open_array(self.labels), open_results(self.results)
        if array.dtype.kind not in "biu":
            raise TaskError(
                f"{self.labels}: labels are whole numbers, and the worker file writes {array.dtype}"
            )
        begin, end = array.voxels_of(block.write_roi)
        part = array[tuple(slice(low, high) for low, high in zip(begin, end, strict=True))]
        everything = tuple(slice(0, size) for size in part.shape)
        _, left = left_by_block(part, everything, begin, spatial_axes(array), Stitch("touching", equal=True))
        results.write(results.index_of(block.write_roi.begin), **left)
        return self.after is None or bool(self.after(block))


def worker_task(
    task: BlockwiseTask, file: Path, worker: Worker, labels: str, results: str, given: Any
) -> BlockwiseTask:
    """The first task of a segmentation, `task`, done by a worker file as it is, which writes to `labels`."""
    loaded = load_worker_file(file)
    before, after = given if isinstance(given, tuple) else (given, given)
    place: Any = labels if worker.identifier is None else worker.identifier(labels)
    outputs = {name: output for name, output in task.outputs.items() if name != "labels"}
    if loaded.arrays is None:  # else the file says itself what it writes
        outputs[worker.output] = task.outputs["labels"]
    return replace(
        task,
        process_function=None,
        worker_file=loaded.path,
        args=worker.args,
        kwargs={**worker.kwargs, worker.output: place},
        read_write_conflict=loaded.read_write_conflict,
        check_function=(_never if before is None else before, LeaveLabels(labels, results, after)),
        inputs={worker.input: task.inputs["input"]},
        outputs=outputs,
    )


def _never(_block: Any) -> bool:
    return False
