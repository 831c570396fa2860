"""Freed memory, kept for the next arrays."""

import ctypes
import sys

__all__ = ["give_back_freed_memory", "keep_freed_memory"]

#: numbers of options of glibc's `mallopt`, see mallopt(3)
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4

_LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Let this process keep the memory of arrays that are freed, up to 2 GB, for those that come next.

    By default glibc gives back each large array as soon as it is freed, and the system zeroes the pages of the next
    one: a good part of the time of filters whose arrays live as long as one block. A process that does one block like
    the other does not shrink between its peaks then. Nothing is done where there is no glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, _LARGEST)


def give_back_freed_memory() -> None:
    """Give memory that was freed, but kept, back to the system: what is held afterwards is in use."""
    if sys.platform.startswith("linux") and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
