"""What pages show as a session with Python gives what they show."""

import doctest
import re
from pathlib import Path

import pytest

from blockflow.request import Request

DOCS = Path(__file__).parents[2] / "docs"
SESSION = re.compile(r"^```pycon\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = sorted(page for page in DOCS.glob("*.md") if SESSION.search(page.read_text()))
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(autouse=True)
def _own_threads():
    Request.reset_thread_pool(2)
    yield
    Request.reset_thread_pool()


def session(page):
    """The sessions of a page as one, blank where the prose is, so that line numbers are right."""
    text = page.read_text()
    lines = [""] * text.count("\n")
    for found in SESSION.finditer(text):
        first = text.count("\n", 0, found.start(1))
        lines[first : first + found[1].count("\n")] = found[1].splitlines()
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sessions_run(page):
    """Every line that a page shows as entered runs, and gives what the page shows."""
    test = doctest.DocTestParser().get_doctest(session(page), {}, page.name, str(page), 0)
    said = []
    outcome = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=said.append)
    assert outcome.attempted > 5
    assert outcome.failed == 0, "".join(said)


def test_the_graph_has_its_pages():
    """The pages on the graph and on requests are sessions that are run."""
    assert {"graph.md", "requests.md"} <= {page.name for page in PAGES}


def test_a_wrong_session_is_found(tmp_path):
    """A page that shows something else than Python gives fails; otherwise the test above proves nothing."""
    page = tmp_path / "page.md"
    page.write_text("Prose.\n\n```pycon\n>>> 1 + 1\n3\n\n```\n")
    test = doctest.DocTestParser().get_doctest(session(page), {}, page.name, str(page), 0)
    outcome = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=lambda _: None)
    assert (outcome.attempted, outcome.failed) == (1, 1)
    assert test.examples[0].lineno == 3
