"""Slurm: workers as elements of job arrays, or as tasks of steps inside an allocation.

An **element** is what the scheduler starts: `blockflow.compute.slurm.element`, a small program that comes to the
**door** of the task's supervisor over the network, proves that it belongs to the run, and is told which worker to
start. Elements are alike: whichever comes first gets the worker that waits longest. So what the scheduler does to an
element (keep it waiting, requeue it, start it twice) never decides which worker does what.
"""

from blockflow.compute.slurm.commands import Commands
from blockflow.compute.slurm.context import SlurmContext, SrunContext
from blockflow.compute.slurm.options import SlurmOptions
from blockflow.compute.slurm.script import driver_script

__all__ = ["Commands", "SlurmContext", "SlurmOptions", "SrunContext", "driver_script"]
