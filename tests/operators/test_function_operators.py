"""Functions on arrays as operators: their slots, metadata, context and memory follow from the function."""

import cloudpickle
import numpy as np
import pytest
from operators.arrays import slots
from scipy.ndimage import maximum_filter, uniform_filter1d

import blockflow
from blockflow.errors import OperatorError
from blockflow.graph import SlotNotReadyError
from blockflow.operators import resolve_operator
from blockflow.stype import InvalidResult
from blockflow.testing.operators import check_operator


@blockflow.pointwise
def index(red, green, *, weight=1.0):
    """A weighted index."""
    return weight * (red - green) / (red + green + 1.0)


@blockflow.neighbourhood(context=lambda radius: (radius, 0, radius))
def brightest(image, radius=2):
    return maximum_filter(image, (2 * radius + 1, 1, 2 * radius + 1))


@pytest.fixture
def images():
    return np.random.default_rng(1).random((2, 19, 23, 29))


def test_a_pointwise_function_keeps_the_promises(images):
    """Its arrays are inputs, its defaults parameters, its docstring the operator's."""
    op = slots(index(), red=images[0], green=images[1], weight=2.0)
    assert (list(op.inputs), index.__doc__) == (["red", "green", "weight"], "A weighted index.")
    check_operator(op, lambda red, green: 2 * (red - green) / (red + green + 1))


def test_a_number_is_taken_for_an_array(images):
    """A data input may be a number, used for all voxels."""
    check_operator(slots(index(), red=images[0], green=0.5), lambda red: (red - 0.5) / (red + 1.5))


def test_a_neighbourhood_keeps_the_promises(images):
    """The context may follow from a parameter, per axis."""
    check_operator(
        slots(brightest(), image=images[0], radius=3), lambda image: maximum_filter(image, (7, 1, 7))
    )


def test_a_context_that_is_too_small_is_found(images):
    """The kit finds a function that looks farther than it says."""
    liar = blockflow.operator_from(lambda image: uniform_filter1d(image, 5, axis=0), context=1)
    with pytest.raises(AssertionError, match="voxels differ from the whole"):
        check_operator(slots(liar(), image=images[0]))


def test_the_dtype_is_what_the_function_returns(images):
    """The output's dtype is learned from the function, or declared."""
    op = slots(blockflow.operator_from(lambda a: a > 0.5)(), a=images[0])
    assert op.Output.dtype == bool
    declared = slots(blockflow.operator_from(lambda a: a > 0.5, dtype="uint8")(), a=images[0])
    assert declared.Output[:].wait().dtype == np.uint8
    assert check_operator(declared).regions


def test_a_function_that_fails_for_a_few_voxels_says_how_to_go_on(images):
    """Where the dtype cannot be learned, the message names the cure."""

    def picky(image):
        if image.size < 1000:
            raise ValueError("too small")
        return image

    op = slots(blockflow.operator_from(picky)(), image=images[0])
    with pytest.raises(SlotNotReadyError, match=r"ValueError: too small\. Declare it with dtype="):
        op.Output[:].wait()


def test_a_result_of_another_shape_is_refused(images):
    """A function that crops its context is told to keep it."""
    op = slots(blockflow.operator_from(lambda a: a[1:-1], context=1, dtype=float)(), a=images[0])
    with pytest.raises(InvalidResult, match=r"got shape \(19, 23, 29\) and returned \(17, 23, 29\)"):
        op.Output[:].wait()


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda *images: images[0], "needs a name for each input"),
        (lambda *, weight: weight, "takes no array"),
        (lambda inputs: inputs, "means something else of an operator"),
        (max, "does not tell its arguments"),
    ],
)
def test_functions_that_cannot_be_operators(function, said):
    """What cannot become an operator is refused when it is made, with the reason."""
    with pytest.raises(OperatorError, match=said):
        blockflow.operator_from(function)


def test_a_parameter_without_default_must_be_given(images):
    """A keyword-only argument without default keeps the operator from being ready."""
    op = slots(blockflow.operator_from(lambda a, *, gain: gain * a, name="Gain")(), a=images[0])
    with pytest.raises(SlotNotReadyError, match=r"Gain\.gain is neither connected nor has a value"):
        op.Output[:]
    op.gain.setValue(2)
    np.testing.assert_array_equal(op.Output[:].wait(), 2 * images[0])


def test_the_memory_of_a_function_is_measured(images):
    """Its scratch memory is learned from a small region, within a factor of two."""
    op = slots(blockflow.operator_from(lambda a: np.sqrt(a * a + 1) - 1)(), a=np.ones((64, 64, 80)))
    assert 0.5 <= check_operator(op, regions=2).scratch_ratio <= 1


def test_they_travel_to_other_processes(images):
    """By name where the function can be imported, by value where not."""
    local = blockflow.operator_from(lambda a: a + 1, name="Local")
    assert cloudpickle.loads(cloudpickle.dumps(index)) is index
    copy = cloudpickle.loads(cloudpickle.dumps(local))
    np.testing.assert_array_equal(slots(copy(), a=images[0]).Output[:2].wait(), images[0][:2] + 1)


def test_they_are_found_by_path(tmp_path, images):
    """A config names a decorated function of a file as it names a class."""
    (tmp_path / "mine.py").write_text(
        "import blockflow\n\n@blockflow.pointwise\ndef double(image):\n    return 2 * image\n"
    )
    double = resolve_operator("mine.py:double", tmp_path)
    np.testing.assert_array_equal(slots(double(), image=images[0]).Output[0].wait(), 2 * images[0][:1])


def test_the_code_of_a_function_counts_for_the_recipe():
    """Another function, or another context, is another recipe."""
    from blockflow.tasks.recipe import code_of_class

    def made(function, **declared):
        return code_of_class(blockflow.operator_from(function, name="Same", **declared))

    def near(radius=1):
        return radius

    def far(radius=1):
        return 2 * radius

    one, other = made(abs_of, context=near)["members"], made(abs_of, context=far)["members"]
    assert one["Same._context"] != other["Same._context"]
    assert one["Same._function"] == other["Same._function"]
    assert one["Same._function"] != made(double_of)["members"]["Same._function"]


def double_of(image):
    return 2 * image


def abs_of(image):
    return np.abs(image)
