"""A slot that is larger than its blocks, streamed into an HDF5 file: one block for each worker in memory."""

import h5py

from blockflow.operators import OpGaussianSmoothing
from blockflow.storage import open_array
from blockflow.utility import BigRequestStreamer, PathComponents

source = open_array("sample/raw")
smooth = OpGaussianSmoothing()
smooth.Input.setValue(source)
smooth.sigma.setValue(1.5)

place = PathComponents("smooth.h5/volume/data")
with h5py.File(place.externalPath, "w") as file:
    dataset = file.create_dataset(place.internalPath, shape=source.shape, dtype=smooth.Output.meta.dtype)

    def write(roi, block):
        start, stop = roi
        dataset[tuple(map(slice, start, stop))] = block

    streamer = BigRequestStreamer(smooth.Output, ((0, 0, 0), source.shape), blockshape=(32, 64, 64))
    streamer.resultSignal.subscribe(write)
    streamer.progressSignal.subscribe(lambda percent: print(f"{percent} %"))
    streamer.execute()
print("written:", place.totalPath())
