"""blockflow: image-processing graphs, run blockwise over volumes too large for memory."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blockflow.blockwise import DaCapoBlockwiseTask, run_blockwise
    from blockflow.execution.client import blocks

__all__ = ["DaCapoBlockwiseTask", "__version__", "blocks", "run_blockwise"]
__version__ = "0.1.0"

_WHERE = {
    "DaCapoBlockwiseTask": "blockflow.blockwise",
    "blocks": "blockflow.execution.client",
    "run_blockwise": "blockflow.blockwise",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import blockflow` costs nothing."""
    if name not in _WHERE:
        raise AttributeError(f"module 'blockflow' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
