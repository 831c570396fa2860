"""Gaussian and threshold by numpy and scipy alone: the whole volume in one process. INPUT OUTPUT"""

import sys

import zarr
from runs_common import make_output, mask_of

if __name__ == "__main__":
    source = zarr.open_array(sys.argv[1], mode="r")
    make_output(sys.argv[2], source)[...] = mask_of(source[...])
