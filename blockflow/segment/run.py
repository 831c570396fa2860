"""`segment_blockwise`: DaCapo's function, on blockflow's machinery."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from funlib.geometry import Coordinate, Roi

from blockflow.blockwise import default_run_dir, task_of
from blockflow.compute import create_compute_context
from blockflow.errors import TaskError
from blockflow.segment.function_file import load_function_file
from blockflow.segment.segmentation import Segmentation, segmentation_tasks
from blockflow.segment.worker_labels import Worker
from blockflow.storage import LocalArrayIdentifier, planned_arrays
from blockflow.tasks import BlockwiseTask, described_outputs, find_worker_file, in_order, prepare
from blockflow.utility.words import choices

if TYPE_CHECKING:
    import daisy

__all__ = ["segment_blockwise"]

#: keyword arguments that go to the segmentation as they are
_OPTIONS = (
    "check_function",
    "chunks",
    "compressor",
    "dtype",
    "fit",
    "init_callback_fn",
    "parameters",
    "recompute",
    "shards",
    "stitch",
)
_OTHERS = (
    "compute_context",
    "input",
    "input_array_identifier",
    "name",
    "output",
    "output_array_identifier",
    "run_dir",
)


def segment_blockwise(
    segment_function_file: str | Path,
    context: Coordinate | Sequence[int],
    total_roi: Roi,
    read_roi: Roi,
    write_roi: Roi,
    num_workers: int = 16,
    max_retries: int = 2,
    timeout: float | None = None,
    upstream_tasks: "Sequence[daisy.Task | BlockwiseTask] | None" = None,
    *args: Any,
    **kwargs: Any,
) -> bool:
    """Segment a volume block by block, and make one of the labels that belong together.

    Parameters
    ----------
    segment_function_file : str or Path
        A file with `segment_function(input_array, block, **parameters)`, which returns labels (whole numbers, 0 is
        background) for all of `block.read_roi`; or the name of a bundled one (`connected_components`). It may
        define `default_parameters`, `check_function` and `init_callback_fn`. One with `spawn_worker` in place of
        `segment_function` runs as the first of the tasks, as it is: it writes labels to the output that it is given.
    context : Coordinate
        What a block reads around what it writes, on each side, in lattice units; the total ROI is grown by it.
    total_roi : Roi
        What to segment, in lattice units.
    read_roi, write_roi : Roi
        What one block reads and writes; shifted over the total ROI. A block reads its write ROI grown by `context`,
        or `read_roi` where that is larger.
    num_workers, max_retries, timeout, upstream_tasks
        As in `run_blockwise`.
    *args, **kwargs
        For `spawn_worker`, if the file has that; but these names are for all files.
        `input` and `output` (or DaCapo's `input_array_identifier` and `output_array_identifier`), paths of arrays. The
        output is created, as uint64 or what `dtype` says, with `chunks`, `shards` and `compressor`; the output of
        `output_array_identifier` is an array that is there.
        `parameters` (of the function, over its defaults), `stitch` (`touching`, `overlap`, `none`, or a mapping with
        `rule` and what else the rule takes; see `blockflow.labels.Stitch`), `recompute` (compute the labels of blocks
        twice rather than store them; for functions that always give the same), `fit` (default `shrink`),
        `check_function` and `init_callback_fn` (of the first task; default the file's), and `name`, `run_dir` and
        `compute_context` as in `run_blockwise`.

    Returns
    -------
    bool
        Whether every block is done. The run directory holds the details.

    Raises
    ------
    BlockflowError
        If something is wrong with the arguments, before anything has run.
    """
    from blockflow.execution.driver import run_prepared
    from blockflow.execution.progress import progress_for

    path = find_worker_file(segment_function_file)
    is_worker = load_function_file(path).is_worker
    if args and not is_worker:
        raise TaskError(
            f"segment_blockwise: {len(args)} arguments too many; segment_function takes its own by `parameters`"
        )
    if not is_worker and (unknown := sorted(set(kwargs) - {*_OPTIONS, *_OTHERS})):
        raise TaskError(
            f"segment_blockwise: there is no argument {unknown[0]!r}; {choices(unknown[0], [*_OPTIONS, *_OTHERS])}"
        )
    name = kwargs.get("name") or path.stem
    source, _ = _array(kwargs, "input")
    target, exists = _array(kwargs, "output")
    given_run_dir = kwargs.get("run_dir")
    run_dir = (
        Path(given_run_dir) if given_run_dir is not None else default_run_dir(path.stem, path, name, [target])
    )
    margin = Coordinate(context)
    upstream = tuple(task_of(task) for task in upstream_tasks or ())
    with planned_arrays(spec for task in in_order(upstream) for spec in described_outputs(task)):
        tasks = segmentation_tasks(
            Segmentation(
                name=name,
                function_file=path,
                input=source,
                output=target,
                exists=exists,
                work_dir=run_dir.absolute() / "segmentations" / name,
                total_roi=total_roi.grow(margin, margin),
                read_roi=write_roi.grow(margin, margin).union(read_roi),
                write_roi=write_roi,
                num_workers=num_workers,
                max_retries=max_retries,
                timeout=timeout,
                upstream=upstream,
                worker=_worker(args, kwargs) if is_worker else None,
                **{key: kwargs[key] for key in _OPTIONS if key in kwargs and kwargs[key] is not None},
            )
        )
    outcome = run_prepared(
        prepare(tasks),
        run_dir,
        name=name,
        compute=create_compute_context(kwargs.get("compute_context")),
        progress=progress_for(),
    )
    return outcome.complete


def _worker(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Worker:
    """How a worker file is called: with all that is no option of the segmentation."""
    mine = {*_OPTIONS, "compute_context", "name", "run_dir"} - {"parameters"}
    its_input, its_output = (
        next(key for key in (kind, f"{kind}_array_identifier") if kwargs.get(key) is not None)
        for kind in ("input", "output")
    )
    return Worker(
        its_input,
        its_output,
        args,
        {key: value for key, value in kwargs.items() if key not in mine and value is not None},
        _identifier if isinstance(kwargs[its_output], LocalArrayIdentifier) else None,
    )


def _identifier(path: str) -> LocalArrayIdentifier:
    return LocalArrayIdentifier(Path(path).parent, Path(path).name)


def _array(kwargs: dict[str, Any], kind: str) -> tuple[str, bool]:
    """The path of the input or output, and whether it was given as DaCapo does."""
    ours, dacapos = kwargs.get(kind), kwargs.get(f"{kind}_array_identifier")
    if (ours is None) == (dacapos is None):
        raise TaskError(f"segment_blockwise: give either {kind} or {kind}_array_identifier")
    given: Any = dacapos if ours is None else ours
    place: str = os.path.abspath(os.fspath(given))  # noqa: PTH100 (keeps no `..`)
    return place, ours is None
