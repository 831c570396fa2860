"""From a checked config to tasks: names become paths, and inputs become dependencies."""

import os
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from funlib.geometry import Roi

from blockflow.config.loader import LoadedConfig
from blockflow.config.problems import Location, Problem, dotted, raise_problems
from blockflow.config.schema import RoiConfig, TaskConfig
from blockflow.errors import BlockflowError, ConfigError
from blockflow.tasks import BlockwiseTask, find_worker_file
from blockflow.utility.words import choices

__all__ = ["build_tasks"]


def build_tasks(loaded: LoadedConfig) -> list[BlockwiseTask]:
    """The tasks of a config, each after those that it depends on.

    The worker file of a task gets the absolute paths of its inputs and outputs as keyword arguments, and
    `args` beside them. A task that reads another one's output depends on it.

    Raises
    ------
    ConfigError
        With a line for each name that means nothing, worker file that is not there, keyword that is given
        twice, or output that something else is using; or for tasks that wait for each other.
    """
    problems = [*_shared_paths(loaded)]
    inputs: dict[str, dict[str, str]] = {}
    needs: dict[str, dict[str, Location]] = {}
    worker_files: dict[str, Path] = {}
    for name, task in loaded.config.tasks.items():
        inputs[name], needs[name] = {}, {}
        for location, given in _references(name, task):
            try:
                path, maker = _resolve(loaded, given) if location[2] == "inputs" else _upstream(loaded, given)
            except ConfigError as error:
                problems.append(loaded.problem(location, str(error)))
                continue
            if location[2] == "inputs":
                inputs[name][str(location[3])] = path
            if maker is not None:
                needs[name].setdefault(maker, location)
        try:
            worker_files[name] = find_worker_file(os.path.expanduser(task.worker_file), loaded.folder)  # noqa: PTH111
        except (BlockflowError, OSError) as error:
            problems.append(loaded.problem(("tasks", name, "worker_file"), str(error)))
        problems += _keywords_given_twice(loaded, name, task)
    if not problems:
        problems += _circles(loaded, needs)
    raise_problems(problems)

    built: dict[str, BlockwiseTask] = {}
    for name in TopologicalSorter(needs).static_order():
        upstream = tuple(built[needed] for needed in needs[name])
        try:
            built[name] = _build(loaded, name, inputs[name], worker_files[name], upstream)
        except BlockflowError as error:
            problems.append(loaded.problem(("tasks", name), str(error)))
            raise_problems(problems)
    return list(built.values())


def _build(
    loaded: LoadedConfig,
    name: str,
    inputs: Mapping[str, str],
    worker_file: Path,
    upstream: tuple[BlockwiseTask, ...],
) -> BlockwiseTask:
    task, compute = loaded.config.tasks[name], loaded.config.compute
    outputs = {keyword: loaded.absolute(path) for keyword, path in task.outputs.items()}
    return BlockwiseTask(
        name=name,
        total_roi=None if task.total_roi == "auto" else _roi(task.total_roi),
        read_roi=_roi(task.read_roi or task.write_roi),
        write_roi=_roi(task.write_roi),
        worker_file=worker_file,
        kwargs={**inputs, **outputs, **task.args},
        fit=task.fit,
        read_write_conflict=task.read_write_conflict,
        num_workers=min(task.num_workers or compute.num_workers, compute.num_workers),
        max_retries=task.max_retries,
        timeout=task.timeout,
        upstream=upstream,
        inputs=inputs,
        outputs=outputs,
    )


def _roi(roi: RoiConfig) -> Roi:
    return Roi(roi.offset, roi.shape)


def _references(name: str, task: TaskConfig) -> list[tuple[Location, str]]:
    """Where a task names something else, and what it names."""
    return [
        *((("tasks", name, "inputs", keyword), given) for keyword, given in task.inputs.items()),
        *((("tasks", name, "upstream", index), given) for index, given in enumerate(task.upstream)),
    ]


def _resolve(loaded: LoadedConfig, given: str) -> tuple[str, str | None]:
    """The absolute path that an input means, and the task that makes it, if one does."""
    arrays, tasks = loaded.config.arrays, loaded.config.tasks
    found: list[tuple[str, str | None]] = []
    if given in arrays:
        found.append((arrays[given].path, None))
    if given in tasks:
        outputs = tasks[given].outputs
        if not outputs:
            raise ConfigError(
                f"task {given!r} has no outputs; name what it writes under its 'outputs', to read it"
            )
        if len(outputs) > 1:
            either = ", ".join(f"{given}.{output}" for output in outputs)
            raise ConfigError(f"task {given!r} has {len(outputs)} outputs; say which one: {either}")
        found.append((next(iter(outputs.values())), given))
    task, dot, output = given.rpartition(".")
    if dot and task in tasks:
        if output in tasks[task].outputs:
            found.append((tasks[task].outputs[output], task))
        elif not found:
            raise ConfigError(
                f"task {task!r} has no output {output!r}; {choices(output, tasks[task].outputs)}"
            )
    if len(found) > 1:
        raise ConfigError(
            f"{given!r} is the name of something, and output {output!r} of {task!r}; rename one"
        )
    if not found:
        valid = {*arrays, *(f"{name}.{output}" for name, task in tasks.items() for output in task.outputs)}
        valid |= {name for name, task in tasks.items() if len(task.outputs) == 1}
        raise ConfigError(f"there is no array or task output {given!r}; {choices(given, valid)}")
    return loaded.absolute(found[0][0]), found[0][1]


def _upstream(loaded: LoadedConfig, given: str) -> tuple[str, str]:
    """The task that an entry of `upstream` means, twice: in the shape that `_resolve` returns."""
    if given not in loaded.config.tasks:
        raise ConfigError(f"there is no task {given!r}; {choices(given, loaded.config.tasks)}")
    return given, given


def _keywords_given_twice(loaded: LoadedConfig, name: str, task: TaskConfig) -> list[Problem]:
    problems = []
    for section, others in (("outputs", ("inputs",)), ("args", ("inputs", "outputs"))):
        for keyword in getattr(task, section):
            for other in others:
                if keyword in getattr(task, other):
                    where = loaded.problem(("tasks", name, other, keyword), "").mark.text
                    message = (
                        f"{keyword!r} is given under {other}, too ({where}); remove or rename one of them"
                    )
                    problems.append(loaded.problem(("tasks", name, section, keyword), message))
    return problems


def _shared_paths(loaded: LoadedConfig) -> list[Problem]:
    """Outputs whose path is that of an array or of another output, by whatever spelling."""

    def real(path: str) -> str:
        return path if "://" in path else os.path.realpath(loaded.absolute(path))

    used: dict[str, tuple[Location, str]] = {
        real(array.path): (("arrays", name, "path"), "read as")
        for name, array in loaded.config.arrays.items()
    }
    problems = []
    for name, task in loaded.config.tasks.items():
        for keyword, path in task.outputs.items():
            location: Location = ("tasks", name, "outputs", keyword)
            if real(path) not in used:
                used[real(path)] = (location, "written as")
                continue
            other, how = used[real(path)]
            where = loaded.problem(other, "").mark.text
            cure = (
                f"write to another path, or remove the array and give {name}.{keyword} as the input"
                if how == "read as"
                else "give each output a path of its own"
            )
            problems.append(
                loaded.problem(
                    location, f"{loaded.absolute(path)} is {how} {dotted(other)} ({where}), too; {cure}"
                )
            )
    return problems


def _circles(loaded: LoadedConfig, needs: Mapping[str, Mapping[str, Location]]) -> list[Problem]:
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        circle = error.args[1][:-1]  # each is needed by the next, and the last by the first
        first = min(range(len(circle)), key=lambda index: list(needs).index(circle[index]))
        circle = circle[first:] + circle[:first]
        location = needs[circle[0]][circle[-1]]
        return [
            loaded.problem(
                location,
                f"tasks wait for each other: {' -> '.join([*circle, circle[0]])} (each is needed by the "
                "next); remove one of these inputs or upstream entries",
            )
        ]
    return []
