"""What the workers of a task have asked for and used, as Slurm's accounting or the workers themselves say."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from blockflow.compute.slurm.worker import Usage
from blockflow.utility.quantity import format_bytes

__all__ = [
    "SACCT_FIELDS",
    "advice",
    "append_usage",
    "parse_cpu_time",
    "read_usage",
    "summary",
    "usage_of_sacct",
]

#: what to ask sacct for, so that `usage_of_sacct` understands it
SACCT_FIELDS = ("JobID", "State", "ElapsedRaw", "TotalCPU", "MaxRSS", "ReqMem", "NodeList")

_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def parse_cpu_time(text: str) -> float:
    """Seconds of a time as sacct prints it: `[D-[HH:]]MM:SS[.fff]`; 0 where there is none."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", text.strip())
    if match is None:
        return 0.0
    days, hours, minutes = (int(part or 0) for part in match.groups()[:3])
    return float(((days * 24 + hours) * 60 + minutes) * 60) + float(match[4])


def _bytes(text: str) -> int:
    """Bytes of an amount as sacct prints it, which may say that it is per node or CPU; 0 where there is none."""
    match = re.fullmatch(r"([\d.]+)([KMGT]?)[nc]?", text.strip())
    return int(float(match[1]) * _UNITS[match[2]]) if match else 0


def usage_of_sacct(rows: Iterable[Mapping[str, str]]) -> list[Usage]:
    """What sacct's rows say: one for each job, and one for each of its steps, which alone know the memory."""
    jobs: dict[str, Mapping[str, str]] = {}
    peaks: dict[str, int] = {}
    for row in rows:
        job, dot, _ = row["JobID"].partition(".")
        peaks[job] = max(peaks.get(job, 0), _bytes(row["MaxRSS"]))
        if not dot:
            jobs[job] = row
    return [
        Usage(
            job=job,
            host=row["NodeList"],
            memory=_bytes(row["ReqMem"]) or None,
            elapsed=float(row["ElapsedRaw"] or 0),
            cpu=parse_cpu_time(row["TotalCPU"]),
            peak_memory=peaks[job],
            state=row["State"].split()[0] if row["State"] else None,
        )
        for job, row in jobs.items()
    ]


def append_usage(path: Path, usage: Sequence[Usage]) -> None:
    """Add to a file of usage, one line of JSON for each."""
    with path.open("a") as file:
        file.writelines(json.dumps(asdict(one)) + "\n" for one in usage)


def read_usage(path: Path) -> list[Usage]:
    """What such a file holds; nothing if there is none."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(Usage(**json.loads(line)))
        except (ValueError, TypeError):  # the last line of a process that was killed
            continue
    return found


def summary(usage: Sequence[Usage], cpus: int) -> str:
    """What workers with so many CPUs each have used, in a line, with advice where they asked for far more."""
    if not usage:
        return "no worker has come to an end"
    elapsed, cpu = sum(one.elapsed for one in usage), sum(one.cpu for one in usage)
    states = Counter(one.state.lower().replace("_", " ") for one in usage if one.state)
    parts = [
        f"{len(usage)} worker{'s' if len(usage) > 1 else ''}",
        f"{elapsed / 3600:.3g} h of elapsed and {cpu / 3600:.3g} h of CPU time",
        f"at most {format_bytes(max(one.peak_memory for one in usage))} of memory each",
    ]
    if states:
        parts.append(", ".join(f"{count} {state}" for state, count in states.most_common()))
    return "; ".join([*parts, *advice(usage, cpus)])


#: workers shorter than this many seconds say little about what is needed
_SHORT = 60.0


def advice(usage: Sequence[Usage], cpus: int) -> list[str]:
    """What to ask for the next time, where workers asked for more than twice what they used."""
    lines = []
    asked = [one.memory for one in usage if one.memory]
    peak = max((one.peak_memory for one in usage), default=0)
    if asked and peak and max(asked) > 2 * peak:
        lines.append(
            f"asked {format_bytes(max(asked))} of memory, used {format_bytes(peak)}: memory: "
            f"{format_bytes(1.3 * peak)} would do"
        )
    elapsed = sum(one.elapsed for one in usage if one.elapsed >= _SHORT)
    busy = sum(one.cpu for one in usage if one.elapsed >= _SHORT)
    if cpus > 1 and elapsed and busy < elapsed * cpus / 2:
        lines.append(
            f"asked {cpus} CPUs, used {busy / elapsed:.2g} on average: cpus_per_worker: "
            f"{max(1, round(busy / elapsed + 0.3))} would do"
        )
    return lines
