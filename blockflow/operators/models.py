"""Models: loaded once in each process, called with batches of arrays."""

import hashlib
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.utility.python_files import load_module

__all__ = ["Model", "digest_of_model", "load_model", "probed_context"]

Array = np.ndarray[Any, Any]

#: how far a context is looked for
_FARTHEST = 32


def digest_of_model(text: str) -> str:
    """A hash of the file of a model; empty for one without a file of its own."""
    place = text if text.endswith(".onnx") else text.rpartition(":")[0]
    path = Path(place)
    if not place.endswith((".onnx", ".py")):
        try:
            found = importlib.util.find_spec(place)
        except (ImportError, ValueError):
            return ""
        path = Path((found and found.origin) or "")
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


@dataclass(frozen=True)
class Model:
    """A model: takes a batch of arrays `(batch, channels, *space)` and returns one, of as many voxels.

    `native`: it takes memory that Python does not know of.
    """

    text: str
    call: Callable[[Array], Array]
    native: bool

    def __call__(self, batch: Array, channels: int) -> Array:
        """The outputs for a batch, `(batch, channels, *space)`. OperatorError if they have another shape."""
        made = np.asarray(self.call(batch))
        wanted = (len(batch), channels, *batch.shape[2:])
        if made.shape != wanted:
            raise OperatorError(
                f"model {self.text} made shape {made.shape} of {batch.shape}; {wanted} is needed (batch, channels, "
                "space): as many voxels as it gets, and as many channels as declared"
            )
        return made


def load_model(text: str, device: str) -> Model:
    """A model by the path of an ONNX file, or a callable by `module:name` or `path/to/file.py:name`.

    It is loaded once, and again when its file has changed.

    A callable gets one array at a time, `(channels, *space)`, or `(*space)` where there is one channel, and returns
    likewise.

    Parameters
    ----------
    text : str
    device : str
        "cpu" or "cuda", for ONNX.

    Raises
    ------
    OperatorError
    """
    place = text if text.endswith(".onnx") else text.rpartition(":")[0]
    try:
        file = Path(place).stat()
    except OSError:
        return _loaded(text, device, (0, 0))
    return _loaded(text, device, (file.st_mtime_ns, file.st_size))


@lru_cache(8)
def _loaded(text: str, device: str, stamp: tuple[int, int]) -> Model:  # noqa: ARG001 - a file that changed is another
    if text.endswith(".onnx"):
        return Model(text, _onnx(text, device), native=True)
    place, colon, name = text.rpartition(":")
    if not colon:
        raise OperatorError(
            f"model {text!r} is none: give module:name, path/to/file.py:name, or the path of an .onnx file"
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
    return Model(text, _one_by_one(found), native=False)


def _imported(place: str, text: str) -> Any:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        raise OperatorError(f"model {text!r}: there is no module {place!r} ({error})") from None


def _one_by_one(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """A function of single arrays as one of batches, with axes of one channel left out."""

    def call(batch: Array) -> Array:
        made = []
        for one in batch:
            given = one[0] if len(one) == 1 else one
            result = np.asarray(function(given))
            made.append(result[np.newaxis] if result.ndim == batch.ndim - 2 else result)
        return np.stack(made)

    return call


def _onnx(path: str, device: str) -> Callable[[Array], Array]:
    try:
        import onnxruntime
    except ImportError:
        raise OperatorError(f"model {path!r} needs onnxruntime: pip install 'blockflow[onnx]'") from None
    if not Path(path).is_file():
        raise OperatorError(f"model {path!r}: there is no such file")
    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = False  # memory goes back after each call, so that it can be told
    options.intra_op_num_threads = 1  # workers and requests run beside each other already
    wanted = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
    if wanted not in onnxruntime.get_available_providers():
        raise OperatorError(f"model {path!r}: this onnxruntime has no {wanted}; choose device cpu")
    try:
        session = onnxruntime.InferenceSession(path, options, providers=[wanted])
    except Exception as error:
        raise OperatorError(f"model {path!r} cannot be loaded: {error}") from error
    (given,) = session.get_inputs()
    dtype = np.dtype({"tensor(float)": "float32", "tensor(double)": "float64"}.get(given.type, "float32"))

    def call(batch: Array) -> Array:
        made: Array = session.run(None, {given.name: np.ascontiguousarray(batch, dtype)})[0]
        return made

    return call


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
        shape = (1, channels, *[2 * reach + 1] * dims)
        seen = np.zeros(dims, int)
        for _ in range(3):
            data = (random.random(shape) * 200).astype(dtype)
            other = data.copy()
            place: Any = (0, slice(None), *[reach] * dims)
            other[place] = (random.random(channels) * 200).astype(dtype)
            try:
                differs = (model(data, outputs) != model(other, outputs)).any((0, 1))
            except OperatorError:
                raise
            except Exception as error:
                raise OperatorError(
                    f"the context of model {model.text} cannot be found, since it fails for an array of shape {shape}: "
                    f"{type(error).__name__}: {error}. Declare it: context"
                ) from error
            for axis, places in enumerate(np.nonzero(differs)):
                if len(places):
                    seen[axis] = max(seen[axis], np.abs(places - reach).max())
        if (seen < reach).all():
            return tuple(map(int, seen))
    raise OperatorError(f"model {model.text} looks farther than {_FARTHEST} voxels; declare how far: context")
