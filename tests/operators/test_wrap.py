"""The boundary mode `wrap`: what lies beyond one end of the array is its other end, once or many times around."""

import numpy as np
import pytest
import scipy.ndimage as ndi
from operators import cases
from operators.arrays import array, slots
from operators.cases import cases_of

from blockflow.operators import resolve_operator
from blockflow.rtype import SubRegion
from blockflow.testing.operators import check_operator

FILTERS = sorted(
    {
        *("GaussianSmoothing", "GaussianDerivative", "LaplacianOfGaussian", "GaussianGradientMagnitude"),
        *("DifferenceOfGaussians", "HessianEigenvalues", "StructureTensorEigenvalues", "LocalNormalization"),
        *("MinimumFilter", "MaximumFilter", "Median", "Rank", "Uniform"),
        *cases.GREY,
    }
)

#: axes of one voxel and of two, and contexts that are longer than the axis
SHAPES = [(1,), (2,), (2, 1, 3), (5, 2), (19, 6)]


def test_no_filter_with_a_boundary_mode_is_left_out():
    """Every operator that has modes of the border is tried here, or is Pad."""
    with_modes = {name for name in cases.CASES if "wrap" in _modes(name)}
    assert with_modes == {*FILTERS, "Pad"}


def _modes(name):
    slot = resolve_operator(name)().inputs.get("mode")
    return getattr(slot, "doc", "")


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_wrapping_filter_keeps_its_promises(monkeypatch, name, dtype):
    """Blocks are those of the whole and of scipy's `wrap`; a change at one end is announced at the other."""
    monkeypatch.setattr(cases, "MODES", ["wrap"])
    for seed, shape in enumerate(SHAPES):
        for case in cases_of(name, np.random.default_rng(seed), shape, dtype):
            assert case.params["mode"] == "wrap"
            more = {"arrays": case.arrays, "tolerance": case.tolerance, "regions": 8, "seed": seed}
            check_operator(case.operator(), case.reference, **more)


@pytest.mark.parametrize("name", FILTERS)
def test_what_is_put_together_is_in_the_memory_figure(monkeypatch, name):
    """For a region that matters, going around all axes or only the first, the figure is what is taken at most."""
    monkeypatch.setattr(cases, "MODES", ["wrap"])
    case = next(iter(cases_of(name, np.random.default_rng(3), (41, 67, 71), "float32")))
    for axes in (None, (0,)):
        operator = case.operator()
        for given in ("sigma", "sigma_outer", "size", "order"):
            if axes and given in case.params:
                operator.inputs[given].setValue(3)
        if axes:
            operator.axes.setValue(axes)
        ratio = check_operator(operator, arrays=case.arrays, regions=1).scratch_ratio
        assert ratio is None or 0.5 <= ratio <= 1.3


@pytest.mark.parametrize(
    ("name", "params", "scipy"),
    [
        (
            "GaussianSmoothing",
            {"sigma": 9.0},
            lambda a: ndi.gaussian_filter(a, 9.0, output="f4", mode="wrap"),
        ),
        ("MinimumFilter", {"size": 24}, lambda a: ndi.minimum_filter(a, 24, mode="wrap")),
        ("MaximumFilter", {"size": (4, 31)}, lambda a: ndi.maximum_filter(a, (4, 31), mode="wrap")),
        ("Median", {"size": (2, 15)}, lambda a: ndi.median_filter(a, (2, 15), mode="wrap")),
        ("Rank", {"size": 9, "rank": 20}, lambda a: ndi.percentile_filter(a, 20, 9, mode="wrap")),
        ("GreyClosing", {"size": 15}, lambda a: ndi.grey_closing(a, 15, mode="wrap")),
        ("WhiteTopHat", {"size": (9, 3)}, lambda a: ndi.white_tophat(a, (9, 3), mode="wrap")),
    ],
)
@pytest.mark.parametrize("shape", [(1, 2), (7, 3), (13, 16)])
def test_a_context_longer_than_the_axis_goes_around_several_times(name, params, scipy, shape):
    """With a context of several lengths of the array, a filter gives what scipy gives."""
    image = array(np.random.default_rng(5), shape, "uint8")
    operator = slots(resolve_operator(name)(), mode="wrap", **params)
    check_operator(operator, scipy, arrays={"Input": image}, regions=8)


def test_only_regions_at_the_border_read_all_of_an_axis():
    """An inner region reads its context; one at the border all of that axis, and its context along the others."""
    smooth = slots(
        resolve_operator("GaussianSmoothing")(), Input=np.zeros((40, 50, 60)), sigma=1.0, mode="wrap"
    )

    def read(start, stop):
        needed = smooth.requiredInputRoi(smooth.Output, (), SubRegion(smooth.Output, start, stop))
        return [(a, b) for a, b in zip(needed[smooth.Input].start, needed[smooth.Input].stop)]

    assert read((10, 10, 10), (20, 20, 20)) == [(6, 24)] * 3
    assert read((3, 10, 10), (9, 20, 20)) == [(0, 40), (6, 24), (6, 24)]
    assert read((10, 10, 50), (20, 20, 57)) == [(6, 24), (6, 24), (0, 60)]
    smooth.axes.setValue((1, 2))
    assert read((0, 10, 50), (9, 20, 57)) == [(0, 9), (6, 24), (0, 60)]


def test_a_change_dirties_the_other_end_where_it_is_near_an_end_and_only_there():
    """Near an end of a wrapped axis all of the axis is dirty, else what has the change in its context."""
    smooth = slots(resolve_operator("GaussianSmoothing")(), Input=np.zeros((40, 50)), sigma=1.0, mode="wrap")
    announced = []
    smooth.Output.notifyDirty(lambda _slot, roi: announced.append((tuple(roi.start), tuple(roi.stop))))
    smooth.Input.setDirty((20, 0), (21, 1))
    smooth.Input.setDirty((20, 20), (21, 22))
    assert announced == [((16, 0), (25, 50)), ((16, 16), (25, 26))]


def test_padding_goes_around_several_times():
    """Padding by more than the length of an axis repeats it, as numpy's `wrap` does."""
    for shape in ((1,), (2, 3), (5, 1, 2)):
        image = array(np.random.default_rng(1), shape, "uint16")
        widths = [(7, 3 * size + 1) for size in shape]
        before, after = zip(*widths)
        pad = slots(resolve_operator("Pad")(), before=before, after=after, mode="wrap")
        check_operator(
            pad, lambda image, widths=widths: np.pad(image, widths, "wrap"), arrays={"Input": image}
        )
