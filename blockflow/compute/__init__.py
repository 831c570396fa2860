"""Where workers run: in this process, on this machine, on a cluster; and how worker files hand over a command."""

from typing import TYPE_CHECKING

from blockflow.compute.choice import create_compute_context, current
from blockflow.compute.context import (
    DOOR,
    ENDS_AT,
    JOB,
    MEMORY,
    ComputeContext,
    WorkerHandle,
    WorkerOrder,
    WorkersOf,
    run_commands_with,
)
from blockflow.compute.local import LocalContext, offer_program, withdraw_programs
from blockflow.compute.serial import SerialContext
from blockflow.utility.lazy import lazy_names

if TYPE_CHECKING:
    from blockflow.compute.slurm import SlurmContext, SrunContext

__getattr__ = lazy_names(
    __name__, {"SlurmContext": "blockflow.compute.slurm", "SrunContext": "blockflow.compute.slurm"}
)

__all__ = [
    "DOOR",
    "ENDS_AT",
    "JOB",
    "MEMORY",
    "ComputeContext",
    "LocalContext",
    "SerialContext",
    "SlurmContext",
    "SrunContext",
    "WorkerHandle",
    "WorkerOrder",
    "WorkersOf",
    "create_compute_context",
    "current",
    "offer_program",
    "run_commands_with",
    "withdraw_programs",
]
