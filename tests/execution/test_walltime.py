"""A worker stops taking blocks when its time is nearly over."""

from hypothesis import given
from hypothesis import strategies as st

from blockflow.execution.walltime import Remaining, is_enough


@given(st.floats(0, 1e6), st.lists(st.floats(0, 1e5), min_size=1))
def test_a_block_is_begun_only_if_it_would_end_in_time(left, durations):
    """If it takes as long as the longest of the last ones, it ends before the worker is ended."""
    assert not is_enough(left, durations) or left > max(durations)
    assert is_enough(max(durations) * 2 + 60, durations)


def test_the_first_block_is_always_begun():
    """Nothing is known of how long blocks take; and a worker that does none would be replaced for ever."""
    assert is_enough(0.0, [])


def test_durations_are_measured():
    """With ten seconds left, blocks of one second go on, and blocks of nine do not."""
    now = [100.0]
    remaining = Remaining(110.0, lambda: now[0])
    assert remaining.is_enough()
    remaining.begin()
    now[0] = 101.0
    remaining.end()
    assert remaining.is_enough()
    remaining.begin()
    now[0] = 105.0
    remaining.end()
    assert not remaining.is_enough()


def test_without_an_end_there_is_always_time():
    """Workers that nobody ends take blocks until there are none."""
    remaining = Remaining.of_process({})
    remaining.begin()
    remaining.end()
    assert remaining.is_enough()
