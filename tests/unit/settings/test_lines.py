"""The scanner that tells where a key stands."""

import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.settings.lines import key_lines
from jbackupd.settings.write import to_toml

KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
SCALARS = st.one_of(
    st.text(max_size=20), st.booleans(), st.integers(-(2**63), 2**63 - 1),
)
VALUES = st.recursive(
    SCALARS,
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(KEYS, below, max_size=3)),
    max_leaves=10,
)


def paths_of(value, path=()):
    """Yield the path of every key and array element in parsed data."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, below in value.items():
            yield from paths_of(below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from paths_of(below, (*path, index))


def test_every_form_that_toml_has_is_placed_on_its_line():
    text = '''\
# comment with "quotes" and [brackets]
title = "a # b"   # comment
"quoted key" = 'it''' + "'" + '''
text = """
one \\""" two
""""
raw = \'\'\'
[no.table]
\'\'\'
list = [
  1, # ]
  [2, { x = "]" }],
]
a.b . "c d" = 1979-05-27T07:32:00Z
[server.one]
port = 1
[[peer]]
id = "k"
  [peer.extra]
  z = { deep = { deeper = [
     true ] } }
[[peer]]
id = "h"
[[peer.route]]
via = "x"
'''.replace("'it'\n", "'it is'\n")
    lines = key_lines(text)
    expected = {
        ("title",): 2, ("quoted key",): 3, ("text",): 4, ("raw",): 7, ("list",): 10, ("list", 0): 11,
        ("list", 1, 1, "x"): 12, ("a", "b", "c d"): 14, ("server", "one"): 15, ("server", "one", "port"): 16,
        ("peer", 0): 17, ("peer", 0, "id"): 18, ("peer", 0, "extra", "z"): 20,
        ("peer", 0, "extra", "z", "deep", "deeper", 0): 21, ("peer", 1, "id"): 23, ("peer", 1, "route", 0, "via"): 25,
    }  # fmt: skip
    assert {path: lines.get(path) for path in expected} == expected
    assert set(lines) == set(paths_of(tomli.loads(text)))


def test_windows_line_ends_count_once():
    assert key_lines('a = 1\r\nb = """x\r\ny"""\r\nc = 2\r\n') == {("a",): 1, ("b",): 2, ("c",): 4}


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_every_key_that_the_parser_finds_has_a_line_and_no_other(tables):
    text = to_toml(tables)
    assert tomli.loads(text) == tables
    lines = key_lines(text)
    assert set(lines) == set(paths_of(tables))
    assert all(1 <= line <= text.count("\n") for line in lines.values())
