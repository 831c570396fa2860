"""The fault campaign: workers, supervisors and drivers killed at random, runs resumed until done, voxels compared.

python benchmarks/bench_campaign.py [RUNS [SIZE [MINUTES]]]        writes benchmarks/campaign.md

RUNS (100) runs on the part of SIZE^3 voxels (512: all of it) of a dense segmentation of neural tissue; after MINUTES
(no limit) no further run begins. The volume is `shared/data/connectomics_labels.npz` beside the checkout; without it
a generated volume of that size is used.
"""

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from harness import write_report

from blockflow.testing.campaign import VICTIMS, CampaignReport, CampaignRun, run_campaign

FOLDER = Path(__file__).parent
DATA = FOLDER.parents[1] / "shared" / "data" / "connectomics_labels.npz"
SEED = 2025
WORKERS = 2


def volume(size: int):
    """The voxels, and what they are."""
    if not DATA.exists():
        cells = np.random.default_rng(SEED).integers(0, 3000, (-(-size // 16),) * 3, dtype=np.uint32)
        data = np.kron(cells, np.ones((16,) * 3, np.uint32))[:size, :size, :size]
        return np.ascontiguousarray(data), "a generated volume"
    with np.load(DATA) as archive:
        return archive["labels"][:size, :size, :size].copy(), "a dense segmentation of neural tissue"


def table(report: CampaignReport, planned: int, what: str, minutes: float) -> str:
    seconds = [run.seconds for run in report.runs]
    compared = 2 * int(np.prod(report.shape)) * sum(run.problem is None for run in report.runs)
    rows = {
        "volume": f"{what}, {' x '.join(map(str, report.shape))} voxels",
        "runs": f"{len(report.runs)}"
        + (f" (of {planned}: no more fitted in the time)" if len(report.runs) < planned else ""),
        "blocks in each run": f"{report.runs[0].blocks}, by {report.workers} workers",
        **{f"{victim}s killed": str(report.kills[victim]) for victim in VICTIMS},
        "sessions": f"{report.total('sessions')}, at most {max(run.sessions for run in report.runs)} in a run",
        "**wrong voxels**": f"**{report.total('wrong_voxels')}** of {compared:,}",
        "**processes left**": f"**{report.total('processes_left')}**",
        "blocks done more than once": f"{report.total('done_again')}, bound {report.bound} (kills x workers)",
        "blocks begun more than once": f"{report.total('begun_again')}, same bound",
        "runs that could not be resumed": str(sum(run.problem is not None for run in report.runs)),
        "a run without kills": f"{report.undisturbed:.1f} s",
        "a run with kills": f"median {statistics.median(seconds):.1f} s, at most {max(seconds):.1f} s",
        "in all": f"{minutes:.1f} min",
    }
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in rows.items())])


def arguments(given: list[str]) -> tuple[int, int, float]:
    defaults = ["100", "512", "inf"]
    runs, size, minutes = given + defaults[len(given) :]
    return int(runs), int(size), float(minutes)


def tell(run: CampaignRun) -> None:
    print(
        f"run {run.number}: {run.seconds:.1f} s, {dict(run.kills)}: {run.problems(WORKERS) or 'well'}",
        flush=True,
    )


if __name__ == "__main__":
    runs, size, minutes = arguments(sys.argv[1:])
    data, what = volume(size)
    begin = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="campaign-"))
    report = run_campaign(
        folder,
        data,
        SEED,
        runs,
        block=size // 4,
        workers=WORKERS,
        most_kills=5,
        progress=tell,
        go_on=lambda: time.monotonic() - begin < minutes * 60,
    )
    took = (time.monotonic() - begin) / 60
    method = (
        f"Seed {report.seed}. Each run copies the volume into other chunks and shards and thresholds the copy, in "
        f"blocks of {size // 4}^3 voxels. Up to 5 times a worker, the supervisor of a task or the driver gets SIGKILL "
        "at a random moment; then the same `blockflow run` is given again until it exits with 0. After half of the "
        "drivers' deaths the next session begins at once, beside workers that are just ending. All voxels of both "
        "outputs are compared with numpy."
    )
    problems = [f"- {problem.splitlines()[0]}" for problem in report.problems()] or ["None."]
    write_report(
        FOLDER / "campaign.md",
        "Runs killed at random, and resumed",
        [method, table(report, runs, what, took), "## Problems\n\n" + "\n".join(problems)],
    )
    report.check()  # what went wrong keeps its folder
    shutil.rmtree(folder)
