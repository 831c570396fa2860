"""From the labels of single blocks to labels of the whole: what each block leaves, and what is merged of it."""

import math
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from blockflow.errors import LabelError
from blockflow.labels.components import CONNECTIVITIES, rank_of
from blockflow.labels.contact import directions, faces_of, overlapping_pairs, touching_pairs
from blockflow.labels.merging import NO_VOXEL, merge
from blockflow.labels.numbering import Labels, first_voxels, number_by_first_voxel

__all__ = ["Stitch", "check_of", "left_by_block", "lookup", "merge_blocks", "own_labels"]

RULES = ("touching", "overlap", "none")
MEASURES = ("iou", "fraction")

#: bytes of faces that a merge keeps at hand
_AT_HAND = 2**28

#: gives the arrays (those that are named) that a block has left
Read = Callable[..., Mapping[str, Labels]]


@dataclass(frozen=True)
class Stitch:
    """The rule by which labels of neighbouring blocks become one.

    Parameters
    ----------
    rule : str
        `touching`: labels that are neighbours across the border of two blocks. `overlap`: labels by which two blocks
        mean the same object where their contexts overlap. `none`: no labels.
    connectivity : int, optional
        For `touching`, which voxels are neighbours: 4 or 8 in 2-D, 6, 18 or 26 in 3-D; by default 4 or 6.
    equal : bool
        For `touching`: only labels of equal classes, which are the values that the function gave them.
    measure : str
        For `overlap`: `iou` (intersection by union) or `fraction` (intersection by the smaller of the two).
    threshold : float
        For `overlap`: the least score at which two labels are one.

    Raises
    ------
    LabelError
        If a value is none of these.
    """

    rule: str = "touching"
    connectivity: int | None = None
    equal: bool = False
    measure: str = "iou"
    threshold: float = 0.5

    def __post_init__(self) -> None:
        for name, valid in (("rule", RULES), ("measure", MEASURES)):
            if getattr(self, name) not in valid:
                raise LabelError(
                    f"stitch: {name} is {getattr(self, name)!r}; it is one of {', '.join(valid)}"
                )
        if not isinstance(self.threshold, int | float) or not 0 < self.threshold <= 1:
            raise LabelError(f"stitch: threshold is {self.threshold!r}; it is above 0, and at most 1")
        known = sorted({value for some in CONNECTIVITIES.values() for value in some})
        if self.connectivity is not None and self.connectivity not in known:
            raise LabelError(
                f"stitch: connectivity is {self.connectivity!r}; it is one of {', '.join(map(str, known))}"
            )

    @classmethod
    def of(cls, given: "Stitch | str | Mapping[str, Any]") -> "Stitch":
        """A rule from its name, or from a mapping with `rule` and what else it has."""
        if isinstance(given, cls):
            return given
        if isinstance(given, str):
            return cls(given)
        if not isinstance(given, Mapping) or not given.keys() <= set(cls.__dataclass_fields__):
            raise LabelError(
                f"stitch is {given!r}; give one of {', '.join(RULES)}, or a mapping with "
                f"{', '.join(cls.__dataclass_fields__)}"
            )
        return cls(**given)

    def rank(self, axes: int) -> int:
        """Along how many axes at once blocks may differ to have labels in common."""
        if self.rule == "overlap":
            rank_of(4 if axes == 2 else 6, axes)
            return axes
        return rank_of(self.connectivity or (4 if axes == 2 else 6), axes)


def check_of(labels: Labels) -> int:
    """A checksum of the labels of a block, to find out whether they are those that were merged."""
    return zlib.crc32(np.ascontiguousarray(labels, np.uint32).data)


def own_labels(
    labels: Labels, written: tuple[slice, ...], stitch: Stitch, *, numbered: bool = False
) -> tuple[Labels, Labels]:
    """The labels of a block as it numbers them, from 1 on: of what it writes, and of all that it compares.

    Parameters
    ----------
    labels : ndarray of integers
        Of all that the block has read; 0 is background.
    written : tuple of slice
        The part of it that the block writes.
    stitch : Stitch
    numbered : bool
        Whether labels are numbered from 1 on by first voxel already, as `connected_components` does.

    Returns
    -------
    own, compared : ndarray of uint32
    """
    if stitch.rule != "overlap":
        part = labels[written]
        own = part if numbered and part.shape == labels.shape else number_by_first_voxel(part)
        return own, own
    compared = number_by_first_voxel(labels)
    return np.ascontiguousarray(compared[written]), compared


def left_by_block(
    labels: Labels,
    written: tuple[slice, ...],
    begin: Sequence[int],
    axes: Sequence[int],
    stitch: Stitch,
    context: Sequence[int] | None = None,
    classes: Labels | None = None,
    *,
    numbered: bool = False,
) -> tuple[Labels, dict[str, Labels]]:
    """What a block writes, and what it leaves for the merge.

    Parameters
    ----------
    labels, written, stitch, numbered
        As for `own_labels`.
    begin : sequence of int
        Where the written part begins in the output, in voxels.
    axes : sequence of int
        The spatial axes.
    context : sequence of int, optional
        For `overlap`, how much wider than the written part the labels are along each of `axes`, both sides together.
    classes : ndarray, optional
        An image of the shape of `labels` that has one value for each of them: its class. By default the labels.

    Returns
    -------
    own : ndarray of uint32
        As of `own_labels`.
    left : dict
        `count`, and for each label `first` (the flat index of its first written voxel, or -1) and, for equal
        labels, `classes`; `begin`, `shape` and `check` of the written part; `lowN` and `highN`, the labels along its
        borders.
    """
    own, compared = own_labels(labels, written, stitch, numbered=numbered)
    places = first_voxels(compared)
    first = places
    if compared is not own:
        order = number_by_first_voxel(own)
        seen = first_voxels(order)
        first = np.full(len(places), -1, np.int64)
        first[own.ravel()[seen].astype(np.int64) - 1] = seen
    left: dict[str, Any] = {
        "count": np.int64(len(places)),
        "first": first,
        "begin": np.asarray(begin, np.int64),
        "shape": np.asarray(own.shape, np.int64),
        "check": np.int64(check_of(own)),
    }
    if stitch.equal:
        image = labels if classes is None else classes
        left["classes"] = np.ravel(image if compared is not own else image[written])[places]
    if stitch.rule != "none" and own.size:
        thickness = [1] * len(axes) if context is None or stitch.rule != "overlap" else context
        left |= faces_of(compared, axes, thickness)
    return own, left


def merge_blocks(
    grid: Sequence[int],
    read: Read,
    stitch: Stitch,
    axes: Sequence[int],
    grid_axes: Sequence[int],
    *,
    context: Sequence[int] | None = None,
    dtype: Any = np.uint64,
) -> dict[str, Labels]:
    """Merge what all blocks have left.

    Parameters
    ----------
    grid : sequence of int
        How many blocks there are along each axis of the block grid.
    read : callable
        `read(index, *names)` gives the arrays of those names that a block has left, as by `left_by_block`.
    stitch, axes, context
        As for `left_by_block`.
    grid_axes : sequence of int
        Which axes of the block grid the spatial axes are.
    dtype : dtype-like
        What the numbers must fit into.

    Returns
    -------
    dict
        `table`, the final number of each label of each block, and `offsets`, where those of each block begin in it.

    Raises
    ------
    LabelError
        If there are more labels than `dtype` can number.
    """
    blocks = math.prod(grid)
    known = [read(index, "count", "first", "begin", "shape") for index in range(blocks)]
    offsets = np.zeros(blocks + 1, np.int64)
    np.cumsum([int(block["count"]) for block in known], out=offsets[1:])
    first = _global_first(known)
    del known
    edges = _edges(grid, _Kept(read), stitch, axes, grid_axes, offsets, context)
    table = merge(first, edges[:, 0], edges[:, 1])
    most, limit = int(table.max(initial=0)), np.iinfo(dtype).max
    if most > limit:
        raise LabelError(
            f"there are {most} labels, and {np.dtype(dtype)} numbers at most {limit}. Use uint64"
        )
    return {"offsets": offsets, "table": table}


def lookup(offsets: Labels, table: Labels, index: int, dtype: Any) -> Labels:
    """The final number of each label of a block, with the background's at 0."""
    own = table[int(offsets[index]) : int(offsets[index + 1])]
    numbers = np.zeros(len(own) + 1, dtype)
    numbers[1:] = own
    return numbers


def _global_first(known: Sequence[Mapping[str, Labels]]) -> Labels:
    """Where in C order of the whole the first voxel of each label is."""
    begins = np.stack([block["begin"] for block in known])
    shapes = np.stack([block["shape"] for block in known])
    origin = begins.min(axis=0)
    whole = (begins + shapes).max(axis=0) - origin
    strides = [math.prod(int(size) for size in whole[axis + 1 :]) for axis in range(len(whole))]
    found = []
    for block, begin, shape in zip(known, begins - origin, shapes, strict=True):
        first = block["first"]
        at = np.unravel_index(np.maximum(first, 0), tuple(shape)) if len(first) else ()
        total = (
            sum(
                ((place + low) * stride for place, low, stride in zip(at, begin, strides, strict=True)),
                np.zeros(len(first), np.int64),
            )
            if len(first)
            else np.zeros(0, np.int64)
        )
        found.append(np.where(first >= 0, total, NO_VOXEL))
    return np.concatenate(found)


def _edges(
    grid: Sequence[int],
    kept: "_Kept",
    stitch: Stitch,
    axes: Sequence[int],
    grid_axes: Sequence[int],
    offsets: Labels,
    context: Sequence[int] | None,
) -> Labels:
    """The pairs of labels that are one, each label by its place among all labels."""
    found = [np.zeros((0, 2), np.int64)]
    counts = np.diff(offsets)
    ways = [] if stitch.rule == "none" else list(directions(len(axes), stitch.rank(len(axes))))
    more = ("classes",) if stitch.equal else ()
    for index in range(len(counts)):
        if not counts[index]:
            continue
        position = np.unravel_index(index, tuple(grid))
        for way in ways:
            other = list(map(int, position))
            for axis, step in zip(grid_axes, way, strict=True):
                other[axis] += step
            if not all(0 <= at < size for at, size in zip(other, grid, strict=True)):
                continue
            later = int(np.ravel_multi_index(other, tuple(grid)))
            if not counts[later]:
                continue
            number = next(number for number, step in enumerate(way) if step)
            faces = kept.read(index, f"high{number}", *more), kept.read(later, f"low{number}", *more)
            pairs = _pairs_of(*faces, way, axes, stitch, context)
            found.append(pairs.astype(np.int64) - 1 + offsets[[index, later]])
    return np.concatenate(found)


def _pairs_of(
    earlier: Mapping[str, Labels],
    later: Mapping[str, Labels],
    way: tuple[int, ...],
    axes: Sequence[int],
    stitch: Stitch,
    context: Sequence[int] | None,
) -> Labels:
    if stitch.rule == "overlap":
        assert context is not None
        return overlapping_pairs(earlier, later, way, axes, context, stitch.measure, stitch.threshold)
    pairs = touching_pairs(earlier, later, way, axes, stitch.rank(len(axes)))
    if stitch.equal:
        at = pairs.astype(np.int64) - 1
        pairs = pairs[earlier["classes"][at[:, 0]] == later["classes"][at[:, 1]]]
    return pairs


class _Kept:
    """Reads what blocks have left, and keeps what was read last."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._kept: OrderedDict[tuple[Any, ...], Mapping[str, Labels]] = OrderedDict()
        self._bytes = 0

    def read(self, index: int, *names: str) -> Mapping[str, Labels]:
        key = (index, *names)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        arrays = self._read(index, *names)
        self._kept[key] = arrays
        self._bytes += sum(array.nbytes for array in arrays.values())
        while self._bytes > _AT_HAND and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= sum(array.nbytes for array in oldest.values())
        return arrays
