"""Labels numbered from 1 on by where each first occurs in C order."""

from typing import Any

import numpy as np

from blockflow.errors import LabelError

__all__ = ["first_voxels", "number_by_first_voxel", "small_as_can_be"]

Labels = np.ndarray[Any, np.dtype[Any]]


def number_by_first_voxel(labels: Any) -> Labels:
    """Labels of any values, renumbered; 0 stays 0.

    Returns
    -------
    ndarray of uint32
        C-contiguous, of the same shape.

    Raises
    ------
    LabelError
        If these are no integers or booleans, or more than 32 bits can number.
    """
    import fastremap

    labels = np.asarray(labels)
    if labels.dtype.kind not in "biu":
        raise LabelError(f"labels must be whole numbers, not {labels.dtype}")
    if labels.dtype == np.bool_:
        labels = labels.view(np.uint8)
    flat = np.require(labels, labels.dtype.newbyteorder("="), ["C", "W"]).ravel()  # fastremap takes no other
    if not flat.size:
        return np.zeros(labels.shape, np.uint32)
    numbered, _ = fastremap.renumber(flat, preserve_zero=True)
    if numbered.dtype.itemsize > 4 and (most := int(numbered.max())) > np.iinfo(np.uint32).max:
        raise LabelError(f"a block has {most} labels, more than 32 bits can number. Use smaller blocks")
    result: Labels = numbered.astype(np.uint32, copy=False).reshape(labels.shape)
    return result


def first_voxels(labels: Labels) -> Labels:
    """The flat index of the first voxel of each label, for labels that are numbered by that."""
    flat = labels.ravel()
    if not flat.size:
        return np.zeros(0, np.int64)
    highest = np.maximum.accumulate(flat)
    found = np.flatnonzero(highest[1:] > highest[:-1]) + 1
    return np.concatenate(([0], found)) if flat[0] else found


def small_as_can_be(values: Any) -> Labels:
    """Labels in the smallest unsigned type that holds them."""
    labels: Labels = np.asarray(values)
    return labels.astype(np.min_scalar_type(int(labels.max(initial=0))), copy=False)
