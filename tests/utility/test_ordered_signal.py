import pytest

from blockflow.request import CancellationException
from blockflow.utility.orderedSignal import OrderedSignal


def test_subscribers_are_called_in_order():
    """In the order they subscribed; who subscribes again goes to the end; keyword arguments are passed on."""
    signal, log = OrderedSignal(), []

    def one(*args, **kwargs):
        log.append(("one", args, kwargs))

    def two(*args, **kwargs):
        log.append(("two", args, kwargs))

    signal.subscribe(one)
    signal.subscribe(two, tag=1)
    signal.subscribe(one)
    assert len(signal) == 2
    signal("a", b=2)
    assert log == [("two", ("a",), {"tag": 1, "b": 2}), ("one", ("a",), {"b": 2})]


def test_unsubscribing():
    """By the function, or by what subscribe returned; silently if it is not there; clean lets go of all."""
    signal, log = OrderedSignal(), []
    assert not signal
    end = signal.subscribe(log.append)
    assert signal
    signal.unsubscribe(print)
    signal.unsubscribe(log.append)
    signal.unsubscribe(log.append)
    end()
    signal(1)
    end = signal.subscribe(log.append)
    end()
    signal(2)
    signal.subscribe(log.append)
    signal.clean()
    signal(3)
    assert log == []


def test_subscribers_may_change_while_they_are_called():
    """Those who are subscribed when it is called are called, whatever they do to it."""
    signal, log = OrderedSignal(), []

    def first():
        log.append("first")
        signal.unsubscribe(second)
        signal.subscribe(third)

    def second():
        log.append("second")

    def third():
        log.append("third")

    signal.subscribe(first)
    signal.subscribe(second)
    signal()
    assert log == ["first", "second"]
    signal()
    assert log == ["first", "second", "first", "third"]


@pytest.mark.parametrize("hide", [False, True])
def test_exceptions(hide):
    """The first exception ends the call; one that says "cancelled" may be hidden, and then ends nothing else."""
    signal, log = OrderedSignal(hide_cancellation_exceptions=hide), []

    def cancelled():
        raise CancellationException("over")

    def fail():
        raise LookupError("it")

    signal.subscribe(cancelled)
    signal.subscribe(lambda: log.append(1))
    if hide:
        signal()
    else:
        with pytest.raises(CancellationException):
            signal()
    assert log == ([1] if hide else [])
    signal.clean()
    signal.subscribe(fail)
    signal.subscribe(lambda: log.append(2))
    with pytest.raises(LookupError):
        signal()
    assert 2 not in log
