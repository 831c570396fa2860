"""OME-NGFF metadata say where the voxels are, as NGFF 0.5 has it."""

from blockflow.storage import VolumeMetadata
from blockflow.storage.ngff import multiscales


def test_axes_scale_and_translation():
    """Each axis has its name, type and unit; scale and translation have an entry per axis, 1 and 0 for channels."""
    metadata = VolumeMetadata(
        (1, 40, 2.5),
        (0, -80, 1.25),
        ("s", "nm", "µm"),
        ("t", "c^", "y", "x"),
        ("time", "channel", "space", "space"),
    )
    coarse = VolumeMetadata(
        (1, 80, 5), (0, -80, 1.25), *[getattr(metadata, n) for n in ("units", "axis_names", "types")]
    )
    described = multiscales("cells", [("0", metadata), ("1", coarse)])
    assert described == {
        "ome": {
            "version": "0.5",
            "multiscales": [
                {
                    "name": "cells",
                    "axes": [
                        {"name": "t", "type": "time", "unit": "second"},
                        {"name": "c", "type": "channel"},
                        {"name": "y", "type": "space", "unit": "nanometer"},
                        {"name": "x", "type": "space", "unit": "micrometer"},
                    ],
                    "datasets": [
                        {
                            "path": path,
                            "coordinateTransformations": [
                                {"type": "scale", "scale": scale},
                                {"type": "translation", "translation": [0.0, 0.0, -80.0, 1.25]},
                            ],
                        }
                        for path, scale in [("0", [1.0, 1.0, 40.0, 2.5]), ("1", [1.0, 1.0, 80.0, 5.0])]
                    ],
                }
            ],
        }
    }


def test_units_that_are_unknown_stay_and_empty_ones_are_left_out():
    """A unit that NGFF has no word for is given as it is, and none where there is none."""
    metadata = VolumeMetadata((1, 1), (0, 0), ("parsec", ""), ("y", "x"), ("space", "space"))
    axes = multiscales("x", [("0", metadata)])["ome"]["multiscales"][0]["axes"]
    assert axes == [{"name": "y", "type": "space", "unit": "parsec"}, {"name": "x", "type": "space"}]
