"""A site waits before it acts for another one: from its last contact on, and not longer than people want."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jbackupd.codec.signing import SiteSigner
from jbackupd.continuity.epoch import Epochs
from jbackupd.continuity.pending import PendingDeclarations
from jbackupd.continuity.waiting import Wait, wait_of
from jbackupd.format.declaration import Declaration, Statement, approve, declare, encode_declaration
from jbackupd.model.errors import RefusedError
from jbackupd.model.ids import SiteId
from jbackupd.storage.files import PosixFiles

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
SAGA, KYOTO, NARA = SiteId("saga"), SiteId("kyoto"), SiteId("nara")
OFFICERS = {name: SiteSigner(name.encode().ljust(64, b".")) for name in ("mori", "abe", "kudo")}


def loss(made_at: datetime = NOW, *, acting: SiteId = KYOTO, epoch: int = 2, planned: bool = False) -> Declaration:
    return declare(Statement(SAGA, epoch, acting, made_at, "", b"e" * 32, b"n" * 16, planned))


@pytest.mark.parametrize(("declaration", "last_contact", "expected"), [
    # The last contact counts, not the declaration.
    (loss(), NOW - timedelta(hours=2), None),
    (loss(), NOW - QUARTER, None),
    (loss(), NOW - timedelta(minutes=10), Wait(NOW + timedelta(minutes=5), NOW - timedelta(minutes=10))),
    (loss(), NOW, Wait(NOW + QUARTER, NOW)),
    # Without any contact the declaration does.
    (loss(), None, Wait(NOW + QUARTER, NOW)),
    (loss(NOW - QUARTER), None, None),
    # Nobody else waits, and nothing else.
    (loss(acting=NARA), NOW, None),
    (loss(planned=True), NOW, None),
    (loss(acting=SAGA, epoch=3), NOW, None),
])
def test_how_long_a_site_waits(declaration: Declaration, last_contact: datetime | None, expected: Wait | None) -> None:
    assert wait_of(declaration, KYOTO, wait=QUARTER, last_contact=last_contact, now=NOW) == expected
    assert wait_of(declaration, KYOTO, wait=None, last_contact=last_contact, now=NOW) is None


class Site:
    """A site with a clock, that was in contact with saga ten minutes ago."""

    def __init__(self, folder: Path, site: SiteId = KYOTO) -> None:
        files = PosixFiles(str(folder))
        self.now = NOW
        self.epochs = Epochs(
            files, site, officers=lambda: {name: signer.public for name, signer in OFFICERS.items()}, needed=lambda: 2
        )
        self.epochs.waits = lambda declaration: wait_of(
            declaration, site, wait=QUARTER, last_contact=NOW - timedelta(minutes=10), now=self.now
        )
        self.pending = PendingDeclarations(files, self.epochs)


def signed(declaration: Declaration, *names: str) -> Declaration:
    for name in names:
        declaration = declaration.with_approval(approve(declaration, name, OFFICERS[name]))
    return declaration


def test_approvals_are_kept_while_a_site_waits_and_count_afterwards(tmp_path: Path) -> None:
    kyoto = Site(tmp_path)
    begun = kyoto.pending.begin(SAGA, KYOTO, reason="", evidence=b"{}", now=NOW)
    _merged, missing = kyoto.pending.submit(signed(begun, "mori", "abe"))
    assert missing is not None and "waits until 2026-11-23T04:05:00" in str(missing)
    with pytest.raises(RefusedError, match="is not declared lost"):
        kyoto.epochs.check_acting(SAGA, plan="counter")
    assert {each.officer for each in kyoto.pending.find(begun.id).approvals} == {"mori", "abe"}
    # Carried there over the line it waits as well.
    with pytest.raises(RefusedError, match="waits until"):
        kyoto.epochs.learn(encode_declaration(kyoto.pending.find(begun.id)))
    kyoto.now = NOW + timedelta(minutes=5)
    assert kyoto.pending.submit(begun)[1] is None
    assert kyoto.epochs.check_acting(SAGA, plan="counter").id == begun.id


def test_without_waiting_takes_every_officer(tmp_path: Path) -> None:
    kyoto = Site(tmp_path)
    begun = kyoto.pending.begin(SAGA, KYOTO, reason="", evidence=b"{}", now=NOW)
    _merged, missing = kyoto.pending.submit(signed(begun, "mori", "abe"), without_waiting=True)
    assert missing is not None and "kudo have not approved" in str(missing)
    _merged, missing = kyoto.pending.submit(signed(begun, "kudo"))
    assert missing is not None and "waits until" in str(missing), "it is asked for, never assumed"
    assert kyoto.pending.submit(begun, without_waiting=True)[1] is None


def test_the_lost_site_and_all_others_believe_at_once(tmp_path: Path) -> None:
    wanted = encode_declaration(signed(loss(), "mori", "abe"))
    for name in (SAGA, NARA):
        site = Site(tmp_path / name, name)
        site.epochs.learn(wanted)
        assert site.epochs.epoch_of(SAGA) == (1 if name == SAGA else 2)
