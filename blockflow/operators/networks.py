"""Networks in files, ONNX and TorchScript: read by a library that is an extra, and called with batches of arrays."""

import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from blockflow.errors import OperatorError

__all__ = ["ENDINGS", "Network", "is_network", "read_network"]

Array = np.ndarray[Any, Any]

#: arrays in a call that are worth it: PyTorch has a convolution for one small array that takes up to eight times as
#: long as the one for several, ONNX runtime has not; see `benchmarks/models.md`
_GOOD_FOR_ONNXRUNTIME, _GOOD_FOR_TORCH = 1, 2

#: what a process holds of a library when it has loaded and called a small network, measured on Linux without CUDA
_HELD_OF_ONNXRUNTIME, _HELD_OF_TORCH = 32 * 2**20, 208 * 2**20


@dataclass(frozen=True, eq=False)
class Network:
    """A network that was read: it is called with arrays `(batch, channels, *space)`, of any dtype.

    `held` says what stays in the process, in bytes; `good` is a number of arrays for a call beyond which no time is
    gained on a CPU, and `only` the one number that it takes, None for any.
    """

    call: Callable[[Array], Array]
    held: Mapping[str, int]
    good: int
    only: int | None = None


def is_network(text: str) -> bool:
    """Whether a model is the path of a network's file."""
    return Path(text).suffix.lower() in _READERS


def read_network(path: str, device: str) -> Network:
    """The network of a file, which its ending says the kind of.

    It computes with one thread, since workers and requests run beside each other already.

    Parameters
    ----------
    path : str
    device : str
        "cpu" or "cuda".

    Raises
    ------
    OperatorError
        If the library, the file or the device is not there, or the file holds something else.
    """
    return _READERS[Path(path).suffix.lower()](path, device)


def _check_file(path: str) -> None:
    if not Path(path).is_file():
        raise OperatorError(f"model {path!r}: there is no such file")


def _onnx(path: str, device: str) -> Network:
    try:
        import onnxruntime
    except ImportError:
        raise OperatorError(f"model {path!r} needs onnxruntime: pip install 'blockflow[onnx]'") from None
    _check_file(path)
    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = False  # memory goes back after each call, so that it can be told
    options.intra_op_num_threads = 1
    wanted = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
    if wanted not in onnxruntime.get_available_providers():
        raise OperatorError(f"model {path!r}: this onnxruntime has no {wanted}; choose device cpu")
    try:
        session = onnxruntime.InferenceSession(path, options, providers=[wanted])
    except Exception as error:
        raise OperatorError(f"model {path!r} cannot be loaded: {error}") from error
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(one.name for one in inputs) or "none"
        raise OperatorError(f"model {path!r} has {len(inputs)} inputs ({names}); it must have one, the image")
    (given,) = inputs
    dtype = np.dtype({"tensor(double)": "float64", "tensor(float16)": "float16"}.get(given.type, "float32"))

    def call(batch: Array) -> Array:
        made: Array = session.run(None, {given.name: np.ascontiguousarray(batch, dtype)})[0]
        return made

    held = {"onnxruntime": _HELD_OF_ONNXRUNTIME, path: Path(path).stat().st_size}
    only = given.shape[0] if given.shape and isinstance(given.shape[0], int) else None
    return Network(call, held, _GOOD_FOR_ONNXRUNTIME, only)


def _torchscript(path: str, device: str) -> Network:
    try:
        import torch
    except ImportError:
        raise OperatorError(f"model {path!r} needs PyTorch: pip install 'blockflow[torch]'") from None
    _check_file(path)
    if device == "cuda" and not torch.cuda.is_available():
        raise OperatorError(f"model {path!r}: this PyTorch finds no CUDA device; choose device cpu")
    try:
        with warnings.catch_warnings():
            # files of this kind are what people have, whatever PyTorch advises for new ones
            warnings.filterwarnings("ignore", r"`torch\.jit\.load` is deprecated", DeprecationWarning)
            module = torch.jit.load(path, map_location=device).eval()
    except Exception as error:
        raise OperatorError(f"model {path!r} {_why_not_torchscript(path, error)}") from error
    floating = (one.dtype for one in module.parameters() if one.is_floating_point())
    inner = next(floating, torch.float32)
    dtype = np.dtype({torch.float64: "float64", torch.float16: "float16"}.get(inner, "float32"))

    def call(batch: Array) -> Array:
        given = torch.from_numpy(np.require(batch, dtype, ["C", "W"]))
        with _one_thread(torch), torch.inference_mode():
            made = module(given.to(device, inner))
        if not isinstance(made, torch.Tensor):
            raise OperatorError(f"model {path!r} made a {type(made).__name__}; it must return one tensor")
        if made.dtype is torch.bfloat16:  # numpy has none
            made = made.float()
        found: Array = made.cpu().numpy()
        return found

    held = {"torch": _HELD_OF_TORCH, path: Path(path).stat().st_size}
    return Network(call, held, _GOOD_FOR_TORCH)


def _why_not_torchscript(path: str, error: Exception) -> str:
    """What is wrong with a file that cannot be read, and the way out."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = {Path(name).name for name in archive.namelist()}
        if "constants.pkl" not in names:
            return (
                "holds no TorchScript, but what torch.save or torch.export made, perhaps weights alone (a state dict). "
                "Where the network's class is, load them, and write torch.jit.script(network), or "
                "torch.jit.trace(network, example), with .save(path)"
            )
    return f"cannot be loaded as TorchScript: {error}"


_threads = threading.Lock()
_calls = 0
_threads_before = 1


@contextmanager
def _one_thread(torch: Any) -> Iterator[None]:
    """PyTorch with one thread; with as many as before once no call is left, since the number is the process's."""
    global _calls, _threads_before  # noqa: PLW0603 - as PyTorch's number is
    with _threads:
        if not _calls:
            _threads_before = torch.get_num_threads()
        _calls += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _threads:
            _calls -= 1
            if not _calls:
                torch.set_num_threads(_threads_before)


#: who reads which files
_READERS: Mapping[str, Callable[[str, str], Network]] = {
    ".onnx": _onnx,
    ".pt": _torchscript,
    ".pth": _torchscript,
    ".ts": _torchscript,
}

#: the endings of files of networks, as errors and docs name them
ENDINGS = ", ".join(_READERS)
