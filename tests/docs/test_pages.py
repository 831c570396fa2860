"""What README and the pages in docs say is there: links, configs, commands and code."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from blockflow.cli import cli
from blockflow.config import load_config
from blockflow.config.schema import Config, TaskConfig

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWN_OUTPUT = re.compile(r"blockflow: |blockflow_")

LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(
    r"^(?P<mark><!-- run -->\n)?```(?P<kind>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)


def name_of(page):
    return str(page.relative_to(ROOT))


def anchors(page):
    """The anchors of a page's headings, as Markdown viewers make them."""
    prose = FENCE.sub("", page.read_text())
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks(kind):
    """Each code block of a kind: where it is, its text, and whether it is marked to be run."""
    for page in PAGES:
        text = page.read_text()
        for found in FENCE.finditer(text):
            if found["kind"] == kind:
                line = text.count("\n", 0, found.start("body"))
                yield pytest.param(found["body"], bool(found["mark"]), id=f"{name_of(page)}:{line}")


def commands():
    """Each `blockflow ...` that a page names: indented on a line of its own, or in backticks."""
    for page in PAGES:
        text = page.read_text()
        prose = re.sub(r"^```(?:yaml|python)\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        named = re.findall(r"^ {4}(blockflow [^:\n]*(?:=.*)?)$", prose, re.MULTILINE)
        named += re.findall(r"`(blockflow [a-z-][^`\n]*)`", prose)
        for command in dict.fromkeys(named):
            if page.name != "CHANGELOG.md" or not SHOWN_OUTPUT.match(command):
                yield pytest.param(command.strip(), id=f"{name_of(page)}: {command.strip()}")


def look_up(words):
    """The click command that words name, and what is left of them; fails if there is none."""
    command, words = cli, list(words)
    context = click.Context(cli)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if words[0].isupper() and found is None:  # a placeholder such as COMMAND
            break
        assert found is not None, f"there is no command {words[0]!r} in {command.name}"
        command = found
        words.pop(0)
    return command, words


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page):
    """Every relative link leads to a file of the repository, and its anchor to a heading."""
    broken = []
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists() or (anchor and anchor not in anchors(place)):
            broken.append(target)
    assert broken == []


def test_index_links_every_page():
    """docs/index.md leads to every page."""
    targets = {target.partition("#")[0] for target in LINK.findall((ROOT / "docs" / "index.md").read_text())}
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages - targets == set()


@pytest.mark.parametrize(("text", "marked"), list(blocks("yaml")))
def test_configs_are_valid(text, marked, tmp_path):
    """Every YAML block with tasks is a config that blockflow takes."""
    if "tasks:" not in text:
        yaml.safe_load(text)
        return
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert load_config(path).config.tasks


def test_configs_of_pages_are_the_example_files():
    """A config that a page says to be an example file has that file's content."""
    for page, example in (("README.md", "first.yaml"), ("docs/running.md", "two_tasks.yaml")):
        shown = next(
            found["body"] for found in FENCE.finditer((ROOT / page).read_text()) if found["kind"] == "yaml"
        )
        assert yaml.safe_load(shown) == yaml.safe_load((ROOT / "docs" / "examples" / example).read_text())


def test_python_of_pages_is_the_example_file():
    """The first run from Python is shown as it stands in the example file, but for its docstring."""
    example = ast.parse((ROOT / "docs" / "examples" / "first.py").read_text())
    for page in ("README.md", "docs/python.md"):
        shown = next(
            found["body"] for found in FENCE.finditer((ROOT / page).read_text()) if found["kind"] == "python"
        )
        assert ast.dump(ast.parse(shown)) == ast.dump(ast.Module(example.body[1:], []))


def test_every_key_is_explained():
    """docs/running.md has a row for every key of a config, a task, an array and compute."""
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "running.md").read_text(), re.MULTILINE)
    keys = {*Config.model_fields, *TaskConfig.model_fields}
    for model in (Config, TaskConfig):
        for field in model.model_fields.values():
            keys |= set(getattr(field.annotation, "model_fields", ()))
    assert keys - {"offset", "shape"} - set(rows) == set()


@pytest.mark.parametrize("line", list(commands()))
def test_commands_exist(line):
    """Every command that a page names exists, with each option that is given."""
    words = shlex.split(line)[1:]
    command, left = look_up(words)
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.partition("=")[0] for word in left if word.startswith("-")}
    assert given - options - {"--help", "-h", "--version"} == set()


def test_every_command_is_explained():
    """docs/running.md names every command, and every option of each."""
    text = (ROOT / "docs" / "running.md").read_text()
    missing = []
    waiting = [("blockflow", cli)]
    while waiting:
        name, command = waiting.pop()
        if isinstance(command, click.Group):
            context = click.Context(command)
            waiting += [
                (f"{name} {sub}", command.get_command(context, sub)) for sub in command.list_commands(context)
            ]
            continue
        row = next((line for line in text.splitlines() if line.startswith(f"| `{name}")), None)
        if row is None:
            missing.append(name)
            continue
        for parameter in command.params:
            names = {*parameter.opts, *parameter.secondary_opts}
            if isinstance(parameter, click.Option) and not any(option in row for option in names):
                missing.append(f"{name} {parameter.opts[0]}")
    assert missing == []


@pytest.mark.parametrize(("text", "marked"), list(blocks("python")))
def test_python_compiles_and_runs(text, marked, beside_sample, environment):
    """Every Python block compiles; one that is marked runs beside the sample volume."""
    compile(text, "page", "exec")
    if marked:
        done = subprocess.run(
            [sys.executable, "-c", text],
            cwd=beside_sample,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_every_error_is_explained():
    """docs/python.md has a row for every error type, and docs/run-directory.md for every cause of a failure."""
    from blockflow import errors
    from blockflow.execution.failures import CAUSES

    text = (ROOT / "docs" / "python.md").read_text()
    assert [name for name in errors.__all__ if f"`{name}`" not in text and f".{name}`" not in text] == []
    text = (ROOT / "docs" / "run-directory.md").read_text()
    assert [cause for cause in CAUSES if f"`{cause}`" not in text] == []


def test_bundled_worker_files_are_listed():
    """README and docs/worker-files.md have a row for every bundled worker file."""
    from blockflow.tasks import bundled_worker_files

    for page in ("README.md", "docs/worker-files.md"):
        text = (ROOT / page).read_text()
        assert [name for name in bundled_worker_files() if f"| `{name}` |" not in text] == []
