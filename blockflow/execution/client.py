"""Our Daisy client: a worker's loop over blocks, in which one bad block never ends the rest.

It stands in for `daisy.Client` in every worker process, so worker files need no change: a block that raises
is recorded and given back as failed, and the loop goes on with the next.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import daisy
import daisy.v2

from blockflow.errors import BlockflowError
from blockflow.execution.session import current_session

__all__ = ["Client", "blocks", "is_committed", "standing_in"]


class Client(daisy.v2.Client):  # type: ignore[misc]
    """A `daisy.Client` that keeps failure records, counts attempts, and asks the task's checks."""

    def __init__(self, context: Any = None) -> None:
        if context is None:
            session = current_session()
            context = session.address if session is not None else None
        context = daisy.Context.from_env() if context is None else context.copy()
        context["worker_id"] = -1  # an inherited id makes Daisy call the spawn function again on a timeout
        super().__init__(context)
        self._lease: Any = None

    @contextmanager
    def acquire_block(self) -> Iterator[Any]:
        """Give the next block, or `None` when there is none; a block that raises is recorded as failed."""
        block = self.take()
        if block is None:
            yield None
            return
        try:
            yield block
        except Exception as error:  # noqa: BLE001 (whatever a block raises is its failure record)
            self.give_back(block, error)
            error.__traceback__ = None  # who keeps the error would keep this client, beyond its thread
        except BaseException as error:
            self.give_back(block, error)
            raise  # the worker is to end
        else:
            self.give_back(block, None)

    def take(self) -> Any:
        """Wait for a block that is to be processed; `None` when no block is left or the worker is to leave."""
        session = _session()
        while not session.leaving:
            if not session.has_time():
                session.leaving = True
                break
            self._lease = super().acquire_block()
            block = self._lease.__enter__()
            if block is None:
                self._lease.__exit__(None, None, None)
                session.finished = True
                return None
            if session.begin(block):
                session.client = self
                return block
            self._lease.__exit__(None, None, None)
        return None

    def give_back(self, block: Any, error: BaseException | None) -> None:
        """Settle a block that was taken, and tell Daisy."""
        session = _session()
        session.client = None  # a client must go away in the thread that made it
        session.settle(block, error)
        self._lease.__exit__(None, None, None)


def blocks() -> Iterator[Any]:
    """Loop over the blocks of a worker: `for block in blockflow.blocks(): ...`.

    A block counts as done when the next one is asked for, so do not leave the loop early. A block whose body
    raises is recorded as failed, and the worker starts its loop again. In a worker that plain Daisy started,
    Daisy's own client hands out the blocks.
    """
    session = current_session()
    if session is None:
        yield from _plain_blocks()
        return
    client = Client()
    while (block := client.take()) is not None:
        yield block  # if the loop is left here, why is known where the worker's function ends
        client.give_back(block, None)


def _plain_blocks() -> Iterator[Any]:
    """The blocks of a worker that Daisy itself started, with Daisy's own promises."""
    client = daisy.v2.Client()
    while True:
        with client.acquire_block() as block:
            if block is None:
                return
            yield block


def is_committed(block: Any) -> bool:  # noqa: ARG001 (the signature of a check function)
    """Whether the block at hand was written by this very recipe: the check function of the bundled workers.

    Outside of a worker that blockflow started nothing is known of recipes, and the answer is no.
    """
    session = current_session()
    return session is not None and session.is_committed()


def _session() -> Any:
    session = current_session()
    if session is None:
        raise BlockflowError(
            "there is no block to do here: this is no worker process. Start the run with `blockflow run` or "
            "run_blockwise"
        )
    return session


@contextmanager
def standing_in() -> Iterator[None]:
    """Put our client in the place of `daisy.Client` for as long as the context lasts."""
    import daisy._task
    import daisy.v1_compat

    modules = (daisy, daisy.v2, daisy.v1_compat, daisy._task)
    originals = [module.Client for module in modules]
    for module in modules:
        module.Client = Client
    try:
        yield
    finally:
        for module, original in zip(modules, originals, strict=True):
            module.Client = original
