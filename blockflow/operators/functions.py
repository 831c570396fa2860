"""Functions on arrays as operators: `@pointwise`, `@neighbourhood(context=...)`, `operator_from(function)`."""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from blockflow.errors import OperatorError
from blockflow.graph import InputSlot, Slot
from blockflow.graph.operator import OperatorMetaClass
from blockflow.operators.bases import Array, LocalOperator, is_number, is_single
from blockflow.operators.parameters import Parameter
from blockflow.operators.scratch import peak_bytes
from blockflow.rtype import SubRegion
from blockflow.stype import InvalidResult

__all__ = ["Context", "FunctionOperator", "neighbourhood", "operator_from", "pointwise"]

#: voxels on each side: one number, one per axis, or a function of parameters that gives either
Context = int | Sequence[int] | Callable[..., Any]

#: the longest axis of what a function is tried on to learn its dtype, and to learn its memory
_TRIED, _WEIGHED = 5, 48

#: what an operator is given when it is made
_OF_INSTANCES = ("graph", "inputs", "outputs")

#: a figure learned from a small region may be exceeded by this factor
_MARGIN = 1.25


@dataclass(frozen=True)
class Declared:
    """What is known of a function beside its code."""

    function: Callable[..., Any]
    data: tuple[str, ...]
    parameters: tuple[str, ...]
    context: Context | None
    dtype: Any
    scratch: float | None


class FunctionOperator(LocalOperator):
    """An operator that calls a function: the base of what `operator_from` makes."""

    declared: ClassVar[Declared]

    def arguments(self) -> dict[str, Any]:
        """The values of the parameters, by name."""
        return {name: self.inputs[name].value for name in self.declared.parameters}

    def context(self) -> Sequence[tuple[int, int]] | None:
        """As declared, for each axis."""
        given = self.declared.context
        if given is None:
            return None
        if callable(given):
            names = inspect.signature(given).parameters
            given = given(**{name: value for name, value in self.arguments().items() if name in names})
        dims = len(self.main_input().meta.shape)
        sizes = [given] * dims if isinstance(given, int | np.integer) else list(given)
        if len(sizes) != dims or any(size < 0 or size != int(size) for size in sizes):
            raise OperatorError(
                f"{self.name}: the context is {given!r}; give one whole number of voxels, or one for each of the "
                f"{dims} axes"
            )
        return [(int(size), int(size)) for size in sizes]

    def output_dtype(self, *dtypes: Any) -> Any:
        """The declared one, or that of what the function returns for a few voxels."""
        context = self.context()
        if self.declared.dtype is not None:
            return np.dtype(self.declared.dtype)
        dims = len(self.main_input().meta.shape)
        shape = [min(2 * before + 1, _TRIED) for before, _ in context or [(0, 0)] * dims]
        try:
            made = self._called(*self._made_up(shape))
        except Exception as error:
            raise OperatorError(
                f"{self.name}: the dtype of its output is not declared, and the function fails for data of shape "
                f"{tuple(shape)}: {type(error).__name__}: {error}. Declare it with dtype="
            ) from error
        return made.dtype

    def _made_up(self, shape: Sequence[int]) -> list[Any]:
        """Data like the inputs', of another shape."""
        return [
            slot.value
            if is_number(slot)
            else np.ones(
                (1,) if is_single(slot) and slot is not self.main_input() else shape, slot.meta.dtype
            )
            for slot in self.data_inputs()
        ]

    def _called(self, *data: Any) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(self.declared.function(*data, **self.arguments()))

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> Array | None:
        """What the function returns, without the context."""
        made = np.asarray(self.declared.function(*data, **self.arguments()))
        wanted = next((one.shape for one in data if np.ndim(one) == len(core)), result.shape)
        if made.shape != wanted:
            raise InvalidResult(
                f"{self.name}: the function got shape {wanted} and returned {made.shape}; it must return as many "
                "voxels, those of its context included"
            )
        if self.declared.context is None and made.dtype == result.dtype:
            return made
        np.copyto(result, made[core], casting="same_kind" if self.declared.dtype is None else "unsafe")
        return None

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> int:
        """As declared, or what the function was seen to take for a smaller region of the same kind."""
        shape = self.read_shape(roi)
        if self.declared.scratch is not None:
            return math.ceil(self.declared.scratch * math.prod(shape))
        small = [min(size, _WEIGHED) for size in shape]
        taken = peak_bytes(partial(self._called, *self._made_up(small)))
        return math.ceil(_MARGIN * taken * math.prod(shape) / max(1, math.prod(small)))


def operator_from(
    function: Callable[..., Any],
    *,
    context: Context | None = None,
    dtype: Any = None,
    scratch: float | None = None,
    name: str | None = None,
    exactness: str = "exact",
) -> type[FunctionOperator]:
    """An operator class that calls a function on arrays.

    Its inputs are the arguments of the function: those without default are arrays, or numbers, and become data
    inputs; those with a default, and those by keyword only, are parameters. Its output is `Output`. The function gets
    numpy arrays of one shape and returns an array of that shape.

    Parameters
    ----------
    function : callable
    context : int, sequence of int, or callable
        How many voxels around a voxel the function looks at: for all axes, for each, or a function of some of the
        parameters, by their names. None: no voxel depends on another. At the border of the array the data end; what
        the function does there it does there alone.
    dtype : dtype, optional
        Of the output. By default that of what the function returns for a few voxels.
    scratch : float, optional
        Bytes that the function takes for each voxel that it gets, beside its arrays, its result included. By default
        measured on a small region: what numpy allocates.
    name : str, optional
        Of the class; by default the function's.
    exactness : str
        "exact", or "approximate" for a function whose voxels depend on what else is computed with them.

    Raises
    ------
    OperatorError
        If the function takes a number of arguments that is not fixed, or no array.

    Examples
    --------
    >>> import numpy as np
    >>> op = operator_from(lambda a, b: a - b, name="Difference")()
    >>> op.a.setValue(np.array([5, 7]))
    >>> op.b.setValue(2)
    >>> op.Output[:].wait()
    array([3, 5])
    """
    title = name or str(getattr(function, "__name__", type(function).__name__))
    data, parameters = _arguments(function, title)
    if exactness not in ("exact", "approximate"):
        raise OperatorError(f"{title}: exactness is {exactness!r}; give exact or approximate")
    namespace: dict[str, Any] = {one: InputSlot() for one in data}
    namespace |= parameters
    reserved = [one for one in namespace if hasattr(FunctionOperator, one) or one in _OF_INSTANCES]
    if reserved:
        raise OperatorError(
            f"{title}: an argument cannot be called {reserved[0]!r}, which means something else of an operator"
        )
    namespace |= {
        "__doc__": inspect.getdoc(function) or f"{title}, voxel by voxel.",
        "__module__": getattr(function, "__module__", None) or __name__,
        "__qualname__": getattr(function, "__qualname__", title) if name is None else title,
        "__wrapped__": staticmethod(function),
        # what decides the results stands in the class, where a recipe looks for it
        "_function": staticmethod(function),
        "_context": staticmethod(context) if callable(context) else context,
        "_dtype": None if dtype is None else str(np.dtype(dtype)),
        "declared": Declared(function, tuple(data), tuple(parameters), context, dtype, scratch),
        "exactness": exactness,
        "parallel_inputs": len(data) > 1,
    }
    made: Any = OperatorMetaClass(title, (FunctionOperator,), namespace)
    return made  # type: ignore[no-any-return]


def _arguments(function: Callable[..., Any], title: str) -> tuple[list[str], dict[str, Parameter]]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise OperatorError(
            f"{title} does not tell its arguments; wrap it: `lambda a, b: {title}(a, b)`"
        ) from None
    data: list[str] = []
    parameters: dict[str, Parameter] = {}
    for argument in signature.parameters.values():
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            raise OperatorError(f"{title} takes *{argument.name}; an operator needs a name for each input")
        if argument.kind is argument.KEYWORD_ONLY or argument.default is not argument.empty:
            needed = argument.default is argument.empty
            parameters[argument.name] = Parameter(
                None if needed else argument.default, optional=not needed and argument.default is None
            )
        else:
            data.append(argument.name)
    if not data:
        raise OperatorError(f"{title} takes no array: an argument without default is one")
    return data, parameters


def pointwise(function: Callable[..., Any] | None = None, **declared: Any) -> Any:
    """A decorator: a function of arrays, no voxel of which depends on another, as an operator class.

    Use it bare, or with what `operator_from` takes beside the function, but for `context`.

    Examples
    --------
    >>> import numpy as np
    >>> @pointwise
    ... def ratio(red, green, gain=1.0):
    ...     return gain * red / (red + green)
    >>> op = ratio()
    >>> op.red.setValue(np.array([1.0, 3.0]))
    >>> op.green.setValue(np.array([1.0, 1.0]))
    >>> op.Output[:].wait()
    array([0.5 , 0.75])
    """
    if "context" in declared:
        raise OperatorError("a pointwise operator has no context; use neighbourhood(context=...)")
    return partial(operator_from, **declared) if function is None else operator_from(function, **declared)


def neighbourhood(
    context: Context, **declared: Any
) -> Callable[[Callable[..., Any]], type[FunctionOperator]]:
    """A decorator: a function of arrays whose voxels depend on those at most `context` away, as an operator class.

    Beside the context it takes what `operator_from` takes.

    Examples
    --------
    >>> import numpy as np
    >>> @neighbourhood(context=lambda radius: radius)
    ... def highest(image, radius=1):
    ...     from scipy.ndimage import maximum_filter
    ...     return maximum_filter(image, 2 * radius + 1)
    >>> op = highest()
    >>> op.image.setValue(np.array([0, 5, 0, 0, 1]))
    >>> op.Output[3:5].wait()
    array([1, 1])
    """
    return partial(operator_from, context=context, **declared)
