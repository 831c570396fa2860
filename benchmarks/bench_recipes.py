"""Recipes of large values, and what `pickle` with a hash takes of the same: a recipe is the same in each process.

python benchmarks/bench_recipes.py [RUNS]        writes benchmarks/recipes.md
"""

import statistics
import sys
from pathlib import Path

from harness import compare, write_report
from recipes_values import CASES, HOW

FOLDER = Path(__file__).parent

ABOUT = """Of a value that is there already, the time to its hash and the memory that it takes more, median. A pickle's
hash is no recipe: it is another one for equal sets, and holds no code. Ratio is the median over pairs.

| value | pickle, s | recipe, s | ratio | pickle, MB | recipe, MB |
| --- | --- | --- | --- | --- | --- |
"""


def _row(case, runs):
    """A row of the table; a pickle that ends with a RecursionError has no time."""
    script = str(FOLDER / "recipes_values.py")
    measured = compare(case, {how: [sys.executable, script, case, how] for how in HOW}, runs).runs
    pickled, recipe = ([one.figures for one in measured[how]] for how in ("pickle", "recipe"))
    seconds = f"{statistics.median(one['seconds'] for one in recipe):.2f}"
    memory = [f"{statistics.median(one['memory'] for one in figures):.0f}" for figures in (pickled, recipe)]
    if any(one["seconds"] is None for one in pickled):
        return f"| {case} | RecursionError | {seconds} | | | {memory[1]} |"
    ratio = statistics.median(
        ours["seconds"] / theirs["seconds"] for ours, theirs in zip(recipe, pickled, strict=True)
    )
    theirs = f"{statistics.median(one['seconds'] for one in pickled):.2f}"
    return f"| {case} | {theirs} | {seconds} | {ratio:.1f} | {memory[0]} | {memory[1]} |"


if __name__ == "__main__":
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    table = "\n".join(_row(case, runs) for case in CASES)
    write_report(FOLDER / "recipes.md", "Recipes of large values", [ABOUT + table])
