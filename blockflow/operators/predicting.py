"""A model applied to a volume."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, ClassVar

import numpy as np

from blockflow.errors import OperatorError
from blockflow.graph import InputSlot, MetaDict, Slot
from blockflow.graph.planned_values import is_planned, planned_value
from blockflow.operators.bases import Array, ArrayOperator, Region
from blockflow.operators.grey_values import dtype_of
from blockflow.operators.grid import AxisFrom, regridded, volume_of
from blockflow.operators.models import Model, digest_of_model, in_short, load_model, probed_context
from blockflow.operators.networks import ENDINGS, is_network
from blockflow.operators.parameters import Parameter, at_least, each, one_of, text, whole
from blockflow.operators.scratch import peak_bytes, peak_resident
from blockflow.rtype import SubRegion

__all__ = ["OpPredict"]

#: the longest axis of what memory is measured on, and how much more the figure promises
_WEIGHED, _MARGIN = 64, 1.3

#: tiles that go into one call by themselves have at most so many voxels or, where memory is declared, bytes
_VOXELS_AT_ONCE, _BYTES_AT_ONCE = 2**18, 2**29


class OpPredict(ArrayOperator):
    """What a model makes of the input: a callable (`module:name`, `path/to/file.py:name`), ONNX or TorchScript file.

    The model returns as many voxels as it gets; `context` says how many voxels around a voxel it looks at, and is
    found by changing single voxels if it is not given. At the border of the array the data end. An axis of channels
    of the input must be the first. With `channels`, the output has that many, in front.

    A region is given to the model whole, or cut into tiles of `tile` voxels, on a grid from the array's first voxel,
    each with its context. A network, that is a model in a file of its own, gets `batch` tiles in one call, never fewer:
    the last one stands in for those that are missing. So every tile is computed alike whatever the blocks are.
    Without tiles, regions of other shapes may be rounded otherwise. The model is loaded once in each process.
    """

    exactness = "approximate"

    Input = InputSlot()
    model = Parameter(None, text, f"module:name, path/to/file.py:name, or the path of a network ({ENDINGS})")
    context = Parameter(
        None, each(at_least(0, whole)), "voxels around, for all axes or each; default: found", optional=True
    )
    channels = Parameter(
        None, at_least(1, whole), "how many channels it makes; default: no channel axis", optional=True
    )
    dtype = Parameter("float32", dtype_of, "the output's dtype")
    tile = Parameter(
        None,
        each(at_least(1, whole)),
        "voxels of a tile, for all axes or each; default: the region",
        optional=True,
    )
    batch = Parameter(
        None,
        at_least(1, whole),
        "tiles in one call of a network; default: what its library is quick with, as memory allows",
        optional=True,
    )
    device = Parameter("cpu", one_of("cpu", "cuda"), "cpu or cuda, for networks")
    memory = Parameter(
        None, at_least(0), "bytes it takes for each voxel that it gets; default: measured", optional=True
    )

    digest = Parameter(
        doc="a hash of the model's file, found by itself: a changed file is another recipe", optional=True
    )
    found = Parameter(
        doc="the context and what it was found for, found by itself: workers do not look again", optional=True
    )

    followers: ClassVar = {"digest": "model", "found": "model"}

    parallel_inputs = False

    def _model(self) -> Model:
        return load_model(self.model.value, self.device.value, self._digest(), strict=is_planned(self))

    def _planned_digest(self) -> str | None:
        """That of the file that the graph was planned with, empty for none; None where nothing was planned."""
        return (planned_value(self.digest) or "") if is_planned(self) else None

    def _digest(self) -> str | None:
        """That of the file that is to compute, as far as it is known; None for a model without a file."""
        planned = self._planned_digest()
        return self.digest.value if planned is None else planned or None

    def _inner(self) -> tuple[int, tuple[int, ...]]:
        """The number of channels of the input, 0 for no such axis, and the shape without it."""
        meta = self.Input.meta
        kinds = volume_of(meta, self.Input.path).types
        others = [axis for axis, kind in enumerate(kinds) if kind not in ("space", "time")]
        if others not in ([], [0]):
            raise OperatorError(
                f"{self.Input.path}: a model needs its channels as the first axis; use Transpose before"
            )
        return (meta.shape[0], tuple(meta.shape[1:])) if others else (0, tuple(meta.shape))

    def refresh(self) -> None:
        """The model's file may be another one by now: then all is dirty, and the context is found again."""
        if self.configured():
            self._look_at_file()

    def _look_at_file(self) -> None:
        planned = self._planned_digest()
        digest = digest_of_model(self.model.value) if planned is None else planned
        if digest and digest != self.digest.value:
            self.digest.setValue(digest)

    def describe(self) -> MetaDict:
        """The shape of the input, with the channels that the model makes in front."""
        self._look_at_file()
        channels, shape = self._inner()
        first = 1 if channels else 0
        axes = [AxisFrom(axis + first) for axis in range(len(shape))]
        made = self.channels.value
        if made is not None:
            axes.insert(0, AxisFrom(None, name="c^"))
        meta = regridded(self.Input.meta, axes, ((made,) if made else ()) + shape, self.Input.path)
        meta.dtype = np.dtype(self.dtype.value).type
        self._context()
        self._tile(shape)
        return meta

    def _context(self) -> tuple[int, ...]:
        channels, shape = self._inner()
        given = self.context.value
        if given is not None:
            return self._per_axis(given, len(shape), self.context.path)
        dtype, made = np.dtype(self.Input.meta.dtype), self.channels.value
        digest = self._digest()
        key = [self.model.value, digest, self.device.value, channels, len(shape), dtype.str, made]
        if self.found.value is None or self.found.value[:-1] != key:
            model = load_model(self.model.value, self.device.value, digest, strict=True)
            seen = probed_context(model, max(channels, 1), len(shape), dtype, made or 1)
            self.found.setValue([*key, seen])
        context: tuple[int, ...] = self.found.value[-1]
        return context

    def _tile(self, shape: Sequence[int]) -> tuple[int, ...] | None:
        given = self.tile.value
        return None if given is None else self._per_axis(given, len(shape), self.tile.path)

    def _per_axis(self, value: Any, dims: int, where: str) -> tuple[int, ...]:
        values = value if isinstance(value, tuple) else (value,) * dims
        if len(values) != dims:
            raise OperatorError(
                f"{where} is {list(values)}; give one number, or one for each of the {dims} axes"
            )
        return values

    def _flat(self, roi: SubRegion) -> tuple[list[int], list[int]]:
        """Start and stop without the channels of the output."""
        first = 0 if self.channels.value is None else 1
        return list(roi.start[first:]), list(roi.stop[first:])

    def _computed(self, roi: SubRegion) -> tuple[list[int], list[int]]:
        """The region, and all of the tiles that it touches."""
        start, stop = self._flat(roi)
        _, shape = self._inner()
        tile = self._tile(shape)
        if tile is None:
            return start, stop
        return (
            [a // size * size for a, size in zip(start, tile, strict=True)],
            [min(-(-b // size) * size, limit) for b, size, limit in zip(stop, tile, shape, strict=True)],
        )

    def requiredInputRoi(
        self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion
    ) -> Mapping[Slot, SubRegion]:
        """What is computed, with context, all channels."""
        start, stop = self._computed(roi)
        context = self._context()
        low = [a - around for a, around in zip(start, context, strict=True)]
        high = [b + around for b, around in zip(stop, context, strict=True)]
        channels, _ = self._inner()
        if channels:
            low, high = [0, *low], [channels, *high]
        return {self.Input: SubRegion(self.Input, low, high)}

    def dirtied(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> Region:
        """The region with context, and all of the tiles that it touches; all channels."""
        channels, shape = self._inner()
        first = 1 if channels else 0
        context = self._context()
        start = [a - around for a, around in zip(roi.start[first:], context, strict=True)]
        stop = [b + around for b, around in zip(roi.stop[first:], context, strict=True)]
        tile = self._tile(shape)
        if tile is not None:
            start = [a // size * size for a, size in zip(start, tile, strict=True)]
            stop = [-(-b // size) * size for b, size in zip(stop, tile, strict=True)]
        made = self.channels.value
        return ([0, *start], [made, *stop]) if made is not None else (start, stop)

    def _read(self, start: Sequence[int], stop: Sequence[int]) -> tuple[list[int], list[int]]:
        _, shape = self._inner()
        context = self._context()
        return (
            [max(a - around, 0) for a, around in zip(start, context, strict=True)],
            [min(b + around, size) for b, around, size in zip(stop, context, shape, strict=True)],
        )

    def _tiles(self, start: list[int], stop: list[int]) -> Iterator[tuple[list[int], list[int]]]:
        """What is computed at once: the region, or each tile of it."""
        _, shape = self._inner()
        tile = self._tile(shape)
        if tile is None:
            yield start, stop
            return
        for corner in product(*(range(a, b, size) for a, b, size in zip(start, stop, tile, strict=True))):
            yield list(corner), [min(a + size, b) for a, size, b in zip(corner, tile, stop, strict=True)]

    def _at_once(self) -> int:
        """How many tiles go into one call, for any region: a network may round otherwise for another number.

        So it follows from parameters alone, not from what memory happens to be free or was measured.
        """
        _, shape = self._inner()
        tile = self._tile(shape)
        if tile is None:
            return 1
        if self.batch.value is not None or not is_network(self.model.value):
            return self.batch.value or 1
        network = self._model().network
        assert network is not None
        if network.only is not None:
            return network.only
        largest = [
            min(size + 2 * around, most)
            for size, around, most in zip(tile, self._context(), shape, strict=True)
        ]
        voxels = max(1, math.prod(largest))
        limits = [network.good, _VOXELS_AT_ONCE // voxels]
        if self.memory.value:
            limits.append(int(_BYTES_AT_ONCE / (voxels * self.memory.value)))
        return max(1, min(limits))

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion, result: Array) -> None:
        """Tile by tile; those of one shape together, as many as go into a call."""
        start, stop = self._computed(roi)
        (region,) = self.requiredInputRoi(slot, subindex, roi).values()
        region.setInputShape(self.Input.meta.shape)
        data = self.Input.get(region).wait()
        channels, _ = self._inner()
        data = data if channels else data[np.newaxis]
        origin = self._read(start, stop)[0]
        at_once = self._at_once()
        waiting: dict[tuple[int, ...], list[Any]] = {}
        for low, high in self._tiles(start, stop):
            first, last = self._read(low, high)
            part = tuple(slice(a - at, b - at) for a, b, at in zip(first, last, origin, strict=True))
            shape = tuple(b - a for a, b in zip(first, last, strict=True))
            batch = waiting.setdefault(shape, [])
            batch.append((data[(slice(None), *part)], first, low, high))
            if len(batch) == at_once:
                self._predict(waiting.pop(shape), at_once, roi, result)
        for batch in waiting.values():
            self._predict(batch, at_once, roi, result)

    def _predict(self, batch: list[Any], at_once: int, roi: SubRegion, result: Array) -> None:
        made = self._model()([part for part, *_ in batch], self.channels.value or 1, at_once)
        start, stop = self._flat(roi)
        wanted = made[:, roi.start[0] : roi.stop[0]] if self.channels.value is not None else made[:, 0]
        for one, (_, first, low, high) in zip(wanted, batch, strict=True):
            begin = [max(a, b) for a, b in zip(low, start, strict=True)]
            end = [min(a, b) for a, b in zip(high, stop, strict=True)]
            source = tuple(slice(a - at, b - at) for a, b, at in zip(begin, end, first, strict=True))
            target = tuple(slice(a - at, b - at) for a, b, at in zip(begin, end, start, strict=True))
            into: Any = (..., *target)
            taken: Any = (..., *source)
            np.copyto(result[into], one[taken], casting="unsafe")

    @property
    def native_memory(self) -> bool:
        """Of a network."""
        return is_network(self.model.value)

    def held_memory(self) -> Mapping[str, int]:
        """The network, and the library that computes it."""
        return self._model().held

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> int:
        """What a call takes for each voxel that it gets: as given, beside the tiles, or measured on a smaller one."""
        start, stop = self._computed(roi)
        tiles = list(self._tiles(start, stop))
        sizes = [[b - a for a, b in zip(*self._read(low, high), strict=True)] for low, high in tiles]
        largest = max(sizes, key=math.prod)
        at_once = self._at_once()
        if not self.native_memory:
            at_once = min(at_once, len(tiles))  # none stands in for another
        channels, _ = self._inner()
        if self.memory.value is not None:
            itemsize = np.dtype(self.Input.meta.dtype).itemsize
            voxels = math.prod(largest) * at_once
            return int(voxels * (max(channels, 1) * itemsize + self.memory.value)) + 1
        small = tuple(min(size, _WEIGHED) for size in largest)
        taken = self._measured((max(channels, 1), *small), at_once)
        return int(_MARGIN * taken * math.prod(largest) / math.prod(small)) + 1

    def _measured(self, shape: tuple[int, ...], at_once: int) -> int:
        """What a call with arrays of a shape takes; it is made once."""
        model, outputs, dtype = self._model(), self.channels.value or 1, np.dtype(self.Input.meta.dtype)
        seen: dict[Any, int] = self.__dict__.setdefault("_seen", {})
        key = (model, shape, at_once, outputs, dtype)
        if key not in seen:
            arrays = [np.ones(shape, dtype)] * at_once
            measure = peak_resident if self.native_memory else peak_bytes
            try:
                seen[key] = measure(lambda: model(arrays, outputs, at_once))
            except OperatorError:
                raise
            except Exception as error:
                raise OperatorError(
                    f"the memory of model {model.text} cannot be measured, since it fails for {at_once} arrays of "
                    f"shape {shape}: {in_short(error)}. Declare it: memory"
                ) from error
        return seen[key]
