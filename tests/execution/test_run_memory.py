"""A limit on the memory of a worker, kept by the supervisor."""

from pathlib import Path

import pytest
from traces import records

import blockflow
from blockflow.compute import create_compute_context
from blockflow.errors import ConfigError
from blockflow.utility.quantity import format_bytes, parse_bytes


def test_a_worker_over_its_limit_is_ended_and_the_record_has_the_figures(line):
    """The block that takes too much fails as `out_of_memory` with both numbers; all others are done."""

    def work(block):
        number = block.write_roi.offset[0]
        if number == 3:
            hoard = [bytearray(b"x" * 10_000_000) for _ in range(100)]
            Path("survived").write_text(str(len(hoard)))
        Path(f"did-{number}").touch()

    done = blockflow.run_blockwise(
        None, *line(8), 2, 1, process_function=work, read_write_conflict=False, run_dir="run",
        compute_context={"context": "local", "memory": "300 MB"},
    )  # fmt: skip
    assert done is False
    assert sorted(path.name for path in Path().glob("did-*")) == [f"did-{n}" for n in range(8) if n != 3]
    found = records("run")
    assert [(r.block, r.cause, r.attempt) for r in found] == [
        (3, "out_of_memory", 1),
        (3, "out_of_memory", 2),
    ]
    assert "its limit is 300 MB" in found[0].message
    assert not Path("survived").exists()


def test_what_a_worker_starts_counts_too(line):
    """Memory that a worker's child process holds is the worker's."""

    def work(block):
        import subprocess
        import sys

        if block.write_roi.offset[0] == 1:
            subprocess.run(
                [sys.executable, "-c", "a = bytearray(b'x' * 600_000_000); input()"], stdin=subprocess.PIPE
            )

    assert not blockflow.run_blockwise(
        None, *line(3), 1, 0, process_function=work, run_dir="run",
        compute_context={"context": "local", "memory": "300 MB"},
    )  # fmt: skip
    assert [(r.block, r.cause) for r in records("run")] == [(1, "out_of_memory")]


def test_a_limit_below_what_a_worker_needs_to_start_ends_the_task(line):
    """Workers that cannot even start within the limit give the task up, with the figures, not for ever."""
    import json

    Path("slow.py").write_text("import time\ndef spawn_worker():\n    time.sleep(60)\n")
    assert not blockflow.run_blockwise(
        "slow.py", *line(3), 1, 0, run_dir="run", name="t",
        compute_context={"context": "local", "memory": "5 MB"},
    )  # fmt: skip
    assert "its limit is 5 MB" in json.loads(Path("run/run.json").read_text())["results"]["t"]["stopped"]


def test_the_serial_context_says_that_it_keeps_no_limit(line, capfd):
    """Where memory cannot be limited the run says so."""
    assert blockflow.run_blockwise(
        None, *line(1), 1, process_function=lambda block: None, run_dir="run",
        compute_context={"context": "serial", "memory": "5 MB"},
    )  # fmt: skip
    assert "its memory is not limited" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "amount"), [("4 GB", 4 * 10**9), ("512MiB", 512 * 2**20), (77, 77), ("1.5 kB", 1500), ("10", 10)]
)
def test_amounts_as_people_write_them(text, amount):
    """Decimal and binary units, with and without space."""
    assert parse_bytes(text) == amount


@pytest.mark.parametrize("text", ["", "much", "4 G B", "-1 GB", "0", "4 XB"])
def test_amounts_that_are_none(text):
    """Anything else is refused with examples."""
    with pytest.raises(ValueError, match="write it as 4 GB"):
        parse_bytes(text)
    with pytest.raises(ConfigError, match="write it as 4 GB"):
        create_compute_context({"context": "local", "memory": text})


def test_amounts_for_people():
    """Three digits and a unit."""
    assert [format_bytes(n) for n in (5, 1500, 3 * 10**8, 4 * 10**9)] == ["5 B", "1.5 kB", "300 MB", "4 GB"]
