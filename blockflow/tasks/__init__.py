"""Tasks as data: their geometry, worker files and recipes."""

from blockflow.tasks.geometry import FITS, BlockGrid
from blockflow.tasks.prepared import PreparedTask, prepare
from blockflow.tasks.recipe import Recipe
from blockflow.tasks.task import BlockwiseTask, Check, in_order
from blockflow.tasks.worker_file import (
    WorkerFile,
    bundled_worker_files,
    call_check,
    find_worker_file,
    load_worker_file,
)

__all__ = [
    "FITS",
    "BlockGrid",
    "BlockwiseTask",
    "Check",
    "PreparedTask",
    "Recipe",
    "WorkerFile",
    "bundled_worker_files",
    "call_check",
    "find_worker_file",
    "in_order",
    "load_worker_file",
    "prepare",
]
