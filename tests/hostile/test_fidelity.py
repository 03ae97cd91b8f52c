"""Whatever a file system holds comes back the same, or is named: judged by the system's own words."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from jbackupd.restore.options import RestoreOptions, RestoreResult
from jbackupd.restore.place import restore
from jbackupd.sources.files import FilesSource
from tests.hostile.comparison import Facts, facts
from tests.support.onesite import Site

AS_ROOT = os.geteuid() == 0


def taken(site: Site, source: Path) -> None:
    result = site.backup(FilesSource([os.fsencode(source)]))
    assert result.statistics.unreadable == ()


def test_everything_comes_back_as_it_was(
    site: Site, source: Path, restored: Callable[[int], tuple[Path, RestoreResult]]
) -> None:
    before = facts(source)
    assert len(before) > 700
    taken(site, source)
    target, result = restored(1)
    assert (result.problems, result.tree_error, result.exit_code) == ([], None, 0)
    assert facts(target, owners=AS_ROOT) == facts(source, owners=AS_ROOT)
    assert facts(source) == before, "a backup changes nothing of what it takes"


def test_every_point_comes_back_after_a_day_of_hostile_changes(
    site: Site, source: Path, restored: Callable[[int], tuple[Path, RestoreResult]]
) -> None:
    taken(site, source)
    first = facts(source, owners=AS_ROOT)
    top = os.fsencode(source)
    # Names change what they are, and sort elsewhere.
    os.unlink(top + b"/names/a")
    os.mkdir(top + b"/names/a")
    os.rename(top + b"/names/A", top + b"/names/a/A")
    os.rmdir(top + b"/modes/d0755")
    os.symlink(b"f0755", top + b"/modes/d0755")
    os.rename(top + b"/links/0", top + b"/names/a/0")
    with open(top + b"/sizes/9000001", "r+b") as file:
        file.seek(4_500_000)
        file.write(b"changed")
    os.truncate(top + b"/sizes/1048576", 3)
    os.rename(top + b"/times", top + b"/\xff")
    taken(site, source)
    assert facts(restored(2)[0], owners=AS_ROOT) == facts(source, owners=AS_ROOT)
    assert facts(restored(1)[0], owners=AS_ROOT) == first


def test_a_bare_reader_brings_the_same_back(
    site: Site, source: Path, rescued: Callable[[int], tuple[Path, int]]
) -> None:
    taken(site, source)
    target, code = rescued(1)
    assert code == 0
    assert facts(target, owners=False) == {
        path: _without_special_bits(fact) for path, fact in facts(source, owners=False).items()
    }


def _without_special_bits(fact: Facts) -> Facts:
    """A bare reader never makes a program that runs as somebody else, nor sticky files."""
    mode = int(str(fact[0]), 8)
    kept = 0o1777 if stat.S_ISDIR(mode) else 0o777
    return (oct(stat.S_IFMT(mode) | mode & kept), *fact[1:])


def test_chosen_paths_of_any_bytes_come_back_alone(site: Site, source: Path, work: Path) -> None:
    taken(site, source)
    wanted = ["names/住民台帳.csv".encode("cp932"), b"names/\xff\xfe\xfd", b"links/13", b"modes", b"names/new\nline"]
    restore(site.open_point(), str(work / "some"), RestoreOptions(paths=tuple(wanted), allow_setuid=True))
    expected = {
        path for path in facts(source)
        if path in (b"names", b"links", *wanted) or path.startswith(b"modes/")
    }
    assert facts(work / "some").keys() == expected
