"""What Slurm's answers mean, and what is asked for next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockflow.compute.slurm.decisions import (
    LONGEST_PAUSE,
    NODE_DOWN,
    Element,
    cause_of,
    is_final,
    is_passing,
    is_pending,
    is_stuck,
    memory_steps,
    next_memory,
    next_pause,
    nodes_to_avoid,
    parse_down_nodes,
    parse_squeue,
    parse_time_left,
    ranges_of,
    split_array,
    usable_memory,
    verdict,
)
from blockflow.execution.failures import CAUSES, NOT_THE_BLOCKS_FAULT

GB = 10**9


def test_squeues_lines_become_elements():
    """Each line of an element is understood, whatever stands in its reason; other lines are passed over."""
    text = (
        "12_0|RUNNING|n1|9:58|None\n"
        "12_7|PENDING||1:00:00|launch failed | requeued held\n"
        "13|NODE_FAIL|n2|INVALID|NodeDown\n"
        "12_[8-9]|PENDING||UNLIMITED|Priority\n"
        "slurm_load_jobs error: Unable to contact slurm controller\n\n"
    )
    assert parse_squeue(text) == [
        Element("12_0", "RUNNING", "n1", 598, "None"),
        Element("12_7", "PENDING", "", 3600, "launch failed | requeued held"),
        Element("13", "NODE_FAIL", "n2", None, "NodeDown"),
    ]


@given(st.integers(0, 10**7))
def test_times_left_come_back(seconds):
    """Days, hours, minutes and seconds add up."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    assert parse_time_left(f"{days}-{hours:02}:{minutes:02}:{rest:02}") == seconds
    assert parse_time_left("UNLIMITED") is None


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        ("NODE_FAIL", "node_failure"),
        ("BOOT_FAIL", "node_failure"),
        ("PREEMPTED", "preemption"),
        ("PENDING", "preemption"),
        ("REQUEUED", "preemption"),
        ("TIMEOUT", "walltime"),
        ("DEADLINE", "walltime"),
        ("OUT_OF_MEMORY", "out_of_memory"),
        ("CANCELLED", "cancelled"),
        ("FAILED", None),
        ("COMPLETED", None),
        ("GONE", None),
    ],
)
def test_a_state_is_a_cause_or_none(state, cause):
    """What Slurm says of an element names the cause; where it says nothing, there is none."""
    assert cause_of(state) == cause
    assert cause is None or cause in CAUSES


def test_only_memory_of_what_slurm_names_costs_an_attempt():
    """Of the causes that Slurm names, all but running out of memory leave the block its attempts."""
    named = {cause_of(state) for state in ("NODE_FAIL", "PREEMPTED", "TIMEOUT", "CANCELLED", "OUT_OF_MEMORY")}
    assert named - NOT_THE_BLOCKS_FAULT == {"out_of_memory"}


def test_a_job_put_back_from_a_dead_node_was_not_preempted():
    """The same state means two things: its node tells which."""
    assert cause_of("PENDING", NODE_DOWN) == "node_failure"
    assert parse_down_nodes("n1|idle\nn2|down*\nn3|mixed*\nn4|drained\nn5|down\n") == {"n2", "n3", "n5"}


def test_where_slurm_polls_for_memory_the_peak_decides():
    """A FAILED element that held nearly all that it might has run out of memory."""
    assert cause_of("FAILED", memory=GB, peak=int(0.95 * GB)) == "out_of_memory"
    assert cause_of("FAILED", memory=GB, peak=int(0.5 * GB)) is None


@pytest.mark.parametrize(
    "state", ["PENDING", "CONFIGURING", "REQUEUED", "RUNNING", "COMPLETING", "SUSPENDED"]
)
def test_what_goes_on_is_not_final(state):
    """An element that may still change is not settled; nothing that is final waits."""
    assert not is_final(state)
    assert is_final("COMPLETED")
    assert not is_pending("COMPLETED")


def test_an_element_that_was_held_after_a_failure_is_stuck():
    """It would wait for ever; one that a person holds, or that waits for its turn, is not."""
    stuck = Element("1_0", "PENDING", "", None, "launch failed requeued held")
    assert is_stuck(stuck)
    assert is_stuck(Element("1_0", "REQUEUE_HOLD", "", None, ""))
    assert not is_stuck(Element("1_0", "PENDING", "", None, "JobHeldUser"))
    assert not is_stuck(Element("1_0", "RUNNING", "n1", None, "None"))


@pytest.mark.parametrize(
    ("complaint", "passing"),
    [
        (
            "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
            True,
        ),
        ("slurm_load_jobs error: Socket timed out on send/recv operation", True),
        ("sbatch: timed out after 60 s", True),
        ("sbatch: error: invalid partition specified: gpux", False),
        ("sbatch: error: Batch job submission failed: Requested node configuration is not available", False),
    ],
)
def test_a_silent_controller_is_told_from_a_refusal(complaint, passing):
    """Only for the first is there use in asking for long."""
    assert is_passing(complaint) is passing


def test_looks_become_rare():
    """The pause doubles up to its longest, so an hour without news costs fewer than 70 looks."""
    pause, looks, passed = 1.0, 0, 0.0
    while passed < 3600:
        passed += pause
        pause = next_pause(pause)
        looks += 1
    assert pause == LONGEST_PAUSE
    assert looks < 70


@given(st.integers(1, 10**12), st.floats(0, 20))
def test_memory_rises_in_steps_to_the_cap(first, times):
    """1, 1.5, 2, 3, 4, ... times: always more than before, never beyond the cap, which comes last."""
    cap = int(first * times)
    steps = memory_steps(first, cap)
    assert steps[0] == first
    assert steps == sorted(set(steps))
    assert steps[-1] == max(first, cap)
    given_next = [next_memory(first, cap, step) for step in steps]
    assert given_next == [*steps[1:], None]


def test_the_first_steps_are_one_and_a_half_and_two():
    """As the documentation says."""
    assert memory_steps(4 * GB, 8 * GB) == [4 * GB, 6 * GB, 8 * GB]
    assert memory_steps(2 * GB, 7 * GB) == [2 * GB, 3 * GB, 4 * GB, 6 * GB, 7 * GB]
    assert memory_steps(2 * GB, 2 * GB) == [2 * GB]


def test_a_node_is_avoided_after_repeated_losses():
    """One loss can happen; three are the node's."""
    assert nodes_to_avoid({"n1": 1, "n2": 3, "n3": 2, "": 9}) == ["n2"]


@given(st.integers(1, 10**5), st.integers(1, 2000))
def test_arrays_are_split_by_what_slurm_takes(count, largest):
    """All elements, no array too large, and no more arrays than that needs."""
    sizes = split_array(count, largest)
    assert sum(sizes) == count
    assert max(sizes) <= largest
    assert len(sizes) == -(-count // largest)


@given(st.sets(st.tuples(st.integers(1, 3), st.integers(0, 40))))
def test_ranges_name_the_same_elements(elements):
    """What scancel is told means the same elements, in as many words as there are arrays."""
    ranges = ranges_of([f"{job}_{index}" for job, index in elements])
    meant = set()
    for text in ranges:
        job, _, inside = text.partition("_")
        for part in inside.strip("[]").split(","):
            first, _, last = part.partition("-")
            meant |= {(int(job), index) for index in range(int(first), int(last or first) + 1)}
    assert meant == elements
    assert len(ranges) == len({job for job, _ in elements})


def test_an_auto_request_is_more_than_the_projection():
    """There is room for Python itself, and a margin."""
    assert usable_memory(GB) > 1.2 * GB


def test_an_exit_status_needs_nobody_elses_word():
    """What the element told is believed at once."""
    assert verdict(0, None, 0.0) == (0, None)
    assert verdict(7, "RUNNING", 0.0) == (7, None)


@pytest.mark.parametrize("state", ["TIMEOUT", "NODE_FAIL", "PREEMPTED", "CANCELLED", "OUT_OF_MEMORY"])
def test_a_killed_worker_is_judged_by_the_state_that_comes_after(state):
    """A signal alone says nothing: the state is waited for, and names the cause."""
    assert verdict(-9, None, 1.0) is None
    assert verdict(-9, "RUNNING", 1.0) is None
    assert verdict(-9, state, 1.0) == (-9, cause_of(state))
    assert verdict(None, state, 1.0) == (-9, cause_of(state))


def test_a_state_that_does_not_come_is_not_waited_for_for_ever():
    """A worker that was killed was killed; one that vanished while it is said to run was lost with its node."""
    assert verdict(-9, None, 30.0) == (-9, None)
    assert verdict(None, "RUNNING", 30.0) is None
    assert verdict(None, "RUNNING", 70.0) == (-9, "node_failure")
    assert verdict(None, None, 70.0) == (-9, "node_failure")
    assert verdict(None, "FAILED", 1.0, silent=True) == (-9, "node_failure")
    assert verdict(None, "FAILED", 1.0) == (-9, None)
