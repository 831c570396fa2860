"""Processor time of a graph's blocks by their shape, and what the planner's model says: one shape in a process each.

python benchmarks/runs_shapes.py INPUT OUTPUT Z,Y,X
"""

import itertools
import json
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

SHAPES = ((64, 64, 64), (128, 128, 128), (128, 256, 256), (256, 256, 256), (256, 256, 512), (512, 512, 512))


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def table(folder):
    """A Markdown table of all shapes."""
    from runs_volume import make

    source, _ = make(folder)
    rows = ["| block shape | measured s | model s | projected MiB |", "| --- | ---: | ---: | ---: |"]
    for shape in SHAPES:
        text = ",".join(map(str, shape))
        program = [sys.executable, __file__, str(source), str(folder / "output.zarr"), text]
        answer = json.loads(subprocess.run(program, check=True, capture_output=True, text=True).stdout)
        rows.append(
            f"| {'x'.join(map(str, shape))} | {answer['measured']:.2f} | {answer['model']:.2f} "
            f"| {answer['memory']:.0f} |"
        )
    return "\n".join(rows)


def main(source, output, shape):
    import shutil

    from funlib.geometry import Roi
    from runs_blockflow import mask_slot

    from blockflow.planning import Target, assemble, draft
    from blockflow.tasks import prepare
    from blockflow.utility.freed_memory import keep_freed_memory

    keep_freed_memory()
    shutil.rmtree(output, ignore_errors=True)
    target = Target.of(Target(output, block_shape=shape))
    planned = assemble(draft({mask_slot(source): target}, Path(output).parent), "shapes", None)
    (task,) = prepare(planned.tasks())
    for spec in task.specs:
        spec.create()
    do_block = task.task.process_function
    do_block.operators  # noqa: B018 - built before the clock starts
    begin = cpu_seconds()
    for corner in itertools.product(*(range(0, 512, edge) for edge in shape)):
        roi = Roi(corner, shape)
        do_block(SimpleNamespace(read_roi=roi, write_roi=roi))
    (choice,) = planned.draft.choices.values()
    print(
        json.dumps(
            {
                "measured": cpu_seconds() - begin,
                "model": choice.seconds,
                "memory": choice.cost.memory / 2**20,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], tuple(map(int, sys.argv[3].split(","))))
