"""Notes each chunk that this process opens, in the file that `BENCHMARK_OPENED` names: put this folder in PYTHONPATH.

One line each: r or w, the name of the array, and the size of the file where it is read.
"""

import os
import sys

if "BENCHMARK_OPENED" in os.environ:
    _log = os.open(os.environ["BENCHMARK_OPENED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def _note(event, arguments):
        if event == "open" and ".zarr/c/" in str(arguments[0]):
            path, mode, flags = arguments
            writes = bool(flags & (os.O_WRONLY | os.O_RDWR)) if mode is None else not mode.startswith("r")
            try:  # what is about to fail does not count
                size = 0 if writes else os.stat(path).st_size
                os.stat(os.path.dirname(path))
            except FileNotFoundError:
                return
            array = str(path).split(".zarr/c/")[0].rsplit("/", 1)[-1] + ".zarr"
            os.write(_log, f"{'w' if writes else 'r'}\t{array}\t{size}\n".encode())

    sys.addaudithook(_note)
