"""How soon the command line answers, against importing click alone.

python benchmarks/bench_help.py [RUNS]        writes benchmarks/help.md
"""

import sys
from pathlib import Path

from harness import compare, write_report

FOLDER = Path(__file__).parent

if __name__ == "__main__":
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    commands = {
        "import click": [sys.executable, "-c", "import click"],
        "blockflow --help": [str(Path(sys.executable).with_name("blockflow")), "--help"],
    }
    write_report(
        FOLDER / "help.md", "`blockflow --help`", [compare("help", commands, runs), "Bound: 2.5 times."]
    )
