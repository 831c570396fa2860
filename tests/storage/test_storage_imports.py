"""What importing costs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _modules_after(statement):
    code = f"{statement}; import sys; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def test_storage_does_not_import_funlib_persistence(tmp_path):
    """The storage package speaks funlib.persistence's conventions without needing it at run time."""
    create_and_open = (
        "from blockflow.storage import *; "
        "m = VolumeMetadata((1,), (0,), ('',), ('x',), ('space',)); "
        f"s = ArraySpec({str(tmp_path / 'a')!r}, (4,), 'uint8', m, (2,)); s.create(); "
        "a = open_array(s.path, 'r+'); a[a.roi] = 1"
    )
    modules = _modules_after(create_and_open)
    assert "blockflow.storage.opening" in modules
    assert not {name for name in modules if name.startswith("funlib.persistence")}


@pytest.mark.parametrize("statement", ["import blockflow", "import blockflow.errors"])
def test_importing_blockflow_is_free(statement):
    """`import blockflow` loads none of the heavy libraries."""
    heavy = {"numpy", "daisy", "zarr", "dask", "pydantic", "funlib.geometry", "click"}
    assert not heavy & _modules_after(statement)
