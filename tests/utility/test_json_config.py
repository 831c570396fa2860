"""Config files in JSON: old files are read as they stand, hostile ones are refused, nothing is ever run."""

import copy
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockflow.utility import JsonConfigParser, Namespace
from blockflow.utility.arithmetic import LiteralError, read_literal
from blockflow.utility.jsonConfig import AutoEval, FormattedField, ParsingError, RoiTuple, SchemaError

FIELDS = {
    "_schema_name": "example",
    "_schema_version": 1.1,
    "name": str,
    "shape": AutoEval(np.array),
    "dtype": AutoEval(),
    "count": int,
    "fast": bool,
    "file": FormattedField(["roiString"], ["name"]),
    "roi": RoiTuple(),
    "with space": float,
    "inner": JsonConfigParser({"_schema_name": "inner", "_schema_version": 1.0, "x": int}),
}
PARSER = JsonConfigParser(FIELDS)
HEAD = {"_schema_name": "example", "_schema_version": 1.0}


@pytest.fixture
def parse(tmp_path):
    """Reads a file with these fields, or with this text."""

    def read(text=None, **fields):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(HEAD | fields) if text is None else text)
        return PARSER.parseConfigFile(path)

    return read


def test_a_file_is_read(parse):
    """Each field is made what the schema says, arithmetic included; null and absent fields are None."""
    found = parse(
        name="cells",
        shape="[60-10, 2**6, 60]",
        dtype="numpy.uint8",
        count="12",
        fast=True,
        file="block-{roiString}.h5/raw",
        roi="[[0, 0], [10, 20]]",
        inner={"_schema_name": "inner", "_schema_version": 1.0, "x": 3},
        **{"with space": 2, "##NOTE": "a comment", "count2": [1]},
    )
    assert found.shape.tolist() == [50, 64, 60]
    assert found.dtype is np.uint8
    assert (found.name, found.count, found.fast, found.with_space) == ("cells", 12, True, 2.0)
    assert found.roi == ((0, 0), (10, 20))
    assert found.inner.x == 3
    assert "count2" not in found
    assert parse(name=None).name is None
    assert parse().shape is None


def test_the_order_of_the_file_is_kept(parse):
    """Fields stand in the order of the file, then those that it does not have."""
    assert list(vars(parse(count=1, name="x")))[:4] == ["_schema_name", "_schema_version", "count", "name"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fast": 1}, "fast: 1 is neither true nor false"),
        ({"count": "many"}, "count is 'many', which makes no int"),
        ({"count": 2.5}, r"count: 2\.5 is no whole number"),
        ({"file": "block.h5"}, r"file: 'block\.h5' must hold {roiString}"),
        ({"file": "{roiString}{other}"}, "has a field {other}"),
        ({"file": "{roiString.__class__}"}, r"has a field {roiString\.__class__}"),
        ({"file": "{roiString:99999999d}"}, "can be given a width only"),
        ({"file": "{roiString!r}"}, "can be given a width only"),
        ({"file": "{roiString:{name}}"}, "can be given a width only"),
        ({"file": "{roiString"}, "cannot be filled in"),
        ({"roi": [[0, 0], [1]]}, "is no region"),
        ({"roi": [[0.5], [1]]}, "is no region"),
        ({"inner": {"x": 3}}, "inner: _schema_name is missing"),
        ({"inner": 3}, "inner: '3' is no object"),
        ({"shape": "__import__('os').system('touch owned')"}, "shape: .* neither a literal nor arithmetic"),
        ({"shape": "9**9**9"}, "number without measure"),
        ({"shape": "[1]*10**12"}, "is no number"),
        ({"shape": "(lambda: 1)()"}, "neither a literal"),
        ({"shape": "x" * 20_000}, "is no literal of a config"),
        ({"shape": "(" * 5000}, "is no literal"),
    ],
)
def test_a_wrong_field_is_refused(parse, tmp_path, fields, message):
    """A value that is not what the schema says is refused with file, field and reason; code is not run."""
    with pytest.raises(ParsingError, match=message) as caught:
        parse(**fields)
    assert "config.json: " in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"_schema_name": "example"}, "_schema_version is missing"),
        ({"_schema_version": 1.0}, "_schema_name is missing"),
        ({"_schema_name": "other", "_schema_version": 1.0}, "'other', not 'example'"),
        ({"_schema_name": "example", "_schema_version": 1.2}, r"versions 1\.0 to 1\.1"),
        ({"_schema_name": "example", "_schema_version": 0.9}, r"versions 1\.0 to 1\.1"),
        ({"_schema_name": "example", "_schema_version": "1.0"}, "must be a number"),
        ({"_schema_name": "example", "_schema_version": True}, "must be a number"),
    ],
)
def test_another_schema_is_refused(parse, head, message):
    """A file of another kind, a newer version or an older whole number is none of this schema."""
    with pytest.raises(SchemaError, match=message):
        parse(json.dumps(head))
    assert issubclass(JsonConfigParser.SchemaError, JsonConfigParser.ParsingError)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "this is no JSON"),
        ("\x00", "this is no JSON"),
        ("[" * 100_000, "this is no JSON"),
        ("[1]", "no object"),
        (json.dumps(HEAD)[:-1] + ', "name": "a", "name": "b"}', "name is given twice"),
    ],
)
def test_a_file_that_is_none_is_refused(parse, text, message):
    """What is no JSON, no object, or says a field twice is refused."""
    with pytest.raises(ParsingError, match=message):
        parse(text)


def test_comments_may_be_given_twice(parse):
    """Only fields of the schema must be given once."""
    assert parse(json.dumps(HEAD)[:-1] + ', "##": 1, "##": 2, "name": "x"}').name == "x"


WRITABLE = st.builds(
    lambda **fields: Namespace({name: value for name, value in fields.items() if value is not None}),
    name=st.none() | st.text(),
    shape=st.none() | st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=5).map(np.array),
    dtype=st.none() | st.sampled_from([np.uint8, np.int64, np.float32, np.bool_]),
    count=st.none() | st.integers(-(2**60), 2**60) | st.integers(0, 100).map(np.int64),
    fast=st.none() | st.booleans(),
    with_space=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    inner=st.none() | st.integers(0, 9).map(lambda x: Namespace({"x": x})),
)


@given(WRITABLE)
def test_what_is_written_is_read(tmp_path_factory, namespace):
    """Fields that are written are read as they were, whatever numpy calls their types."""
    path = tmp_path_factory.mktemp("config") / "c.json"
    PARSER.writeConfigFile(path, namespace)
    found = PARSER.parseConfigFile(path)
    for name, value in vars(namespace).items():
        read = getattr(found, name)
        if name == "inner":
            assert read.x == value.x
        else:
            assert np.array_equal(read, value) if name == "shape" else read == value
    PARSER.writeConfigFile(path, found)
    assert PARSER.parseConfigFile(path) == found


def test_a_wrong_namespace_is_not_written(tmp_path):
    """Fields are checked before they are written; the old file stays."""
    path = tmp_path / "c.json"
    path.write_text("old")
    with pytest.raises(ParsingError, match="fast"):
        PARSER.writeConfigFile(path, Namespace({"fast": "perhaps"}))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_namespaces_compare_whole():
    """Namespaces are equal if all of their fields are, arrays element by element; a prefix is not the whole."""
    one = Namespace({"a": np.arange(3), "b": "x"})
    assert one == copy.copy(one)
    assert one == copy.deepcopy(one)
    assert one != Namespace({"a": np.arange(3)})
    assert Namespace({"a": np.arange(3)}) != one
    assert one != Namespace({"a": np.arange(4), "b": "x"})
    with pytest.raises(AttributeError, match="no field 'c'; there are a, b"):
        one.c  # noqa: B018


NUMBERS = st.integers(-50, 50)


@given(
    st.recursive(
        NUMBERS.map(str),
        lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]}{t[1]}{t[2]})"),
        max_leaves=8,
    )
)
def test_arithmetic_is_pythons(text):
    """Arithmetic of whole numbers gives what Python gives."""
    assert read_literal(text) == eval(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("2**3", 8), ("7//2", 3), ("1/4", 0.25), ("-3 % 5", 2), ("(1, 'a')", (1, "a")), ("{'a': [1]}", {"a": [1]}),
     ("None", None), ("uint16", np.uint16), ("np.float32", np.float32), ("numpy.object_", np.object_), (" 5 ", 5)],
)  # fmt: skip
def test_literals(text, value):
    """The literals that old files use are read."""
    assert read_literal(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "x", "f()", "a.b", "[x for x in y]", "1 if 2 else 3", "f'{1}'", "b'x'", "...", "{**{}}", "numpy.load",
     "10**300", "2**1000", "1/0", "'a'*9", "True+1", "1;2", "1e400-1e400*0j", "__import__('os')", "numpy.uint8.mro()"],
)  # fmt: skip
def test_all_else_is_refused(text):
    """Names, calls, attributes, comprehensions and numbers without measure are refused, one error for all."""
    with pytest.raises(LiteralError):
        read_literal(text)


@given(st.text(max_size=40))
def test_any_text_is_a_literal_or_refused(text):
    """No text raises anything but one error."""
    try:
        value = read_literal(text)
    except LiteralError:
        return
    assert not callable(value) or isinstance(value, type)
    assert not isinstance(value, float) or math.isfinite(value) or "e" in text.lower()
