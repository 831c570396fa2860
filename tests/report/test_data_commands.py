"""`blockflow sample` and `blockflow array`."""

import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from blockflow.cli.array import command as array_command
from blockflow.cli.sample import command as sample_command
from blockflow.errors import StorageError
from blockflow.storage import ArraySpec, VolumeMetadata, open_array


def invoke(command, *arguments):
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def make(path, **changes):
    metadata = {
        "axis_names": ["c^", "z", "y"],
        "voxel_size": [0.108, 2],
        "offset": [0, 10],
        "units": ["um", "nm"],
    }
    settings = {"shape": (2, 10, 12), "dtype": "uint16", "chunks": (1, 5, 5), **changes}
    spec = ArraySpec(path=str(path), metadata=VolumeMetadata.parse(metadata, 3, "test"), **settings)
    spec.create()
    return open_array(path, "r+")


def rows(text):
    return dict(line.split(":", 1) for line in text.splitlines())


def test_sample_says_what_it_made(tmp_path):
    """The three arrays are made with the shape and seed asked for, and each is named in a line."""
    result = invoke(sample_command, tmp_path / "s", "--shape", "8,9,10", "--seed", 3)
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"{tmp_path / 's' / 'labels'}  8 x 9 x 10 uint32, voxels of 40 x 32 x 32 nm",
        f"{tmp_path / 's' / 'raw'}  8 x 9 x 10 uint8, voxels of 40 x 32 x 32 nm",
        f"{tmp_path / 's' / 'probabilities'}  3 x 8 x 9 x 10 float32, voxels of 40 x 32 x 32 nm",
    ]
    assert invoke(sample_command, tmp_path / "s", "--shape", "8,9,10", "--seed", 3).output == result.output


@pytest.mark.parametrize("shape", ["8,9", "8,9,0", "a,b,c", ""])
def test_sample_refuses_a_shape_that_is_none(tmp_path, shape):
    """A shape is three positive numbers; anything else is a usage error and makes nothing."""
    result = invoke(sample_command, tmp_path / "s", "--shape", shape)
    assert result.exit_code == 2
    assert "three positive whole numbers" in result.output
    assert not (tmp_path / "s").exists()


def test_info_says_all_there_is_to_know(tmp_path):
    """Shape, type, chunks, compressor, place in the world, sizes and stored chunks are each in a line."""
    array = make(tmp_path / "a", compressor="zstd:5", fill_value=7)
    array.data[0] = 1
    found = {
        name: text.strip() for name, text in rows(invoke(array_command, "info", array.path).output).items()
    }
    size = sum(file.stat().st_size for file in (tmp_path / "a").rglob("*") if file.is_file())
    assert found == {
        "path": array.path,
        "format": "zarr v3",
        "shape": "2 x 10 x 12 voxels",
        "axes": "c^ (channel), z, y",
        "dtype": "uint16",
        "chunks": "1 x 5 x 5",
        "shards": "none",
        "compressor": "zstd (level=5, checksum=False)",
        "fill value": "7",
        "voxel size": "0.108 um, 2 nm",
        "offset": "0 um, 10 nm",
        "ROI": "[0:10, 10:34] (10, 24) in lattice steps of (0.108, 1) world units",
        "in memory": "480 bytes",
        "on disk": f"{size / 1024:.1f} KiB ({size} bytes)" if size >= 1024 else f"{size} bytes",
        "stored": "6 of 12 chunks",
    }


def test_info_counts_shards_where_there_are_shards(tmp_path):
    """Stored pieces are shards in a sharded array, and no compressor is said to be none."""
    array = make(tmp_path / "a", shards=(2, 10, 5), compressor="none")
    array.data[:, :, :5] = 1
    found = rows(invoke(array_command, "info", array.path).output)
    assert found["shards"].strip() == "2 x 10 x 5"
    assert found["stored"].strip() == "1 of 3 shards"
    assert found["compressor"].strip() == "none"


@pytest.mark.parametrize("compressor", ["zstd:3", "gzip:3", "blosc:3", "none"])
def test_info_reads_zarr_2(tmp_path, compressor):
    """An array of the older format is described as well."""
    array = make(tmp_path / "a", zarr_format=2, compressor=compressor)
    array.data[0, 0, 0] = 1
    found = rows(invoke(array_command, "info", array.path).output)
    assert found["format"].strip() == "zarr v2"
    assert found["stored"].strip() == "1 of 12 chunks"
    assert found["compressor"].strip().startswith(compressor.partition(":")[0])


def test_info_of_what_is_no_array(tmp_path):
    """Something that is no array is an error of blockflow's own, for the command line to show in one line."""
    with pytest.raises(StorageError, match="there is no such array"):
        invoke(array_command, "info", tmp_path / "nothing")


def test_show_draws_the_slice_asked_for(tmp_path):
    """The picture file has the slice across the axis, by number or name, and its size is said."""
    metadata = VolumeMetadata.parse({"axis_names": ["z", "y", "x"]}, 3, "test")
    ArraySpec(str(tmp_path / "a"), (4, 6, 8), "bool", metadata, (4, 4, 4)).create()
    array = open_array(tmp_path / "a", "r+")
    array.data[:, 2, :] = np.tile(np.arange(8) % 2 == 0, (4, 1))
    for axis in ("1", "y"):
        output = tmp_path / f"{axis}.png"
        result = invoke(array_command, "show", array.path, "--output", output, "--axis", axis, "--index", 2)
        assert result.output == f"{output}  384 x 192 pixels\n"
        with Image.open(output) as image:
            row = np.asarray(image.resize((8, 4), Image.Resampling.NEAREST))[0]
        assert row.tolist() == [255, 0] * 4
    invoke(array_command, "show", array.path, "-o", tmp_path / "middle.png")
    assert (tmp_path / "middle.png").exists()


def test_help_imports_nothing_heavy():
    """Importing the commands loads neither numpy nor zarr nor Pillow, so that help is instant."""
    code = (
        "import sys, blockflow.cli.array, blockflow.cli.sample; "
        "print([name for name in ('numpy', 'zarr', 'PIL', 'daisy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
