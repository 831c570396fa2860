"""Labels of blocks, merged by pairs that are one: the step of a segmentation that a single process does.

python benchmarks/bench_label_merge.py [RUNS]        writes benchmarks/label_merge.md
"""

import sys
from pathlib import Path

from harness import compare, write_report

FOLDER = Path(__file__).parent
SIZES = {"10^6 labels, 3x10^6 pairs": (10**6, 3 * 10**6), "10^7 labels, 3x10^7 pairs": (10**7, 3 * 10**7)}


def command(sizes):
    return [sys.executable, str(FOLDER / "label_merge_synthetic.py"), *map(str, sizes)]


if __name__ == "__main__":
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    comparison = compare("Merging labels", {name: command(sizes) for name, sizes in SIZES.items()}, runs)
    text = (
        "The time of the whole process is that of making the pairs and of checking the result, too; `merge s` is the "
        "merge alone. Bound for 10^7 labels: 15 s and 3 GB."
    )
    write_report(
        FOLDER / "label_merge.md",
        "Merging labels",
        [comparison, text],
        libraries=("blockflow", "numpy", "scipy"),
    )
