"""Operators: what a graph is made of. An operator says how its outputs follow from its inputs, region by region."""

import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial, wraps
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from blockflow.graph.afterwards import forget_part, note_attribute, note_part
from blockflow.graph.data import dtype_name
from blockflow.graph.edits import editing, is_failed, note_failure, note_success
from blockflow.graph.exclusion import Exclusion
from blockflow.graph.graph import Graph
from blockflow.graph.prefetch import prefetch
from blockflow.graph.slot import InputSlot, OutputSlot, Slot, Slots
from blockflow.request.strand import deeper, here
from blockflow.rtype import Roi, SubRegion

__all__ = ["Operator", "OperatorMetaClass"]

F = TypeVar("F", bound=Callable[..., Any])

_numbers = itertools.count()


def _takes(cls: type, method: str, arguments: int) -> bool:
    """Whether a method takes `arguments` arguments beside self, not one less."""
    parameters = list(inspect.signature(getattr(cls, method)).parameters.values())[1:]
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return True
    count = sum(parameter.default is inspect.Parameter.empty for parameter in parameters)
    if count not in (arguments, arguments - 1):
        raise TypeError(
            f"{cls.__name__}.{method} takes {count} arguments; it takes (slot, subindex, roi"
            f"{', result' if arguments == 4 else ''}), or the same without subindex"
        )
    return count == arguments


class OperatorMetaClass(type):
    """Collects the slots a class declares, and sets an operator up when it is made."""

    inputSlots: list[InputSlot]
    outputSlots: list[OutputSlot]

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> "OperatorMetaClass":
        cls = super().__new__(mcs, name, bases, namespace)
        declared: dict[str, Slot] = {}
        for base in reversed(cls.__mro__[1:]):
            for slot in [*base.__dict__.get("inputSlots", ()), *base.__dict__.get("outputSlots", ())]:
                declared[slot.name] = slot
        own = [*namespace.get("inputSlots", ()), *namespace.get("outputSlots", ())]
        for attribute, slot in namespace.items():
            if isinstance(slot, Slot):
                slot.name = attribute
                own.append(slot)
        names = [slot.name for slot in own]
        if len(set(names)) != len(names):
            raise TypeError(f"{name} declares slots of one name twice: {', '.join(names)}")
        declared.update((slot.name, slot) for slot in own)
        cls.inputSlots = [slot for slot in declared.values() if isinstance(slot, InputSlot)]
        cls.outputSlots = [slot for slot in declared.values() if isinstance(slot, OutputSlot)]
        if "name" not in namespace:
            cls.name = name  # type: ignore[attr-defined]
        cls._execute_takes_subindex = _takes(cls, "execute", 4)  # type: ignore[attr-defined]
        cls._dirty_takes_subindex = _takes(cls, "propagateDirty", 3)  # type: ignore[attr-defined]
        cls._excludes = any(  # type: ignore[attr-defined]
            getattr(member, "_excludes_execute", False)
            for base in cls.__mro__
            for member in vars(base).values()
        )
        return cls

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make an operator: its slots, its own `__init__`, the defaults of its inputs, and then its set-up."""
        operator: Any = cls.__new__(cls, *args, **kwargs)  # type: ignore[arg-type]
        with editing():
            operator._begin()
            operator.made_with = (args, kwargs)
            operator.__init__(*args, **kwargs)
            operator._complete()
        note_part(operator)
        return operator


class Operator(metaclass=OperatorMetaClass):
    """Computes any region of its outputs from regions of its inputs.

    A subclass declares slots as class attributes and defines

    - `setupOutputs()`: gives the outputs their metadata. Called whenever those of an input changed and every
      input that is not optional is ready.
    - `execute(slot, subindex, roi, result)`: computes a region of an output, into `result` or returning it.
    - `propagateDirty(slot, subindex, roi)`: tells which region of the outputs a changed region of an input concerns.
    - `requiredInputRoi(slot, subindex, roi)`, optional: which regions of the inputs a region of an output needs.

    `execute` and `propagateDirty` may leave `subindex` out, and then get the very slot of a list of slots. The
    methods that ask for data may run in several threads at once.

    Parameters
    ----------
    parent : Operator, optional
        The operator that this one is a part of.
    graph : Graph, optional
        By default the parent's, or a new one.
    """

    name: str
    inputSlots: ClassVar[list[InputSlot]] = []
    outputSlots: ClassVar[list[OutputSlot]] = []

    #: with `requiredInputRoi`: what it needs of several inputs is computed at the same time
    parallel_inputs: ClassVar[bool] = True

    #: what blockwise results are, compared with the whole: "exact", "exact as stages", or "approximate"
    exactness: ClassVar[str] = "exact"

    #: for outputs whose needs are not declared, by path: what probes have shown of each input, by path
    probed_regions: "Mapping[str, Mapping[str, Any]]" = MappingProxyType({})

    #: of one that was built from a plan: the values that its inputs and those of its parts had then, by path
    planned: "Mapping[str, Any] | None" = None

    #: inputs that it sets itself, each with the input that it follows from: it is a list where that is one
    followers: "ClassVar[Mapping[str, str]]" = MappingProxyType({})

    #: values set on connected inputs go to the slot upstream that has the value
    backpropagate_values: bool = False

    #: slots outside may stay connected to its outputs when it is cleaned up
    externally_managed: bool = False

    #: the arguments that it was made with
    made_with: tuple[tuple[Any, ...], dict[str, Any]]

    #: what of it or of its parts was changed since, by others than the graph, in the order of the changes
    changed_since: "dict[str, Operator]"

    _execute_takes_subindex: ClassVar[bool]
    _dirty_takes_subindex: ClassVar[bool]
    _excludes: ClassVar[bool]

    _initialized = False
    _cleaning = False
    _parent: "Operator | None" = None

    def __init__(self, parent: "Operator | None" = None, graph: Graph | None = None) -> None:
        if parent is not None:
            if not isinstance(parent, Operator):
                raise TypeError(f"{self.name}: the parent of an operator is an operator, not {parent!r}")
            if graph is not None and not graph.is_one_with(parent.graph):
                raise ValueError(
                    f"{self.name}: its graph is another one than that of its parent {parent.name}"
                )
            graph = parent.graph
            self._parent = parent
            parent._children.append(self)
        if graph is not None:
            graph.take_in(self)

    def _begin(self) -> None:
        """What there is before a subclass's `__init__` runs."""
        self._number = next(_numbers)
        self.graph = Graph()
        self.graph.add(self)
        self._children: list[Operator] = []
        self.changed_since = {}
        self._exclusion = Exclusion() if self._excludes else None
        self.inputs = Slots(self.name, "input")
        self.outputs = Slots(self.name, "output")
        for slot in self.inputSlots:
            self.inputs[slot.name] = self.__dict__[slot.name] = slot._declared(self)
        for output in self.outputSlots:
            self.outputs[output.name] = self.__dict__[output.name] = output._declared(self)

    def _complete(self) -> None:
        for slot in self.inputs.values():
            if slot._default is not None and not slot.connected() and slot.level == 0:
                slot.setValue(slot._default)
        self._initialized = True
        self._setupOutputs()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__ and isinstance(self.__dict__[name], Slot) and not isinstance(value, Slot):
            raise AttributeError(
                f"{self.name}.{name} is a slot and cannot be replaced by {value!r}; "
                f"use {name}.setValue or {name}.connect"
            )
        note_attribute(self, name, value)
        object.__setattr__(self, name, value)

    @property
    def parent(self) -> "Operator | None":
        """The operator that this one is a part of."""
        return self._parent

    @property
    def children(self) -> "list[Operator]":
        """The operators that are parts of this one, in the order they were made."""
        return list(self._children)

    def configured(self) -> bool:
        """Whether every input is ready or optional."""
        return self._initialized and all(slot.ready() or slot.optional for slot in self.inputs.values())

    def slot_at(self, path: str) -> Slot:
        """The slot that `path_in_operator` of one of its slots names: `Input`, or `Images[0]`."""
        name, *indices = path.replace("]", "").split("[")
        slot = self.inputs[name] if name in self.inputs else self.outputs[name]
        for index in indices:
            slot = slot[int(index)]
        return slot

    def __repr__(self) -> str:
        kind = type(self).__name__
        named = "" if self.name == kind else f" {self.name!r}"
        inputs, outputs = (", ".join(map(_brief, slots.values())) for slots in (self.inputs, self.outputs))
        return f"<{kind}{named}: {inputs or 'nothing'} -> {outputs or 'nothing'}>"

    # what subclasses define

    def setupOutputs(self) -> None:
        """Give the outputs their metadata. Those of connected outputs come by themselves."""
        missing = [slot.path for slot in self.outputs.values() if slot.upstream_slot is None]
        if missing:
            raise NotImplementedError(
                f"{type(self).__name__} must define setupOutputs, since {', '.join(missing)} is not connected"
            )

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: Any, result: Any) -> Any:
        """Compute `roi` of the output `slot[subindex]` into `result`, or return it.

        Parameters
        ----------
        slot : OutputSlot
            As declared; for a list of slots, `subindex` says which one of it.
        subindex : tuple of int
        roi : SubRegion
            In voxels of the slot.
        result : ndarray
            Of the region's shape and the slot's dtype, not initialised; None for slots that are no arrays.
        """
        raise NotImplementedError(f"{type(self).__name__} must define execute: it has outputs of its own")

    def propagateDirty(self, slot: Slot, subindex: tuple[int, ...], roi: Any) -> None:
        """Call `setDirty` of the outputs for what concerns them of the change of `roi` of an input."""
        raise NotImplementedError(f"{type(self).__name__} must define propagateDirty")

    def requiredInputRoi(
        self,
        slot: Slot,  # noqa: ARG002 - for subclasses
        subindex: tuple[int, ...],  # noqa: ARG002
        roi: SubRegion,  # noqa: ARG002
    ) -> Mapping[Slot, SubRegion] | None:
        """The region of each input slot (or slot of a list) that `roi` of an output needs; None: not declared.

        It may reach outside of the inputs; what lies outside is not asked for.
        """
        return None

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> int:
        """Bytes that `execute` needs for `roi` of an output beside the arrays of its inputs and its result.

        By default `ram_usage_per_requested_pixel` of the output's metadata for each voxel, or none.
        """
        one = slot[subindex] if subindex else slot
        per_voxel: float = one.meta.ram_usage_per_requested_pixel or 0
        voxels = math.prod(int(b - a) for a, b in zip(roi.start, roi.stop, strict=True))
        return math.ceil(per_voxel * voxels)

    @property
    def native_memory(self) -> bool:
        """Whether `execute` takes memory that Python does not know of, as libraries do that are not numpy."""
        return False

    def held_memory(self) -> Mapping[str, int]:
        """Bytes that stay in a process after `execute`, by what they are for: those of one name are there once."""
        return {}

    def reads_around(self) -> bool:
        """Whether some regions need more of its inputs than those in the middle; more blocks are planned with then."""
        return False

    def held_apart(self) -> str | None:
        """What it gives that does not follow from its inputs, so that workers, who make it anew, would not have it."""
        return None

    def refresh(self) -> None:
        """Look again at files that are no inputs, before each plan, within an edit; blocks are held to `planned`."""

    def setInSlot(self, slot: Slot, subindex: tuple[int, ...], roi: Any, value: Any) -> None:
        """Take data that were pushed into an input, as caches do."""
        raise NotImplementedError(f"{type(self).__name__} cannot take data that are set into {slot.path}")

    # what the graph calls

    def _setupOutputs(self) -> None:
        if not self._cleaning and self.configured():
            deeper(here(), self._setup_now)

    def _setup_now(self) -> None:
        own = [
            leaf for slot in self.outputs.values() for leaf in slot._leaves() if leaf.upstream_slot is None
        ]
        before = {id(leaf): leaf.meta.copy() for leaf in own}
        try:
            self.setupOutputs()
        except Exception as error:  # noqa: BLE001 - raised at the end of the edit
            for leaf in own:
                leaf.meta.clear()
                leaf.meta.update(before[id(leaf)])
            error.add_note(f"in the set-up of {self.name}")
            note_failure(self, error)
            return
        unheard = note_success(self)
        leaves = [
            leaf for slot in self.outputs.values() for leaf in slot._leaves() if leaf.upstream_slot is None
        ]
        try:
            for leaf in leaves:
                ready = not leaf.meta.get("NOTREADY")
                leaf.meta["_ready"] = ready
                if leaf.meta != before.get(id(leaf)):
                    leaf._changed()
                if not ready:
                    leaf._set_unready()
                else:
                    leaf._note_ready()
                    if unheard:
                        leaf._make_dirty(leaf._everything())
        except BaseException:
            for leaf in leaves:
                leaf.disconnect()
            raise

    def _lose_outputs(self) -> None:
        """An input that it needs is not ready any more."""
        if self._cleaning or not self._initialized:
            return
        deeper(here(), self._lose_outputs_now)

    def _lose_outputs_now(self) -> None:
        for slot in self.outputs.values():
            for leaf in slot._leaves():
                if leaf.upstream_slot is None and leaf._announced:
                    leaf._set_unready()
                    leaf._changed()

    def _execute(self, slot: Slot, roi: Any, result: Any) -> Any:
        if self.requires_declared and self.parallel_inputs and len(self.inputs) > 1:
            prefetch(self, slot, roi)
        exclusion = self._exclusion
        if exclusion is not None:
            with exclusion.shared(here().request._root):  # type: ignore[union-attr]
                return self._call_execute(slot, roi, result)
        return self._call_execute(slot, roi, result)

    def _call_execute(self, slot: Slot, roi: Any, result: Any) -> Any:
        if self._execute_takes_subindex:
            return self.execute(slot.top_level_slot, slot.subindex, roi, result)
        return self.execute(slot, roi, result)  # type: ignore[call-arg]

    @property
    def requires_declared(self) -> bool:
        """Whether the operator tells what it needs of its inputs."""
        return type(self).requiredInputRoi is not Operator.requiredInputRoi

    def _propagateDirty(self, slot: Slot, roi: Roi) -> None:
        if not self._cleaning and self.configured() and not is_failed(self):
            deeper(here(), partial(self._call_propagate, slot, roi))

    def _call_propagate(self, slot: Slot, roi: Roi) -> None:
        if self._dirty_takes_subindex:
            self.propagateDirty(slot.top_level_slot, slot.subindex, roi)
        else:
            self.propagateDirty(slot, roi)  # type: ignore[call-arg]

    def _setInSlot(self, slot: Slot, roi: Any, value: Any) -> None:
        self.setInSlot(slot.top_level_slot, slot.subindex, roi, value)

    # the end

    def cleanUp(self) -> None:
        """Disconnect the operator and its children. Not needed: what nobody holds goes by itself.

        Raises
        ------
        RuntimeError
            If a slot of an operator outside of it is still connected to one of its outputs.
        """
        with editing():
            hanging = list(self._hanging()) if self._parent is None or not self._parent._cleaning else []
            if hanging and not self.externally_managed:
                slot = hanging[0]
                raise RuntimeError(
                    f"{slot.path} is still connected to {slot.upstream_slot.path}, whose operator is to be "  # type: ignore[union-attr]
                    "cleaned up; disconnect it first"
                )
            for slot in hanging:
                slot.disconnect()
            forget_part(self)
            for operator in self._family():
                operator._cleaning = True
            if self._parent is not None:
                self._parent._children = [child for child in self._parent._children if child is not self]
            for slot in [*self.inputs.values(), *self.outputs.values()]:
                slot.disconnect()
            for child in self.children:
                child.cleanUp()

    def _family(self) -> "Iterator[Operator]":
        """Itself and all that are parts of it."""
        family = [self]
        for operator in family:
            yield operator
            family += operator._children

    def _hanging(self) -> "Iterator[Slot]":
        """The slots of operators outside that take data from one of the family."""
        family = list(self._family())
        inside = {id(operator) for operator in family}
        for operator in family:
            for output in operator.outputs.values():
                for one in output._all():
                    yield from (slot for slot in one.downstream_slots if id(slot.operator) not in inside)

    @staticmethod
    def forbidParallelExecute(fn: F) -> F:
        """A decorator: while the method runs, no `execute` of the operator does; those run beside each other."""

        @wraps(fn)
        def alone(self: "Operator", *args: Any, **kwargs: Any) -> Any:
            assert self._exclusion is not None
            with self._exclusion.alone():
                return fn(self, *args, **kwargs)

        alone._excludes_execute = True  # type: ignore[attr-defined]
        return alone  # type: ignore[return-value]


def _brief(slot: Slot) -> str:
    if slot.level:
        return f"{slot.name} [{len(slot)}]"
    if not slot.ready():
        return f"{slot.name} not ready"
    return f"{slot.name} {dtype_name(slot.meta.dtype)} {slot.meta.shape}"
