"""The workers of a task on a cluster whose scheduler does what the test says."""

import json
import threading
import time

import pytest

from blockflow.compute.context import WorkerOrder
from blockflow.compute.slurm.commands import CommandError
from blockflow.compute.slurm.crew import Crew
from blockflow.compute.slurm.decisions import Element
from blockflow.compute.slurm.scheduler import Scheduler
from blockflow.errors import ComputeError

MB = 10**6


class Told(Scheduler):
    """A scheduler that notes what it is asked, and knows of elements what the test says."""

    def __init__(self):
        self.asked = []
        self.cancelled = []
        self.states = {}
        self.failures = []
        self.looks = 0
        self.changed = threading.Condition()

    def submit(self, count, memory, excluded):
        with self.changed:
            self.asked.append((count, memory, list(excluded)))
            self.changed.notify_all()
            if self.failures:
                raise self.failures.pop(0)
            names = [f"{len(self.asked)}_{index}" for index in range(count)]
            self.states |= dict.fromkeys(names, "PENDING")
            return names

    def look(self, lost):
        with self.changed:
            self.looks += 1
            self.changed.notify_all()
            return {name: Element(name, state, "n1", None, "") for name, state in self.states.items()}

    def cancel(self, elements=None):
        with self.changed:
            names = list(self.states) if elements is None else list(elements)
            self.cancelled += names
            self.states |= dict.fromkeys(names, "CANCELLED")
            self.changed.notify_all()

    def until(self, condition):
        with self.changed:
            assert self.changed.wait_for(condition, 20), (self.asked, self.cancelled, self.states)


class Guest:
    def __init__(self):
        self.said = []
        self.is_cut = False

    def say(self, word):
        self.said.append(word)

    def cut(self):
        self.is_cut = True


@pytest.fixture
def scheduler():
    return Told()


@pytest.fixture
def crew(scheduler, tmp_path, monkeypatch):
    monkeypatch.setattr("blockflow.compute.slurm.watch._SOON", 0.05)
    crew = Crew(scheduler, tmp_path, 100 * MB, 200 * MB)
    yield crew
    crew.close()


@pytest.fixture
def order(crew, tmp_path):
    def order(count):
        return crew.order([WorkerOrder(["work"], tmp_path / "log")] * count, {})

    return order


def come(crew, job, host="n1", **more):
    guest = Guest()
    return guest, crew.arrive(guest, {"job": job, "host": host, "restarts": 0, **more})


def end(worker):
    deadline = time.monotonic() + 20
    while worker.exit_code() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return worker.exit_code(), worker.cause()


def exit_(crew, guest, code):
    crew.hear(guest, {"exit": code, "usage": {"elapsed": 1.0, "cpu": 1.0, "peak_memory": 10}})
    crew.depart(guest, silent=False)


def test_all_that_is_ordered_at_one_time_is_asked_for_at_once(crew, scheduler, order):
    """A hundred workers are one submission."""
    workers = order(100)
    scheduler.until(lambda: scheduler.asked)
    assert scheduler.asked == [(100, 100 * MB, [])]
    assert all(worker.is_waiting() for worker in workers)


def test_whichever_element_comes_first_gets_the_worker_that_waits_longest(crew, scheduler, order):
    """Elements are alike; one for whom there is no worker is sent away."""
    first, second = order(2)
    scheduler.until(lambda: scheduler.asked)
    _, told = come(crew, "1_1")
    assert told["worker"] == first.number
    assert (first.place(), first.is_waiting(), second.is_waiting()) == (("n1", "1_1"), False, True)
    come(crew, "1_0", "n2")
    assert second.place() == ("n2", "1_0")
    assert "leave" in come(crew, "1_2")[1]


def test_elements_that_nobody_waits_for_are_cancelled(crew, scheduler, order):
    """A worker that is not needed any more costs nothing: its element leaves the queue."""
    workers = order(3)
    scheduler.until(lambda: scheduler.asked)
    for worker in workers[1:]:
        worker.kill()
    scheduler.until(lambda: len(scheduler.cancelled) == 2)
    assert workers[1].exit_code() == -9
    assert len(set(scheduler.cancelled)) == 2


def test_a_requeued_element_serves_again(crew, scheduler, order):
    """Its worker was preempted; the element, which will come again, is there for the next one: nothing is asked for."""
    (worker,) = order(1)
    scheduler.until(lambda: scheduler.asked)
    guest, _ = come(crew, "1_0")
    crew.depart(guest, silent=False)
    scheduler.until(lambda: scheduler.looks > 1)
    assert end(worker) == (-9, "preemption")
    (again,) = order(1)
    assert come(crew, "1_0", "n2")[1]["worker"] == again.number
    assert len(scheduler.asked) == 1


def test_a_twin_takes_the_place_of_its_old_self(crew, scheduler, order):
    """If an element is started anew while its old self still runs, the old one is cut off: two never are one worker."""
    old, new = order(2)
    scheduler.until(lambda: scheduler.asked)
    guest, told = come(crew, "1_0")
    assert told["worker"] == old.number
    _, told = come(crew, "1_0", "n2")
    assert told["worker"] == new.number
    assert guest.is_cut
    assert end(old) == (-9, "preemption")
    assert crew.guest_of(old.number) is None


def test_a_worker_whose_element_ended_before_it_came_has_failed(crew, scheduler, order, tmp_path):
    """An element that could not reach the door left a note, which says why."""
    (worker,) = order(1)
    scheduler.until(lambda: scheduler.asked)
    (tmp_path / "unreachable-1_0.json").write_text(json.dumps({"message": "no way"}))
    scheduler.states["1_0"] = "FAILED"
    assert end(worker) == (1, "unreachable")
    assert worker.explanation() == "no way"


def test_a_killed_worker_waits_for_the_schedulers_word(crew, scheduler, order):
    """A signal is explained by the state that comes after it."""
    (worker,) = order(1)
    scheduler.until(lambda: scheduler.asked)
    guest, _ = come(crew, "1_0")
    scheduler.states["1_0"] = "COMPLETING"
    exit_(crew, guest, -9)
    assert worker.exit_code() is None
    scheduler.states["1_0"] = "OUT_OF_MEMORY"
    assert end(worker) == (-9, "out_of_memory")


def test_memory_is_raised_once_for_all_that_had_too_little(crew, scheduler, order):
    """Many workers that run out at one time raise it by one step; elements that have too little are cancelled."""
    workers = order(3)
    scheduler.until(lambda: scheduler.asked)
    guests = [come(crew, f"1_{index}")[0] for index in range(2)]
    assert [worker.memory for worker in workers] == [100 * MB, 100 * MB, None]
    said = [crew.give_more_memory(worker) for worker in workers[:2]]
    assert said[0] == said[1]
    assert "150 MB of memory in place of 100 MB (at most 200 MB" in said[0]
    scheduler.until(lambda: scheduler.asked[-1] == (1, 150 * MB, []) and "1_2" in scheduler.cancelled)
    assert "leave" in come(crew, "1_2", memory=100 * MB)[1]
    assert guests[0].said == []


def test_memory_is_not_raised_beyond_the_cap(crew, scheduler, order):
    """At the cap there is no more, and that is said."""
    (worker,) = order(1)
    scheduler.until(lambda: scheduler.asked)
    come(crew, "1_0")
    worker.memory = 200 * MB
    assert crew.give_more_memory(worker) is None


def test_a_node_that_loses_work_again_and_again_is_avoided(crew, scheduler, order):
    """After three losses the next elements are asked for elsewhere."""
    for round_ in range(1, 4):
        (worker,) = order(1)
        scheduler.until(lambda round_=round_: len(scheduler.asked) == round_)
        scheduler.states[f"{round_}_0"] = "NODE_FAIL"
        assert end(worker) == (1, "node_failure")
    order(1)
    scheduler.until(lambda: len(scheduler.asked) == 4)
    assert scheduler.asked[-1] == (1, 100 * MB, ["n1"])


def test_an_answer_that_got_lost_does_not_cost_a_second_array(crew, scheduler, order):
    """sbatch that seemed to fail has made a job all the same: its elements serve, and none is left over."""
    scheduler.failures.append(CommandError("sbatch: Socket timed out on send/recv operation"))
    scheduler.states["9_0"] = "PENDING"
    (worker,) = order(1)
    scheduler.until(lambda: len(scheduler.asked) == 2)
    assert come(crew, "9_0")[1]["worker"] == worker.number
    scheduler.until(lambda: "2_0" in scheduler.cancelled)


def test_a_submission_that_is_refused_again_and_again_is_an_error(crew, scheduler, order):
    """What sbatch says is what the user reads."""
    scheduler.failures += [CommandError("sbatch: error: invalid partition specified: gpux")] * 5
    (worker,) = order(1)
    with pytest.raises(ComputeError, match="invalid partition specified: gpux"):
        end(worker)
    assert len(scheduler.asked) == 5
