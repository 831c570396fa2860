"""Memory that is freed is kept for the next array."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from blockflow.utility.freed_memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for turn in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    array = np.empty(64 * 2**20, np.uint8)
    array[::1024] = 1
    del array
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="an option of glibc")
def test_the_next_array_needs_no_new_pages():
    """A process that keeps freed memory gets no new pages for an array as large as one before."""
    run = subprocess.run([sys.executable, "-c", PROGRAM, "keep"], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 10
