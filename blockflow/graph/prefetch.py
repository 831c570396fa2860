"""What an operator needs of several inputs, computed at the same time."""

from typing import TYPE_CHECKING, Any

from blockflow.request import Request
from blockflow.request.strand import here
from blockflow.roi import getIntersection
from blockflow.rtype import SubRegion

if TYPE_CHECKING:
    from blockflow.graph.operator import Operator
    from blockflow.graph.slot import Slot

__all__ = ["prefetch"]


def prefetch(operator: "Operator", slot: "Slot", roi: Any) -> None:
    """Submit requests for what `roi` of an output needs, for `execute` to find when it asks for the same.

    The first is left to the thread that asks. Nothing is submitted where only one input must be computed.
    """
    request = here().request
    if request is None or Request.thread_pool().num_workers < 2 or not isinstance(roi, SubRegion):
        return
    required = operator.requiredInputRoi(slot.top_level_slot, slot.subindex, roi)
    if required is None or len(required) < 2:
        return
    wanted = []
    for needed, region in required.items():
        source = needed.source
        if source._value is None and needed.ready() and source.operator is not None:
            shape = needed.meta.shape
            inside = getIntersection(
                (region.start, region.stop), ((0,) * len(shape), shape), assertIntersect=False
            )
            if inside is not None:
                wanted.append((needed, source, inside))
    requests: dict[Any, Request[Any]] = {}
    for needed, source, (start, stop) in wanted[1:]:
        key = (id(source), tuple(start), tuple(stop))
        if key not in requests:
            requests[key] = needed.get(SubRegion(needed, tuple(start), tuple(stop))).submit()
    if requests:
        request._prefetched = requests
