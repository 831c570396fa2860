"""docs/operators.md lists the catalogue as it is."""

from pathlib import Path

from blockflow.operators.description import catalogue_markdown

ROOT = Path(__file__).parents[2]


def test_the_page_lists_the_catalogue():
    """The tables are what the catalogue gives; if not, replace them by `catalogue_markdown()`."""
    text = (ROOT / "docs" / "operators.md").read_text()
    listed = text.partition("<!-- begin catalogue -->\n")[2].partition("<!-- end catalogue -->")[0]
    assert listed.strip() == catalogue_markdown().strip()
