"""The fault campaign in short, and its decisions one by one."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from blockflow.testing import run_processes
from blockflow.testing.campaign import (
    VICTIMS,
    CampaignReport,
    CampaignRun,
    blocks_begun_again,
    blocks_done_again,
    choose_victim,
    plan_kills,
    run_campaign,
    victims_among,
)
from blockflow.testing.run_processes import MARK, Process

DATA = Path(__file__).parents[3] / "shared" / "data" / "connectomics_labels.npz"


@pytest.fixture(scope="module")
def labels():
    """96^3 voxels of the real volume if it is beside the checkout, else of a generated one."""
    if DATA.exists():
        with np.load(DATA) as archive:
            return archive["labels"][200:296, 200:296, 200:296].copy()
    return np.random.default_rng(0).integers(0, 3000, (96, 96, 96), dtype=np.uint32)


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_runs_end_with_every_voxel_right(labels, tmp_path, seed):
    """Workers, supervisors and drivers killed at random: resumed until done, no voxel is wrong, no process is left."""
    report = run_campaign(tmp_path / "campaign", labels, seed, runs=2, block=24)
    report.check()
    assert len(report.runs) == 2
    assert sum(report.kills.values()) > 0
    assert all(run.blocks == 128 for run in report.runs)


def test_a_seed_always_plans_the_same_kills():
    """The plan of kills is a function of the generator alone: one seed, one plan."""
    plans = [[plan_kills(random.Random(f"{seed}-1"), 5) for seed in range(50)] for _ in range(2)]
    assert plans[0] == plans[1]
    assert len(set(plans[0])) == 50
    assert {len(plan) for plan in plans[0]} == {1, 2, 3, 4, 5}
    assert {kill.victim for plan in plans[0] for kill in plan} == set(VICTIMS)


def test_processes_are_known_by_what_they_are():
    """The driver, its children and the workers are told apart; workers count whoever their parent is."""
    worker = "python -P -m blockflow.execution.worker run/tasks/a/task.json a-0"
    server = "python -P -m blockflow.execution.fork_server run"
    processes = [
        Process(10, 1, "blockflow", "python -m blockflow run config.yaml"),
        Process(11, 10, "python", server),
        Process(12, 11, "blockflow-super", server),
        Process(15, 12, "blockflow-work", server),
        Process(13, 1, "python", worker),
        Process(14, 11, "sh", "something of a worker's"),
    ]
    assert victims_among(processes, 10) == {
        "worker": [13, 15],
        "driver": [10],
        "supervisor": [12],
        "fork server": [11],
    }


def test_a_victim_is_one_of_the_wanted_kind():
    """Each living process of the wanted kind may be the victim, and no other; none is chosen where none lives."""
    generator = random.Random(0)
    living = {"worker": [12, 13], "driver": [10], "supervisor": [], "fork server": []}
    assert {choose_victim(generator, "worker", living) for _ in range(50)} == {12, 13}
    assert choose_victim(generator, "driver", living) == 10
    assert choose_victim(generator, "supervisor", living) is None


def test_blocks_that_are_done_or_begun_again_are_counted_by_task():
    """A block counts again each time beyond the first, in its own task; one that is skipped was not processed."""

    def event(task, word, block=None):
        return task, {"event": word, "block": block}

    events = [
        *(event("a", "start", block) for block in (0, 1, 1, 2, 2)),
        *(event("a", "done", block) for block in (0, 1)),
        event("a", "skipped", 2),
        event("a", "start", 1),
        event("a", "done", 1),
        event("b", "start", 0),
        event("b", "done", 0),
        event("b", "finished"),
    ]
    assert blocks_done_again(events) == 1
    assert blocks_begun_again(events) == 2


def run_of(**figures):
    good = dict(
        number=3,
        blocks=8,
        kills={"worker": 1, "driver": 1, "supervisor": 0},
        sessions=2,
        wrong_voxels=0,
        processes_left=0,
        done_again=4,
        begun_again=4,
        seconds=1.0,
    )
    return CampaignRun(**{**good, **figures})


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"wrong_voxels": 7}, "run 3: 7 wrong voxels"),
        ({"processes_left": 1}, "run 3: 1 processes left"),
        ({"done_again": 5}, "run 3: 5 blocks done again, more than 2 kills of 2 workers can explain"),
        ({"begun_again": 5}, "run 3: 5 blocks processed again, more than 2 kills of 2 workers can explain"),
        ({"problem": "session 2 was refused"}, "run 3: session 2 was refused"),
    ],
)
def test_each_broken_promise_fails_the_campaign_with_its_seed(figures, said):
    """Whatever is not as promised is an error that names the seed, the run and the figure; else there is none."""
    CampaignReport(77, (8, 8, 8), 2, 1.0, (run_of(),)).check()
    with pytest.raises(AssertionError, match="campaign of seed 77") as caught:
        CampaignReport(77, (8, 8, 8), 2, 1.0, (run_of(), run_of(**figures))).check()
    assert said in str(caught.value)


def test_only_processes_of_the_run_are_killed(tmp_path):
    """A process is a run's if it has its mark or names its folder, and no other one is ever killed."""
    wait = [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"]
    mine, twin = tmp_path / "run-1", tmp_path / "run-10"
    started = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for command, environment in (
            (wait, {**os.environ, MARK: str(mine)}),
            ([*wait, f"{mine}/run"], None),
            (wait, {**os.environ, MARK: str(twin)}),
            ([*wait, f"{twin}/run"], None),
        )
    ]
    try:
        assert [process.stdout.readline() for process in started] == [b"up\n"] * 4
        assert {process.pid for process in run_processes.processes_of(mine)} == {p.pid for p in started[:2]}
        run_processes.end_all(mine)
        assert [process.wait(30) for process in started[:2]] == [-signal.SIGKILL] * 2
        assert not run_processes.kill(started[2].pid, mine)
        assert [process.poll() for process in started[2:]] == [None, None]
    finally:
        for process in started:
            process.kill()
            process.communicate()
