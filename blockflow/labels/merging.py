"""Which nodes are one, given the edges between them, and their final numbers."""

from typing import Any

import numpy as np

from blockflow.errors import LabelError

__all__ = ["merge"]

#: what scipy's graphs can number
_MOST_NODES = 2**31 - 1

#: the first voxel of what has none
NO_VOXEL = np.iinfo(np.int64).max

Ints = np.ndarray[Any, np.dtype[Any]]


def merge(first: Ints, earlier: Ints, later: Ints) -> Ints:
    """Number the connected groups of nodes from 1 on, by the first voxel of each group.

    Parameters
    ----------
    first : ndarray of int64
        For each node, where its first voxel is in C order (the largest int64, if it has none).
    earlier, later : ndarray of int64
        The nodes that each edge connects.

    Returns
    -------
    ndarray of uint64
        For each node the number of its group; 0 where the whole group has no voxel.

    Raises
    ------
    LabelError
        If more nodes have edges than can be numbered.
    """
    groups, count = _groups(len(first), earlier, later)
    lowest = np.full(count, NO_VOXEL, np.int64)
    np.minimum.at(lowest, groups, first)
    numbers = np.empty(count, np.uint64)
    numbers[np.argsort(lowest)] = np.arange(1, count + 1, dtype=np.uint64)
    numbers[lowest == NO_VOXEL] = 0
    del lowest
    return numbers[groups]


def _groups(nodes: int, earlier: Ints, later: Ints) -> tuple[Ints, int]:
    """The group of each node, and how many groups there are."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(earlier):
        return np.arange(nodes), nodes
    connected: Ints | None = None
    if nodes > _MOST_NODES:  # then those alone that have edges
        has_edges = np.zeros(nodes, np.bool_)
        has_edges[earlier] = True
        has_edges[later] = True
        connected = np.flatnonzero(has_edges)
        if len(connected) > _MOST_NODES:
            raise LabelError(
                f"{len(connected)} labels touch the border of their block, more than the {_MOST_NODES} that can be "
                "merged at once. Use larger blocks"
            )
        place = np.cumsum(has_edges, dtype=np.int64) - 1
        earlier, later = place[earlier], place[later]
    size = nodes if connected is None else len(connected)
    edges = (earlier.astype(np.int32), later.astype(np.int32))
    graph = coo_array((np.ones(len(earlier), np.bool_), edges), shape=(size, size)).tocsr()
    del edges
    count, found = connected_components(graph, directed=False)
    del graph
    if connected is None:
        return found, int(count)
    groups = np.empty(nodes, np.int64)
    alone = ~has_edges
    groups[connected] = found
    groups[alone] = count + np.arange(np.count_nonzero(alone))
    return groups, int(count + np.count_nonzero(alone))
