"""A fault campaign: runs whose processes are killed at random, resumed until they are done, and then judged.

    report = run_campaign(folder, data, seed=7, runs=10)
    report.check()

Each run copies `data` into other chunks and shards and thresholds the copy, two worker files in a row, with
`blockflow run` as people start it. A seeded generator says when which kind of process is killed (SIGKILL); the
same command is given again until it ends well. The seed decides what is tried, not what comes of it: where the
other processes stand at that moment is the machine's doing. Linux only.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blockflow.compute.local import WORKER
from blockflow.execution.fork_server import SUPERVISOR
from blockflow.testing.run_processes import MARK, Process, end_all, kill, processes_of, wait_for_end

__all__ = [
    "VICTIMS",
    "CampaignReport",
    "CampaignRun",
    "Kill",
    "blocks_begun_again",
    "blocks_done_again",
    "choose_victim",
    "plan_kills",
    "run_campaign",
    "victims_among",
]

#: what may be killed, and how often in proportion
VICTIMS = {"worker": 3, "driver": 2, "supervisor": 1, "fork server": 1}

#: seconds after which what is left of a run whose driver is gone counts as left behind
_LAST_BREATH = 15.0

_TICK = 0.01


@dataclass(frozen=True)
class Kill:
    """One kill: after which part of an undisturbed run's duration, and of what, as soon as there is such a process.

    `resume_at_once`: if the driver dies of it, the next session does not wait for the end of the other processes.
    """

    after: float
    victim: str
    resume_at_once: bool


@dataclass(frozen=True)
class CampaignRun:
    """What came of one run.

    `kills` counts by victim; `done_again` counts the times that a block was done which had been done already, and
    `begun_again` those that it was processed again, done or not; `problem` says why the run never ended well, if so.
    """

    number: int
    blocks: int
    kills: Mapping[str, int]
    sessions: int
    wrong_voxels: int
    processes_left: int
    done_again: int
    begun_again: int
    seconds: float
    problem: str | None = None

    def problems(self, workers: int) -> list[str]:
        """What is not as promised, a line each."""
        found = [] if self.problem is None else [self.problem]
        if self.wrong_voxels:
            found.append(f"{self.wrong_voxels} wrong voxels")
        if self.processes_left:
            found.append(f"{self.processes_left} processes left {_LAST_BREATH:g} s after the end")
        kills = sum(self.kills.values())
        for count, what in ((self.done_again, "done"), (self.begun_again, "processed")):
            if count > kills * workers:
                found.append(
                    f"{count} blocks {what} again, more than {kills} kills of {workers} workers can explain"
                )
        return found


@dataclass(frozen=True)
class CampaignReport:
    """What came of a campaign. `undisturbed` is the duration in seconds of a run without kills."""

    seed: int
    shape: tuple[int, ...]
    workers: int
    undisturbed: float
    runs: tuple[CampaignRun, ...]

    @property
    def kills(self) -> dict[str, int]:
        """How many were killed of each kind."""
        return {victim: sum(run.kills.get(victim, 0) for run in self.runs) for victim in VICTIMS}

    @property
    def bound(self) -> int:
        """How many blocks may have been done again: kills times workers."""
        return sum(self.kills.values()) * self.workers

    def total(self, figure: str) -> Any:
        """The sum over all runs of a figure of `CampaignRun`, such as `wrong_voxels`."""
        return sum(getattr(run, figure) for run in self.runs)

    def problems(self) -> list[str]:
        """What is not as promised, a line for each, with the run's number."""
        return [f"run {run.number}: {problem}" for run in self.runs for problem in run.problems(self.workers)]

    def check(self) -> None:
        """Raise `AssertionError` with the seed and all that went wrong, if anything did."""
        if problems := self.problems():
            raise AssertionError(
                f"campaign of seed {self.seed} on {self.shape} voxels: {len(problems)} problems in {len(self.runs)} "
                "runs (the folders of these runs are kept):\n" + "\n".join(problems)
            )


def plan_kills(generator: random.Random, most: int) -> tuple[Kill, ...]:
    """Which kills to make in one run: 1 to `most`, each some time after the one before."""
    return tuple(
        Kill(
            after=generator.uniform(0.0, 0.6),
            victim=generator.choices(list(VICTIMS), list(VICTIMS.values()))[0],
            resume_at_once=generator.random() < 0.5,
        )
        for _ in range(generator.randint(1, most))
    )


def victims_among(processes: Iterable[Process], driver: int) -> dict[str, list[int]]:
    """The processes by what they are, each kind by process id; other processes of the run are no victims."""
    found: dict[str, list[int]] = {victim: [] for victim in VICTIMS}
    for process in sorted(processes, key=lambda process: process.pid):
        if process.pid == driver:
            found["driver"].append(process.pid)
        elif process.name == WORKER or "blockflow.execution.worker" in process.command:
            found["worker"].append(process.pid)
        elif process.name == SUPERVISOR:
            found["supervisor"].append(process.pid)
        elif process.parent == driver and "blockflow.execution.fork_server" in process.command:
            found["fork server"].append(process.pid)
    return found


def choose_victim(generator: random.Random, wanted: str, living: Mapping[str, Sequence[int]]) -> int | None:
    """The id of the process to kill, one of the kind that is `wanted`; `None` if none of it lives."""
    return generator.choice(list(living[wanted])) if living.get(wanted) else None


def blocks_done_again(events: Iterable[tuple[str, Mapping[str, Any]]]) -> int:
    """How often a block was done that had been done already, from pairs of a task's name and an event."""
    done = Counter((task, event["block"]) for task, event in events if event["event"] == "done")
    return sum(count - 1 for count in done.values())


def blocks_begun_again(events: Iterable[tuple[str, Mapping[str, Any]]]) -> int:
    """How often a block was processed that had been processed already, done or not; skipped is not processed."""
    begun: Counter[tuple[str, int]] = Counter()
    for task, event in events:
        if event["event"] in ("start", "skipped"):
            begun[task, event["block"]] += 1 if event["event"] == "start" else -1
    return sum(max(0, count - 1) for count in begun.values())


def run_campaign(
    folder: Path,
    data: NDArray[Any],
    seed: int,
    runs: int,
    *,
    block: int = 128,
    workers: int = 2,
    most_kills: int = 4,
    patience: float = 120.0,
    progress: Callable[[CampaignRun], object] | None = None,
    go_on: Callable[[], bool] | None = None,
) -> CampaignReport:
    """Kill and resume runs over `data` until each is done, and judge what they leave.

    Parameters
    ----------
    folder : Path
        Where the volume and the runs lie; made if it is not there. The folder of a run that went well is removed.
    data : numpy.ndarray
        The voxels to process, of an integer type.
    seed : int
        Decides, together with the number of a run, which kills are tried.
    runs : int
        How many runs, beside one at the start that is not disturbed.
    block : int
        Length of a block in voxels along each axis, even; it is one shard of the copy.
    workers : int
        How many blocks are processed at one time.
    most_kills : int
        In one run.
    patience : float
        Seconds that a session may take once nothing is killed any more.
    progress : callable, optional
        Called with each run's result.
    go_on : callable, optional
        Asked before each run; when it says no, the campaign ends with the runs made so far.

    Returns
    -------
    CampaignReport
        See its `check`.

    Raises
    ------
    AssertionError
        If the run without kills does not go well: then there is nothing to learn from the others.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    stage = _Stage(folder, data, block, workers)
    undisturbed = stage.play(0, random.Random(0), (), 0.0, patience)
    if problems := undisturbed.problems(workers):
        raise AssertionError(f"a run in which nothing is killed does not go well: {'; '.join(problems)}")
    made: list[CampaignRun] = []
    for number in range(1, runs + 1):
        if go_on is not None and not go_on():
            break
        generator = random.Random(f"{seed}-{number}")
        kills = plan_kills(generator, most_kills)
        made.append(stage.play(number, generator, kills, undisturbed.seconds, patience))
        if progress is not None:
            progress(made[-1])
    return CampaignReport(seed, tuple(data.shape), workers, undisturbed.seconds, tuple(made))


class _Stage:
    """The volume, and what is run over it again and again."""

    def __init__(self, folder: Path, data: NDArray[Any], block: int, workers: int) -> None:
        import zarr

        self._folder = folder
        self._data = data
        self._threshold = int(np.median(data[(slice(None, None, 4),) * data.ndim]))
        self._block = [block] * data.ndim
        self._workers = workers
        half = (block // 2,) * data.ndim
        array = zarr.create_array(
            str(folder / "volume.zarr"), shape=data.shape, dtype=data.dtype, chunks=half, overwrite=True
        )
        array[...] = data

    def play(
        self,
        number: int,
        generator: random.Random,
        kills: Sequence[Kill],
        undisturbed: float,
        patience: float,
    ) -> CampaignRun:
        """One run: sessions and kills until it ends well, or never does; then what came of it."""
        folder = self._folder / f"run-{number}"
        _remove(folder)
        folder.mkdir()
        (folder / "config.yaml").write_text(json.dumps(self._config(folder)))
        start = time.monotonic()
        try:
            sessions, killed, problem = _sessions(folder, generator, kills, undisturbed, patience)
            seconds = time.monotonic() - start
            left = len(wait_for_end(folder, _LAST_BREATH))
        finally:
            end_all(folder)
        events = list(_events(folder / "run" / "events"))
        run = CampaignRun(
            number=number,
            blocks=2 * int(np.prod([-(-size // self._block[0]) for size in self._data.shape])),
            kills=killed,
            sessions=sessions,
            wrong_voxels=0 if problem else self._wrong_voxels(folder),
            processes_left=left,
            done_again=blocks_done_again(events),
            begun_again=blocks_begun_again(events),
            seconds=seconds,
            problem=problem,
        )
        if not run.problems(self._workers):
            _remove(folder)
        return run

    def _config(self, folder: Path) -> dict[str, Any]:
        block = {"offset": [0] * len(self._block), "shape": self._block}
        chunks = [*(size // 2 for size in self._block[:-1]), self._block[-1]]
        return {
            "name": "campaign",
            "run_dir": str(folder / "run"),
            "compute": {"context": "local", "num_workers": self._workers},
            "arrays": {"volume": {"path": str(self._folder / "volume.zarr")}},
            "tasks": {
                "copied": {
                    "worker_file": "copy",
                    "inputs": {"input": "volume"},
                    "outputs": {"output": str(folder / "copied.zarr")},
                    "write_roi": block,
                    "args": {"chunks": chunks, "shards": self._block},
                },
                "above": {
                    "worker_file": "threshold",
                    "inputs": {"input": "copied"},
                    "outputs": {"output": str(folder / "above.zarr")},
                    "write_roi": block,
                    "args": {"threshold": self._threshold, "chunks": self._block},
                },
            },
        }

    def _wrong_voxels(self, folder: Path) -> int:
        import zarr

        wrong = 0
        wanted = {"copied.zarr": self._data, "above.zarr": self._data > self._threshold}
        for name, voxels in wanted.items():
            array = zarr.open_array(str(folder / name), mode="r")
            wrong += int(np.count_nonzero(np.asarray(array[...]) != voxels))
        return wrong


def _sessions(
    folder: Path, generator: random.Random, kills: Sequence[Kill], undisturbed: float, patience: float
) -> tuple[int, dict[str, int], str | None]:
    """Start the run again and again; gives the number of sessions, the kills by victim, and what went wrong."""
    waiting = list(kills)
    killed = dict.fromkeys(VICTIMS, 0)
    for session in range(1, 2 * len(kills) + 2):
        with _start(folder) as driver:
            resume_at_once = False
            while waiting and not _ends_within(driver, waiting[0].after * undisturbed):
                planned = waiting.pop(0)
                if _strike(planned.victim, generator, driver, folder):
                    killed[planned.victim] += 1
                    if planned.victim == "driver":
                        resume_at_once = planned.resume_at_once
                        break
            if not _ends_within(driver, patience):
                end_all(folder)
                return session, killed, f"session {session} still ran after {patience:g} s{_said(folder)}"
        if driver.returncode == 0:
            return session, killed, None
        if driver.returncode == 2:
            return session, killed, f"session {session} was refused{_said(folder)}"
        if not resume_at_once and (left := wait_for_end(folder, _LAST_BREATH)):
            return session, killed, f"{len(left)} processes outlive the driver by {_LAST_BREATH:g} s"
    return session, killed, f"not done after {session} sessions{_said(folder)}"


def _strike(victim: str, generator: random.Random, driver: "subprocess.Popen[bytes]", folder: Path) -> bool:
    """Kill a process of a kind, as soon as there is one; false if the driver ends before."""
    while True:
        pid = choose_victim(generator, victim, victims_among(processes_of(folder), driver.pid))
        if pid is not None and kill(pid, folder):
            return True
        if _ends_within(driver, _TICK):
            return False


def _start(folder: Path) -> "subprocess.Popen[bytes]":
    with (folder / "driver.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "blockflow", "run", str(folder / "config.yaml"), "--quiet"],
            env={**os.environ, MARK: str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _ends_within(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _said(folder: Path) -> str:
    lines = (folder / "driver.log").read_text(errors="replace").splitlines()[-20:]
    return "; its drivers said last:\n  " + "\n  ".join(lines)


def _events(folder: Path) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """The events of all workers of all sessions, with the name of their task."""
    for path in sorted(folder.glob("*.jsonl")):
        task, _, worker = path.stem.partition(".")[2].rpartition("-")
        if worker.isdigit():
            for line in path.read_text().splitlines():
                with suppress(ValueError):  # a line that a killed process could not end
                    yield task, json.loads(line)


def _remove(folder: Path) -> None:
    import shutil

    if folder.exists():
        shutil.rmtree(folder)
