import numpy as np
import pytest
from small_operators import OpPass, OpPlus, OpSum, chain

from blockflow.graph import InputSlot, Operator, OutputSlot
from blockflow.request import CancellationException

DATA = np.arange(24).reshape(4, 6)

SIGNALS = {
    "Dirty": "d",
    "MetaChanged": "~",
    "ValueChanged": "v",
    "Ready": "+",
    "Unready": "-",
    "Connect": "c",
    "Disconnect": "x",
}


def watch(log, signals="+-~d", **slots):
    """Log what slots tell: `a+` where slot `a` becomes ready."""
    for label, slot in slots.items():
        for name, mark in SIGNALS.items():
            if mark in signals:
                getattr(slot, f"notify{name}")(lambda *_, text=label + mark: log.append(text))


# order


def test_the_order_of_events_in_a_chain():
    """All metadata come before any dirtiness, deepest first; who hears "dirty" sees the final metadata."""
    a, b = chain([OpPass(), OpPass()])
    log = []
    watch(log, aI=a.Input, aO=a.Output, bI=b.Input, bO=b.Output)

    def heard():
        text = " ".join(log)
        log.clear()
        return text

    a.Input.setValue(DATA)
    assert heard() == "aI+ bI+ bO~ bO+ bI~ aO~ aO+ aI~ aId bId bOd aOd"
    a.Input.setValue(DATA + 1)
    assert heard() == "aI~ aId bId bOd aOd"
    a.Input.setValue(DATA[:2])
    assert heard() == "bO~ bI~ aO~ aI~ aId bId bOd aOd"
    a.Input.disconnect()
    assert heard() == "aI~ bO- bO~ bI- aO- bI~ aO~ aI-"


def test_who_hears_dirty_sees_the_final_metadata():
    """In a diamond, too, every operator has been set up before the first of them hears of dirtiness."""
    source, left, right, total = OpPass(), OpPlus(), OpPlus(), OpSum()
    left.Input.connect(source.Output)
    right.Input.connect(source.Output)
    total.A.connect(left.Output)
    total.B.connect(right.Output)
    seen = []
    total.Output.notifyDirty(lambda slot, roi: seen.append((slot.meta.dtype, source.Output.meta.dtype)))
    for dtype in (np.uint8, np.int32, np.float32):
        source.Input.setValue(DATA.astype(dtype))
        assert set(seen) == {(dtype, dtype)}
        seen.clear()


# values


def test_setting_a_value():
    """A new value: disconnect callbacks (if there was one), connect, metadata, value, then dirty."""
    op, log = OpPass(), []
    watch(log, "+-~dvcx", I=op.Input)
    op.Input.setValue(DATA)
    assert log == ["I+", "Ic", "I~", "Iv", "Id"]
    log.clear()
    op.Input.setValue(DATA + 1)
    assert log == ["Ix", "Ic", "I~", "Iv", "Id"]


@pytest.mark.parametrize(
    ("old", "new"),
    [(DATA, DATA), (DATA, DATA.copy()), (3, 3), ("a", "a"), (np.full(3, np.nan), np.full(3, np.nan))],
)
def test_an_equal_value_changes_nothing(old, new):
    """The same object or an equal one: no callback, no set-up, no dirtiness."""
    op = OpPass()
    op.Input.setValue(old)
    log = []
    watch(log, "+-~dvcx", I=op.Input, O=op.Output)
    op.Input.setValue(new)
    assert log == []
    assert op.setups == 1
    assert op.Input.value is new  # so that the old one can go
    op.Input.setValue(new, check_changed=False)
    assert "Id" in log


@pytest.mark.parametrize(
    ("old", "new"),
    [(np.zeros((3, 4)), np.zeros((3, 1))), (DATA, DATA + 1), (0, False), (1, 1.0), (DATA, DATA * 1.0)],
)
def test_another_value_changes_something(old, new):
    """Another shape, type or element is a change, also where numpy would broadcast them to equal ones."""
    op = OpPass()
    op.Input.setValue(old)
    op.Input.setValue(new)
    assert op.Input.value is new
    assert len(op.dirty) == 2


def test_none_makes_a_slot_unready():
    """setValue(None) disconnects."""
    op, log = OpPass(), []
    op.Input.setValue(DATA)
    watch(log, "-x", I=op.Input, O=op.Output)
    op.Input.setValue(None)
    assert log == ["Ix", "O-", "I-"]
    assert not op.Input.ready()
    assert not op.Input.connected()


def test_extra_metadata():
    """extra_meta is beside what the value gives, and goes downstream."""
    op = OpPass()
    op.Input.setValue(DATA, extra_meta={"axistags": "yx", "drange": (0, 23)})
    assert op.Output.meta.getTaggedShape() == {"y": 4, "x": 6}
    assert op.Output.meta.drange == (0, 23)


def test_values_without_notification():
    """With notify=False nobody hears of dirtiness."""
    op = OpPass()
    op.Input.setValue(DATA, notify=False)
    assert op.dirty == []


def test_a_connected_slot_takes_no_value():
    """A value is for a slot that is not connected, and a slot is no value."""
    a, b = chain([OpPass(), OpPass()])
    with pytest.raises(ValueError, match=r"OpPass\.Input is connected to OpPass\.Output; disconnect it"):
        b.Input.setValue(DATA)
    with pytest.raises(ValueError, match="is a slot, not a value; use connect"):
        a.Input.setValue(b.Output)
    with pytest.raises(TypeError, match="use setValue for a value"):
        a.Input.connect(DATA)
    with pytest.raises(ValueError, match="allow_mask"):
        a.Input.setValue(np.ma.zeros(3))


def test_set_or_connect():
    """setOrConnect connects slots and sets everything else; setOrConnectIfAvailable ignores None."""
    a, b = OpPass(), OpPass()
    a.Input.setOrConnect(DATA)
    b.Input.setOrConnect(a.Output)
    b.Input.setOrConnectIfAvailable(None)
    np.testing.assert_array_equal(b.Output[:].wait(), DATA)


# defaults and optional slots


def test_defaults():
    """An input has its default until it is connected or set; disconnecting does not bring it back."""
    op = OpPlus()
    op.Input.setValue(DATA)
    assert op.Output[0, 0].wait() == 1
    op.Number.setValue(5)
    assert op.Output[0, 0].wait() == 5
    op.Number.disconnect()
    assert not op.Number.ready()
    assert not op.Output.ready()
    other = OpPass()
    other.Input.setValue(np.array([7]))
    op.Number.connect(other.Output)
    assert op.Output[0, 0].wait() == 7


def test_optional_inputs():
    """An operator is configured without its optional inputs, and hears when they come and go."""

    class Op(OpPass):
        Extra = InputSlot(optional=True)

        def execute(self, slot, subindex, roi, result):
            super().execute(slot, subindex, roi, result)
            if self.Extra.ready():
                result += self.Extra.value

    op, source = Op(), OpPass()
    op.Input.setValue(DATA)
    np.testing.assert_array_equal(op.Output[:].wait(), DATA)
    op.Extra.connect(source.Output)
    np.testing.assert_array_equal(op.Output[:].wait(), DATA)
    source.Input.setValue(np.array([10]))
    assert op.setups > 1
    np.testing.assert_array_equal(op.Output[:].wait(), DATA + 10)
    setups = op.setups
    source.Input.disconnect()
    assert op.setups > setups
    np.testing.assert_array_equal(op.Output[:].wait(), DATA)


# connecting


def test_connecting_takes_metadata_and_readiness():
    """A connected slot has the upstream's metadata, value and readiness."""
    a, b = OpPass(), OpPass()
    a.Input.setValue(DATA, extra_meta={"axistags": "yx"})
    log = []
    watch(log, "+-~dc", I=b.Input)
    b.Input.connect(a.Output)
    assert b.Input.meta.axistags == "yx"
    assert set(log) == {"I+", "I~", "Ic", "Id"}
    assert b.Input.upstream_slot is a.Output
    assert a.Output.downstream_slots == [b.Input]
    log.clear()
    b.Input.connect(a.Output)
    assert log == []


def test_reconnecting():
    """Another upstream slot: disconnect callbacks first, then the new data."""
    a, b, op = OpPass(), OpPlus(), OpPass()
    a.Input.setValue(DATA)
    b.Input.setValue(DATA)
    op.Input.connect(a.Output)
    log = []
    watch(log, "cx", I=op.Input)
    op.Input.connect(b.Output)
    assert log == ["Ix", "Ic"]
    np.testing.assert_array_equal(op.Output[:].wait(), DATA + 1)
    assert a.Output.downstream_slots == []
    op.Input.connect(None)
    assert log == ["Ix", "Ic", "Ix"]
    assert not op.Input.connected()
    op.Input.disconnect()
    assert log == ["Ix", "Ic", "Ix"]


def test_who_may_be_connected():
    """Siblings, parent and child, and slots of one operator may; others only with permission."""
    parent, stranger = OpPass(), OpPass()
    child, sibling = OpPass(parent=parent), OpPass(parent=parent)
    grandchild = OpPass(parent=child)
    child.Input.connect(parent.Input)
    sibling.Input.connect(child.Output)
    parent.Output.connect(sibling.Output)
    grandchild.Input.connect(child.Input)
    with pytest.raises(ValueError, match="neither siblings nor parent and child"):
        stranger.Input.connect(grandchild.Output)
    with pytest.raises(ValueError, match="permit_distant_connection"):
        grandchild.Input.connect(parent.Input)
    stranger.Input.connect(grandchild.Output, permit_distant_connection=True)
    parent.Input.setValue(DATA)
    np.testing.assert_array_equal(stranger.Output[:].wait(), DATA)


def test_circles_are_refused():
    """A slot cannot take its data from itself, directly or through connections."""
    a, b = OpPass(), OpPass()
    with pytest.raises(ValueError, match="takes its data from it"):
        a.Input.connect(a.Input)
    b.Input.connect(a.Input)
    with pytest.raises(ValueError, match="takes its data from it"):
        a.Input.connect(b.Input)


def test_inputs_to_inputs_and_outputs_within_an_operator():
    """An input may be connected to a sibling's input, and an output to an input of its own operator."""

    class OpForward(Operator):
        Input = InputSlot()
        Output = OutputSlot()

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.Output.connect(self.Input)

        def setupOutputs(self):
            pass

        def propagateDirty(self, slot, subindex, roi):
            pass

    first, second, dirty = OpForward(), OpPlus(), []
    second.Input.connect(first.Input)
    first.Output.notifyDirty(lambda _, roi: dirty.append(str(roi)))
    first.Input.setValue(DATA)
    np.testing.assert_array_equal(first.Output[:].wait(), DATA)
    np.testing.assert_array_equal(second.Output[:].wait(), DATA + 1)
    first.Input.setDirty(slice(1, 2))
    assert dirty[-1] == "(1, 0) to (2, 6)"


# dirty


def test_ways_to_say_dirty():
    """A roi, a slicing, start and stop, or nothing for all; a roi is passed on as it is."""
    op = OpPass()
    op.Input.setValue(DATA)
    op.dirty.clear()
    roi = op.Input._roi(slice(1, 3))
    op.Input.setDirty(roi)
    op.Input.setDirty(slice(1, 3))
    op.Input.setDirty((1, 0), (3, 6))
    op.Input.setDirty(start=(1, 0), stop=(3, 6))
    op.Input.setDirty()
    assert op.dirty[0] is roi
    assert [str(one) for one in op.dirty] == ["(1, 0) to (3, 6)"] * 4 + ["(0, 0) to (4, 6)"]


def test_dirtiness_beyond_the_slot_is_cut_off():
    """What operators with context call dirty outside of a slot does not reach those downstream."""

    class OpGrow(OpPass):
        def propagateDirty(self, slot, subindex, roi):
            self.Output.setDirty(roi.adjustRoi(2))

    grow, after = chain([OpGrow(), OpPass()])
    grow.Input.setValue(DATA)
    after.dirty.clear()
    grow.Input.setDirty((1, 0), (2, 3))
    assert [str(roi) for roi in after.dirty] == ["(0, 0) to (4, 5)"]


def test_dirtiness_is_for_those_that_are_configured():
    """setDirty of a slot without shape is ignored, and operators that miss an input do not hear of it."""
    total, log = OpSum(), []
    total.Output.notifyDirty(lambda *_: log.append(1))
    total.Output.setDirty()
    total.A.setValue(DATA)
    total.A.setDirty()
    assert log == []


def test_pushing_data_down():
    """`slot[slicing] = data` calls setInSlot of all downstream, and writes into a slot's own value."""

    class OpSink(OpPass):
        def __init__(self):
            super().__init__()
            self.got = []

        def setInSlot(self, slot, subindex, roi, value):
            self.got.append((slot.name, subindex, str(roi), value.tolist()))

    source, sinks = OpSink(), [OpSink(), OpSink()]
    for sink in sinks:
        sink.Input.connect(source.Input)
    own = DATA.copy()
    source.Input.setValue(own)
    source.Input[1:2, 0:2] = np.array([[70, 80]])
    for op in (source, *sinks):
        assert op.got == [("Input", (), "(1, 0) to (2, 2)", [[70, 80]])]
    assert own[1, :2].tolist() == [70, 80]
    assert str(source.dirty[-1]) == "(1, 0) to (2, 2)"
    with pytest.raises(ValueError, match="has shape"):
        source.Input[0:1] = np.zeros((2, 2))
    plain = OpPass()
    plain.Input.setValue(own)
    with pytest.raises(NotImplementedError, match="cannot take data that are set into"):
        plain.Input[0:1] = np.zeros((1, 6))


# callbacks


@pytest.mark.parametrize(
    "name", ["Dirty", "MetaChanged", "ValueChanged", "Ready", "Unready", "Connect", "Disconnect"]
)
def test_every_callback_can_be_ended(name):
    """notifyX calls until what it returned, or unregisterX, ends it; the slot is the first argument."""
    op, log = OpPass(), []

    def one(slot, *_, **kwargs):
        log.append((slot, kwargs))

    def happen():
        op.Input.setValue(DATA)
        op.Input.disconnect()

    end = getattr(op.Input, f"notify{name}")(one, tag="t")
    happen()
    assert log
    assert set(map(str, log)) == {str((op.Input, {"tag": "t"}))}
    end()
    log.clear()
    happen()
    getattr(op.Input, f"notify{name}")(one)
    getattr(op.Input, f"unregister{name}")(one)
    getattr(op.Input, f"unregister{name}")(one)
    happen()
    assert log == []


def test_callbacks_are_called_in_order_and_once():
    """Callbacks are called in the order they were given; giving one again moves it to the end."""
    op, log = OpPass(), []

    def first(*_):
        log.append("first")

    def second(*_):
        log.append("second")

    for callback in (first, second, first):
        op.Input.notifyDirty(callback)
    op.Input.setValue(DATA)
    assert log == ["second", "first"]
    op.Input.unregisterDirty(first)
    op.Input.setDirty()
    assert log == ["second", "first", "second"]


def test_deferred_callbacks():
    """With defer=True a callback waits for the end of the whole edit, and then sees the result of it."""
    a, b = chain([OpPass(), OpPass()])
    log = []
    a.Input.notifyMetaChanged(lambda slot: log.append(("deferred", b.Output.ready())), defer=True)
    b.Output.notifyDirty(lambda *_: log.append("dirty"))
    a.Input.setValue(DATA)
    assert log == ["dirty", ("deferred", True)]


def test_exceptions_of_callbacks():
    """An exception of a callback reaches who made the change; one that only says "cancelled" does not."""
    op, log = OpPass(), []

    def cancelled(*_):
        raise CancellationException("over")

    def fail(*_):
        raise LookupError("callback")

    op.Input.notifyDirty(cancelled)
    op.Input.notifyDirty(lambda *_: log.append("next"))
    op.Input.setValue(DATA)
    assert log == ["next"]
    op.Input.notifyDirty(fail)
    with pytest.raises(LookupError, match="callback"):
        op.Input.setDirty()


def test_a_callback_may_edit():
    """A callback may set values, connect and disconnect, within the edit that called it."""
    a, b = OpPlus(), OpPlus()
    a.Input.notifyDirty(lambda *_: b.Number.setValue(int(a.Input.value[0, 0])))
    a.Input.notifyReady(lambda *_: b.Input.connect(a.Output))
    a.Input.setValue(DATA + 9)
    np.testing.assert_array_equal(b.Output[:].wait(), DATA + 9 + 1 + 9)
