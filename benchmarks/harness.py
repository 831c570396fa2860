"""Side-by-side measurements of whole processes: pair by pair, with the peak memory of all they start.

`compare` runs its commands in turn (A B A B ...), after a warm-up of each, so that whatever drifts on the
machine meets both; `write_report` puts comparisons, library versions and the machine into a Markdown file.

What is measured:

- time: wall clock, from the start of the process to its end, interpreter start included;
- tree: the largest sum of resident memory over the command and all it started, looked at every 20 ms (less
  often where looking would take more than a tenth of one core). Pages that processes share count in each of
  them, and a shorter peak can be missed;
- largest process: the largest resident memory of one process among the command and those it waited for, as
  the kernel accounts for it (`ru_maxrss`), so never missed. It cannot be less than that of the process which
  measures, so import nothing large there;
- own figures: what the command writes as a JSON object to the file named in `BENCHMARK_FIGURES`.

Linux only, standard library only.
"""

import contextlib
import json
import os
import platform
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["Comparison", "Measurement", "compare", "machine", "measure", "versions", "write_report"]

LIBRARIES = ("blockflow", "daisy", "funlib.geometry", "funlib.persistence", "numpy", "zarr", "numcodecs")

_INTERVAL = 0.02
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MEBI = 2**20


@dataclass(frozen=True)
class Measurement:
    """One run of one command. Times are in seconds, sizes in bytes."""

    seconds: float
    tree_peak: int
    process_peak: int
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """The runs of several commands, in the order they were made; the n-th runs of all belong together."""

    title: str
    runs: dict[str, list[Measurement]]

    def ratios(self, label: str) -> list[float]:
        """How long each run of `label` took, divided by the run of the first command that belongs to it."""
        first = next(iter(self.runs.values()))
        return [one.seconds / other.seconds for one, other in zip(self.runs[label], first, strict=True)]

    def markdown(self) -> str:
        figures = list(
            dict.fromkeys(name for runs in self.runs.values() for run in runs for name in run.figures)
        )
        header = ["", "runs", "median s", "min s", "max s", "tree MiB", "largest process MiB", *figures]
        rows = [header, ["---", *["---:"] * (len(header) - 1)]]
        for label, runs in self.runs.items():
            seconds = [run.seconds for run in runs]
            rows.append(
                [
                    label,
                    str(len(runs)),
                    *(f"{value:.3f}" for value in (statistics.median(seconds), min(seconds), max(seconds))),
                    f"{statistics.median(run.tree_peak for run in runs) / _MEBI:.0f}",
                    f"{statistics.median(run.process_peak for run in runs) / _MEBI:.0f}",
                    *(
                        _figure([run.figures[name] for run in runs if name in run.figures])
                        for name in figures
                    ),
                ]
            )
        lines = [f"### {self.title}", "", *(_row(row) for row in rows), ""]
        first, *others = self.runs
        for label in others:
            ratios = self.ratios(label)
            lines.append(
                f"Time of {label} / {first}, pair by pair: {', '.join(f'{ratio:.3f}' for ratio in ratios)}; "
                f"median **{statistics.median(ratios):.3f}**."
            )
        lines.append("Memory and own figures are medians over the runs.")
        return "\n".join(lines) + "\n"


def compare(
    title: str,
    commands: Mapping[str, Sequence[str]],
    runs: int = 5,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    prepare: Callable[[str], object] | None = None,
    timeout: float | None = None,
) -> Comparison:
    """Run every command once to warm up, then `runs` times in turn.

    Parameters
    ----------
    title : str
    commands : mapping of label to command line
        The first is what the others are compared with.
    runs : int
    env : mapping, optional
        Added to this process's environment.
    cwd : path, optional
    prepare : callable, optional
        `prepare(label)` is called before each run, warm-ups included, and not measured.
    timeout : float, optional
        Seconds that a run may take.

    Raises
    ------
    RuntimeError
        If a command fails or takes too long, with the end of what it said. Nothing is reported then.
    """
    if runs < 1 or not commands:
        raise ValueError(f"{title}: at least one run of one command is needed, not {runs} of {len(commands)}")
    results: dict[str, list[Measurement]] = {label: [] for label in commands}
    for turn in range(runs + 1):
        for label, command in commands.items():
            if prepare is not None:
                prepare(label)
            measurement = measure(command, env, cwd, timeout)
            if turn:
                results[label].append(measurement)
            name = f"run {turn} of {runs}" if turn else "warm-up"
            print(f"{title}: {label}: {name}: {measurement.seconds:.3f} s", file=sys.stderr, flush=True)
    return Comparison(title, results)


def measure(
    command: Sequence[str],
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    timeout: float | None = None,
) -> Measurement:
    """Run `command` once. What it leaves running is killed when it has ended, or this is interrupted."""
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "output").open("w+b") as output:
        figures = Path(folder) / "figures.json"
        begin = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, **(env or {}), "BENCHMARK_FIGURES": str(figures)},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        ended, timed_out = threading.Event(), threading.Event()
        watch = _TreeWatch(process.pid, ended)
        watch.start()
        clock = threading.Timer(timeout or 0, lambda: (timed_out.set(), _kill_group(process.pid)))
        if timeout is not None:
            clock.start()
        try:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            seconds = time.perf_counter() - begin
        finally:
            # the process is not reaped yet, so its id, which names the group, cannot mean anything else
            clock.cancel()
            _kill_group(process.pid)
            ended.set()
            watch.join()
            watch.kill_rest()
            if clock.is_alive():
                clock.join()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or timed_out.is_set():
            output.seek(max(0, output.seek(0, os.SEEK_END) - 4000))
            how = f"took more than {timeout} s" if timed_out.is_set() else f"ended with {process.returncode}"
            raise RuntimeError(
                f"{' '.join(map(str, command))} {how} and said:\n{output.read().decode(errors='replace')}"
            )
        own = json.loads(figures.read_bytes()) if figures.exists() else {}
        return Measurement(seconds, watch.peak, usage.ru_maxrss * 1024, own)


def versions(libraries: Sequence[str] = LIBRARIES) -> dict[str, str]:
    """The version of Python and of those `libraries` that are installed."""
    found = {"Python": platform.python_version()}
    for name in libraries:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def machine() -> dict[str, str]:
    """Cores, memory and processor of this machine."""
    memory = int(_value_in(Path("/proc/meminfo"), "MemTotal", "0 kB").split()[0]) * 1024
    return {
        "cores": f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}",
        "memory": f"{memory / 2**30:.1f} GiB",
        "processor": _value_in(Path("/proc/cpuinfo"), "model name", platform.machine()),
    }


def write_report(
    path: str | Path,
    title: str,
    sections: Sequence[Comparison | str],
    libraries: Sequence[str] = LIBRARIES,
) -> None:
    """Write `sections` (comparisons, or Markdown) with versions and machine to `path`, or nothing."""
    parts = [f"# {title}"]
    parts += [section if isinstance(section, str) else section.markdown() for section in sections]
    about = {**machine(), **versions(libraries)}
    table = [["", ""], ["---", "---"], *([name, text] for name, text in about.items())]
    parts.append("## Measured with\n\n" + "\n".join(map(_row, table)))
    text = "\n\n".join(part.strip() for part in parts) + "\n"
    place = Path(path)
    aside = place.with_name(f".{place.name}.{uuid.uuid4().hex}.partial")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(place)
    finally:
        aside.unlink(missing_ok=True)


class _TreeWatch(threading.Thread):
    """Adds up, until `ended`, the resident memory of a process and all it started.

    A process belongs to the tree if its parent does, if it is in the session that the first one leads, or if
    it belonged to the tree before (its parent may have died since).
    """

    def __init__(self, pid: int, ended: threading.Event) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._pid = pid
        self._ended = ended
        self._members: dict[int, int] = {}  # process id -> start time, which tells a reused id

    def run(self) -> None:
        pause = 0.0
        while not self._ended.wait(pause):
            begin = time.thread_time()
            self.peak = max(self.peak, self._look())
            pause = max(_INTERVAL, 10 * (time.thread_time() - begin))

    def kill_rest(self) -> None:
        """Kill what was seen in the tree and still runs, even in a session of its own."""
        self._look()
        for pid, started in self._members.items():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                handle = os.pidfd_open(pid)
                try:
                    if (process := _processes().get(pid)) and process.started == started:
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                        select.select([handle], [], [], 10)  # readable when it has ended
                finally:
                    os.close(handle)

    def _look(self) -> int:
        processes = _processes()
        members = {
            pid: process.started
            for pid, process in processes.items()
            if pid == self._pid or process.session == self._pid or self._members.get(pid) == process.started
        }
        children: dict[int, list[int]] = {}
        for pid, process in processes.items():
            children.setdefault(process.parent, []).append(pid)
        waiting = list(members)
        while waiting:
            for child in children.get(waiting.pop(), ()):
                if child not in members:
                    members[child] = processes[child].started
                    waiting.append(child)
        self._members = members
        return sum(processes[pid].resident for pid in members)


@dataclass(frozen=True, slots=True)
class _Process:
    parent: int
    session: int
    started: int
    resident: int


def _processes() -> dict[int, _Process]:
    """All processes of this machine, from /proc/PID/stat (see proc(5))."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb", buffering=0) as file:
                # the name in parentheses may hold anything, so count from the last one: field 3 comes first
                fields = file.read(4096).rpartition(b")")[2].split()
        except OSError:  # ended meanwhile
            continue
        if len(fields) > 21:
            found[int(name)] = _Process(
                int(fields[1]), int(fields[3]), int(fields[19]), int(fields[21]) * _PAGE
            )
    return found


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _value_in(file: Path, key: str, default: str) -> str:
    for line in file.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return default


def _figure(values: Sequence[Any]) -> str:
    if not values:
        return ""
    if all(isinstance(value, int | float) for value in values):
        return f"{statistics.median(values):.6g}"
    return str(values[-1])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
