"""Models: loaded once in each process, called with arrays."""

import hashlib
import importlib
import importlib.util
import os
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


#: of modules that were imported for a model: the digests of their files then, since they are imported once
_imported_digests: dict[str, str] = {}

#: how often a file is read that changes while it is
_READINGS = 3


def _place(text: str) -> str:
    """Where a model is: the path of its file, or the name of its module."""
    return text if is_network(text) else text.rpartition(":")[0]


def _file(text: str) -> Path | None:
    """The file of a model, or where one should be; None for a module without one."""
    place = _place(text)
    path = Path(place)
    if is_network(place) or path.suffix == ".py":
        return path
    try:
        found = importlib.util.find_spec(place)
    except (ImportError, ValueError):
        return None
    return Path(found.origin) if found is not None and found.origin else None


def digest_of_model(text: str) -> str:
    """A hash of the file of a model; empty for one without a file of its own."""
    path = _file(text)
    if path is None or not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


@dataclass(frozen=True, eq=False)
class Model:
    """A model: takes arrays `(channels, *space)`, and returns as many, of as many voxels.

    `digest` is that of the bytes that it was loaded from, as `digest_of_model` tells it. It has a `network`, which
    computes several arrays in one pass and takes memory that Python does not know of, or a `function`, which is called
    with one array after the other.
    """

    text: str
    digest: str
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


def load_model(text: str, device: str, known: str | None = None, *, strict: bool = False) -> Model:
    """A model by the path of a network's file, or a callable by `module:name` or `path/to/file.py:name`.

    It is loaded once, and again when its file has changed, by what the file system says of it, or by `known`.

    A callable gets one array at a time, `(channels, *space)`, or `(*space)` where there is one channel, and returns
    likewise.

    Parameters
    ----------
    text : str
    device : str
        "cpu" or "cuda", for networks.
    known : str, optional
        The digest that its file had when it was last looked at; none for a model without a file.
    strict : bool
        Whether another one is refused.

    Raises
    ------
    OperatorError
        Also if its file is another one, which is not loaded then.
    """
    with _loading:
        stamp = _stamp(text)
        if strict:
            _refuse_another(text, _digest_at(text, stamp, known), known)
        model = _loaded(text, device, stamp, known)
    if strict:
        _refuse_another(text, model.digest, known)
    return model


def _refuse_another(text: str, digest: str, known: str | None) -> None:
    if digest in ("", known):
        return
    if _place(text) in _imported_digests and digest_of_model(text) == known:
        raise OperatorError(
            f"model {text!r}: {_file(text)} was changed after this process had imported it, and a module is imported "
            "once. Start Python anew, or give the model as path/to/file.py:name, which is loaded again when it changes"
        )
    raise OperatorError(
        f"model {text!r}: {_file(text)} was replaced: its digest is {digest[:8]}, and the plan was made with "
        f"{(known or 'none')[:8]}; a run must not hold voxels of two models. Run again: planning takes the new file, "
        "and all blocks are done again. Or put the old file back, and run again for the blocks that are left"
    )


def _stamp(text: str) -> tuple[int, ...]:
    """Changes with the file of a model: so it is hashed and read again only then."""
    path = _file(text)
    try:
        status = os.stat(path or "")  # noqa: PTH116 - there may be no path
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


@lru_cache(64)
def _digest_at(text: str, *_changed: Any) -> str:
    return digest_of_model(text)


@lru_cache(8)
def _loaded(text: str, device: str, *_changed: Any) -> Model:
    """The model, with the digest of the very bytes that were read: before and after, the file has it."""
    for _ in range(_READINGS):
        digest = digest_of_model(text)
        model = _read(text, device, digest)
        if digest_of_model(text) == digest:
            return model
    raise OperatorError(
        f"model {text!r}: {_file(text)} changed each of the {_READINGS} times that it was read. Run again when what "
        "writes it has ended"
    )


def _read(text: str, device: str, digest: str) -> Model:
    if is_network(text):
        return Model(text, digest, network=read_network(text, device))
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
    if place.endswith(".py"):
        found: Any = load_module(place, OperatorError)
    else:
        found = _imported(place, text)
        known = digest if digest_of_model(text) == digest else "unknown"
        digest = _imported_digests.setdefault(place, known)
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise OperatorError(f"model {text!r}: {place} has no callable {name!r}")
    return Model(text, digest, function=found)


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
