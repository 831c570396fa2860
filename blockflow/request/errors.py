"""What can become of a request but its result."""

from blockflow.errors import BlockflowError

__all__ = ["CancellationException", "CircularWaitException", "InvalidRequestException", "TimeoutException"]


class CancellationException(BlockflowError):
    """Raised inside of a request that was cancelled, where it next waits; lets it end."""


class InvalidRequestException(BlockflowError, RuntimeError):
    """The request that is waited for was cancelled, or its result was dropped; make a new one."""


class CircularWaitException(BlockflowError, RuntimeError):
    """A request waits for itself, if only through others, and would wait for ever."""


class TimeoutException(BlockflowError, TimeoutError):
    """A request took longer than its caller would wait. It goes on."""
