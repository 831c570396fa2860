"""What Slurm's answers mean, and what to ask for next: pure functions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = [
    "LONGEST_PAUSE",
    "NODE_DOWN",
    "SQUEUE_FORMAT",
    "Element",
    "cause_of",
    "elements_of",
    "is_final",
    "is_passing",
    "is_pending",
    "is_stuck",
    "memory_steps",
    "next_memory",
    "next_pause",
    "nodes_to_avoid",
    "parse_down_nodes",
    "parse_squeue",
    "parse_time_left",
    "ranges_of",
    "split_array",
    "usable_memory",
    "verdict",
]

#: seconds between two looks at the queue at which nothing has changed for long
LONGEST_PAUSE = 60.0

#: how often work must have been lost on a node before it is avoided
_BAD_NODE = 3

_PENDING = {
    "PENDING",
    "CONFIGURING",
    "REQUEUED",
    "REQUEUE_FED",
    "REQUEUE_HOLD",
    "RESV_DEL_HOLD",
    "SPECIAL_EXIT",
}
_ACTIVE = _PENDING | {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT"}

#: the reason of an element that was put back into the queue since its node is down
NODE_DOWN = "its node is down"

_CAUSES = {
    "NODE_FAIL": "node_failure",
    "BOOT_FAIL": "node_failure",
    "PREEMPTED": "preemption",
    "TIMEOUT": "walltime",
    "DEADLINE": "walltime",
    "OUT_OF_MEMORY": "out_of_memory",
    "CANCELLED": "cancelled",
    "REVOKED": "cancelled",
}


@dataclass(frozen=True)
class Element:
    """An element of a job array as the queue shows it: `JOB_INDEX`, state, node, seconds left, and why it waits."""

    id: str
    state: str
    node: str
    seconds_left: int | None
    reason: str


#: what to ask squeue for, so that `parse_squeue` understands it
SQUEUE_FORMAT = "%i|%T|%N|%L|%r"


def parse_squeue(text: str) -> list[Element]:
    """The elements that squeue printed in `SQUEUE_FORMAT`; other lines are passed over."""
    found = []
    for line in text.splitlines():
        parts = line.strip().split("|", 4)
        if len(parts) == 5 and re.fullmatch(r"\d+(_\d+)?", parts[0]):
            found.append(Element(parts[0], parts[1], parts[2], parse_time_left(parts[3]), parts[4]))
    return found


def parse_time_left(text: str) -> int | None:
    """Seconds of a time left, as `1-02:03:04`, `2:03:04` or `3:04`; `None` where there is no limit."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text.strip())
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def parse_down_nodes(text: str) -> set[str]:
    """The nodes that are down or do not answer, of those that sinfo printed as `NODE|STATE`."""
    down = set()
    for line in text.splitlines():
        node, _, state = line.strip().partition("|")
        if state.endswith("*") or state.lower().startswith(("down", "fail", "unk", "reboot", "power")):
            down.add(node)
    return down


def is_pending(state: str) -> bool:
    """Whether an element waits for a node, for the first time or again."""
    return state in _PENDING


def is_final(state: str) -> bool:
    """Whether nothing will change any more."""
    return state not in _ACTIVE


def is_stuck(element: Element) -> bool:
    """Whether an element that waits would wait for ever: it was put back after a failure, and held."""
    return element.state in ("REQUEUE_HOLD", "SPECIAL_EXIT") or (
        element.state == "PENDING" and "requeued" in element.reason and "held" in element.reason
    )


def cause_of(state: str, reason: str = "", memory: int | None = None, peak: int = 0) -> str | None:
    """Why work in an element of this state was lost, as the cause of a failure record; `None` if Slurm cannot say.

    Where Slurm polls for memory, an element that takes too much is FAILED like any other: then `peak`, what was
    seen to be held, against `memory`, what was allowed, decides.
    """
    if is_pending(state):  # it was put back into the queue
        return "node_failure" if reason == NODE_DOWN else "preemption"
    cause = _CAUSES.get(state)
    if cause is None and memory is not None and peak >= 0.9 * memory:
        return "out_of_memory"
    return cause


def is_passing(complaint: str) -> bool:
    """Whether a command failed since the controller did not answer, so that asking again later may help."""
    silent = (
        r"unable to contact slurm controller|socket timed out|connection refused|connection timed out|"
        r"resource temporarily unavailable|temporarily|transport endpoint|zero bytes|connection reset|"
        r"communication connection failure|timed out|no route to host|backup controller"
    )
    return re.search(silent, complaint, re.IGNORECASE) is not None


def next_pause(pause: float) -> float:
    """Seconds to wait before the next look at the queue, when the last one, after `pause`, showed nothing new."""
    return min(2 * pause, LONGEST_PAUSE)


def memory_steps(first: int, cap: int) -> list[int]:
    """What workers are given one after the other when memory runs out: 1, 1.5, 2, 3, 4, 6, ... times, up to the cap."""
    steps, power = [first], first
    while steps[-1] < cap:
        steps += [power * 3 // 2, power * 2]
        power *= 2
    return sorted({min(step, max(cap, first)) for step in steps})


def next_memory(first: int, cap: int, exceeded: int) -> int | None:
    """What to give after `exceeded` was not enough; `None` if there is no more."""
    return next((step for step in memory_steps(first, cap) if step > exceeded), None)


def nodes_to_avoid(losses: Mapping[str, int]) -> list[str]:
    """The nodes that have lost work so often that later workers are better off elsewhere."""
    return sorted(node for node, count in losses.items() if node and count >= _BAD_NODE)


def split_array(count: int, largest: int) -> list[int]:
    """The sizes of the arrays that `count` elements take, when an array may have at most `largest`."""
    full, rest = divmod(count, largest)
    return [largest] * full + ([rest] if rest else [])


#: room above what a task is projected to hold: what Python and its libraries take, and a fifth
_BASE, _MARGIN = 256 * 1024**2, 1.2


def usable_memory(projection: int) -> int:
    """Bytes to ask for when a worker is projected to hold `projection`."""
    return _BASE + int(projection * _MARGIN)


def elements_of(job: str, count: int) -> Sequence[str]:
    """The names of the elements of an array of `count`."""
    return [f"{job}_{index}" for index in range(count)]


def ranges_of(elements: Sequence[str]) -> list[str]:
    """The same elements in fewer words, as scancel takes them: `7_[0-3,5]`."""
    by_job: dict[str, list[int]] = {}
    plain = []
    for element in elements:
        job, underscore, index = element.partition("_")
        if underscore:
            by_job.setdefault(job, []).append(int(index))
        else:
            plain.append(element)
    for job, indices in by_job.items():
        runs: list[list[int]] = []
        for number in sorted(set(indices)):
            if runs and number == runs[-1][1] + 1:
                runs[-1][1] = number
            else:
                runs.append([number, number])
        parts = [str(run[0]) if run[0] == run[1] else f"{run[0]}-{run[1]}" for run in runs]
        plain.append(f"{job}_[{','.join(parts)}]")
    return plain


#: seconds that a worker's end may be without a word from the scheduler, before it is judged by what is known
_UNEXPLAINED, _SILENT = 20.0, 60.0


def verdict(
    reported: int | None,
    state: str | None,
    seconds: float,
    *,
    silent: bool = False,
    reason: str = "",
    memory: int | None = None,
    peak: int = 0,
) -> tuple[int, str | None] | None:
    """How a worker has ended, as its exit code and the cause; `None` while that is not known yet.

    Parameters
    ----------
    reported : int or None
        The exit code as its element told it; `None`: the element vanished without a word.
    state : str or None
        The element's state, as seen after that; `None`: it has not been seen since.
    seconds : float
        How long ago that was.
    silent : bool
        Whether its connection did not end, but was given up since nobody answered.
    reason, memory, peak
        As for `cause_of`.
    """
    if reported is not None and reported >= 0:
        return reported, None
    code = -9 if reported is None else reported
    if state is not None and (is_final(state) or is_pending(state)):
        cause = cause_of(state, reason, memory, peak)
        return code, "node_failure" if cause is None and silent else cause
    if reported is not None:
        return (code, cause_of("", "", memory, peak)) if seconds > _UNEXPLAINED else None
    # the scheduler believes that it runs, or does not answer
    return (code, "node_failure") if seconds > _SILENT else None
