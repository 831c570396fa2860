"""Connected components, zarr to zarr: blockflow with two workers, one process that holds it all, and dask-image.

python benchmarks/bench_components.py [RUNS] [EDGE] [--dask]        writes benchmarks/components.md

The volume is grey like electron microscopy, made from the real labels in `../shared/data` if they are there, else
from cells around random points. `--dask` adds dask-image, which must be installed; it takes minutes.
"""

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import zarr
from harness import compare, write_report

FOLDER = Path(__file__).parent
DATA = FOLDER.parents[1] / "shared" / "data" / "connectomics_labels.npz"


def cells(edge):
    if DATA.exists():
        with np.load(DATA) as archive:
            return np.ascontiguousarray(archive["labels"][:edge, :edge, :edge]).astype(np.int32)
    from scipy import ndimage

    points = np.zeros((edge,) * 3, np.bool_)
    points[tuple(np.random.default_rng(1).integers(0, edge, (3, 2500 * edge**3 // 512**3)))] = True
    nearest = ndimage.distance_transform_edt(~points, return_distances=False, return_indices=True)
    return np.ravel_multi_index(tuple(nearest), points.shape).astype(np.int32)


def grey(labels):
    """170, 90 less at membranes, with noise."""
    membrane = np.zeros(labels.shape, np.bool_)
    for axis in range(3):
        differs = np.diff(labels, axis=axis) != 0
        low, high = [slice(None)] * 3, [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        membrane[tuple(low)] |= differs
        membrane[tuple(high)] |= differs
    noise = np.random.default_rng(0).normal(0, 12, labels.shape)
    return np.clip(170 - 90 * membrane + noise, 0, 255).astype(np.uint8)


def forget(folder, label):
    for name in (f"{label}.zarr", f"run-{label}"):
        shutil.rmtree(folder / name, ignore_errors=True)


def make(folder, edge):
    zarr.create_array(folder / "raw.zarr", data=grey(cells(edge)), chunks=(128, 128, 128))


if __name__ == "__main__" and "--make" in sys.argv:
    make(Path(sys.argv[2]), int(sys.argv[3]))
elif __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:] if text.isdigit()]
    runs, edge = (numbers + [3, 512][len(numbers) :])[:2]
    if "--dask" in sys.argv and importlib.util.find_spec("dask_image") is None:
        raise SystemExit("--dask: dask-image is not installed")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        # in a process of its own, whose memory is not counted
        subprocess.run([sys.executable, __file__, "--make", folder, str(edge)], check=True)
        commands = {"whole": [sys.executable, FOLDER / "components_whole.py", folder]}
        for way in ("recomputed", "stored"):
            commands[way] = [sys.executable, FOLDER / "components_blockflow.py", folder, way]
        sections = [
            compare(
                f"{edge}^3 voxels in chunks of 128^3",
                commands,
                runs,
                prepare=lambda label: forget(folder, label),
            )
        ]
        whole, *others = (
            zarr.open_array(folder / f"{name}.zarr", mode="r")[...]
            for name in ("whole", "recomputed", "stored")
        )
        assert all(np.array_equal(whole, other) for other in others), "the labels differ"
        sections.append(
            f"{whole.max()} components, and the same numbers in all of these. Bounds: 1.2 times; a fifth."
        )
        if "--dask" in sys.argv:
            once = {"dask-image": [sys.executable, FOLDER / "components_dask.py", folder]}
            once["blockflow"] = commands["recomputed"]
            sections.append(
                compare(
                    f"{edge}^3 voxels against dask-image",
                    once,
                    1,
                    prepare=lambda label: forget(folder, {"dask-image": "dask"}.get(label, "recomputed")),
                )
            )
            sections.append("Bound: 0.03 times.")
    text = "`whole` is one process that reads it all, labels it with cc3d and writes it all; the others are blockflow, "
    text += "with the labels of blocks computed twice or stored."
    write_report(
        FOLDER / "components.md",
        "Connected components",
        [*sections, text],
        libraries=("blockflow", "connected-components-3d", "daisy", "dask-image", "numpy", "zarr"),
    )
