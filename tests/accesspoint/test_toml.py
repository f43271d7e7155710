import tomllib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from accesspoint.toml import locate, write_toml

TEXT = '''# a comment with [brackets] = 1
label = "x"          # and "another" = 2
[listen]
as4 = "0.0.0.0:1"
[trust.message]
anchors = [
  "a.pem",  # ] not the end
  """b
anchors = 2
""",
]
revocation = "off"
[[participants]]
name = "one"
[[participants]]
"odd.name" = "two"
[partners."a b"]
retry.first = { a = 1, "b" = { c = 2 } }
'''


def test_headers_and_keys_are_found_at_their_lines() -> None:
    places = locate(TEXT)
    lines = {path: place.line for path, place in places.items()}
    assert lines == {
        ("label",): 2,
        ("listen",): 3,
        ("listen", "as4"): 4,
        ("trust", "message"): 5,
        ("trust", "message", "anchors"): 6,
        ("trust", "message", "revocation"): 12,
        ("participants",): 13,
        ("participants", 0): 13,
        ("participants", 0, "name"): 14,
        ("participants", 1): 15,
        ("participants", 1, "odd.name"): 16,
        ("partners", "a b"): 17,
        ("partners", "a b", "retry", "first"): 18,
        ("partners", "a b", "retry", "first", "a"): 18,
        ("partners", "a b", "retry", "first", "b"): 18,
        ("partners", "a b", "retry", "first", "c"): 18,
    }


def test_columns_point_at_key_and_value() -> None:
    place = locate("[listen]\n  as4 = 5\n")[("listen", "as4")]
    assert (place.column, place.width, place.value_column) == (3, 3, 9)


keys = st.text(min_size=1, max_size=8).filter(lambda text: "\x7f" not in text)
scalars = st.one_of(st.text(max_size=20), st.integers(-(2**63), 2**63 - 1), st.booleans())
values = st.one_of(scalars, st.lists(scalars, max_size=3))
tables = st.dictionaries(keys, values, max_size=4)
documents = st.dictionaries(
    keys,
    st.one_of(
        values,
        tables,
        st.dictionaries(keys, tables, max_size=2),
        st.lists(tables, min_size=1, max_size=3),
    ),
)


@given(documents)
def test_what_is_written_is_read_back(document: dict[str, object]) -> None:
    assert tomllib.loads(write_toml(document)) == document


@example({"a": {"\x85": "\u2028"}, "b": {}})
@given(st.dictionaries(st.sampled_from("abcd"), st.one_of(values, tables), max_size=4))
def test_every_key_that_is_written_is_located(document: dict[str, object]) -> None:
    text = write_toml(document)
    places = locate(text)
    lines = text.split("\n")
    for key, value in document.items():
        assert places[(key,)].line >= 1
        if isinstance(value, dict):
            assert lines[places[(key,)].line - 1] == f"[{key}]"
        else:
            assert tomllib.loads(lines[places[(key,)].line - 1]) == {key: value}


def test_a_table_inside_a_list_is_written_inline() -> None:
    assert write_toml({"a": [1, {"b": "c", "d": None}]}) == 'a = [1, { b = "c" }]\n'


def test_nothing_is_left_out_but_none() -> None:
    assert write_toml({"a": None, "b": {"c": None}}) == "[b]\n"


@pytest.mark.parametrize("value", [b"x", object(), {1, 2}])
def test_other_kinds_are_refused(value: object) -> None:
    with pytest.raises(TypeError, match="not written as TOML"):
        write_toml({"a": value})
