"""What workers have used, and what that says of what they asked for."""

from dataclasses import replace

import pytest

from blockflow.compute.slurm.accounting import (
    advice,
    append_usage,
    parse_cpu_time,
    read_usage,
    summary,
    usage_of_sacct,
)
from blockflow.compute.slurm.worker import Usage

ONE = Usage("7_0", "n1", 16 * 10**9, 3600.0, 3500.0, 3_100_000_000)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:01.500", 1.5), ("02:03", 123), ("01:02:03", 3723), ("2-01:00:00", 176400), ("", 0), ("UNKNOWN", 0)],
)
def test_sacct_times_are_understood(text, seconds):
    """Days, hours, minutes, seconds and their parts."""
    assert parse_cpu_time(text) == seconds


def test_a_job_and_its_steps_are_one_worker():
    """The job's line has times and state, its steps' the memory."""
    row = dict.fromkeys(("JobID", "State", "ElapsedRaw", "TotalCPU", "MaxRSS", "ReqMem", "NodeList"), "")
    rows = [
        row
        | {
            "JobID": "7_0",
            "State": "CANCELLED by 0",
            "ElapsedRaw": "90",
            "TotalCPU": "01:00",
            "ReqMem": "4Gn",
        },
        row | {"JobID": "7_0.batch", "State": "CANCELLED", "MaxRSS": "102400K"},
        row | {"JobID": "7_0.extern", "MaxRSS": "0"},
    ]
    assert usage_of_sacct(rows) == [Usage("7_0", "", 4 * 1024**3, 90.0, 60.0, 100 * 1024**2, "CANCELLED")]


def test_usage_comes_back_but_for_a_line_cut_short(tmp_path):
    """A supervisor that was killed while it wrote costs one line."""
    path = tmp_path / "usage.jsonl"
    assert read_usage(path) == []
    append_usage(path, [ONE])
    append_usage(path, [replace(ONE, job="7_1")])
    with path.open("a") as file:
        file.write('{"job": "7_2", "ho')
    assert [one.job for one in read_usage(path)] == ["7_0", "7_1"]


def test_asking_for_far_too_much_is_advised_against():
    """Twice what was used is too much; a little more is not."""
    assert advice([ONE], 1) == ["asked 16 GB of memory, used 3.1 GB: memory: 4.03 GB would do"]
    assert advice([replace(ONE, memory=5 * 10**9)], 1) == []
    assert advice([replace(ONE, memory=None)], 1) == []
    (cpus,) = advice([replace(ONE, memory=None)], 4)
    assert cpus == "asked 4 CPUs, used 0.97 on average: cpus_per_worker: 1 would do"


def test_the_summary_counts_states():
    """One line has workers, times, memory, how they ended, and the advice."""
    text = summary([replace(ONE, state="COMPLETED"), replace(ONE, state="OUT_OF_MEMORY")], 1)
    assert text.startswith(
        "2 workers; 2 h of elapsed and 1.94 h of CPU time; at most 3.1 GB of memory each; "
    )
    assert "1 completed, 1 out of memory; asked 16 GB" in text
