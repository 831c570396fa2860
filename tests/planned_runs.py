"""Running a plan's tasks in this very process, block by block: fast enough for property tests."""

import random
from types import SimpleNamespace

from blockflow.planning import assemble, draft
from blockflow.storage import ResultsSpec, use_lattice
from blockflow.tasks import prepare


def planned_here(outputs, work_dir, **options):
    return assemble(draft(outputs, work_dir, **options), "test", options.get("memory"))


def run_here(planned, seed=0, twice=0.2):
    """Do all blocks of all tasks, each task's in a random order, some of them twice; returns the prepared tasks."""
    chance = random.Random(seed)
    prepared = prepare(planned.tasks())
    for task in prepared:
        for spec in task.specs:
            if not spec.is_there():
                spec.create()
            if isinstance(spec, ResultsSpec):
                spec.adopt()
        with use_lattice(task.lattice):
            blocks = list(task.grid)
            blocks += [block for block in blocks if chance.random() < twice]
            chance.shuffle(blocks)
            for read_roi, write_roi in blocks:
                task.task.process_function(SimpleNamespace(read_roi=read_roi, write_roi=write_roi))
    return prepared
