"""blockflow: image-processing graphs, run blockwise over volumes too large for memory."""

from typing import TYPE_CHECKING

from blockflow.utility.lazy import lazy_names

if TYPE_CHECKING:
    from blockflow.blockwise import DaCapoBlockwiseTask, run_blockwise
    from blockflow.execution.client import blocks
    from blockflow.execution.graph_runs import plan, run
    from blockflow.operators.functions import neighbourhood, operator_from, pointwise
    from blockflow.segment.run import segment_blockwise

__all__ = [
    "DaCapoBlockwiseTask",
    "__version__",
    "blocks",
    "neighbourhood",
    "operator_from",
    "plan",
    "pointwise",
    "run",
    "run_blockwise",
    "segment_blockwise",
]
__version__ = "0.1.0"

__getattr__ = lazy_names(
    __name__,
    {
        "DaCapoBlockwiseTask": "blockflow.blockwise",
        "blocks": "blockflow.execution.client",
        "neighbourhood": "blockflow.operators.functions",
        "operator_from": "blockflow.operators.functions",
        "plan": "blockflow.execution.graph_runs",
        "pointwise": "blockflow.operators.functions",
        "run": "blockflow.execution.graph_runs",
        "run_blockwise": "blockflow.blockwise",
        "segment_blockwise": "blockflow.segment.run",
    },
)
