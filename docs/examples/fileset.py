"""A graph that reads an array and writes a fileset of blocks; then a part of the fileset as one HDF5 file."""

import json
from pathlib import Path

from blockflow.operators import OpBlockwiseFilesetReader, OpBlockwiseFilesetWriter, OpThreshold
from blockflow.storage import open_array
from blockflow.utility.io_util import BlockwiseFileset

description = {
    "_schema_name": "blockwise-fileset-description",
    "_schema_version": 1.1,
    "name": "mask",
    "format": "hdf5",
    "axes": "zyx",
    "shape": [96, 128, 128],
    "dtype": "numpy.uint8",
    "block_shape": [32, 64, 64],
    "compression": "gzip",
    "dataset_root_dir": "mask_blocks",
    "block_file_name_format": "block-{roiString}.h5/volume/data",
}
Path("mask.json").write_text(json.dumps(description))

mask, writer = OpThreshold(), OpBlockwiseFilesetWriter()
mask.Input.setValue(open_array("sample/raw"))
mask.threshold.setValue(128)
writer.Input.connect(mask.Output)
writer.DescriptionFilePath.setValue("mask.json")
print("written:", writer.Output.value)

reader = OpBlockwiseFilesetReader()
reader.DescriptionFilePath.setValue("mask.json")
print("foreground:", int(reader.Output[10:20, :, :].wait().sum()))

print("exported:", BlockwiseFileset("mask.json").exportRoiToHdf5(((10, 0, 0), (20, 64, 64)), "part"))
