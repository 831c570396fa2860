"""Labels of blocks and what becomes of them: components, faces, overlaps, merging. Arrays in, arrays out."""

from typing import TYPE_CHECKING

from blockflow.utility.lazy import lazy_names

if TYPE_CHECKING:
    from blockflow.labels.components import connected_components, rank_of
    from blockflow.labels.merging import merge
    from blockflow.labels.numbering import first_voxels, number_by_first_voxel, small_as_can_be
    from blockflow.labels.stitching import Stitch, left_by_block, lookup, merge_blocks, own_labels

__all__ = [
    "Stitch",
    "connected_components",
    "first_voxels",
    "left_by_block",
    "lookup",
    "merge",
    "merge_blocks",
    "number_by_first_voxel",
    "own_labels",
    "rank_of",
    "small_as_can_be",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Stitch": "blockflow.labels.stitching",
        "connected_components": "blockflow.labels.components",
        "first_voxels": "blockflow.labels.numbering",
        "left_by_block": "blockflow.labels.stitching",
        "lookup": "blockflow.labels.stitching",
        "merge": "blockflow.labels.merging",
        "merge_blocks": "blockflow.labels.stitching",
        "number_by_first_voxel": "blockflow.labels.numbering",
        "own_labels": "blockflow.labels.stitching",
        "rank_of": "blockflow.labels.components",
        "small_as_can_be": "blockflow.labels.numbering",
    },
)
