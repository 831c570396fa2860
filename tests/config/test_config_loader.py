"""Reading a config file: positions, variables, overrides, and files that are none."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blockflow.config import load_config
from blockflow.errors import ConfigError

CONFIG = """
name: cells
compute:
  num_workers: 2
arrays:
  raw: {path: raw.zarr}
tasks:
  small:
    worker_file: worker.py
    inputs: {input: raw}
    outputs: {output: small.zarr}
    write_roi: {offset: [0, 0], shape: [64, 64]}
    args:
      threshold: 5
"""


def fails(path, *overrides):
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value).replace(str(path), "FILE")


def test_all_that_is_wrong_is_said_at_once_in_file_order(complaints):
    """One run tells everything, from the top of the file to its end, then the overrides."""
    lines = complaints(
        """
        nam: cells
        compute: {num_workers: 0, context: cloud}
        tasks:
          small:
            write_roi: {offset: [0], shape: [1.5]}
            args: {a: '${NOT_SET_ANYWHERE}'}
            args: {b: 1}
        run_dir: 5
        """,
        "compute.workers=3",
    )
    assert [line.partition(": ")[0] for line in lines] == [
        "FILE:1",
        "FILE:2",
        "FILE:2",
        "FILE:4",
        "FILE:5",
        "FILE:6",
        "FILE:7",
        "FILE:8",
        "--set compute.workers=3",
    ]
    assert "did you mean 'name'?" in lines[0]
    assert "NOT_SET_ANYWHERE is not set" in lines[5]
    assert "duplicate key 'args', given before at FILE:6; remove one" in lines[6]


def test_the_text_is_kept_as_given(write):
    """A run can keep its config with comments and variables as they were."""
    path = write("# mine\n" + CONFIG)
    loaded = load_config(path, ["name=other"])
    assert loaded.text == path.read_text()
    assert (loaded.path, loaded.folder, loaded.overrides) == (path, path.parent, ("name=other",))


def test_relative_paths_count_from_the_config(write, folder, monkeypatch, tmp_path_factory):
    """Where the command is typed does not matter."""
    write(CONFIG + "run_dir: ../runs/cells\n")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    loaded = load_config(folder / "cells.yaml")
    assert loaded.run_dir == folder.parent / "runs/cells"
    assert loaded.absolute("data/a.zarr") == str(folder / "data/a.zarr")
    monkeypatch.chdir(folder)
    assert load_config("cells.yaml").folder == folder
    monkeypatch.setenv("HOME", "/home/me")
    assert loaded.absolute("~/a.zarr") == "/home/me/a.zarr"
    assert loaded.absolute("/a/b/../c") == "/a/c"
    assert loaded.absolute("s3://bucket/a") == "s3://bucket/a"


def test_the_name_comes_from_the_file(write):
    """Without a name a run is called like its config, in characters that a folder can have."""
    text = CONFIG.replace("name: cells", "")
    assert load_config(write(text, "my cells.v2.yaml")).name == "my_cells.v2"
    assert load_config(write(text, "...")).name == "run"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "FILE: the file is empty; a config has at least 'tasks:'"),
        (b"# nothing\n", "FILE: the file is empty; a config has at least 'tasks:'"),
        (b"\n- a\n", "FILE:2: a config is a mapping (lines of 'key: value'), not a list"),
        (b"hello\n", "FILE:1: a config is a mapping (lines of 'key: value'), not 'hello'"),
        (b"!x\na: 1\n", "FILE:1: cannot be read as '!x'; remove this tag, or use quotes"),
        (b"\x89PNG\r\n", "FILE: no text in UTF-8 (byte 0); a config is a YAML text file"),
        (b"a: \x00b\n", "FILE:1:4: not valid YAML: it contains the character"),
        (
            b"a:\n  b: [1, 2\nc: 3\n",
            "FILE:3:2: not valid YAML: while parsing a flow sequence expected ',' or ']'",
        ),
        (
            b"a:\n\tb: 1\n",
            "FILE:2:1: not valid YAML: while scanning for the next token found character '\\t'",
        ),
        (b"a:\n\tb: 1\n", "; indent with spaces, not with tabs"),
        (b"a: {b: ${HOME}}\n", "put a value with ${...} in quotes where it stands between { } or [ ]"),
        (b"a: 1\n---\na: 2\n", "remove the line '---'"),
        (b"a: *b\n", "FILE:1:4: not valid YAML: found undefined alias 'b'"),
        (b"a: " + b"[" * 5000, "FILE:1:1: nested deeper than 100 levels; make it flatter"),
        (b"a: " + b"[" * 150 + b"]" * 150, "nested deeper than 100 levels, or containing itself by an alias"),
        (b"a: &a [*a]\n", "nested deeper than 100 levels, or containing itself by an alias"),
        (b"x" * 10_000_001, "FILE: 10000001 bytes are too many for a config; is it another file?"),
    ],
)
def test_a_file_that_is_no_config_gets_one_clear_line(folder, content, expected):
    """What cannot be read is said in one line with its place."""
    path = folder / "cells.yaml"
    path.write_bytes(content)
    message = fails(path)
    assert expected in message
    assert len(message.splitlines()) == 1


def test_what_is_no_file_gets_one_clear_line(folder):
    """A missing file, a folder and a file in a file are each said as what they are."""
    assert "FILE: there is no such file (looked in " in fails(folder / "missing.yaml")
    assert fails(folder) == "FILE: this is a folder; name the config file in it"
    assert fails(folder / "worker.py" / "a.yaml").startswith("FILE: cannot be read: Not a directory")


def test_alias_bombs_are_refused_before_they_grow(folder):
    """A few lines that would expand to billions of values are an error at once."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (folder / "cells.yaml").write_text("\n".join(lines))
    assert "more than 100000 values, aliases (*name) expanded; make it smaller" in fails(
        folder / "cells.yaml"
    )


def test_anchors_and_merges_work_and_keep_their_places(load, complaints):
    """A mapping can be shared by `&`, `*` and `<<`; its own keys win, and errors show where they stand."""
    text = """
        tasks:
          one: &base
            worker_file: worker.py
            write_roi: &block {offset: [0], shape: [64]}
            max_retries: 1
          two:
            <<: *base
            max_retries: 3
            read_roi: *block
    """
    tasks = load(text).config.tasks
    assert (tasks["two"].worker_file, tasks["two"].max_retries) == ("worker.py", 3)
    assert tasks["two"].read_roi == tasks["one"].write_roi
    one, two = complaints(text.replace("max_retries: 1", "maxx: 1"))
    assert one.startswith("FILE:5: tasks.one.maxx: unknown key 'maxx'")
    assert two.startswith("FILE:5: tasks.two.maxx: unknown key 'maxx'")
    assert "'<<' takes a mapping, or a list of them" in complaints("<<: 5\n" + CONFIG)[0]


@pytest.mark.parametrize("change", [lambda text: "\ufeff" + text, lambda text: text.replace("\n", "\r\n")])
def test_files_from_other_systems_are_read(folder, change):
    """A byte order mark and Windows line ends change nothing, not even the line numbers."""
    path = folder / "cells.yaml"
    path.write_bytes(change(CONFIG.lstrip()).encode())
    assert load_config(path).name == "cells"
    path.write_bytes(change(CONFIG.lstrip().replace("threshold", '"a\\nb": 1\n  thresh')).encode())
    assert fails(path).splitlines()[0].startswith("FILE:13")


def test_variables_are_replaced_in_text(load, folder, monkeypatch):
    """`${NAME}` is the environment's, `${CONFIG_DIR}` the config's folder, `$$` a dollar."""
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.setenv("CONFIG_DIR", "/wrong")
    args = (
        load(
            CONFIG
            + "      a: ${DATA}/x\n      b: '${CONFIG_DIR}/y'\n      c: $${DATA} costs 5$\n      d: $$\n"
        )
        .config.tasks["small"]
        .args
    )
    assert args == {"threshold": 5, "a": "/data/x", "b": f"{folder}/y", "c": "${DATA} costs 5$", "d": "$"}


@pytest.mark.parametrize(
    ("value", "plain", "quoted"),
    [
        ("8", 8, "8"),
        ("1e-3", 0.001, "1e-3"),
        ("true", True, "true"),
        ("", None, ""),
        ("[a", "[a", "[a"),
        ("<<", "<<", "<<"),
    ],
)
def test_a_plain_variable_is_read_as_yaml_a_quoted_one_as_text(load, monkeypatch, value, plain, quoted):
    """A number can come from the environment, and what is quoted stays text."""
    monkeypatch.setenv("VALUE", value)
    args = (
        load(CONFIG + "      plain: ${VALUE}\n      quoted: '${VALUE}'\n      part: ${VALUE}0\n")
        .config.tasks["small"]
        .args
    )
    assert (args["plain"], args["quoted"], args["part"]) == (plain, quoted, f"{value}0")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${NOT_SET_ANYWHERE}", "the environment variable NOT_SET_ANYWHERE is not set; set it, or write $${"),
        ("${A B}", "'${A B}' is no variable: write ${NAME}, or $$ where a $ is meant"),
        ("x${", "'${' is no variable: write ${NAME}, or $$ where a $ is meant"),
    ],
)
def test_a_variable_that_is_not_there_is_an_error_with_its_line(complaints, text, expected):
    """Nothing is replaced by an empty text in silence."""
    (message,) = complaints(CONFIG + f"      a: {text}\n")
    assert message.startswith(f"FILE:14: tasks.small.args.a: {expected}"), message


def test_a_value_that_its_tag_forbids_is_an_error(complaints):
    """A tag that the value does not fit is reported where it stands."""
    (message,) = complaints(CONFIG + "      a: !!int five\n")
    assert message == "FILE:14: tasks.small.args.a: 'five' is no int; write it out, or put it in quotes"


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("name=other", lambda loaded: loaded.name == "other"),
        ("compute.num_workers=8", lambda loaded: loaded.config.compute.num_workers == 8),
        ("compute={context: serial}", lambda loaded: loaded.config.compute.context == "serial"),
        ("tasks.small.args.threshold=7", lambda loaded: loaded.config.tasks["small"].args["threshold"] == 7),
        (
            "tasks.small.args.deep.new=a=b",
            lambda loaded: loaded.config.tasks["small"].args["deep"] == {"new": "a=b"},
        ),
        (
            "tasks.small.write_roi.shape.1=32",
            lambda loaded: loaded.config.tasks["small"].write_roi.shape == [64, 32],
        ),
        ("arrays.other={path: b}", lambda loaded: loaded.config.arrays["other"].path == "b"),
        ("tasks.small.timeout=", lambda loaded: loaded.config.tasks["small"].timeout is None),
        ("run_dir=${CONFIG_DIR}/here", lambda loaded: loaded.run_dir == loaded.folder / "here"),
    ],
)
def test_overrides_set_what_their_path_names(load, override, found):
    """`key.sub=value` sets one value, or a whole part, as YAML."""
    assert found(load(CONFIG, override))


def test_names_with_dots_can_be_overridden(load):
    """A name that contains dots is found by its whole."""
    text = CONFIG.replace("small:", "small.v2:")
    assert load(text, "tasks.small.v2.timeout=9").config.tasks["small.v2"].timeout == 9


def test_a_later_override_wins_and_heals_what_it_replaces(load):
    """What an override replaces does no harm any more."""
    text = CONFIG.replace("raw.zarr", "'${NOT_SET_ANYWHERE}/raw.zarr'")
    assert load(text, "arrays.raw.path=a", "arrays.raw.path=b").config.arrays["raw"].path == "b"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("num_workers", "give key.sub=value, such as --set compute.num_workers=8"),
        ("=5", "give key.sub=value, such as --set compute.num_workers=8"),
        ("compute..num_workers=5", "give key.sub=value, such as --set compute.num_workers=8"),
        (
            "compute.num_worker=5",
            "compute.num_worker: unknown key 'num_worker'; valid are account, constraint, context, ",
        ),
        ("compute.num_workers=many", "compute.num_workers: must be a whole number, not 'many'"),
        ("compute.num_workers=[1", "not valid YAML: while parsing a flow sequence"),
        (
            "comput.num_workers=5",
            (
                "comput: unknown key 'comput'; valid are arrays, compute, name, operators, outputs, run_dir, "
                "segmentations, tasks, did"
            ),
        ),
        (
            "tasks.smal.args.threshold=5",
            "tasks.smal: unknown key 'smal'; valid are small, did you mean 'small'?",
        ),
        ("name.first=5", "name: has no keys in it, so 'first' cannot be set there"),
        (
            "tasks.small.write_roi.shape.2=5",
            "tasks.small.write_roi.shape: '2' is no item of a list of 2; the first",
        ),
        (
            "tasks.small.write_roi.shape.1=0.5",
            "tasks.small.write_roi.shape.1: must be a whole number, not 0.5",
        ),
        ("tasks.small.args={a: 1, a: 2}", "tasks.small.args.a: duplicate key 'a'"),
        ("name=${NOT_SET_ANYWHERE}", "name: the environment variable NOT_SET_ANYWHERE is not set"),
        ("tasks.small.write_roi={offset: [0]}", "tasks.small.write_roi.shape: missing; add shape:"),
    ],
)
def test_a_wrong_override_is_named_instead_of_a_line(complaints, override, expected):
    """The message begins with the override as it was typed."""
    (message,) = complaints(CONFIG, override)
    assert message.startswith(f"--set {override}: {expected}"), message


@given(
    st.lists(
        st.tuples(
            st.integers(0, len(CONFIG) - 1),
            st.integers(0, 12),
            st.text(alphabet="\n :-[]{}#&*!|>'\"%@`$,.?~<=0aé\t\x85\u2028", max_size=6),
        ),
        max_size=4,
    )
)
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_config_or_a_config_error(folder, edits):
    """However a config is garbled, it is read, or refused with its file's name on each line."""
    text = CONFIG
    for start, length, inserted in edits:
        text = text[:start] + inserted + text[start + length :]
    path = folder / "garbled.yaml"
    path.write_text(text, newline="")
    message = ""
    try:
        load_config(path)
    except ConfigError as error:
        message = str(error)
    assert all(line.startswith(str(path)) for line in message.splitlines())
