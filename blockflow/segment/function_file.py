"""Segment-function files: what they define, checked, and what their function returns, checked too."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from blockflow.errors import WorkerFileError
from blockflow.labels import Stitch
from blockflow.tasks import load_module

__all__ = ["SegmentFunctionFile", "load_function_file"]

Labels = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class SegmentFunctionFile:
    """A loaded file with `segment_function(input_array, block, **parameters)`.

    It may define `default_parameters`, `check_function` and `init_callback_fn`, and, beyond what DaCapo knows:
    `stitch` (the rule, or a function of the parameters that returns it), `recompute` (whether labels are computed
    again rather than stored; it needs a function that always gives the same), `numbered` (whether labels are uint32,
    from 1 on by first voxel) and `keep_channels` (whether the labels have the channel axes of the input).
    """

    path: Path
    module: ModuleType

    @property
    def is_worker(self) -> bool:
        """Whether it is a worker file, with `spawn_worker` in place of `segment_function`."""
        return not callable(getattr(self.module, "segment_function", None))

    @property
    def fit(self) -> str:
        """How its blocks fit, where nothing else is said."""
        return getattr(self.module, "fit", "valid") if self.is_worker else "shrink"

    @property
    def segment_function(self) -> Callable[..., Any]:
        return self.module.segment_function  # type: ignore[no-any-return]

    @property
    def recompute(self) -> bool:
        return bool(getattr(self.module, "recompute", False))

    @property
    def numbered(self) -> bool:
        return bool(getattr(self.module, "numbered", False))

    @property
    def keep_channels(self) -> bool:
        return bool(getattr(self.module, "keep_channels", False))

    @property
    def check_function(self) -> Any:
        return getattr(self.module, "check_function", None)

    @property
    def init_callback_fn(self) -> Any:
        return getattr(self.module, "init_callback_fn", None)

    def parameters(self, given: Mapping[str, Any] | None) -> dict[str, Any]:
        """The default parameters with those that are given in their place."""
        defaults = getattr(self.module, "default_parameters", {})
        if not isinstance(defaults, Mapping):
            raise WorkerFileError(f"{self.path}: default_parameters must be a dict, not {defaults!r}")
        return {**defaults, **(given or {})}

    def stitch(self, given: Any, parameters: Mapping[str, Any], axes: int) -> Stitch:
        """The rule that is given, or else the file's own, or else `touching`."""
        if given is None:
            given = getattr(self.module, "stitch", "touching")
            if callable(given):
                given = given(axes, **parameters)
        return Stitch.of(given)

    def label(
        self, array: Any, block: Any, parameters: Mapping[str, Any], shape: tuple[int, ...]
    ) -> tuple[Labels, Labels | None]:
        """Call the function for a block; gives the labels and, if it returns one, an image of their classes."""
        returned = self.segment_function(array, block, **parameters)
        classes = None
        if isinstance(returned, tuple) and len(returned) == 2:
            returned, classes = returned
        if not isinstance(returned, np.ndarray) or returned.dtype.kind not in "biu":
            found = getattr(returned, "dtype", type(returned).__name__)
            raise WorkerFileError(
                f"{self.path}: segment_function must return an array of uint64 labels, not {found}"
            )
        if classes is not None and np.shape(classes) != shape:
            raise WorkerFileError(
                f"{self.path}: segment_function returned classes of shape {np.shape(classes)} for labels of shape "
                f"{shape}"
            )
        if returned.shape != shape:
            raise WorkerFileError(
                f"{self.path}: segment_function returned labels of shape {returned.shape} for read ROI "
                f"{block.read_roi}, which has {shape} voxels. Return labels for all of block.read_roi"
            )
        return returned, None if classes is None else np.asarray(classes)


def load_function_file(path: str | Path) -> SegmentFunctionFile:
    """Load a segment-function file.

    Raises
    ------
    WorkerFileError
        If the file cannot be run (with its own traceback), or has neither `segment_function` nor `spawn_worker`.
    """
    path = Path(path).absolute()
    module = load_module(path)
    if not any(callable(getattr(module, name, None)) for name in ("segment_function", "spawn_worker")):
        raise WorkerFileError(
            f"{path} defines no segment_function. Add `def segment_function(input_array, block, **parameters)` that "
            "returns labels for block.read_roi"
        )
    return SegmentFunctionFile(path, module)
