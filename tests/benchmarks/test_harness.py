"""The harness measures whole process trees, pair by pair."""

import contextlib
import importlib.util
import os
import re
import sys
from pathlib import Path

import pytest

PLACE = Path(__file__).parents[2] / "benchmarks" / "harness.py"
MEBI = 2**20


@pytest.fixture(scope="module")
def harness():
    spec = importlib.util.spec_from_file_location("benchmarks_harness", PLACE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def python(code):
    return [sys.executable, "-I", "-S", "-c", code]


#: ends when somebody closes its standard input, after taking `mebi` MiB for itself
HOLD = "import sys; memory = b'x' * ({mebi} << 20); print('ready', flush=True); sys.stdin.read()"


def test_commands_run_in_turn_after_a_warm_up(harness, tmp_path, capfd):
    """A B (warm-up) A B A B: each command runs once more than asked, in turn; stdout stays empty."""
    log = tmp_path / "log"
    prepared = []
    code = f"open({str(log)!r}, 'a').write({{!r}})"
    comparison = harness.compare(
        "turns",
        {"A": python(code.format("A")), "B": python(code.format("B"))},
        runs=2,
        prepare=prepared.append,
    )
    assert log.read_text() == "ABABAB"
    assert prepared == list("ABABAB")
    assert {label: len(runs) for label, runs in comparison.runs.items()} == {"A": 2, "B": 2}
    out, err = capfd.readouterr()
    assert out == ""
    assert "turns: B: run 2 of 2" in err


def test_ratios_are_pair_by_pair(harness):
    """A ratio compares runs that belong together, and its median is of the ratios."""
    runs = {
        "ours": [harness.Measurement(seconds, 10 * MEBI, 5 * MEBI) for seconds in (1, 2, 4)],
        "theirs": [harness.Measurement(seconds, 20 * MEBI, 5 * MEBI) for seconds in (2, 6, 4)],
    }
    comparison = harness.Comparison("figures", runs)
    assert comparison.ratios("theirs") == [2, 3, 1]
    text = comparison.markdown()
    assert "| ours | 3 | 2.000 | 1.000 | 4.000 | 10 | 5 |" in text
    assert "Time of theirs / ours, pair by pair: 2.000, 3.000, 1.000; median **2.000**." in text


def test_memory_is_that_of_the_tree_and_of_the_largest_process(harness):
    """Two children of 40 MiB that live at once count in the tree together, in the largest process once."""
    code = f"""
import subprocess, sys
hold = [sys.executable, "-I", "-S", "-c", {HOLD.format(mebi=40)!r}]
children = [subprocess.Popen(hold, stdin=-1, stdout=-1, start_new_session=new) for new in (False, True)]
for child in children:
    child.stdout.readline()
import time; time.sleep(0.5)   # long enough to be looked at; nothing is asserted about the time
for child in children:
    child.communicate()
"""
    measurement = harness.measure(python(code))
    assert measurement.tree_peak > 80 * MEBI
    assert measurement.process_peak > 40 * MEBI


def test_nothing_is_left_running(harness, tmp_path):
    """A process that the command leaves behind is killed, even one in a session of its own."""
    note = tmp_path / "pid"
    code = f"""
import subprocess, sys, time
wait = "print(1, flush=True); import signal; signal.pause()"
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", wait], stdout=-1, start_new_session=True)
child.stdout.readline()
open({str(note)!r}, "w").write(str(child.pid))
time.sleep(0.5)
"""
    harness.measure(python(code))
    stat = Path(f"/proc/{note.read_text()}/stat")
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # reaped already
        assert stat.read_text().rpartition(")")[2].split()[0] in "ZX"


def test_own_figures_are_reported(harness):
    """A JSON object that the command writes to BENCHMARK_FIGURES is beside the measured figures."""
    code = """
import json, os
json.dump({"driver MiB": 12.5, "engine": os.environ["ENGINE"]}, open(os.environ["BENCHMARK_FIGURES"], "w"))
"""
    comparison = harness.compare("own", {"A": python(code), "B": python("pass")}, 1, env={"ENGINE": "mine"})
    assert comparison.runs["A"][0].figures == {"driver MiB": 12.5, "engine": "mine"}
    text = comparison.markdown()
    assert "| driver MiB | engine |" in text
    assert re.search(r"^\| A .* \| 12.5 \| mine \|$", text, re.MULTILINE)
    assert re.search(r"^\| B .* \|  \|  \|$", text, re.MULTILINE)


def test_a_failing_command_is_an_error_with_what_it_said(harness, tmp_path):
    """A command that fails ends the comparison, and its output is in the message."""
    with pytest.raises(RuntimeError, match=r"(?s)ended with 3 and said:.*no such wheel"):
        harness.compare("bad", {"A": python("import sys; print('no such wheel'); sys.exit(3)")}, cwd=tmp_path)
    with pytest.raises(ValueError, match="at least one run"):
        harness.compare("none", {"A": ["true"]}, runs=0)


def test_a_command_that_hangs_is_killed(harness):
    """A command that takes longer than the timeout is killed and named."""
    with pytest.raises(RuntimeError, match=r"took more than 0\.2 s"):
        harness.measure(python("import signal; signal.pause()"), timeout=0.2)


def test_report_tells_versions_and_machine_but_not_which_one(harness, tmp_path):
    """The report is a Markdown file with all sections, versions and machine, without the host's name."""
    comparison = harness.Comparison("one", {"A": [harness.Measurement(1, MEBI, MEBI)]})
    path = tmp_path / "report.md"
    path.write_text("old")
    harness.write_report(path, "Speed", ["What this is.", comparison])
    text = path.read_text()
    assert text.startswith("# Speed\n\nWhat this is.\n\n### one\n")
    for name in ("numpy", "zarr", "daisy", "Python", "cores", "memory", "processor"):
        assert f"| {name} | " in text
    assert os.uname().nodename not in text
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.md"]
