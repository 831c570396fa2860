"""Blocks that do nothing: what blockflow costs beyond plain Daisy, per block, per run and in the driver's memory.

python benchmarks/bench_noop.py [RUNS]        writes benchmarks/noop.md
"""

import statistics
import sys
from pathlib import Path

from harness import Comparison, compare, write_report

FOLDER = Path(__file__).parent
COUNTS = (1, 10_000, 100_000)


def commands(blocks):
    return {
        name: [sys.executable, str(FOLDER / f"noop_{name}.py"), str(blocks)]
        for name in ("daisy", "blockflow")
    }


def slopes(small: Comparison, large: Comparison, label: str) -> list[float]:
    """Microseconds per block beyond the first, run by run."""
    pairs = zip(small.runs[label], large.runs[label], strict=True)
    return [(b.seconds - a.seconds) / (COUNTS[2] - COUNTS[1]) * 1e6 for a, b in pairs]


def growth(small: Comparison, large: Comparison, label: str) -> float:
    """By how many MiB the driver's peak grows from 10,000 to 100,000 blocks."""
    peaks = [[run.figures["driver peak MiB"] for run in one.runs[label]] for one in (large, small)]
    return statistics.median(peaks[0]) - statistics.median(peaks[1])


if __name__ == "__main__":
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    start, small, large = (compare(f"{count} blocks, 2 workers", commands(count), runs) for count in COUNTS)
    daisy, ours = slopes(small, large, "daisy"), slopes(small, large, "blockflow")
    ratios = [b / a for a, b in zip(daisy, ours, strict=True)]
    extra = [b.seconds - a.seconds for a, b in zip(start.runs["daisy"], start.runs["blockflow"], strict=True)]
    summary = (
        "## What follows\n\n"
        "| | daisy | blockflow | bound |\n| --- | ---: | ---: | --- |\n"
        f"| per block, from 10,000 to 100,000 | {statistics.median(daisy):.0f} us | {statistics.median(ours):.0f} us, "
        f"{statistics.median(ratios):.2f} times (pair by pair {', '.join(f'{r:.2f}' for r in ratios)}) | 1.15 times |\n"
        f"| fixed start (1 block) | | {statistics.median(extra):+.2f} s | +0.6 s |\n"
        f"| growth of the driver's peak memory | {growth(small, large, 'daisy'):+.1f} MiB | "
        f"{growth(small, large, 'blockflow'):+.1f} MiB | not beyond Daisy's |\n\n"
        "Plain Daisy keeps its tracking store; blockflow keeps it too, and a journal, an event file per worker and "
        "(none here) failure records."
    )
    write_report(
        FOLDER / "noop.md", "Blocks that do nothing, against plain Daisy", [summary, start, small, large]
    )
