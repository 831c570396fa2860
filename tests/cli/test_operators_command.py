"""`blockflow operators`: all operators, or what one of them is."""

from click.testing import CliRunner

from blockflow.cli import cli
from blockflow.operators import operator_names


def said(*arguments):
    outcome = CliRunner().invoke(cli, ["operators", *arguments], catch_exceptions=False)
    assert outcome.exit_code == 0
    return outcome.output


def test_all_operators_are_listed():
    """Each operator has a line with what it does."""
    words = {line.split()[0] for line in said().splitlines() if line.startswith("  ")}
    assert words == {*operator_names()}


def test_one_operator_is_explained():
    """Its docstring, inputs, parameters with defaults, exactness, and a line for a config."""
    text = said("Threshold")
    assert "1 where the input is above `threshold`" in text
    assert "inputs:     Input" in text
    assert "threshold  in units of the input (default 0)" in text
    assert "exactness:  exact" in text
    assert "name: {type: Threshold, inputs: {Input: raw}}" in text
    assert "limit" in said("DistanceTransform").partition("in a config")[2]


def test_ones_own_operator_is_explained(tmp_path, monkeypatch):
    """A class of a file is explained like a ready-made one."""
    (tmp_path / "mine.py").write_text(
        "import blockflow\n\n@blockflow.pointwise\ndef double(image, times=2):\n"
        "    'Twice.'\n    return times * image\n"
    )
    monkeypatch.chdir(tmp_path)
    text = said("mine.py:double")
    assert "Twice." in text
    assert "times" in text
