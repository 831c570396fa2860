"""The memory of all caches together: blocks, of which the least recently used go when a new one needs their room.

One ordered table over all caches says which block was used when, so that the budget is kept at the very moment a
block is stored, without a thread that looks after it. A cache that is gone takes its blocks with it.
"""

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np

from blockflow.utility.quantity import parse_bytes

__all__ = ["BlockStore", "cache_budget", "cached_bytes", "set_cache_budget"]

Array = np.ndarray[Any, Any]


class _Block:
    """An array in memory, as it is or compressed."""

    __slots__ = ("__weakref__", "blocks", "data", "dtype", "key", "nbytes", "shape")

    def __init__(self, blocks: "dict[Hashable, _Block]", key: Hashable, array: Array, compress: bool) -> None:
        self.blocks = blocks
        self.key = key
        self.shape, self.dtype = array.shape, array.dtype
        self.data: Any = array
        if compress and not array.dtype.hasobject and array.size:
            self.data = _codec().encode(np.ascontiguousarray(array))
        self.nbytes = len(self.data) if isinstance(self.data, bytes) else int(array.nbytes)

    def array(self) -> Array:
        """The voxels; not to be changed."""
        if isinstance(self.data, bytes):
            made = np.empty(self.shape, self.dtype)
            _codec().decode(self.data, out=made)
            return made
        array: Array = self.data
        return array


def _codec() -> Any:
    from numcodecs import LZ4  # type: ignore[import-untyped]

    return LZ4()


class _Memory:
    """All blocks, in the order of their last use."""

    def __init__(self) -> None:
        # reentrant, as the garbage collector may let a cache go, and so call `_forget`, in a thread that holds it
        self.lock = threading.RLock()
        self.order: OrderedDict[int, _Block] = OrderedDict()
        self.used = 0
        self.budget = _quarter_of_ram()

    def remove(self, block: _Block) -> None:
        """Take a block out of the order; with the lock held."""
        if self.order.pop(id(block), None) is not None:
            self.used -= block.nbytes

    def shrink(self) -> None:
        """Drop least recently used blocks down to the budget; with the lock held."""
        while self.used > self.budget and self.order:
            _, block = self.order.popitem(last=False)
            self.used -= block.nbytes
            if block.blocks.get(block.key) is block:
                del block.blocks[block.key]


def _quarter_of_ram() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


_memory = _Memory()


def set_cache_budget(amount: int | str | None = None) -> None:
    """How many bytes the blocks of all caches of this process may take together.

    Parameters
    ----------
    amount : int or str, optional
        Bytes, or a text as `2 GB`; by default a quarter of the machine's memory. What is too much goes at once.
    """
    with _memory.lock:
        _memory.budget = (
            _quarter_of_ram() if amount is None else amount if amount == 0 else parse_bytes(amount)
        )
        _memory.shrink()


def cache_budget() -> int:
    """How many bytes the blocks of all caches may take together."""
    return _memory.budget


def cached_bytes() -> int:
    """How many bytes the blocks of all caches take."""
    return _memory.used


class BlockStore:
    """The blocks of one cache, by key. Its methods may be called by several threads at once."""

    def __init__(self) -> None:
        self._blocks: dict[Hashable, _Block] = {}
        weakref.finalize(self, _forget, self._blocks)

    def get(self, key: Hashable) -> Array | None:
        """A block, not to be changed, or None; it counts as used now."""
        block = self._blocks.get(key)
        if block is None:
            return None
        with _memory.lock:
            if id(block) in _memory.order:
                _memory.order.move_to_end(id(block))
        return block.array()

    def put(self, key: Hashable, array: Array, *, compress: bool = False) -> None:
        """Keep a block, unless it alone is more than the budget; the array must not be changed any more."""
        block = _Block(self._blocks, key, array, compress)
        with _memory.lock:
            old = self._blocks.pop(key, None)
            if old is not None:
                _memory.remove(old)
            if block.nbytes > _memory.budget:
                return
            self._blocks[key] = block
            _memory.order[id(block)] = block
            _memory.used += block.nbytes
            _memory.shrink()

    def drop(self, keys: Iterable[Hashable]) -> int:
        """Let go of blocks; the number of bytes that became free."""
        with _memory.lock:
            before = _memory.used
            for key in keys:
                block = self._blocks.pop(key, None)
                if block is not None:
                    _memory.remove(block)
            return before - _memory.used

    def clear(self) -> int:
        """Let go of all blocks; the number of bytes that became free."""
        return self.drop(self.keys())

    def keys(self) -> list[Any]:
        """The keys of all blocks."""
        with _memory.lock:
            return list(self._blocks)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._blocks

    def __len__(self) -> int:
        return len(self._blocks)

    @property
    def nbytes(self) -> int:
        """The bytes of all blocks."""
        with _memory.lock:
            return sum(block.nbytes for block in self._blocks.values())


def _forget(blocks: dict[Hashable, _Block]) -> None:
    """The cache of these blocks is gone."""
    with _memory.lock:
        for block in blocks.values():
            _memory.remove(block)
        blocks.clear()
