"""Which labels of two neighbouring blocks belong together: those that touch, or those that overlap."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from blockflow.labels.numbering import Labels, small_as_can_be

__all__ = ["Direction", "directions", "faces_of", "overlapping_pairs", "touching_pairs"]

#: from a block to a later neighbour: -1, 0 or 1 along each spatial axis, the first that is not 0 being 1
Direction = tuple[int, ...]


def directions(axes: int, rank: int) -> Iterator[Direction]:
    """The directions to all later neighbours that differ along at most `rank` axes."""
    for direction in itertools.product((-1, 0, 1), repeat=axes):
        if 0 < sum(map(abs, direction)) <= rank and next(filter(None, direction)) > 0:
            yield direction


def faces_of(labels: Labels, axes: Sequence[int], thickness: Sequence[int]) -> dict[str, Labels]:
    """The first and the last planes of a block along each spatial axis, as `low0`, `high0`, `low1` and so on."""
    faces = {}
    for number, (axis, planes) in enumerate(zip(axes, thickness, strict=True)):
        faces[f"low{number}"] = small_as_can_be(_end(labels, axis, planes, last=False))
        faces[f"high{number}"] = small_as_can_be(_end(labels, axis, planes, last=True))
    return faces


def _end(labels: Labels, axis: int, planes: int, *, last: bool) -> Labels:
    size = labels.shape[axis]
    part = slice(max(0, size - planes), size) if last else slice(0, planes)
    return labels[(slice(None),) * axis + (part,)]


def _meeting(
    earlier: Mapping[str, Labels],
    later: Mapping[str, Labels],
    direction: Direction,
    axes: Sequence[int],
    thickness: Sequence[int],
) -> tuple[Labels, Labels]:
    """The parts of two blocks' faces that meet, of one shape."""
    number = next(number for number, step in enumerate(direction) if step)
    high, low = earlier[f"high{number}"], later[f"low{number}"]
    for axis, step, planes in zip(axes, direction, thickness, strict=True):
        if step and axis != axes[number]:
            high = _end(high, axis, planes, last=step > 0)
            low = _end(low, axis, planes, last=step < 0)
    return high, low


def touching_pairs(
    earlier: Mapping[str, Labels],
    later: Mapping[str, Labels],
    direction: Direction,
    axes: Sequence[int],
    rank: int,
) -> Labels:
    """Which labels of two blocks have voxels that are neighbours.

    Parameters
    ----------
    earlier, later : mapping
        The faces of the two blocks, one plane each; of the earlier block `highN` is used and of the later one `lowN`,
        N being the first axis along which they differ.
    direction : tuple of int
        From the earlier block to the later one.
    axes : sequence of int
        The spatial axes of the faces' arrays, in the order of `direction`.
    rank : int
        Along how many axes at once neighbours may differ.

    Returns
    -------
    ndarray of uint64, shape (n, 2)
        Each pair once: a label of the earlier block, and one of the later.
    """
    high, low = _meeting(earlier, later, direction, axes, [1] * len(axes))
    free = [axis for axis, step in zip(axes, direction, strict=True) if not step]
    left = rank - sum(map(abs, direction))
    found = [
        _pairs(*_shifted(high, low, free, shift))
        for shift in itertools.product((-1, 0, 1), repeat=len(free))
        if sum(map(abs, shift)) <= left
    ]
    return _unique(np.concatenate(found))


def _shifted(one: Labels, other: Labels, axes: Sequence[int], shift: Sequence[int]) -> tuple[Labels, Labels]:
    """Views of two planes in which each voxel of `one` lies on that of `other` which is `shift` further."""
    for axis, step in zip(axes, shift, strict=True):
        if step:
            here, there = (slice(None, -1), slice(1, None))[:: 1 if step > 0 else -1]
            one = one[(slice(None),) * axis + (here,)]
            other = other[(slice(None),) * axis + (there,)]
    return one, other


def _keys(one: Labels, other: Labels) -> Labels:
    """Both labels of each voxel in one number, where neither is background."""
    both = (one > 0) & (other > 0)
    return (one[both].astype(np.uint64) << np.uint64(32)) | other[both].astype(np.uint64)


def _pairs(one: Labels, other: Labels) -> Labels:
    """The keys of two planes, each once for each run of it."""
    one, other = one.ravel(), other.ravel()
    begins = np.ones(len(one), np.bool_)
    np.not_equal(one[1:], one[:-1], out=begins[1:])
    begins[1:] |= other[1:] != other[:-1]
    places = np.flatnonzero(begins)
    return _keys(one[places], other[places])


def _unique(keys: Labels) -> Labels:
    return _split(np.unique(keys))


def _split(keys: Labels) -> Labels:
    """The two labels of each key."""
    return np.stack([keys >> np.uint64(32), keys & np.uint64(0xFFFFFFFF)], axis=1)


def overlapping_pairs(
    earlier: Mapping[str, Labels],
    later: Mapping[str, Labels],
    direction: Direction,
    axes: Sequence[int],
    thickness: Sequence[int],
    measure: str,
    threshold: float,
) -> Labels:
    """Which labels of two blocks are the same object, by how they overlap where both blocks have labels.

    Two labels are, if each is the other's best match and their score is at least `threshold`. The score is the
    intersection divided by the union (`iou`), or by the smaller of the two (`fraction`), counted where both blocks
    have labels. Parameters and result are those of `touching_pairs`, with faces of `thickness` planes.
    """
    high, low = _meeting(earlier, later, direction, axes, thickness)
    keys, common = np.unique(_keys(high, low), return_counts=True)
    if not keys.size:
        return np.zeros((0, 2), np.uint64)
    pairs = _split(keys)
    sizes = []
    for labels, column in ((high, 0), (low, 1)):
        values, counts = np.unique(labels, return_counts=True)
        sizes.append(counts[np.searchsorted(values, pairs[:, column].astype(values.dtype))])
    smaller = np.minimum(*sizes)
    scores = common / (smaller if measure == "fraction" else sizes[0] + sizes[1] - common)
    order = np.lexsort(
        (*pairs.T, -common, -scores)
    )  # of equal scores the larger intersection, then the lower label
    best = scores >= threshold
    for column in (0, 1):
        _, at = np.unique(pairs[order, column], return_index=True)
        match = np.zeros(len(pairs), np.bool_)
        match[order[at]] = True
        best &= match
    return pairs[best]
