import traceback

import numpy as np
import pytest
from small_operators import OpPass, OpSum, chain

from blockflow.request import Request, RequestPool

DATA = np.arange(24).reshape(4, 6)


class Peculiar(LookupError):
    """A type of its own."""


class OpFail(OpPass):
    def execute(self, slot, subindex, roi, result):
        raise Peculiar("on purpose")


def failing(depth):
    ops = chain([OpFail(), *(OpPass() for _ in range(depth))])
    for place, op in enumerate(ops):
        op.name = f"op{place}"
    ops[0].Input.setValue(DATA)
    return ops


@pytest.mark.parametrize("threads", [0, 2])
def test_an_exception_fifty_operators_deep(threads):
    """It reaches `except T` with its own type and traceback, and names every operator on the way, once, in order."""
    Request.reset_thread_pool(threads)
    ops = failing(50)
    ways = [
        ops[-1].Output[1:2].wait,
        lambda: ops[-1].Output[1:2].submit().wait(),
        lambda: ops[-1].Output((1, 0), (2, 6)).writeInto(np.zeros((1, 6))).wait(),
        ops[-1].Output[1:2].block,
    ]
    for way in ways:
        with pytest.raises(Peculiar, match="on purpose") as caught:
            way()
        assert type(caught.value) is Peculiar
        assert caught.value.__notes__ == [f"in op{k}.Output, (1, 0) to (2, 6)" for k in range(51)]
        frames = traceback.extract_tb(caught.value.__traceback__)
        assert frames[-1].line == 'raise Peculiar("on purpose")'


def test_it_reaches_every_waiter_and_callback():
    """All who wait get the same exception, whose trail is not told twice."""
    ops, seen = failing(3), []
    request = ops[-1].Output[:]
    request.notify_failed(lambda error, info: seen.append((error, info[0])))
    for _ in range(3):
        with pytest.raises(Peculiar) as caught:
            request.wait()
    assert seen == [(caught.value, Peculiar)]
    assert len(caught.value.__notes__) == 4


def test_it_reaches_the_caller_of_a_pool():
    """A pool of requests raises the operator's exception."""
    ops = failing(3)
    pool = RequestPool()
    for k in range(4):
        pool.add(ops[-1].Output[k : k + 1])
    with pytest.raises(Peculiar):
        pool.wait()


def test_it_passes_through_inputs_that_are_computed_ahead():
    """An input that fails ahead of time fails where execute waits for it, with the trail of both operators."""
    good, bad, total = OpPass(), OpFail(), OpSum()
    for op, slot in ((good, total.A), (bad, total.B)):
        op.Input.setValue(DATA)
        slot.connect(op.Output)
    with pytest.raises(Peculiar) as caught:
        total.Output[:].wait()
    assert caught.value.__notes__ == [
        "in OpFail.Output, (0, 0) to (4, 6)",
        "in OpSum.Output, (0, 0) to (4, 6)",
    ]


def test_an_operator_may_catch_it():
    """What an operator catches is over: the caller gets the answer."""

    class OpCatch(OpPass):
        def execute(self, slot, subindex, roi, result):
            try:
                super().execute(slot, subindex, roi, result)
            except Peculiar:
                result[...] = -1

    bad, op = chain([OpFail(), OpCatch()])
    bad.Input.setValue(DATA)
    assert (op.Output[:].wait() == -1).all()


def test_the_operator_works_again_after_a_failure():
    """A failure is of that request: the next one is computed anew."""

    class OpOnce(OpPass):
        failed = False

        def execute(self, slot, subindex, roi, result):
            if not self.failed:
                self.failed = True
                raise Peculiar("once")
            super().execute(slot, subindex, roi, result)

    first, last = chain([OpOnce(), OpPass()])
    first.Input.setValue(DATA)
    with pytest.raises(Peculiar):
        last.Output[:].wait()
    np.testing.assert_array_equal(last.Output[:].wait(), DATA)
