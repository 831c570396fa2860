"""Where workers run: in this process, on this machine, and how worker files hand over a command."""

from blockflow.compute.choice import create_compute_context, current
from blockflow.compute.context import ComputeContext, WorkerHandle, run_commands_with
from blockflow.compute.local import LocalContext
from blockflow.compute.serial import SerialContext

__all__ = [
    "ComputeContext",
    "LocalContext",
    "SerialContext",
    "WorkerHandle",
    "create_compute_context",
    "current",
    "run_commands_with",
]
