"""The graph of a config: operators by name, connected, and what is stored of them."""

import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from blockflow.config.loader import LoadedConfig
from blockflow.config.problems import Location
from blockflow.config.schema import OutputConfig
from blockflow.errors import BlockflowError, ConfigError
from blockflow.graph import Graph, Operator, Slot
from blockflow.operators import configure, resolve_operator
from blockflow.planning import Target
from blockflow.storage import Array
from blockflow.utility.words import choices

__all__ = ["ConfigGraph", "operator_references", "target_of"]


class _SaidError(ConfigError):
    """It says where in the config it stands."""


class ConfigGraph:
    """The operators of a config, each made when it is first asked for.

    `open_named` gives the array that a name means which is no operator: of `arrays`, or of a task's output.
    """

    def __init__(self, loaded: LoadedConfig, open_named: Callable[[str], Array]) -> None:
        self._loaded = loaded
        self._open_named = open_named
        self._graph = Graph()
        self._operators: dict[str, Operator] = {}
        self._waiting: list[str] = []

    def output(self, name: str) -> Slot:
        """The slot that an output stores."""
        location: Location = ("outputs", name, "slot")
        with self._said_at(location):
            slot = self.slot(self._loaded.config.outputs[name].slot)
            if slot is None:
                given = self._loaded.config.outputs[name].slot
                raise ConfigError(
                    f"there is no operator {given!r}; {choices(given, self._loaded.config.operators)}"
                )
            return slot

    def _operator(self, name: str) -> Operator:
        if name in self._operators:
            return self._operators[name]
        location: Location = ("operators", name)
        config = self._loaded.config.operators[name]
        if name in self._waiting:
            circle = " -> ".join([*self._waiting[self._waiting.index(name) :], name])
            with self._said_at(location):
                raise ConfigError(
                    f"operators take their input from each other: {circle}; let one of them take it from elsewhere"
                )
        self._waiting.append(name)
        with self._said_at((*location, "type")):
            operator: Operator = resolve_operator(config.type, self._loaded.folder)(graph=self._graph)
            operator.name = name
        inputs: dict[str, Any] = {}
        for slot, given in config.inputs.items():
            with self._said_at((*location, "inputs", slot)):
                inputs[slot] = (
                    [self._source(one) for one in given] if isinstance(given, list) else self._source(given)
                )
        for parameter, value in config.params.items():
            with self._said_at((*location, "params", parameter)):
                twice = {parameter: inputs[parameter]} if parameter in inputs else {}
                configure(operator, twice, {parameter: value})
        for slot, source in inputs.items():
            with self._said_at((*location, "inputs", slot)):
                configure(operator, {slot: source}, {})
        self._waiting.pop()
        self._operators[name] = operator
        return operator

    def _source(self, given: str) -> Any:
        slot = self.slot(given)
        return slot if slot is not None else self._open_named(given)

    def slot(self, given: str) -> Slot | None:
        """The output slot that a name means, or None if it begins with no operator's name."""
        operators = self._loaded.config.operators
        if given in operators:
            outputs = self._operator(given).outputs
            if len(outputs) != 1:
                either = ", ".join(f"{given}.{name}" for name in outputs)
                raise ConfigError(f"operator {given!r} has {len(outputs)} outputs; say which one: {either}")
            return next(iter(outputs.values()))
        name, dot, path = given.rpartition(".")
        if not dot or name not in operators:
            return None
        operator = self._operator(name)
        if path.split("[")[0] not in operator.outputs:
            raise ConfigError(f"operator {name!r} has no output {path!r}; {choices(path, operator.outputs)}")
        return operator.slot_at(path)

    @contextmanager
    def _said_at(self, location: Location) -> Iterator[None]:
        """Say where in the config it stands what is wrong with an operator, which may be anybody's code."""
        try:
            yield
        except _SaidError:
            raise
        except BlockflowError as error:
            raise _SaidError(str(self._loaded.problem(location, str(error)))) from error
        except Exception as error:
            *_, last = traceback.extract_tb(error.__traceback__)
            message = (
                f"{type(error).__name__}: {error} (raised at {last.filename}:{last.lineno}, in {last.name})"
            )
            raise _SaidError(str(self._loaded.problem(location, message))) from error


def target_of(loaded: LoadedConfig, name: str, output: OutputConfig) -> Target:
    """Where and how an output is stored."""
    return Target(
        path=loaded.absolute(output.path),
        name=name,
        chunks=None if output.chunks is None else tuple(output.chunks),
        shards=None if output.shards is None else tuple(output.shards),
        block_shape=None if isinstance(output.block_shape, str) else tuple(output.block_shape),
        fit=output.fit,
        compressor=output.compressor,
        fill_value=output.fill_value,
        zarr_format=output.zarr_format,
        num_workers=output.num_workers,
        max_retries=output.max_retries,
        timeout=output.timeout,
    )


def operator_references(loaded: LoadedConfig, slot: str) -> Iterable[str]:
    """All names that an operator's output depends on, operators left out: arrays and task outputs."""
    operators = loaded.config.operators
    found: dict[str, None] = {}
    seen: set[str] = set()
    stack = [slot]
    while stack:
        given = stack.pop()
        name = given if given in operators else given.rpartition(".")[0]
        if name not in operators:
            found.setdefault(given)
        elif name not in seen:
            seen.add(name)
            for source in operators[name].inputs.values():
                stack += source if isinstance(source, list) else [source]
    return found
