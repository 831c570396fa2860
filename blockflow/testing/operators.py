"""A kit by which any operator proves itself: `check_operator(op)`.

It holds an operator to what the planner builds on: regions are those of the whole, computed from no more than
`requiredInputRoi` says; what `propagateDirty` announces covers what changes; and `scratch_bytes` is an honest bound.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from blockflow.graph import Operator, Slot, StagedOperator, StageGrid
from blockflow.operators.parameters import Parameter
from blockflow.operators.scratch import peak_bytes, peak_resident
from blockflow.rtype import SubRegion

__all__ = ["OperatorReport", "check_operator"]

Array = np.ndarray[Any, Any]

#: memory below which no figure is asked for: what numpy takes for its own buffers in any call
_SMALL = 256 * 1024

_EXACTNESS = ("exact", "exact as stages", "approximate")


@dataclass(frozen=True)
class OperatorReport:
    """What was seen of an operator: regions compared, and measured scratch bytes by projected ones (None: small)."""

    regions: int
    scratch_ratio: float | None


class _Watched:
    """An array that can be read only within one region, and is changed in place."""

    def __init__(self, data: Array) -> None:
        self.data = data.copy()
        self.shape, self.dtype = data.shape, data.dtype
        self.allowed: tuple[Sequence[int], Sequence[int]] | None = None

    def __getitem__(self, key: Any) -> Array:
        if self.allowed is not None:
            for part, low, high in zip(key, *self.allowed, strict=True):
                assert low <= part.start <= part.stop <= high, (
                    f"execute asked for {_shown(key)}, but requiredInputRoi says {list(self.allowed[0])} to "
                    f"{list(self.allowed[1])}"
                )
        return np.array(self.data[key])


def _shown(key: Any) -> str:
    return f"{[part.start for part in key]} to {[part.stop for part in key]}"


def check_operator(
    operator: Operator | Callable[[], Operator],
    reference: Callable[..., Array] | None = None,
    *,
    arrays: Mapping[str, Any] | None = None,
    output: str = "Output",
    tolerance: float = 0.0,
    regions: int = 12,
    seed: int = 0,
) -> OperatorReport:
    """Hold an operator to its promises; raises AssertionError, with the region and the voxel, where it breaks one.

    - Any region of the output is that of the whole, bit for bit; so are blocks that tile it.
    - A region reads no more of the inputs than `requiredInputRoi` says.
    - For an operator in stages: the result is the same whatever the blocks of the pass.
    - A changed region of an input changes nothing but what was announced as dirty.
    - `scratch_bytes` is what `execute` takes at most, and at most twice that.

    Parameters
    ----------
    operator : Operator, or what makes one
        With its parameters set; inputs that are not ready get `arrays`, or random bytes.
    reference : callable, optional
        Gets the arrays of the data inputs, in order, and returns the whole output as it must be.
    arrays : mapping, optional
        Of input name to array (a list of them for a list of slots).
    output : str
        The name of the output to check.
    tolerance : float
        How far the whole may be from the reference, relative to its greatest value; 0: not at all.
    regions : int
        How many random regions are compared.
    seed : int
        Of the random numbers.
    """
    op = operator if isinstance(operator, Operator) else operator()
    random = np.random.default_rng(seed)
    watched = _give_inputs(op, arrays or {}, random)
    slot = op.outputs[output]
    assert slot.ready(), f"{slot.path} is not ready: {slot.meta.NOTREADY or 'are all parameters set?'}"
    assert op.exactness in _EXACTNESS, f"exactness is {op.exactness!r}; give one of {', '.join(_EXACTNESS)}"
    whole = np.array(slot[:].wait())
    assert whole.shape == tuple(slot.meta.shape), (
        f"meta.shape is {slot.meta.shape}, the data have {whole.shape}"
    )
    assert whole.dtype == slot.dtype, f"meta.dtype is {slot.dtype}, the data have {whole.dtype}"
    if reference is not None:
        _compare(whole, np.asarray(reference(*(one.data for one in watched.values()))), tolerance)
    rois = list(_rois(whole.shape, regions, random))
    for start, stop in rois:
        _check_region(op, slot, watched, whole, start, stop)
    _check_blocks(slot, whole, random)
    if isinstance(op, StagedOperator):
        _check_stages(op, slot, whole, random)
    ratio = _check_scratch(op, slot, whole.shape)
    for name, one in watched.items():
        _check_dirty(slot, name, one, random)
    return OperatorReport(len(rois), ratio)


def _leaves(op: Operator) -> Iterator[Slot]:
    for slot in op.inputs.values():
        if not isinstance(slot, Parameter):
            yield from slot._leaves()


def _give_inputs(
    op: Operator, arrays: Mapping[str, Any], random: np.random.Generator
) -> dict[Slot, _Watched]:
    shape = tuple(int(size) for size in random.integers(3, 24, 3))
    for slot in op.inputs.values():
        if isinstance(slot, Parameter) or (slot.ready() and slot.name not in arrays):
            continue
        if slot.optional and slot.name not in arrays:
            continue
        given = arrays.get(slot.name)
        if given is None:
            given = [random.integers(0, 256, shape, np.uint8) for _ in range(2 if slot.level else 1)]
        elif not slot.level:
            given = [given]
        if slot.level:
            slot.resize(len(given))
        for leaf, data in zip(slot._leaves(), given, strict=True):
            leaf.setValue(data)
    watched = {}
    for leaf in _leaves(op):
        value = leaf.source._value
        if isinstance(value, np.ndarray):
            watched[leaf] = _Watched(value)
            _set(leaf, watched[leaf])
    assert watched, f"{op.name} has no input with an array to compute from"
    return watched


def _set(leaf: Slot, value: Any) -> None:
    """Another array in the place of one, with all that is said of it."""
    said = {name: one for name, one in leaf.meta.items() if name not in ("shape", "dtype", "_ready")}
    leaf.source.setValue(value, extra_meta=said)


def _rois(
    shape: Sequence[int], count: int, random: np.random.Generator
) -> Iterator[tuple[list[int], list[int]]]:
    """Random regions: small and large ones, at borders and within."""
    for _ in range(count if math.prod(shape) else 0):
        start, stop = [], []
        for size in shape:
            length = (1, min(2, size), int(random.integers(1, size + 1)), size)[random.integers(4)]
            first = (0, int(random.integers(0, size - length + 1)), size - length)[random.integers(3)]
            start.append(first)
            stop.append(first + length)
        yield start, stop


def _check_region(
    op: Operator,
    slot: Slot,
    watched: Mapping[Slot, _Watched],
    whole: Array,
    start: list[int],
    stop: list[int],
) -> None:
    roi = SubRegion(slot, start, stop)
    required = op.requiredInputRoi(slot, (), roi)
    if required is not None and not isinstance(op, StagedOperator):
        for one, data in watched.items():
            region = required.get(one)
            data.allowed = (region.start, region.stop) if region is not None else ([0] * 32, [0] * 32)
            if region is not None:
                assert region.dim == len(data.shape), (
                    f"requiredInputRoi of {one.path}: {region} for shape {data.shape}"
                )
            else:
                data.allowed = ([0] * len(data.shape), [0] * len(data.shape))
    try:
        part = np.asarray(slot(start, stop).wait())
    finally:
        for data in watched.values():
            data.allowed = None
    _same(part, whole[roi.toSlice()], f"region {start} to {stop}")


def _check_blocks(slot: Slot, whole: Array, random: np.random.Generator) -> None:
    """Tile the whole by blocks of a random shape, written into place."""
    if not whole.size:
        return
    block = [int(random.integers(-(-size // 4), size + 1)) for size in whole.shape]
    grid = StageGrid(whole.shape, tuple(block))
    tiled = np.empty_like(whole)
    for index in range(len(grid)):
        start, stop = grid.bounds(index)
        slot(start, stop).writeInto(tiled[SubRegion(None, start, stop).toSlice()]).wait()
    _same(tiled, whole, f"blocks of {block}")


def _check_stages(op: StagedOperator, slot: Slot, whole: Array, random: np.random.Generator) -> None:
    """Merge what blocks of several shapes left: the result must not know of them."""
    shape = tuple(op.inputs[op.stage_input].meta.shape)
    for block in (shape, tuple(int(random.integers(-(-size // 3), size + 1)) for size in shape)):
        grid = StageGrid(shape, block)
        merged = op.merge(grid, [op.measure(grid, index) for index in range(len(grid))])
        op.give_merged(grid, merged)
        try:
            _same(np.asarray(slot[:].wait()), whole, f"a pass in blocks of {list(block)}")
        finally:
            op._given = None


def _check_scratch(op: Operator, slot: Slot, shape: Sequence[int]) -> float | None:
    """Measured by projected scratch of the whole: at most 1, and at least a half."""
    if not math.prod(shape):
        return None
    roi = SubRegion(slot, [0] * len(shape), list(shape))
    projected = op.scratch_bytes(slot, (), roi)
    result = slot.stype.allocateDestination(roi)
    result[...] = 0  # memory that was never touched is not held yet
    watched = {leaf: leaf.source._value for leaf in _leaves(op) if isinstance(leaf.source._value, _Watched)}
    for leaf, one in watched.items():
        _set(leaf, one.data)
    slot[:].wait()  # what is imported and merged at the first call is not of this one
    measure = peak_resident if op.native_memory else peak_bytes
    taken = measure(lambda: op._execute(slot, roi, result))
    for leaf, one in watched.items():
        _set(leaf, one)
    assert taken <= projected + _SMALL, (
        f"scratch_bytes projects {projected} for shape {list(shape)}; {taken} were taken"
    )
    if projected <= 2 * _SMALL:
        return None
    assert taken >= projected / 2, (
        f"scratch_bytes projects {projected} for shape {list(shape)}; only {taken} were taken"
    )
    return taken / projected


def _check_dirty(slot: Slot, name: Slot, data: _Watched, random: np.random.Generator) -> None:
    """Change a part of an input: all that differs afterwards was announced."""
    if not data.data.size:
        return
    before = np.array(slot[:].wait())
    announced: list[tuple[slice, ...]] = []
    ends = slot.notifyDirty(lambda _slot, roi: announced.append(roi.toSlice()))
    start = [int(random.integers(0, size)) for size in data.shape]
    stop = [int(random.integers(a + 1, size + 1)) for a, size in zip(start, data.shape, strict=True)]
    part = tuple(map(slice, start, stop))
    old = data.data[part].copy()
    try:
        data.data[part] = old[tuple(slice(None, None, -1) for _ in start)] if old.size > 1 else 1 - old
        name.source.setDirty(start, stop)
        after = np.array(slot[:].wait())
        differs = np.ones(after.shape, bool) if after.shape != before.shape else ~_equal(after, before)
        for region in announced:
            differs[region] = False
        assert not differs.any(), (
            f"{name.path} changed in {start} to {stop}; voxel {np.argwhere(differs)[0].tolist()} of {slot.path} "
            f"changed, which was not announced as dirty (announced: {[_shown(one) for one in announced]})"
        )
    finally:
        ends()
        data.data[part] = old
        name.source.setDirty(start, stop)


def _equal(one: Array, other: Array) -> Array:
    same: Array = np.asarray(one == other)
    if one.dtype.kind in "fc":
        same |= np.isnan(one) & np.isnan(other)
    return same


def _same(part: Array, expected: Array, what: str) -> None:
    assert part.shape == expected.shape, f"{what}: shape {part.shape}, the whole has {expected.shape}"
    differs = ~_equal(part, expected)
    if differs.any():
        at = tuple(int(axis[0]) for axis in np.nonzero(differs))
        raise AssertionError(
            f"{what}: {int(differs.sum())} of {differs.size} voxels differ from the whole, the first at {at} of it: "
            f"{part[at]!r}, not {expected[at]!r}"
        )


def _compare(whole: Array, expected: Array, tolerance: float) -> None:
    assert whole.shape == expected.shape, f"the whole has shape {whole.shape}, the reference {expected.shape}"
    if tolerance == 0:
        differs = ~_equal(whole, expected)
    else:
        limit = tolerance * max(1e-300, float(np.nanmax(np.abs(expected.astype(float)), initial=0)))
        differs = ~(np.abs(whole.astype(float) - expected.astype(float)) <= limit) & ~_equal(whole, expected)
    if differs.any():
        at = tuple(int(axis[0]) for axis in np.nonzero(differs))
        raise AssertionError(
            f"{int(differs.sum())} of {differs.size} voxels differ from the reference, the first at {at}: "
            f"{whole[at]!r}, not {expected[at]!r}"
        )
