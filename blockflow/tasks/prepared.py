"""From a task's description to all that must be known before it runs, checked. Nothing is written yet."""

import inspect
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from funlib.geometry import Coordinate, Roi

from blockflow.errors import BlockflowError, StorageError, TaskError, WorkerFileError
from blockflow.storage import (
    Array,
    ArraySpec,
    BlockResults,
    Lattice,
    ResultsSpec,
    array_stamp,
    open_array,
    open_stored,
    planned_arrays,
    use_lattice,
)
from blockflow.tasks.checks import (
    check_coverage,
    check_number,
    check_on_voxels,
    check_writable,
    check_write_units,
)
from blockflow.tasks.geometry import BlockGrid
from blockflow.tasks.recipe import Recipe, code_of_file, code_of_function, digest_of_file
from blockflow.tasks.task import BlockwiseTask, Check, in_order
from blockflow.tasks.worker_file import WorkerFile, load_worker_file

__all__ = ["PreparedTask", "prepare"]


@dataclass(frozen=True, eq=False)
class PreparedTask:
    """A task with everything resolved: its grid, its arrays, its checks, its recipe.

    `outputs` are paths, `specs` the descriptions of those outputs that the task creates. `warnings` are for
    people.
    """

    task: BlockwiseTask
    grid: BlockGrid
    read_write_conflict: bool
    before_check: Check | None
    after_check: Check | None
    init_callback_fn: Any
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    specs: Sequence[ArraySpec | ResultsSpec]
    lattice: Lattice | None
    recipe: Recipe
    warnings: Sequence[str]

    @property
    def name(self) -> str:
        return self.task.name


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A task whose worker file is loaded and whose arrays are known by name."""

    task: BlockwiseTask
    worker_file: WorkerFile | None
    inputs: dict[str, str]
    outputs: dict[str, str]
    specs: list[ArraySpec | ResultsSpec]
    files: list[Path]


def prepare(tasks: Iterable[BlockwiseTask]) -> list[PreparedTask]:
    """Resolve and check tasks, with all that they depend on, in an order in which each can follow the last.

    Raises
    ------
    TaskError, WorkerFileError, StorageError
        With what to change, before anything has been written.
    """
    loaded: list[_Loaded] = []
    for task in in_order(tasks):
        with planned_arrays(spec for known in loaded for spec in known.specs):
            loaded.append(_load(task))
    with planned_arrays(spec for known in loaded for spec in known.specs):
        lattice = _common_lattice(loaded)
        with use_lattice(lattice):
            prepared: list[PreparedTask] = []
            for known in loaded:
                try:
                    prepared.append(_resolve(known, lattice, prepared))
                except (TaskError, StorageError) as error:
                    raise type(error)(f"task {known.task.name}: {error}") from error
    return prepared


def described_outputs(task: BlockwiseTask) -> list[ArraySpec | ResultsSpec]:
    """What a task would create, as its worker file describes it."""
    return _load(task).specs


def _load(task: BlockwiseTask) -> _Loaded:
    worker_file = load_worker_file(task.worker_file) if task.worker_file else None
    inputs = {name: _place(path) for name, path in task.inputs.items()}
    given: dict[str, Any] = dict(task.outputs)
    files: list[Path] = []
    if worker_file is not None and worker_file.arrays is not None:
        declared = _declared(task, worker_file, worker_file.arrays)
        inputs |= {name: _place(path) for name, path in declared.get("inputs", {}).items()}
        given |= declared.get("outputs", {})
        files = [Path(path) for path in declared.get("files", ())]
    specs = {
        name: replace(output, path=_place(output.path))
        for name, output in given.items()
        if isinstance(output, ArraySpec | ResultsSpec)
    }
    outputs = {name: specs[name].path if name in specs else _place(path) for name, path in given.items()}
    return _Loaded(task, worker_file, inputs, outputs, list(specs.values()), files)


def _declared(
    task: BlockwiseTask, worker_file: WorkerFile, arrays: Callable[..., Mapping[str, Any]]
) -> Mapping[str, Any]:
    """What the `arrays` function of a worker file says, checked: it is the user's code."""
    try:
        declared: Any = arrays(*task.args, **task.kwargs)
    except TypeError as error:
        raise WorkerFileError(
            f"task {task.name}: {worker_file.path.name} does not take these arguments: {error}. Its arrays "
            f"function is arrays{inspect.signature(arrays)}"
        ) from error
    except BlockflowError as error:
        raise type(error)(f"task {task.name}: {error}") from error
    except (Exception, SystemExit) as error:
        raise WorkerFileError(
            f"task {task.name}: the arrays function of {worker_file.path} failed: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(declared, Mapping) or not declared.keys() <= {"inputs", "outputs", "files"}:
        found: Any = sorted(map(str, declared)) if isinstance(declared, Mapping) else declared
        raise WorkerFileError(
            f"task {task.name}: the arrays function of {worker_file.path} must return a dict with 'inputs', 'outputs' "
            f"and 'files', as far as there are any, not {found!r}"
        )
    for kind, types, what in (
        ("inputs", (str, os.PathLike), "paths"),
        ("outputs", (str, os.PathLike, ArraySpec, ResultsSpec), "paths, ArraySpecs or ResultsSpecs"),
    ):
        named = declared.get(kind, {})
        if not isinstance(named, Mapping) or not all(
            isinstance(name, str) and isinstance(value, types) for name, value in named.items()
        ):
            raise WorkerFileError(
                f"task {task.name}: the arrays function of {worker_file.path} must give {kind!r} as a dict of names to "
                f"{what}, not {named!r}"
            )
    files = declared.get("files", ())
    if not isinstance(files, Sequence | set) or not all(
        isinstance(path, str | os.PathLike) for path in files
    ):
        raise WorkerFileError(
            f"task {task.name}: the arrays function of {worker_file.path} must give 'files' as a list of paths, not "
            f"{files!r}"
        )
    for path in files:
        if not Path(path).is_file():
            raise WorkerFileError(
                f"task {task.name}: {worker_file.path} needs file {path}, which is not there"
            )
    return declared


def _place(path: Any) -> str:
    """One spelling for each path, so that what one task writes is known as what another reads."""
    place: str = os.path.abspath(os.fspath(path))  # noqa: PTH100 (Path.absolute keeps `..`)
    try:
        os.stat(place)  # noqa: PTH116 (a Path answers less)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # said later, by who needs it
    except (OSError, ValueError) as error:
        raise StorageError(f"{place!r} cannot be the path of an array: {error}") from error
    return place


def _common_lattice(loaded: Iterable[_Loaded]) -> Lattice | None:
    paths = {path for known in loaded for path in (*known.inputs.values(), *known.outputs.values())}
    if not paths:
        return None
    arrays = [stored for path in sorted(paths) if isinstance(stored := open_stored(path), Array)]
    return (
        Lattice.of((array.metadata.voxel_size, array.metadata.offset) for array in arrays) if arrays else None
    )


def _resolve(known: _Loaded, lattice: Lattice | None, upstream: Sequence[PreparedTask]) -> PreparedTask:
    task, worker_file = known.task, known.worker_file

    def choose(name: str, *, default: Any) -> Any:
        given = getattr(task, name)
        return given if given is not None else getattr(worker_file, name, default)

    task = _on_lattice(task, lattice)
    inputs, outputs = _arrays(known.inputs), _arrays(known.outputs)
    grid = BlockGrid(
        task.total_roi if task.total_roi is not None else _whole(task, inputs, outputs),
        task.read_roi,
        task.write_roi,
        choose("fit", default="valid"),
    )
    check_number(grid)
    if not hasattr(task.process_function, "recipe_code"):  # else it reads by voxel, whatever its blocks are
        for array in inputs.values():
            check_on_voxels(grid, array, grid.read_roi, grid.total_roi)
    for name, array in outputs.items():
        check_writable(name, array.path)
        check_on_voxels(grid, array, grid.write_roi, grid.writable)
        check_coverage(grid, name, array)
        check_write_units(grid, name, array)
    specs = [_on_grid(spec, grid) for spec in known.specs]
    _check_results(known)
    _check_apart(known)
    for spec in known.specs:
        _check_existing(spec)
    for made in upstream:
        if made.task in task.upstream:
            _check_meets(grid, made)
    before, after = _checks(choose("check_function", default=None))
    return PreparedTask(
        task=task,
        grid=grid,
        read_write_conflict=bool(choose("read_write_conflict", default=True)),
        before_check=before,
        after_check=after,
        init_callback_fn=choose("init_callback_fn", default=None),
        inputs=known.inputs,
        outputs=known.outputs,
        specs=specs,
        lattice=lattice,
        recipe=_recipe(known, grid, lattice, outputs, upstream),
        warnings=_warnings(known, grid),
    )


def _arrays(paths: Mapping[str, str]) -> dict[str, Array]:
    """Those that are arrays, open; block results have their blocks' grid and no voxels to check."""
    opened = {name: open_stored(path) for name, path in paths.items()}
    return {name: stored for name, stored in opened.items() if isinstance(stored, Array)}


def _on_grid(spec: ArraySpec | ResultsSpec, grid: BlockGrid) -> ArraySpec | ResultsSpec:
    if isinstance(spec, ArraySpec):
        return spec
    return replace(spec, origin=tuple(grid.origin), step=tuple(grid.write_roi.shape), shape=tuple(grid.shape))


def _on_lattice(task: BlockwiseTask, lattice: Lattice | None) -> BlockwiseTask:
    """The task with its ROIs on the lattice of the run."""
    if task.lattice is None or lattice is None or task.lattice == lattice:
        return task
    steps = zip(task.lattice.step, lattice.step, strict=True)
    factor = Coordinate(int(own / common) for own, common in steps)

    def scaled(roi: Roi) -> Roi:
        return Roi(roi.offset * factor, roi.shape * factor)

    total = None if task.total_roi is None else scaled(task.total_roi)
    return replace(task, total_roi=total, read_roi=scaled(task.read_roi), write_roi=scaled(task.write_roi))


def _checks(given: Any) -> tuple[Check | None, Check | None]:
    if given is None:
        return None, None
    if callable(given):
        return given, given
    if isinstance(given, tuple) and len(given) == 2 and all(map(callable, given)):
        return given[0], given[1]
    raise TaskError(f"check_function must be a function, or a pair of them (before, after), not {given!r}")


def _whole(task: BlockwiseTask, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Roi:
    arrays = list(outputs.values()) or list(inputs.values())
    if not arrays:
        raise TaskError(
            "the total ROI cannot be found out, since no arrays are known. Give total_roi, or name inputs and outputs"
        )
    if arrays[0].roi.dims != task.write_roi.dims:
        raise TaskError(
            f"the write ROI has {task.write_roi.dims} axes, but {arrays[0].path} has {arrays[0].roi.dims}"
        )
    return arrays[0].roi.grow(
        task.write_roi.begin - task.read_roi.begin, task.read_roi.end - task.write_roi.end
    )


def _check_meets(grid: BlockGrid, upstream: PreparedTask) -> None:
    """Every block must read something that the upstream task writes: Daisy waits for ever for one that does not."""
    first, last = (grid.read_roi_of([at * (count - 1) for count in grid.shape]) for at in (0, 1))
    written = upstream.grid.covered
    if first.dims != written.dims:
        raise TaskError(f"it has {first.dims} axes, and its upstream task {upstream.name} has {written.dims}")
    if any(
        first.end[axis] <= written.begin[axis] or last.begin[axis] >= written.end[axis]
        for axis in range(first.dims)
    ):
        raise TaskError(
            f"some of its blocks read nothing of what the upstream task {upstream.name} writes: that writes {written}, "
            f"the blocks here read from {first} to {last}. Make the total ROI smaller, or that of {upstream.name} "
            "larger"
        )


def _check_apart(known: _Loaded) -> None:
    """No output may be an input of the same task, or lie in its folder: a block done twice would read itself."""
    for name, path in known.outputs.items():
        for read_name, read in known.inputs.items():
            ours, theirs = Path(os.path.realpath(path)), Path(os.path.realpath(read))
            if ours.is_relative_to(theirs) or theirs.is_relative_to(ours):
                raise TaskError(
                    f"output {name!r} ({path}) and input {read_name!r} ({read}) are one array, or one lies in the "
                    "other's folder. Choose another path for the output"
                )


def _check_results(known: _Loaded) -> None:
    for name, path in known.outputs.items():
        if isinstance(open_stored(path), BlockResults):
            if path not in {spec.path for spec in known.specs}:
                raise TaskError(f"output {name!r} ({path}) is a folder of block results: give a ResultsSpec")
            check_writable(name, path)


def _check_existing(spec: ArraySpec | ResultsSpec) -> None:
    if isinstance(spec, ResultsSpec) or not Path(spec.path).exists():
        return
    with planned_arrays(()), use_lattice(None):
        differences = spec.differences(open_array(spec.path))
    if differences:
        raise StorageError(
            f"{spec.path} exists and is another array than this task would write: {'; '.join(differences)}. "
            "Choose another path, or remove it"
        )


def _recipe(
    known: _Loaded,
    grid: BlockGrid,
    lattice: Lattice | None,
    outputs: Mapping[str, Array],
    upstream: Sequence[PreparedTask],
) -> Recipe:
    makers = {path: made.recipe.hash for made in upstream for path in made.outputs.values()}
    specs = {spec.path: spec for spec in known.specs}
    task = known.task
    arguments = {
        key: value for key, value in task.kwargs.items() if key not in {*known.inputs, *known.outputs}
    }
    return Recipe.of(
        code=_code(known),
        files={path.name: digest_of_file(path) for path in known.files},
        arguments={"positional": list(task.args), **arguments},
        inputs={
            name: {"recipe": makers[path]} if path in makers else array_stamp(path)
            for name, path in known.inputs.items()
        },
        outputs={
            name: specs[path].describe() if path in specs else {"shape": outputs[name].shape}
            for name, path in known.outputs.items()
        },
        upstream={made.name: made.recipe.hash for made in upstream if made.task in known.task.upstream},
        blocks={
            "read_shape": list(grid.read_roi.shape),
            "write_shape": list(grid.write_roi.shape),
            "context": [list(grid.context[0]), list(grid.context[1])],
            "fit": grid.fit,
            "lattice": lattice.texts() if lattice else None,
        },
    )


def _code(known: _Loaded) -> dict[str, Any]:
    if known.worker_file is not None:
        return code_of_file(known.worker_file.path)
    function: Any = known.task.process_function
    own = getattr(function, "recipe_code", None)
    return own() if own is not None else code_of_function(function)


def _warnings(known: _Loaded, grid: BlockGrid) -> list[str]:
    warnings = []
    if grid.fit == "valid" and grid.unprocessed:
        share = 100 * grid.unprocessed / math.prod(grid.writable.shape)
        warnings.append(
            f"fit 'valid' leaves {grid.unprocessed} of {math.prod(grid.writable.shape)} lattice points ({share:.1f} %) "
            "unprocessed, where no whole block fits. Use fit 'shrink' to process them"
        )
    if not known.outputs and not hasattr(known.task.process_function, "recipe_code"):
        warnings.append(
            "no outputs are known, so it cannot be checked whether blocks share chunks of an array. Define "
            "arrays(**kwargs) in the worker file, or name the outputs in the config"
        )
    return warnings
