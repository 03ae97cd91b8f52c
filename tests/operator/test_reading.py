"""What ls shows of a tree."""

import pytest

from jbackupd.cli.output import show_path
from jbackupd.cli.reading import below, entry_fields, tree_path
from jbackupd.model.records import EntryType, TreeEntry


def entry(path: bytes, kind: EntryType = EntryType.FILE, target: bytes = b"") -> TreeEntry:
    return TreeEntry(path, kind, 0o644, 0, 0, 1_700_000_000_123_456_789, size=5, target=target)


TREE = [
    entry(b"srv", EntryType.FOLDER), entry(b"srv/a"), entry(b"srv/b", EntryType.FOLDER), entry(b"srv/b/c"),
    entry(b"srv2", EntryType.FOLDER),
]  # fmt: skip


@pytest.mark.parametrize(
    ("folder", "recursive", "expected"),
    [
        ("", False, [b"srv", b"srv2"]),
        ("/srv/", False, [b"srv", b"srv/a", b"srv/b"]),
        ("srv", True, [b"srv", b"srv/a", b"srv/b", b"srv/b/c"]),
        ("srv/a", False, [b"srv/a"]),
        ("", True, [b"srv", b"srv/a", b"srv/b", b"srv/b/c", b"srv2"]),
        ("sr", True, []),
    ],
)
def test_a_folder_shows_itself_and_what_is_in_it(folder, recursive, expected):
    assert [found.path for found in below(TREE, tree_path(folder), recursive=recursive)] == expected


def test_names_that_are_not_utf8_come_as_base64_too():
    fields = entry_fields(entry("住民".encode("cp932"), EntryType.SYMLINK, b"\xff"))
    assert fields["path_b64"] == "j1qWrw=="
    assert fields["target"]["path_b64"] == "/w=="
    assert "path_b64" not in entry_fields(entry("住民".encode()))


@pytest.mark.parametrize(
    ("path", "encoding", "shown"),
    [
        ("住民".encode(), "utf-8", "住民"),
        ("住民".encode("cp932"), "cp932", "住民"),
        ("住民".encode("cp932"), "utf-8", "\\x8fZ\\x96\\xaf"),
        (b"a\x1b[2Jb\nc", "utf-8", "a\\x1b[2Jb\\nc"),
    ],
)
def test_a_name_never_moves_the_cursor(path, encoding, shown):
    assert show_path(path, encoding) == shown
