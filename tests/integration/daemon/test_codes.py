"""Officers who can only be telephoned, with real daemons: two codes, and every other site accepts them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from daemons import SiteProcess

from tests.integration.daemon.test_recovery import (
    OFFICERS,
    lost,  # noqa: F401 - a fixture
)
from tests.integration.daemon.test_return import until_told

LINE = re.compile(r"<td>(\d+)</td><td>(\w+) → (\w+)</td><td>(\d+)</td><td>([\d-]{24})</td>")


class Page:
    """The paper in an officer's safe.

    Args:
        made: What `officer codes` answered.
    """

    def __init__(self, made: dict[str, Any]) -> None:
        self.file: str = made["file"]
        path = Path(made["page"])
        assert path.stat().st_mode & 0o777 == 0o600
        self._lines = LINE.findall(path.read_text())
        assert len(self._lines) == made["codes"]

    def code(self, acting: str, epoch: int, which: int = 0) -> str:
        """Return the code that the officer reads out."""
        wanted = ("saga", acting, str(epoch))
        return [code for _number, *matter, code in self._lines if tuple(matter) == wanted][which]


def pages(site: SiteProcess, tmp_path: Path) -> list[Page]:
    """Let both officers make their codes, in calm weather."""
    return [
        Page(site.command(
            "officer", "codes", "--key", str(tmp_path / "officers" / f"{officer}.key"), "--passphrase-file",
            str(tmp_path / "words"), "--to", str(tmp_path / "codes"), "--lost", "saga", "--epochs", "2",
        ))
        for officer in OFFICERS
    ]


@pytest.fixture
def telephone(lost, tmp_path: Path) -> Any:  # noqa: F811
    """Kyoto knows the promises of both officers; Hokkaido was never given any."""
    kyoto = lost.sites[1]
    found = pages(kyoto, tmp_path)
    for page in found:
        kyoto.command("site", "codes", "take", page.file)
    return found


def test_two_officers_approve_by_telephone_and_every_site_believes_it(lost, telephone, tmp_path: Path) -> None:  # noqa: F811
    _saga, kyoto, hokkaido = lost.sites
    mori, abe = telephone
    begun = kyoto.command("site", "declare-lost", "saga", "--reason", "浸水")
    # A digit that was misheard, and the line of the wrong site.
    right = mori.code("kyoto", 2)
    kyoto.command("site", "approve", "--code", right[:-1] + str((int(right[-1]) + 1) % 10), expect=2)
    kyoto.command("site", "approve", "--code", mori.code("hokkaido", 2), expect=5)

    answer = kyoto.command("site", "approve", begun["id"], "--code", right)
    assert not answer["in_force"] and answer["by_code"] == ["mori"]
    # The daemon dies: what was heard and who approved stays.
    kyoto.kill()
    kyoto.start()
    kyoto.command("site", "approve", "--code", mori.code("kyoto", 2, which=1), expect=5)
    listed = kyoto.command("site", "codes", "list")
    assert [sum(matter["spent"] for matter in book["matters"]) for book in listed["books"]] == [0, 2]
    assert listed["wrong"] == 1
    answer = kyoto.command("site", "approve", "--code", abe.code("kyoto", 2))
    assert answer["in_force"] and answer["by_code"] == ["mori", "abe"]
    until_told(hokkaido, ("loss", 2, "kyoto"))

    # The lost site wakes up. It knows the officers' cards and nothing of their codes.
    saga = lost.sites[0]
    (tmp_path / "aside").rename(saga.state)
    saga.start()
    until_told(saga, ("loss", 2, "kyoto"))
    saga.command("backup", "imari/juki", expect=5)
