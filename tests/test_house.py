"""The rules of the house: imports go one way, modules stay short, no file tells of the machine it is from."""

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "blockflow"

#: each may import only what stands before it, and itself
ORDER = (
    "errors",
    "roi",
    "request",
    "utility",
    "stype",
    "rtype",
    "graph",
    "storage",
    "labels",
    "operators",
    "tasks",
    "planning",
    "compute",
    "execution",
    "blockwise",
    "segment",
    "config",
    "report",
    "web",
    "cli",
    "testing",
    "__main__",
)

LONGEST_MODULE = 450


def _lazy_names(package):
    """Where `blockflow/__init__.py` takes its lazy names from: name -> package of the house."""
    tree = ast.parse((package / "__init__.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "lazy_names":
            return {name: module.split(".")[1] for name, module in ast.literal_eval(node.args[1]).items()}
    return {}


def _imported(node, module_parts):
    """The dotted names that an import statement, or an `import_module("...")`, may bring in."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            base = ".".join([*module_parts[: len(module_parts) - node.level], *filter(None, [node.module])])
        return [f"{base}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
            return [node.args[0].value]
    return []


def violations(package):
    """All imports under `package` that go against `ORDER`, as `file:line: what`."""
    lazy = _lazy_names(package)
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        here = parts[1]
        if here == "__init__":
            continue
        where = path.relative_to(package.parent)
        if here not in ORDER:
            found.append(f"{where}:1: {here} has no place in the order of the house")
            continue
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            for name in _imported(node, parts):
                if name.split(".")[0] != "blockflow" or name.count(".") == 0:
                    continue
                target = name.split(".")[1]
                target = lazy.get(target, target)
                if target in (here, "__version__"):
                    continue
                if target not in ORDER:
                    found.append(f"{where}:{node.lineno}: {target} has no place in the order of the house")
                elif ORDER.index(target) > ORDER.index(here):
                    found.append(f"{where}:{node.lineno}: {here} imports {target}, which stands below it")
    return found


def test_imports_go_one_way():
    """Each package imports only packages above it, also inside of functions and for type checkers."""
    assert violations(PACKAGE) == []


@pytest.mark.parametrize(
    "statement",
    [
        "import blockflow.cli",
        "import blockflow.cli.main as main",
        "from blockflow.cli import main",
        "from blockflow import cli",
        "from blockflow import run_blockwise",
        "from .. import cli",
        "from ..cli.main import run",
        "def f():\n    from blockflow.cli import main",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from blockflow.cli import main",
        "import importlib\nimportlib.import_module('blockflow.cli')",
        "from blockflow import unheard_of",
        "from blockflow import __main__",
    ],
)
def test_an_import_against_the_order_is_found(tmp_path, statement):
    """Every way to import a package from below is found with its place, or the test above proves nothing."""
    package = tmp_path / "blockflow"
    for name in ("storage", "cli"):
        (package / name).mkdir(parents=True)
        (package / name / "__init__.py").write_text("from blockflow.errors import BlockflowError\n")
    (package / "errors.py").write_text("")
    (package / "__init__.py").write_text(
        "from blockflow.cli import main\n"
        "__getattr__ = lazy_names(__name__, {'run_blockwise': 'blockflow.blockwise'})\n"
    )
    (package / "storage" / "array.py").write_text(
        "from blockflow.storage import spec\nfrom . import lattice\n"
    )
    assert violations(package) == []
    (package / "storage" / "array.py").write_text(f"import os\n{statement}\n")
    (found,) = violations(package)
    assert re.match(r"blockflow/storage/array\.py:\d+: ", found)


def test_an_unknown_package_is_found(tmp_path):
    """A package without a place in the order is found, so that none stands outside of the rule."""
    (tmp_path / "blockflow" / "helpers").mkdir(parents=True)
    (tmp_path / "blockflow" / "__init__.py").write_text("")
    (tmp_path / "blockflow" / "helpers" / "__init__.py").write_text("")
    assert violations(tmp_path / "blockflow") == [
        "blockflow/helpers/__init__.py:1: helpers has no place in the order of the house"
    ]


def test_no_module_is_too_long():
    """A module has one idea, and no more lines than one idea needs."""
    long = {
        str(path.relative_to(ROOT)): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > LONGEST_MODULE
    }
    assert long == {}


#: absolute paths of a machine that people do not share, and addresses of package registries; written so that
#: this file does not contain what it looks for
TELLTALES = re.compile(
    r"(?<![\w.~$}<>*-])/(?:work|root)/"
    r"|/tmp/bash_[j]obs"
    r"|(?:pypi\.org|pythonhosted\.org|registry\.npmjs\.org|conda\.anaconda\.org|proxy\.golang\.org)[/\"']"
    r"|[i]ndex-url|/simple/?[\"'\s]*$",
    re.MULTILINE,
)


def _repository_files():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git working copy")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    names = filter(None, listed.stdout.decode().split("\0"))
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def test_no_file_tells_of_the_machine():
    """No file of the repository holds an absolute path of a machine or the address of a package registry."""
    found = []
    for path in _repository_files():
        text = path.read_bytes().decode(errors="ignore")
        for match in TELLTALES.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{path.relative_to(ROOT)}:{line}: {match.group()!r}")
    assert found == []


@pytest.mark.parametrize(
    "parts",
    [
        ('path = "', "/work", '/main"'),
        ("see ", "/root", "/.cache"),
        ("https://pypi", ".org", "/simple/numpy/"),
        ("https://files.python", "hosted.org", "/packages"),
        ("--index", "-url", " https://example.org"),
        ('registry = "https://mirror.example.org', "/simple", '"'),
    ],
)
def test_what_tells_of_the_machine_is_found(parts):
    """Paths and addresses of that kind are found; otherwise the test above proves nothing."""
    assert TELLTALES.search("".join(parts))


@pytest.mark.parametrize(
    "text", ["network/root/level", "framework/", "a simple case", "$HOME/work/x", "pip install"]
)
def test_innocent_words_are_not_found(text):
    """Words that only look alike do not disturb."""
    assert not TELLTALES.search(text)
