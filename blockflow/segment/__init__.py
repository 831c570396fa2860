"""Segmentation across blocks: a function labels block by block, and what belongs together becomes one."""

from typing import TYPE_CHECKING

from blockflow.utility.lazy import lazy_names

if TYPE_CHECKING:
    from blockflow.segment.run import segment_blockwise
    from blockflow.segment.segmentation import Segmentation, segmentation_tasks

__all__ = ["Segmentation", "segment_blockwise", "segmentation_tasks"]

__getattr__ = lazy_names(
    __name__,
    {
        "Segmentation": "blockflow.segment.segmentation",
        "segment_blockwise": "blockflow.segment.run",
        "segmentation_tasks": "blockflow.segment.segmentation",
    },
)
