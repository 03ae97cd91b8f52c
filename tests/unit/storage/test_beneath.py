"""Nothing that is done beneath a folder leaves it, and whatever the system says has a type of ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jbackupd.model.errors import ConfinementError, JbackupdError, NotFoundError, StorageError
from jbackupd.storage.beneath import Beneath, Inside, open_beneath


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "victim").write_bytes(b"precious")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "folder").mkdir()
    (tmp_path / "in" / "file").write_bytes(b"ours")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "in" / "up").symlink_to("..")
    (tmp_path / "in" / "near").symlink_to("folder")
    return tmp_path / "in"


@pytest.fixture
def beneath(target: Path) -> Iterator[Beneath]:
    with closing(Beneath(str(target))) as opened:
        yield opened


@pytest.mark.parametrize("path", [
    b"..", b"../outside", b"folder/../..", b"/", b"/tmp", b"link", b"link/", b"up", b"up/outside", b"near", b"near/x",
])
def test_a_way_that_leads_out_or_through_a_symlink_is_refused(beneath: Beneath, path: bytes) -> None:
    with pytest.raises(ConfinementError), beneath.inside(path):
        pass


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/tmp/x", b"../outside/victim", b"a\0b", b"x" * 256])
def test_only_plain_names_are_names_in_a_folder(beneath: Beneath, target: Path, name: bytes) -> None:
    deeds: list[Callable[[Inside], object]] = [
        lambda inside: inside.create(name), lambda inside: inside.make_folder(name),
        lambda inside: inside.symlink(name, b"x"), lambda inside: inside.rename(b"file", name),
        lambda inside: inside.remove(name), lambda inside: inside.open_file(name),
        lambda inside: inside.set_link_time(name, 0), lambda inside: inside.set_link_owner(name, 0, 0),
    ]
    before = sorted(os.walk(target.parent))
    for deed in deeds:
        with beneath.inside(b"") as inside, pytest.raises((ConfinementError, StorageError)):
            deed(inside)
    assert sorted(os.walk(target.parent)) == before


@pytest.mark.parametrize("path", [b"a\0b", b"folder\0/../.."])
def test_a_path_is_never_cut_off_at_a_nul(target: Path, path: bytes) -> None:
    folder = os.open(target, os.O_RDONLY)
    with pytest.raises(OSError, match="Invalid argument"):
        open_beneath(folder, path, os.O_RDONLY)
    os.close(folder)


def test_symlinks_are_neither_read_nor_written_through(beneath: Beneath, target: Path) -> None:
    (target / "victim").symlink_to(target.parent / "outside" / "victim")
    with beneath.inside(b"") as inside:
        for deed in (inside.open_file, inside.create):
            with pytest.raises(JbackupdError):
                deed(b"victim")
        with pytest.raises(ConfinementError):
            inside.make_folder(b"link")
        inside.set_link_time(b"victim", 5)
        inside.remove(b"victim")
    assert (target.parent / "outside" / "victim").read_bytes() == b"precious"
    assert (target.parent / "outside" / "victim").stat().st_mtime_ns != 5


def test_a_folder_is_made_once_and_opened_again_for_its_owner(beneath: Beneath, target: Path) -> None:
    with beneath.inside(b"") as inside:
        assert inside.make_folder(b"new")
        assert not inside.make_folder(b"new")
        (target / "new").chmod(0o050)
        assert not inside.make_folder(b"new")
        assert (target / "new").stat().st_mode & 0o777 == 0o050
        assert not inside.make_folder(b"new", reopen=True)
        assert (target / "new").stat().st_mode & 0o777 == 0o750
        with pytest.raises(StorageError, match="Not a directory"):
            inside.make_folder(b"file")


def test_what_is_missing_is_told_from_what_is_refused(beneath: Beneath) -> None:
    assert beneath.status(b"no/such/path") is None
    assert beneath.status(b"no-such") is None
    with pytest.raises(ConfinementError):
        beneath.status(b"link/victim")
    with pytest.raises(NotFoundError), beneath.inside(b"no-such"):
        pass
    with pytest.raises(NotFoundError):
        beneath.open_file(b"no-such")


def test_a_target_that_is_none_is_an_error(target: Path) -> None:
    with pytest.raises(NotFoundError):
        Beneath(str(target / "no-such"))
    with pytest.raises(StorageError, match="Not a directory"):
        Beneath(str(target / "file"))


def test_no_descriptor_is_left_open(beneath: Beneath) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for path in (b"folder", b"", b"no-such", b"link", b"/".join([b"x" * 100] * 60)):
        try:
            with beneath.inside(path) as inside:
                inside.make_folder(b"again")
                beneath.status(b"folder/again/x")
        except JbackupdError:
            pass
    assert len(os.listdir("/proc/self/fd")) == before
