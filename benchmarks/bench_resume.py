"""A million blocks, all but one of which are done already: blockflow's start against plain Daisy's own skip.

python benchmarks/bench_resume.py [RUNS]        writes benchmarks/resume.md
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import compare, write_report

FOLDER = Path(__file__).parent
NAMES = ("daisy", "blockflow")


def command(name, folder):
    return [sys.executable, str(FOLDER / f"resume_{name}.py"), str(folder)]


def marks_of(folder):
    return list(folder.glob("**/done/c/0/0/0"))


def make(name, folder):
    """Let the run make its store, end it, and mark all its blocks but the last."""
    folder.mkdir()
    with subprocess.Popen(
        command(name, folder), stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        while not marks_of(folder):
            time.sleep(0.01)
        process.kill()
    time.sleep(2.0)  # its workers end by themselves
    mark(folder)


def mark(folder):
    (file,) = marks_of(folder)
    file.write_bytes(b"\x01" * (file.stat().st_size - 1) + b"\x00")


if __name__ == "__main__":
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        places = {name: Path(folder) / name for name in NAMES}
        for name, place in places.items():
            make(name, place)
        comparison = compare(
            "10^6 blocks, one of them not done",
            {name: command(name, place) for name, place in places.items()},
            runs,
            prepare=lambda name: mark(places[name]),
        )
    extra = [b.seconds - a.seconds for a, b in zip(*(comparison.runs[name] for name in NAMES), strict=True)]
    text = f"blockflow - daisy, run by run: {', '.join(f'{value:+.2f} s' for value in extra)}. Bound: +1 s."
    write_report(FOLDER / "resume.md", "A run that is nearly done", [comparison, text])
