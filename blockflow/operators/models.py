"""Models: loaded once in each process, called with arrays."""

import hashlib
import importlib
import importlib.util
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.operators.networks import ENDINGS, Network, is_network, read_network
from blockflow.utility.python_files import load_module

__all__ = ["Model", "digest_of_model", "in_short", "load_model", "probed_context"]

Array = np.ndarray[Any, Any]

#: how far a context is looked for
_FARTHEST = 32

#: two threads that ask for a model at one time load it once; what a module imports may ask for another
_loading = threading.RLock()


def _place(text: str) -> str:
    """Where a model is: the path of its file, or the name of its module."""
    return text if is_network(text) else text.rpartition(":")[0]


def digest_of_model(text: str) -> str:
    """A hash of the file of a model; empty for one without a file of its own."""
    place = _place(text)
    path = Path(place)
    if not is_network(place) and path.suffix != ".py":
        try:
            found = importlib.util.find_spec(place)
        except (ImportError, ValueError):
            return ""
        path = Path((found and found.origin) or "")
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


@dataclass(frozen=True, eq=False)
class Model:
    """A model: takes arrays `(channels, *space)`, and returns as many, of as many voxels.

    It has a `network`, which computes several arrays in one pass and takes memory that Python does not know of, or a
    `function`, which is called with one array after the other.
    """

    text: str
    network: Network | None = None
    function: Callable[[Array], Array] | None = None

    @property
    def held(self) -> Mapping[str, int]:
        """What stays in the process once it is loaded, in bytes."""
        return self.network.held if self.network else {}

    def __call__(self, arrays: Sequence[Array], channels: int, at_once: int = 1) -> Array:
        """The outputs for arrays of one shape: `(array, channels, *space)`.

        A network gets `at_once` of them, the last one again where there are fewer: its rounding may follow the number.

        Raises
        ------
        OperatorError
            If the outputs have another shape.
        """
        made = self._of_network(arrays, at_once) if self.network else self._of_function(arrays)
        wanted = (len(arrays), channels, *arrays[0].shape[1:])
        if made.shape != wanted:
            shape = (len(arrays), *arrays[0].shape)
            raise OperatorError(
                f"model {self.text} made shape {made.shape} of {shape}; {wanted} is needed (batch, channels, "
                "space): as many voxels as it gets, and as many channels as declared"
            )
        return made

    def _of_network(self, arrays: Sequence[Array], at_once: int) -> Array:
        assert self.network
        only = self.network.only
        number = max(len(arrays), at_once)
        if only is not None and number > only:
            raise OperatorError(
                f"model {self.text} takes {only} arrays in a call, not {number}: give batch {only}"
            )
        number = only or number
        made = np.asarray(self.network.call(np.stack([*arrays, *[arrays[-1]] * (number - len(arrays))])))
        return made[: len(arrays)] if len(made) == number else made

    def _of_function(self, arrays: Sequence[Array]) -> Array:
        """Axes of one channel are left out."""
        assert self.function
        made = []
        for one in arrays:
            result = np.asarray(self.function(one[0] if len(one) == 1 else one))
            made.append(result[np.newaxis] if result.ndim == one.ndim - 1 else result)
        return np.stack(made)


def load_model(text: str, device: str) -> Model:
    """A model by the path of a network's file, or a callable by `module:name` or `path/to/file.py:name`.

    It is loaded once, and again when its file has changed.

    A callable gets one array at a time, `(channels, *space)`, or `(*space)` where there is one channel, and returns
    likewise.

    Parameters
    ----------
    text : str
    device : str
        "cpu" or "cuda", for networks.

    Raises
    ------
    OperatorError
    """
    try:
        file = Path(_place(text)).stat()
        stamp = (file.st_mtime_ns, file.st_size)
    except OSError:
        stamp = (0, 0)
    with _loading:
        return _loaded(text, device, stamp)


@lru_cache(8)
def _loaded(text: str, device: str, stamp: tuple[int, int]) -> Model:  # noqa: ARG001 - a file that changed is another
    if is_network(text):
        return Model(text, network=read_network(text, device))
    place, colon, name = text.rpartition(":")
    if not colon:
        raise OperatorError(
            f"model {text!r} is none: give module:name, path/to/file.py:name, or the path of a network's file, which "
            f"ends in one of {ENDINGS}"
        )
    if device != "cpu":
        raise OperatorError(
            f"model {text!r} is a function, which chooses its device itself; leave device at cpu"
        )
    found: Any = load_module(place, OperatorError) if place.endswith(".py") else _imported(place, text)
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise OperatorError(f"model {text!r}: {place} has no callable {name!r}")
    return Model(text, function=found)


def _imported(place: str, text: str) -> Any:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        raise OperatorError(f"model {text!r}: there is no module {place!r} ({error})") from None


def in_short(error: Exception) -> str:
    """What a model said when it failed: of what TorchScript says, which begins with its own traceback, the end."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[-1].removeprefix(f'{type(error).__name__}: ').rstrip('.')}"


def probed_context(
    model: Model, channels: int, dims: int, dtype: np.dtype[Any], outputs: int
) -> tuple[int, ...]:
    """How far from a voxel a model looks, for each axis: found by changing one voxel of random data.

    Raises
    ------
    OperatorError
        If it looks farther than 32 voxels, or fails for the small arrays that it is tried on.
    """
    random = np.random.default_rng(0)
    for reach in (4, 12, _FARTHEST):
        shape = (channels, *[2 * reach + 1] * dims)
        seen = np.zeros(dims, int)
        for _ in range(3):
            data = (random.random(shape) * 200).astype(dtype)
            other = data.copy()
            place: Any = (slice(None), *[reach] * dims)
            other[place] = (random.random(channels) * 200).astype(dtype)
            try:
                differs = (model([data], outputs) != model([other], outputs)).any((0, 1))
            except OperatorError:
                raise
            except Exception as error:
                raise OperatorError(
                    f"the context of model {model.text} cannot be found, since it fails for an array of shape {shape}: "
                    f"{in_short(error)}. Declare it: context"
                ) from error
            for axis, places in enumerate(np.nonzero(differs)):
                if len(places):
                    seen[axis] = max(seen[axis], np.abs(places - reach).max())
        if (seen < reach).all():
            return tuple(map(int, seen))
    raise OperatorError(f"model {model.text} looks farther than {_FARTHEST} voxels; declare how far: context")
