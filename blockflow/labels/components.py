"""Connected components of one array, numbered by their first voxel."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from blockflow.errors import LabelError
from blockflow.labels.numbering import Labels, number_by_first_voxel

__all__ = ["CONNECTIVITIES", "connected_components", "rank_of"]

#: along how many axes at once neighbours may differ, by number of axes and connectivity
CONNECTIVITIES = {2: {4: 1, 8: 2}, 3: {6: 1, 18: 2, 26: 3}}


def rank_of(connectivity: int, axes: int) -> int:
    """Along how many axes at once two neighbours may differ. Raises `LabelError` if there is no such connectivity."""
    known = CONNECTIVITIES.get(axes)
    if known is None:
        raise LabelError(f"labels are connected along 2 or 3 spatial axes, not {axes}")
    if connectivity not in known or isinstance(connectivity, bool):
        raise LabelError(
            f"connectivity is {connectivity!r}; with {axes} spatial axes it is one of {', '.join(map(str, known))}"
        )
    return known[connectivity]


def connected_components(
    image: Any, connectivity: int, *, multi_label: bool = False, axes: Sequence[int] | None = None
) -> Labels:
    """Label the connected components of an array, by cc3d.

    Parameters
    ----------
    image : array-like
        Background is 0.
    connectivity : int
        4 or 8 in 2-D; 6, 18 or 26 in 3-D.
    multi_label : bool
        Whether voxels belong together only where their values are equal; otherwise all that are not 0 do.
    axes : sequence of int, optional
        Which axes are space (default: all); along the others, each index is an image of its own.

    Returns
    -------
    ndarray of uint32
        Components from 1 on, in the order of their first voxels in C order.

    Raises
    ------
    LabelError
        If the connectivity does not fit the number of axes, or the values are no labels.
    """
    import cc3d

    image = np.asarray(image)
    axes = range(image.ndim) if axes is None else axes
    rank_of(connectivity, len(axes))
    image = _plain(image, multi_label=multi_label)
    others = [axis for axis in range(image.ndim) if axis not in axes]
    result = np.zeros(image.shape, np.uint32)
    if not image.size:
        return result
    count = 0
    order = (*others, *axes)
    frames, labelled = image.transpose(order), result.transpose(order)
    for index in np.ndindex(*(image.shape[axis] for axis in others)):
        frame = np.require(frames[index], requirements=["C", "W"])  # cc3d takes no array that is read-only
        labels, found = cc3d.connected_components(
            frame, connectivity=connectivity, out_dtype=np.uint32, return_N=True
        )
        if not others:
            return np.ascontiguousarray(labels)
        labels[labels > 0] += np.uint32(count)
        labelled[index] = labels
        count += int(found)
    if math.prod(image.shape[axis] for axis in others) > 1 and others != list(range(len(others))):
        result = number_by_first_voxel(result)
    return result


def _plain(image: Labels, *, multi_label: bool) -> Labels:
    """As cc3d takes it. Not as booleans: for these, its numbers are not by first voxel in 2-D, and it can fail."""
    if not multi_label:
        return np.not_equal(image, 0).view(np.uint8)
    if image.dtype == np.bool_:
        return image.view(np.uint8)
    if image.dtype.kind not in "iu":
        raise LabelError(
            f"multi-label components need whole numbers, not {image.dtype}. Use multi_label: false, or another input"
        )
    native: Labels = image.astype(image.dtype.newbyteorder("="), copy=False)
    return native
