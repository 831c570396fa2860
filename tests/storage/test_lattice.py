"""The lattice: exact for any physical scale."""

import math
from fractions import Fraction

import pytest
from funlib.geometry import Coordinate, Roi
from hypothesis import example, given, settings
from hypothesis import strategies as st

from blockflow.errors import StorageError
from blockflow.storage import ArraySpec, Lattice, VolumeMetadata, open_array
from blockflow.storage.lattice import exact

properties = settings(max_examples=100, deadline=None)

whole_sizes = st.integers(1, 1000)
decimal_sizes = st.integers(1, 100_000).map(lambda number: number / 1000)
any_sizes = st.floats(1e-6, 1e6)
sizes = st.one_of(whole_sizes, decimal_sizes, any_sizes)
offsets = st.one_of(st.just(0), sizes, sizes.map(lambda size: -size))


@st.composite
def scales(draw, sizes=sizes, offsets=offsets):
    """(voxel size, offset) of one to four volumes with one to four axes."""
    dims = draw(st.integers(1, 4))

    def per_axis(values):
        return st.lists(values, min_size=dims, max_size=dims).map(tuple)

    return draw(st.lists(st.tuples(per_axis(sizes), per_axis(offsets)), min_size=1, max_size=4))


@properties
@example([((0.108, 0.054), (0.324, 0))])
@example([((0.1,), (0.3,)), ((0.25,), (0,))])
@given(scales())
def test_all_scales_are_whole_numbers_of_steps(scales):
    """Every voxel size and offset is a whole number of steps, and times the step it is what was written."""
    lattice = Lattice.of(scales)
    for values in (values for scale in scales for values in scale):
        steps = lattice.coordinate(values, "it")
        assert [count * step for count, step in zip(steps, lattice.step, strict=True)] == [
            exact(value) for value in values
        ]


@properties
@example([((0.108,), (0.324,))])
@given(scales())
def test_the_step_is_the_greatest_or_the_world_unit(scales):
    """An axis of whole numbers has the world unit as step, any other the greatest step that fits all."""
    lattice = Lattice.of(scales)
    for axis, step in enumerate(lattice.step):
        written = [exact(values[axis]) for scale in scales for values in scale]
        if all(value.denominator == 1 for value in written):
            assert step == 1
        else:
            assert math.gcd(*(int(value / step) for value in written)) == 1


@properties
@given(scales(sizes=whole_sizes, offsets=st.integers(-1000, 1000)))
def test_whole_numbers_give_world_units(scales):
    """Where all voxel sizes and offsets are whole numbers, lattice units are world units."""
    lattice = Lattice.of(scales)
    assert lattice.is_world
    assert lattice.coordinate(scales[0][0], "it") == Coordinate(scales[0][0])


@properties
@given(scales())
def test_texts_are_exact(scales):
    """A lattice survives being written as texts."""
    lattice = Lattice.of(scales)
    assert Lattice.parse(lattice.texts()) == lattice


def test_a_tenth_is_a_tenth():
    """A decimal is taken at its written value: thrice 0.1 is 0.3, which binary fractions deny."""
    lattice = Lattice.of([((0.1,), (0.3,))])
    assert lattice.step == (Fraction(1, 10),)
    assert lattice.coordinate((0.3,), "offset") == Coordinate(3)


def test_values_off_the_lattice_are_refused_with_the_cure():
    """A value between lattice steps is refused by name, with the steps and what to do."""
    lattice = Lattice.of([((0.5,), (0,))])
    with pytest.raises(StorageError, match=r"raw: voxel_size \[0\.3\] .*steps \(0\.5\)\. Give all arrays"):
        lattice.coordinate((0.3,), "raw: voxel_size")


def test_wrong_numbers_of_axes_are_refused():
    """Volumes of different dimensions have no common lattice, and the numbers are named."""
    with pytest.raises(StorageError, match=r"same number of spatial axes.*\[2, 3\]"):
        Lattice.of([((1, 1), (0, 0)), ((1, 1, 1), (0, 0, 0))])
    with pytest.raises(StorageError, match=r"raw has 1 axes.*has 2"):
        Lattice.of([((1, 1), (0, 0))]).coordinate((1,), "raw")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_physical_scale_is_kept_through_files(tmp_path, zarr_format):
    """Float voxel sizes and offsets come back from disk as they were written, and ROIs count their steps."""
    metadata = VolumeMetadata((0.108, 4), (0.324, -8), ("um", "nm"), ("y", "x"), ("space", "space"))
    ArraySpec(str(tmp_path / "a"), (10, 10), "uint8", metadata, (5, 5), zarr_format=zarr_format).create()
    array = open_array(tmp_path / "a")
    assert array.metadata == metadata
    assert array.lattice.step == (Fraction(108, 1000), 1)
    assert array.roi == Roi((3, -8), (10, 40))


@settings(max_examples=1000, deadline=None)
@example(1, 3)
@given(st.integers(-10_000, 10_000), st.integers(1, 1000))
def test_fractions_are_known_by_their_floats(numerator, denominator):
    """The nearest float to a fraction with a denominator up to 1000 counts as that fraction."""
    assert exact(numerator / denominator) == Fraction(numerator, denominator)


@settings(max_examples=1000, deadline=None)
@example(108, -3)
@given(st.integers(-999_999, 999_999), st.integers(-12, 6))
def test_short_decimals_are_what_is_written(digits, exponent):
    """A number of up to six digits is just that, wherever its point is."""
    assert exact(float(f"{digits}e{exponent}")) == digits * Fraction(10) ** exponent


@properties
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_what_is_exact_is_of_the_very_float(value):
    """Whatever a number is taken for, its float is the number."""
    assert float(exact(value)) == value


@pytest.mark.parametrize("size", [1, 8, 0.108, 4.04])
@pytest.mark.parametrize("factor", [3, 6, 7, 11, 13])
def test_a_volume_and_its_parts_on_one_lattice(size, factor, tmp_path):
    """Stored and opened again, a volume and one with voxels that are a whole part of its own are on a small lattice."""
    arrays = []
    for name, voxel in (("whole", size), ("part", float(exact(size) / factor))):
        metadata = VolumeMetadata((voxel,), (voxel * 2,), ("um",), ("x",), ("space",))
        ArraySpec(str(tmp_path / f"{name}.zarr"), (64,), "uint8", metadata, (8,)).create()
        arrays.append(open_array(tmp_path / f"{name}.zarr").metadata)
    lattice = Lattice.of((one.voxel_size, one.offset) for one in arrays)
    whole, part = (lattice.coordinate(one.voxel_size, "it")[0] for one in arrays)
    assert whole == factor * part
    assert part <= factor
