"""What a run laid out is removed whole, whatever it is; nothing else is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jbackupd.model.errors import StorageError
from jbackupd.service.clearing import Part, clear, parts_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    (run / "data" / "juki@3" / "住民").mkdir(parents=True)
    (run / "data" / "juki@3" / "住民" / "a.csv").write_bytes(b"x" * 100)
    (run / "data" / "juki@3" / "b").write_bytes(b"y" * 11)
    (run / "desk" / "desk").mkdir(parents=True)
    (run / "desk" / "desk" / "first-sign-in.txt").write_bytes(b"secret")
    (run / "catalog.sqlite").write_bytes(b"c" * 7)
    (run / "journal").write_bytes(b"what happened")
    return run


def test_what_there_is_is_told_by_parts(folder: Path) -> None:
    assert parts_of(str(folder)) == [
        Part("catalog.sqlite", 1, 7), Part("data/juki@3", 2, 111), Part("desk/desk", 1, 6),
    ]


def test_everything_goes_but_the_journal_and_once_more_does_no_harm(folder: Path) -> None:
    assert clear(str(folder)) == (4, 124)
    assert os.listdir(folder) == ["journal"]
    assert clear(str(folder)) == (0, 0)
    assert parts_of(str(folder)) == []
    assert (folder / "journal").read_bytes() == b"what happened"


def test_links_are_removed_and_what_they_name_stays(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_bytes(b"kept")
    (folder / "data" / "to-folder").symlink_to(tmp_path / "outside")
    (folder / "data" / "to-file").symlink_to(tmp_path / "outside" / "kept")
    (folder / "up").symlink_to("..")
    os.link(tmp_path / "outside" / "kept", folder / "data" / "hard")
    os.mkfifo(folder / "data" / "fifo")
    clear(str(folder))
    assert os.listdir(folder) == ["journal"]
    assert (tmp_path / "outside" / "kept").read_bytes() == b"kept"


def test_folders_without_any_rights_and_names_that_are_no_text_go_too(folder: Path) -> None:
    closed = folder / "data" / "closed"
    os.makedirs(os.fsencode(closed) + b"/\xff\xfe/inner")
    (closed / "x").write_bytes(b"x")
    os.chmod(os.fsencode(closed) + b"/\xff\xfe", 0)
    os.chmod(closed, 0)
    clear(str(folder))
    assert os.listdir(folder) == ["journal"]


def test_a_tree_deeper_than_any_path_goes(folder: Path) -> None:
    here = os.open(folder / "data", os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("deep", dir_fd=here)
        here, above = os.open("deep", os.O_RDONLY, dir_fd=here), here
        os.close(above)
    os.close(os.open("last", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    assert clear(str(folder))[0] == 5
    assert os.listdir(folder) == ["journal"]


def test_what_cannot_be_removed_is_told_and_the_journal_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, *, dir_fd: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(StorageError, match="Operation not permitted"):
        clear(str(folder))
    assert (folder / "journal").exists()
