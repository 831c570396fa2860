"""What the graph benchmarks compute, and where to: the same for all who do it."""

import shutil

SIGMA, TRUNCATE, THRESHOLD = 2.0, 4.0, 128
CONTEXT = int(TRUNCATE * SIGMA + 0.5)
WORKERS = 2


def mask_of(data):
    """Smoothed with a Gaussian, and above the threshold or not. The borders are scipy's `reflect`."""
    import numpy as np
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(data, SIGMA, output=np.float32, truncate=TRUNCATE)
    return (smooth > THRESHOLD).view(np.uint8)


def make_output(path, like):
    """An empty array of uint8 with shape and chunks of another, and zarr's own choice of compression."""
    import zarr

    shutil.rmtree(path, ignore_errors=True)
    return zarr.create_array(store=str(path), shape=like.shape, dtype="uint8", chunks=like.chunks)
