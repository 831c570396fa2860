"""Tasks as data: their geometry, worker files and recipes."""

from typing import TYPE_CHECKING

from blockflow.utility.lazy import lazy_names

if TYPE_CHECKING:
    from blockflow.tasks.geometry import FITS, BlockGrid
    from blockflow.tasks.prepared import PreparedTask, described_outputs, prepare
    from blockflow.tasks.recipe import Recipe
    from blockflow.tasks.task import BlockwiseTask, Check, in_order
    from blockflow.tasks.worker_file import (
        WorkerFile,
        bundled_worker_files,
        call_check,
        find_worker_file,
        load_module,
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
    "described_outputs",
    "find_worker_file",
    "in_order",
    "load_module",
    "load_worker_file",
    "prepare",
]

__getattr__ = lazy_names(
    __name__,
    {
        "BlockGrid": "blockflow.tasks.geometry",
        "BlockwiseTask": "blockflow.tasks.task",
        "Check": "blockflow.tasks.task",
        "FITS": "blockflow.tasks.geometry",
        "PreparedTask": "blockflow.tasks.prepared",
        "Recipe": "blockflow.tasks.recipe",
        "WorkerFile": "blockflow.tasks.worker_file",
        "bundled_worker_files": "blockflow.tasks.worker_file",
        "call_check": "blockflow.tasks.worker_file",
        "find_worker_file": "blockflow.tasks.worker_file",
        "in_order": "blockflow.tasks.task",
        "load_module": "blockflow.tasks.worker_file",
        "load_worker_file": "blockflow.tasks.worker_file",
        "described_outputs": "blockflow.tasks.prepared",
        "prepare": "blockflow.tasks.prepared",
    },
)
