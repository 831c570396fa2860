"""Signals, traces, paths, locks, config files, streamers, data formats; and files that are never half written."""

from typing import TYPE_CHECKING

from blockflow.utility.lazy import lazy_names

if TYPE_CHECKING:
    from blockflow.utility.bigRequestStreamer import BigRequestStreamer
    from blockflow.utility.fileLock import FileLock
    from blockflow.utility.jsonConfig import JsonConfigParser, Namespace
    from blockflow.utility.orderedSignal import OrderedSignal
    from blockflow.utility.pathHelpers import PathComponents, getPathVariants
    from blockflow.utility.roiRequestBatch import RoiRequestBatch
    from blockflow.utility.roiRequestBuffer import RoiRequestBufferIter
    from blockflow.utility.tracer import Tracer, traceLogged

__all__ = [
    "BigRequestStreamer",
    "FileLock",
    "JsonConfigParser",
    "Namespace",
    "OrderedSignal",
    "PathComponents",
    "RoiRequestBatch",
    "RoiRequestBufferIter",
    "Tracer",
    "getPathVariants",
    "traceLogged",
]

__getattr__ = lazy_names(
    __name__,
    {
        "BigRequestStreamer": "blockflow.utility.bigRequestStreamer",
        "FileLock": "blockflow.utility.fileLock",
        "JsonConfigParser": "blockflow.utility.jsonConfig",
        "Namespace": "blockflow.utility.jsonConfig",
        "OrderedSignal": "blockflow.utility.orderedSignal",
        "PathComponents": "blockflow.utility.pathHelpers",
        "RoiRequestBatch": "blockflow.utility.roiRequestBatch",
        "RoiRequestBufferIter": "blockflow.utility.roiRequestBuffer",
        "Tracer": "blockflow.utility.tracer",
        "getPathVariants": "blockflow.utility.pathHelpers",
        "traceLogged": "blockflow.utility.tracer",
    },
)
