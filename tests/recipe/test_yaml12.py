"""Scalars, lines, duplicate keys, tags, and reading back what was written."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dltk.errors import RecipeError
from dltk.recipe.yaml12 import flow, read, read_value, scalar, write

# YAML 1.1 reads most of these as something else than a person does.
HORRORS = {
    **{word: word for word in "yes Yes YES no No NO on On ON off Off OFF y Y n N".split()},
    **{word: word for word in "24:00:00 1:30 190:20:30 2001-01-01 2001-12-14t21:59:43.10-05:00".split()},
    **{word: word for word in "1_000 0b101 1.2.3 = tRUE nUll nan NaN inf -Inf infinity 1e 0x 0o8 - + . 1,000".split()},
    "010": 10,
    "0o17": 15,
    "0x1F": 31,
    "-010": -10,
    "+3": 3,
    ".5": 0.5,
    "5.": 5.0,
    "-.5": -0.5,
    "1e3": 1000.0,
    "1e-3": 0.001,
    "1E+3": 1000.0,
    "6.02e23": 6.02e23,
    ".inf": math.inf,
    "-.Inf": -math.inf,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "FALSE": False,
}


def same(a: object, b: object) -> bool:
    return type(a) is type(b) and a == b


@pytest.mark.parametrize(("word", "value"), HORRORS.items())
def test_scalars_through_file_and_override(word: str, value: object) -> None:
    assert same(scalar(word), value)
    if word not in ("-", "="):  # these are syntax in a file
        assert same(read(f"a: {word}\n", "f")[0]["a"], value)
    if word not in ("-", "=", "", "1,000"):  # and these in a list
        assert same(read(f"a: [{word}, x]\n", "f")[0]["a"][0], value)
    assert same(read_value(word, "override"), value)
    assert same(read(f"a: '{word}'\n", "f")[0]["a"], word)
    assert same(read_value(f"'{word}'", "override"), word)


@pytest.mark.parametrize("word", [".nan", ".NaN", ".NAN"])
def test_nan(word: str) -> None:
    assert math.isnan(scalar(word))  # type: ignore[arg-type]


def test_keys_are_text() -> None:
    assert read("{no: 1, 010: 2, null: 3, 1.5: 4}", "f")[0] == {"no": 1, "010": 2, "null": 3, "1.5": 4}


def test_every_key_has_its_line() -> None:
    text = "a: 1\nb:\n  c: {d: 1,\n      e: 2}\n  f:\n    - 1\n    - {g: 3}\n"
    value, lines = read(text, "r.yaml")
    assert value == {"a": 1, "b": {"c": {"d": 1, "e": 2}, "f": [1, {"g": 3}]}}
    assert {key: int(place.removeprefix("r.yaml:")) for key, place in lines.items()} == {
        "a": 1, "b": 2, "b.c": 3, "b.c.d": 3, "b.c.e": 4, "b.f": 5, "b.f.0": 6, "b.f.1": 7, "b.f.1.g": 7,
    }  # fmt: skip


def test_anchors_are_copied() -> None:
    value, _ = read("a: &x [1]\nb: *x\n", "f")
    value["a"].append(2)
    assert value == {"a": [1, 2], "b": [1]}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("a b = c # d: e", "a b = c # d: e"),
        ("{a: [1, no]}", {"a": [1, "no"]}),
        ("[1e-3, x y]", [0.001, "x y"]),
        (" 3 ", 3),
        ("/data/train.tar", "/data/train.tar"),
        ("*.png", "*.png"),
        ("!x", "!x"),
        ("'3'", "3"),
    ],
)
def test_values_of_overrides(word: str, value: object) -> None:
    assert same(read_value(word, "o"), value)


LOOK = "Check the indentation, the colons and the quotes here and in the line above."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "f:3: a: 'a' stands twice, first in line 1. Remove one of them."),
        ("m: {x: 1,\n y: 2,\n x: 3}", "f:3: m.x: 'x' stands twice, first in line 1. Remove one of them."),
        ("a: !!int '3'", "f:1: YAML: tags such as 'tag:yaml.org,2002:int' are not allowed. Write the plain value."),
        ("a: !!python/name:os.system ''", None),
        ("a:\n\tb: 1", "f:2: YAML: a tab stands at the beginning of a line. Indent with spaces."),
        ("a: b: c", f"f:1: YAML: mapping values are not allowed here. {LOOK}"),
        ("a: [1\nb: 2", f"f:2: YAML: expected ',' or ']', but got ':' (while parsing a flow sequence). {LOOK}"),
        ("a: 1\n---\nb: 2", None),
        ("a: *x", f"f:1: YAML: found undefined alias 'x'. {LOOK}"),
        ("a: 1\nb: \x00", "f:2: YAML: the character '\\x00' is not allowed. Remove it."),
        ("? [a]\n: 1", "f:1: YAML: a key is a list or a map. Give the key as one word."),
        ("a: " + "9" * 5000, "f:1: a: a number of 5000 digits. Write a shorter one."),
        ("[" * 5000, "f: YAML: brackets stand too deep in one another. Check the brackets."),
        ("&a [*a]", "f:1: YAML: aliases or brackets make it too large. Write it out without aliases."),
        ("a: '" + "x" * 1_000_000 + "'", "f: YAML: 1000005 characters, a recipe has at most 1000000."),
    ],
)
def test_refused(text: str, message: str | None) -> None:
    with pytest.raises(RecipeError) as caught:
        read(text, "f")
    assert message is None or str(caught.value) == message


def test_an_alias_bomb_is_refused_quickly() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    text += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
    with pytest.raises(RecipeError, match="too large"):
        read(text, "f")


def test_a_broken_override() -> None:
    with pytest.raises(RecipeError) as caught:
        read_value("[1, 2", "override 'a=[1, 2'")
    assert str(caught.value) == (
        "override 'a=[1, 2': expected ',' or ']', but got '<stream end>' (while parsing a flow sequence). "
        "Close brackets and quotes, or quote the whole text."
    )


def test_flow() -> None:
    assert flow({"a": [1, "x", None, True, 0.5]}) == "{a: [1, 'x', null, true, 0.5]}"


words = st.text(max_size=20) | st.sampled_from([*HORRORS, "a\nb", "x: y", "#", "- a", "'", '"', " x ", "${oc.env:X}"])
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4))


def exactly(a: object, b: object) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(exactly(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(exactly, a, b))
    return same(a, b)


@given(st.dictionaries(words, values, max_size=5))
def test_what_is_written_is_read_back_by_both_dialects(value: dict) -> None:
    text = write(value)
    assert exactly(read(text, "f")[0] or {}, value)
    assert exactly(yaml.safe_load(text), value)
