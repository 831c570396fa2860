"""Merging: what edges connect gets one number, by where its first voxel is; and which labels overlap enough."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockflow.errors import LabelError
from blockflow.labels import Stitch, first_voxels, merge, merging, number_by_first_voxel
from blockflow.labels.contact import directions, faces_of, overlapping_pairs


def naive(first, edges):
    group = list(range(len(first)))
    for one, other in edges:
        keep, drop = group[one], group[other]
        group = [keep if value == drop else value for value in group]
    lowest = {value: min(f for f, g in zip(first, group) if g == value) for value in group}
    written = sorted(value for value in lowest.values() if value != merging.NO_VOXEL)
    return [written.index(lowest[g]) + 1 if lowest[g] in written else 0 for g in group]


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 12), st.data(), st.sampled_from([2**31 - 1, 6]))
def test_groups_are_numbered_by_their_first_voxel(nodes, data, most):
    """As a naive union of all edges says, duplicates and all, also where only nodes with edges can be numbered."""
    edges = data.draw(st.lists(st.tuples(*[st.integers(0, nodes - 1)] * 2), max_size=6))
    first = data.draw(st.permutations(range(nodes)))
    first = [data.draw(st.sampled_from([value, value, merging.NO_VOXEL])) for value in first]
    pairs = np.array(edges, np.int64).reshape(-1, 2)
    before, merging._MOST_NODES = merging._MOST_NODES, most
    try:
        found = merge(np.array(first, np.int64), pairs[:, 0], pairs[:, 1])
    except LabelError:
        assert most == 6 < len(np.unique(pairs))
        return
    finally:
        merging._MOST_NODES = before
    assert found.dtype == np.uint64
    assert found.tolist() == naive(first, edges)


def test_numbers_beyond_a_float_are_exact():
    """First voxels that differ by one beyond 2^53 are told apart."""
    first = np.array([2**60 + 1, 2**60, 2**60 + 2])
    assert merge(first, np.zeros(0, np.int64), np.zeros(0, np.int64)).tolist() == [2, 1, 3]


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=0, max_size=40), st.sampled_from([1, 2**33, 10**18]))
def test_labels_are_numbered_by_their_first_voxel(values, factor):
    """Labels of any size become 1, 2, 3 in the order in which they first occur; 0 stays."""
    labels = np.array(values, np.uint64) * np.uint64(factor)
    numbers = {0: 0}
    expected = [numbers.setdefault(value, len(numbers)) for value in values]
    found = number_by_first_voxel(labels)
    assert found.tolist() == expected
    assert first_voxels(found).tolist() == [expected.index(k) for k in range(1, len(numbers))]


def rows(*texts):
    return np.array([[int(letter) for letter in text] for text in texts], np.uint8)


@pytest.mark.parametrize(
    ("measure", "threshold", "expected"),
    [("iou", 0.6, [[1, 2]]), ("iou", 0.5, [[1, 2], [3, 1]]), ("fraction", 0.9, [[1, 2], [3, 1]])],
)
def test_labels_that_overlap_enough_are_paired(measure, threshold, expected):
    """Best mutual matches above the threshold, by union or by the smaller one; a second-best match is none."""
    earlier = {"high0": rows("1111122000", "1111122333")}
    later = {"low0": rows("2222300111", "2222300111")}
    # the scores of (1, 2) are 8 of 10 and 8 of 8, those of (3, 1) 3 of 6 and 3 of 3; (1, 3) is no best match
    found = overlapping_pairs(earlier, later, (1, 0), (0, 1), (2, 2), measure, threshold)
    assert found.tolist() == expected


def test_faces_are_as_thick_as_the_contexts():
    """A face has the planes that a neighbour sees, too, and no more than there are."""
    labels = np.arange(5 * 4).reshape(5, 4)
    faces = faces_of(labels, (0, 1), (2, 9))
    assert {name: face.shape for name, face in faces.items()} == {
        "low0": (2, 4), "high0": (2, 4), "low1": (5, 4), "high1": (5, 4),
    }  # fmt: skip
    np.testing.assert_array_equal(faces["high0"], labels[3:])


@pytest.mark.parametrize(("axes", "rank", "count"), [(2, 1, 2), (2, 2, 4), (3, 1, 3), (3, 2, 9), (3, 3, 13)])
def test_each_neighbour_is_met_once(axes, rank, count):
    """Directions go to half of all neighbours; the others come from there."""
    found = set(directions(axes, rank))
    assert len(found) == count
    assert not found & {tuple(-step for step in way) for way in found}


def test_a_rule_is_what_it_is_given_as():
    """By name, as a mapping, or as itself."""
    assert Stitch.of("none") == Stitch("none")
    assert Stitch.of({"rule": "touching", "connectivity": 26}) == Stitch("touching", 26)
    assert Stitch.of(Stitch("overlap", threshold=1)).threshold == 1
