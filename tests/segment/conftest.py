"""What the tests of segmentations share: volumes, function files, and runs of both."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from funlib.geometry import Roi

import blockflow

#: as DaCapo's own files are written
DACAPO_FILE = '''
"""Every region of one value is an object; its labels here are any numbers, other ones for each block."""
import numpy as np
from scipy import ndimage

default_parameters = {"background": 0, "shift": 5}

def segment_function(input_array, block, background, shift):
    data = input_array.to_ndarray(block.read_roi, fill_value=background)
    labels = np.zeros(data.shape, np.uint64)
    count = shift + block.block_id[1] % 7
    for value in np.unique(data[data != background]):
        found, number = ndimage.label(data == value, np.ones((3,) * data.ndim))
        labels[found > 0] = found[found > 0] + count
        count += number
    return labels
'''


@pytest.fixture
def make():
    """Store an image, with a voxel size of 4 x 3 x 3 and an offset unless told otherwise; gives its ROI."""

    def store(data, path="image.zarr", chunks=None, **attributes):
        data = np.asarray(data)
        scale = {"voxel_size": [4, 3, 3][-data.ndim :], "offset": [8, -6, 3][-data.ndim :]}
        zarr.create_array(path, data=data, chunks=chunks or data.shape, attributes={**scale, **attributes})
        return blockflow.storage.open_array(path).roi

    return store


@pytest.fixture
def segment():
    """Run `segment_blockwise` on `image.zarr`, in blocks of so many voxels, serially; gives the labels."""

    def run(file, block, context=None, output="out.zarr", run_dir="run", input="image.zarr", **more):
        array = blockflow.storage.open_array(input)
        size = array.voxel_size
        margin = [c * s for c, s in zip(context or [0] * len(block), size)]
        roi = Roi([0] * len(block), [b * s for b, s in zip(block, size)])
        more = {"input": input, "output": output, "compute_context": "serial", **more}
        workers = more.pop("num_workers", 2)
        done = blockflow.segment_blockwise(
            file, margin, array.roi, roi, roi, workers, run_dir=run_dir, **more
        )
        assert done
        return zarr.open_array(output, mode="r")[...]

    return run


@pytest.fixture
def dacapo_file():
    Path("regions.py").write_text(DACAPO_FILE)
    return "regions.py"


@pytest.fixture
def random_image():
    """Blobs of three labels."""

    def image(*shape, seed=0):
        from scipy import ndimage

        noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.2)
        return np.digitize(noise, [0.05, 0.12, 0.3]).astype(np.uint8)

    return image
