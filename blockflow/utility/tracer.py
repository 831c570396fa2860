"""Log messages when a piece of code is entered and left."""

import inspect
import logging
from collections.abc import Callable
from functools import wraps
from types import FrameType, TracebackType
from typing import ParamSpec, Self, TypeVar

__all__ = ["Tracer", "traceLogged"]

P = ParamSpec("P")
T = TypeVar("T")


class Tracer:
    """A context that logs `(enter) CALLER MESSAGE` and `(exit) CALLER MESSAGE`.

    Where the logger is not enabled for the level, it costs next to nothing.

    Parameters
    ----------
    logger : logging.Logger or str
        Where to log to; a string is the name of a logger.
    level : int
    msg : str
        What to say beside the name.
    determine_caller : bool
        Find out the name of the function that enters the context, unless `caller_name` is given.
    caller_name : str
    """

    def __init__(
        self,
        logger: logging.Logger | str,
        level: int = logging.DEBUG,
        msg: str = "",
        determine_caller: bool = True,
        caller_name: str = "",
    ) -> None:
        self._logger = logging.getLogger(logger) if isinstance(logger, str) else logger
        self._level = level
        self._message = msg
        self._caller = caller_name
        if not caller_name and determine_caller and self._logger.isEnabledFor(level):
            frame = inspect.currentframe()
            self._caller = _name(frame.f_back) if frame is not None else ""

    def __enter__(self) -> Self:
        self._log("enter")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log("exit")

    def _log(self, what: str) -> None:
        if self._logger.isEnabledFor(self._level):
            said = " ".join(filter(None, [self._caller, self._message]))
            self._logger.log(self._level, "(%s) %s", what, said)


def traceLogged(
    logger: logging.Logger | str, level: int = logging.DEBUG, msg: str = "", caller_name: str = ""
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A decorator: each call of the function is logged when it begins and when it ends, however it ends.

    Parameters
    ----------
    logger, level, msg
        As for `Tracer`.
    caller_name : str
        By default the name of the function.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        name = caller_name or function.__name__

        @wraps(function)
        def traced(*args: P.args, **kwargs: P.kwargs) -> T:
            with Tracer(logger, level, msg, determine_caller=False, caller_name=name):
                return function(*args, **kwargs)

        return traced

    return decorate


def _name(frame: FrameType | None) -> str:
    return "" if frame is None else frame.f_code.co_name
