"""The serial context: one worker loop in the driver's own process, for debuggers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from blockflow.compute.context import ComputeContext

__all__ = ["SerialContext"]


class SerialContext(ComputeContext):
    """Everything in this process. Neither a timeout nor a memory limit nor a kill is possible here."""

    name = "serial"
    distribute_workers = False
    can_kill = False

    def start_worker(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> NoReturn:  # noqa: ARG002
        raise TypeError("the serial context starts no worker processes: its worker is the driver itself")
