"""Officers who can only be telephoned, with real daemons: two codes, and every other site accepts them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from daemons import SiteProcess

from jbackupd.model.errors import ApprovalError, NotFoundError, UsageError
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


def observed(kyoto: SiteProcess, hokkaido: SiteProcess) -> dict[str, Any]:
    """Ask around before anything is declared, and return what is known then."""
    kyoto.command("site", "observe", "saga", "telephone", "呼出音のみ", "--says", "lost", "--by", "森")
    kyoto.call("site.observe", site="saga", item="power", words="応答あり", by="阿部")
    with pytest.raises(UsageError, match="an observation is one of"):
        kyoto.call("site.observe", site="saga", item="tea-leaves", words="x", by="阿部")
    with pytest.raises(NotFoundError, match="there is no site osaka"):
        kyoto.call("site.observe", site="osaka", item="power", words="x", by="阿部")
    # A link that is cut is told when SSH has noticed; both sites know by then when they last met.
    found: dict[str, Any] = {}

    def gone(_page: dict[str, Any]) -> bool:
        found.update(kyoto.call("site.evidence", site="saga"))
        return not any(each["up"] for each in found["contacts"])

    kyoto.until(gone)
    assert {each["site"]: each["error"] for each in found["contacts"]} == {"kyoto": None, "hokkaido": None}
    assert all(each["last_contact"] is not None for each in found["contacts"])
    (juki,) = found["datasets"]
    assert (juki["dataset"], juki["sequence"]) == ("imari/juki", 1)
    assert {receipt["site"] for receipt in juki["receipts"]} >= {"kyoto"} and juki["objects"] > 0
    return found


@pytest.fixture
def telephone(lost, tmp_path: Path) -> Any:  # noqa: F811
    """Both officers' promises are given to Kyoto, which hands them on to Hokkaido."""
    _saga, kyoto, hokkaido = lost.sites
    found = pages(kyoto, tmp_path)
    for page in found:
        kyoto.command("site", "codes", "take", page.file)
    hokkaido.until(lambda _page: len(hokkaido.call("site.codes")["books"]) == len(OFFICERS))
    return found


def test_two_officers_approve_by_telephone_and_every_site_believes_it(lost, telephone, tmp_path: Path) -> None:  # noqa: F811
    _saga, kyoto, hokkaido = lost.sites
    mori, abe = telephone
    seen = observed(kyoto, hokkaido)
    begun = kyoto.command("site", "declare-lost", "saga", "--reason", "浸水")
    signed = kyoto.command("site", "evidence", "--declaration", begun["id"], "--html", str(tmp_path / "signed.html"))
    assert signed["digest"] == begun["evidence_digest"] and signed["digest"] in (tmp_path / "signed.html").read_text()
    assert [each["words"] for each in signed["checklist"]] == ["呼出音のみ", "応答あり"]
    assert signed["suspected_at"] == seen["suspected_at"]
    # A digit that was misheard, and the line of the wrong site.
    right = mori.code("kyoto", 2)
    kyoto.command("site", "approve", "--code", right[:-1] + str((int(right[-1]) + 1) % 10), expect=2)
    with pytest.raises(ApprovalError, match="opens none"):
        kyoto.call("site.approve-code", code=mori.code("hokkaido", 2))

    answer = kyoto.command("site", "approve", begun["id"], "--code", right)
    assert not answer["in_force"] and answer["by_code"] == ["mori"]
    # The daemon dies: what was heard and who approved stays.
    kyoto.kill()
    kyoto.start()
    with pytest.raises(ApprovalError, match="one officer counts once"):
        kyoto.call("site.approve-code", code=mori.code("kyoto", 2, which=1))
    listed = kyoto.call("site.codes")
    assert [sum(matter["spent"] for matter in book["matters"]) for book in listed["books"]] == [0, 2]
    assert listed["wrong"] == 1
    answer = kyoto.command("site", "approve", "--code", abe.code("kyoto", 2))
    assert answer["in_force"] and answer["by_code"] == ["mori", "abe"]
    until_told(hokkaido, ("loss", 2, "kyoto"))
    with pytest.raises(NotFoundError, match="keeps no evidence"):
        hokkaido.call("site.evidence", declaration=begun["id"])

    # The lost site wakes up. It knows the officers' cards and nothing of their codes.
    saga = lost.sites[0]
    (tmp_path / "aside").rename(saga.state)
    saga.start()
    until_told(saga, ("loss", 2, "kyoto"))
    saga.command("backup", "imari/juki", expect=5)
