"""Which compute context is meant, and which one is in force."""

import json
import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from blockflow.compute.context import ENVIRONMENT, ComputeContext
from blockflow.errors import ConfigError

__all__ = ["create_compute_context", "current"]

#: where the context of each name is; imported when it is meant, since every worker of a run waits for it
_KNOWN = {
    "serial": ("blockflow.compute.serial", "SerialContext"),
    "local": ("blockflow.compute.local", "LocalContext"),
    "slurm": ("blockflow.compute.slurm", "SlurmContext"),
    "srun": ("blockflow.compute.slurm", "SrunContext"),
}


def create_compute_context(spec: str | Mapping[str, Any] | ComputeContext | None = None) -> ComputeContext:
    """The compute context that `spec` names: `serial`, `local`, `slurm`, `srun`, a mapping, or one itself.

    A mapping has `context`, and what a config may say under `compute` for that context: `memory` above all, what
    one worker may hold, as `4 GB` or in bytes. Without `spec`, the one in force. Raises `ConfigError` for any other.
    """
    if spec is None:
        return current()
    if isinstance(spec, ComputeContext):
        return spec
    options = {"context": spec} if isinstance(spec, str) else dict(spec)
    name = options.pop("context", None)
    if not isinstance(name, str) or name not in _KNOWN:
        raise ConfigError(f"unknown compute context {name!r}; valid are {', '.join(_KNOWN)}")
    module, class_name = _KNOWN[name]
    context: type[ComputeContext] = getattr(import_module(module), class_name)
    return context.from_options(options)


def current() -> ComputeContext:
    """The compute context in force: in a worker the one it runs in, elsewhere `local`."""
    return create_compute_context(json.loads(os.environ.get(ENVIRONMENT, '{"context": "local"}')))
