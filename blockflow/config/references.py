"""What the names in a config mean: arrays, outputs, and what tasks write."""

import os

from blockflow.config.loader import LoadedConfig
from blockflow.config.problems import Location, Problem, dotted
from blockflow.config.schema import TaskConfig
from blockflow.errors import ConfigError
from blockflow.utility.words import choices

__all__ = [
    "keywords_given_twice",
    "place_of_reference",
    "references",
    "resolve",
    "shared_paths",
    "upstream_of",
]


def references(name: str, task: TaskConfig) -> list[tuple[Location, str]]:
    """Where a task names something else, and what it names."""
    return [
        *((("tasks", name, "inputs", keyword), given) for keyword, given in task.inputs.items()),
        *((("tasks", name, "upstream", index), given) for index, given in enumerate(task.upstream)),
    ]


def resolve(loaded: LoadedConfig, given: str, *, stored: bool = True) -> tuple[str, str | None]:
    """The absolute path that an input means, and what makes it, if a task or (if `stored`) an output does."""
    config = loaded.config
    found: list[tuple[str, str | None]] = []
    if given in config.arrays:
        found.append((config.arrays[given].path, None))
    if stored and given in config.outputs:
        found.append((config.outputs[given].path, given))
    if given in config.segmentations:
        found.append((config.segmentations[given].output, given))
    if given in config.tasks:
        outputs = config.tasks[given].outputs
        if not outputs:
            raise ConfigError(
                f"task {given!r} has no outputs; name what it writes under its 'outputs', to read it"
            )
        if len(outputs) > 1:
            either = ", ".join(f"{given}.{output}" for output in outputs)
            raise ConfigError(f"task {given!r} has {len(outputs)} outputs; say which one: {either}")
        found.append((next(iter(outputs.values())), given))
    task, dot, output = given.rpartition(".")
    if dot and task in config.tasks:
        if output in config.tasks[task].outputs:
            found.append((config.tasks[task].outputs[output], task))
        elif not found:
            raise ConfigError(
                f"task {task!r} has no output {output!r}; {choices(output, config.tasks[task].outputs)}"
            )
    if len(found) > 1:
        raise ConfigError(
            f"{given!r} is the name of something, and output {output!r} of {task!r}; rename one"
        )
    if not found:
        raise ConfigError(_unknown(loaded, given, stored=stored))
    return loaded.absolute(found[0][0]), found[0][1]


def _unknown(loaded: LoadedConfig, given: str, *, stored: bool) -> str:
    config = loaded.config
    valid = {
        *config.arrays,
        *config.segmentations,
        *(f"{name}.{output}" for name, task in config.tasks.items() for output in task.outputs),
    }
    valid |= {name for name, task in config.tasks.items() if len(task.outputs) == 1}
    if not stored:
        return f"there is no array, operator or task output {given!r}; {choices(given, valid | {*config.operators})}"
    if given in config.operators or given.rpartition(".")[0] in config.operators:
        return f"{given!r} is an operator, and nothing of it is stored; add it to outputs, and name that output here"
    return f"there is no array, output or task output {given!r}; {choices(given, valid | {*config.outputs})}"


def place_of_reference(loaded: LoadedConfig, given: str, output: str) -> Location:
    """Where an operator names something."""
    for name, operator in loaded.config.operators.items():
        for slot, source in operator.inputs.items():
            if given in (source if isinstance(source, list) else [source]):
                return ("operators", name, "inputs", slot)
    return ("outputs", output, "slot")


def upstream_of(loaded: LoadedConfig, given: str) -> tuple[str, str]:
    """The task that an entry of `upstream` means, twice: in the shape that `resolve` returns."""
    valid = [*loaded.config.tasks, *loaded.config.outputs, *loaded.config.segmentations]
    if given not in valid:
        raise ConfigError(f"there is no task or output {given!r}; {choices(given, valid)}")
    return given, given


def keywords_given_twice(loaded: LoadedConfig, name: str, task: TaskConfig) -> list[Problem]:
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


def shared_paths(loaded: LoadedConfig) -> list[Problem]:
    """Outputs whose path is that of an array or of another output, by whatever spelling."""

    def real(path: str) -> str:
        return path if "://" in path else os.path.realpath(loaded.absolute(path))

    used: dict[str, tuple[Location, str]] = {
        real(array.path): (("arrays", name, "path"), "read as")
        for name, array in loaded.config.arrays.items()
    }
    written: list[tuple[Location, str, str]] = [
        (("tasks", name, "outputs", keyword), f"{name}.{keyword}", path)
        for name, task in loaded.config.tasks.items()
        for keyword, path in task.outputs.items()
    ]
    written += [
        (("outputs", name, "path"), name, output.path) for name, output in loaded.config.outputs.items()
    ]
    written += [
        (("segmentations", name, "output"), name, segmentation.output)
        for name, segmentation in loaded.config.segmentations.items()
    ]
    problems = []
    for location, called, path in written:
        if real(path) not in used:
            used[real(path)] = (location, "written as")
            continue
        other, how = used[real(path)]
        where = loaded.problem(other, "").mark.text
        cure = (
            f"write to another path, or remove the array and give {called} as the input"
            if how == "read as"
            else "give each output a path of its own"
        )
        problems.append(
            loaded.problem(
                location, f"{loaded.absolute(path)} is {how} {dotted(other)} ({where}), too; {cure}"
            )
        )
    return problems
