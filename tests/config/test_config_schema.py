"""The shape of a config, and what is said of one that has another."""

import json

import pytest
from click.testing import CliRunner

from blockflow.config import json_schema
from blockflow.config.models import NAME_PATTERN
from blockflow.tasks import task as task_module

SMALLEST = """tasks:
  small:
    worker_file: worker.py
    write_roi: {offset: [0, 0], shape: [64, 64]}
"""


def with_line(line):
    """The smallest config with one more line in its task: line 5."""
    return SMALLEST + f"    {line}\n"


def test_smallest_config_gets_the_documented_defaults(load, folder):
    """A task needs a worker file and a write ROI; all else has the default that the schema states."""
    loaded = load(SMALLEST)
    task = loaded.config.tasks["small"]
    assert (loaded.name, loaded.run_dir) == ("cells", folder / "blockflow_runs/cells")
    assert (loaded.config.compute.context, loaded.config.compute.num_workers) == ("local", 1)
    assert (task.total_roi, task.read_roi, task.fit, task.read_write_conflict) == ("auto", None, None, None)
    assert (task.num_workers, task.max_retries, task.timeout) == (None, 2, None)
    assert (task.inputs, task.outputs, task.upstream, task.args) == ({}, {}, [], {})


def test_every_key_of_a_task_is_read(load):
    """All keys of a task arrive as they stand."""
    task = load(
        """
        arrays:
          raw: {path: raw.zarr}
        tasks:
          small:
            worker_file: worker.py
            inputs: {input: raw}
            outputs: {output: small.zarr}
            total_roi: {offset: [-8, 0], shape: [512, 512]}
            read_roi: {offset: [-8, -8], shape: [80, 80]}
            write_roi: {offset: [0, 0], shape: [64, 64]}
            fit: shrink
            read_write_conflict: no
            num_workers: 4
            max_retries: 0
            timeout: 1.5e2
            upstream: []
            args: {threshold: 1e-3, at: 10:30, day: 2024-01-02, id: 007, names: [a, 1, null], deep: {a: yes}}
        """
    ).config.tasks["small"]
    assert task.total_roi.offset == [-8, 0]
    assert task.read_roi.shape == [80, 80]
    assert (task.fit, task.read_write_conflict, task.num_workers) == ("shrink", False, 4)
    assert (task.max_retries, task.timeout) == (0, 150)
    assert task.args == {
        "threshold": 0.001,
        "at": "10:30",
        "day": "2024-01-02",
        "id": "007",
        "names": ["a", 1, None],
        "deep": {"a": True},
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("treshold: 5", ["unknown key 'treshold'; valid are args, fit, inputs,", "belongs under args"]),
        ("max_retry: 5", ["tasks.small.max_retry: unknown key", "did you mean 'max_retries'?"]),
        ("max_retries: -1", ["tasks.small.max_retries: must be at least 0, not -1"]),
        ("num_workers: 0", ["must be at least 1, not 0"]),
        ("num_workers: true", ["must be a whole number, not true"]),
        ("num_workers: '4'", ["must be a whole number, not '4'"]),
        ("timeout: 0", ["must be more than 0, not 0"]),
        ("timeout: .inf", ["must be a finite number", "leave it out for no limit"]),
        ("timeout: soon", ["must be a number, not 'soon'"]),
        (
            "fit: shrinks",
            ["'shrinks' is not valid; valid are overhang, shrink, valid, did you mean 'shrink'?"],
        ),
        ("read_write_conflict: 1", ["must be true or false, not 1"]),
        ("upstream: small", ["must be a list, not 'small'"]),
        ("upstream: [1]", ["tasks.small.upstream.0: must be text, not 1; put it in quotes"]),
        ("inputs: raw", ["must be a mapping (lines of 'key: value'), not 'raw'"]),
        ("inputs:", ["must be a mapping (lines of 'key: value'), not empty (null)"]),
        ("outputs: {output: 5}", ["tasks.small.outputs.output: must be text, not 5; put it in quotes"]),
        ("outputs: {output: ''}", ["must not be empty"]),
        ('outputs: {output: "a\\0"}', ["a path cannot contain the character NUL"]),
        ("outputs: {my-output: a}", ["'my-output' must be a keyword argument: letters", "rename it"]),
        ("args: [1]", ["must be a mapping (lines of 'key: value'), not a list"]),
        ("args: {1: a}", ["tasks.small.args: key '1' is no text; put it in quotes"]),
        (
            "total_roi: all",
            ["tasks.small.total_roi: must be 'auto' or {offset: [...], shape: [...]}, not 'all'"],
        ),
        ("total_roi: 5", ["must be 'auto' or {offset: [...], shape: [...]}, not 5"]),
        ("total_roi: {offset: [0, 0]}", ["tasks.small.total_roi.shape: missing; add shape:"]),
        ("total_roi: {begin: [0]}", ["total_roi.begin: unknown key 'begin'; valid are offset, shape"]),
        ("read_roi: [0, 0]", ["must be {offset: [...], shape: [...]}, not a list"]),
        (
            "read_roi: {offset: [0, 0], shape: [64, 64.5]}",
            ["read_roi.shape.1: must be a whole number, not 64.5"],
        ),
        ("read_roi: {offset: [0, 0.0], shape: [64, 64]}", ["not 0.0; ROIs are whole lattice steps"]),
        ("read_roi: {offset: [0, 0], shape: [64, 0]}", ["read_roi.shape.1: must be at least 1, not 0"]),
        ("read_roi: {offset: [], shape: []}", ["must have a number for each axis"]),
        ("read_roi: {offset: [0], shape: [64, 64]}", ["read_roi: offset has 1 numbers and shape 2"]),
        (
            "read_roi: {offset: [0], shape: [64]}",
            ["has 1 axes, but write_roi has 2; give both the same number"],
        ),
        ("read_roi: {offset: [1, 0], shape: [64, 64]}", ["must contain write_roi (offset [0, 0]", "grow it"]),
        ("operators: {}", ["unknown key 'operators'"]),
    ],
)
def test_a_wrong_value_is_named_with_its_line_and_cure(complaints, line, expected):
    """Whatever is wrong in a task: one message says where, what, and what to do."""
    messages = complaints(with_line(line))
    assert messages[0].startswith("FILE:5: tasks.small")
    assert all(any(part in message for message in messages) for part in expected), messages


@pytest.mark.parametrize("key", ["operator", "segmentation", "slurm"])
def test_keys_that_do_not_exist_are_refused_at_the_top(complaints, key):
    """A top-level key that is not in the schema is an error, not ignored."""
    (message,) = complaints(f"{key}: {{}}\n{SMALLEST}")
    valid = "arrays, compute, name, operators, outputs, run_dir, segmentations, tasks"
    assert message.startswith(f"FILE:1: {key}: unknown key {key!r}; valid are {valid}")


@pytest.mark.parametrize(
    ("key", "part"), [("memory: much", "write it as 4 GB"), ("context: slrum", "valid are local")]
)
def test_compute_takes_only_what_there_is(complaints, key, part):
    """A context or limit that cannot be had is refused, with those that can."""
    (message,) = complaints(f"compute: {{{key}}}\n{SMALLEST}")
    assert message.startswith(f"FILE:1: compute.{key.split(':')[0]}: ")
    assert part in message


def test_a_config_without_tasks_is_refused(complaints):
    """There must be something to do."""
    nothing = "FILE:1: there is nothing to do: add at least one task, output or segmentation"
    assert complaints("name: a\n") == [nothing]
    assert complaints("name: a\ntasks: {}\n") == [nothing]


def test_what_is_missing_is_named_with_its_meaning(complaints):
    """A missing key is reported at the line of what it is missing from, with what it is for."""
    first, second = complaints("name: a\ntasks:\n  small:\n    max_retries: 1\n")
    assert first.startswith(
        "FILE:3: tasks.small.worker_file: missing; add worker_file: (The name of a bundled"
    )
    assert second == "FILE:3: tasks.small.write_roi: missing; add write_roi: (What one block writes)"


@pytest.mark.parametrize("name", ["'a/b'", "'.a'", "'-a'", "'a b'", "''", "a" * 101])
def test_names_must_be_able_to_name_a_folder(complaints, name):
    """Names of tasks and arrays follow one rule, which the message gives."""
    bare = name.strip("'")
    messages = complaints(f"tasks:\n  {name}:\n    worker_file: worker.py\n")
    assert messages[0].startswith(f"FILE:2: tasks.{bare}: ")
    assert "must be 1 to 100 letters, digits" in messages[0]


def test_names_of_tasks_follow_the_rule_of_tasks():
    """A name that a config may give is one that a task may have, and the other way round."""
    assert f"^{task_module._NAME.pattern}$" == NAME_PATTERN


def test_a_task_cannot_be_called_like_an_array(complaints):
    """Arrays and tasks share one name space."""
    (message,) = complaints("arrays:\n  small: {path: a}\n" + SMALLEST)
    assert message == "FILE:4: tasks.small: the name 'small' is taken by an array (FILE:2); rename one"


def test_json_schema_describes_every_key():
    """An editor can show what each key is for, and knows that others are wrong."""
    schema = json_schema()
    models = [schema, *schema["$defs"].values()]
    assert len(models) == 8
    for model in models:
        assert model["additionalProperties"] is False
        assert model["description"]
        for name, described in model["properties"].items():
            assert described.get("description"), name


def test_schema_command_prints_the_json_schema():
    """`blockflow schema` prints JSON and nothing else."""
    from blockflow.cli.schema import command

    result = CliRunner().invoke(command)
    assert result.exit_code == 0
    assert json.loads(result.output) == json_schema()
