"""The queue of a peer is derived: points minus receipts."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from onesite import DATASET, MemorySource, Site

from jbackupd.codec.signing import SiteSigner
from jbackupd.format.receipt import Receipt, encode_receipt
from jbackupd.model.errors import NotFoundError
from jbackupd.model.ids import DatasetId, ObjectKind, SiteId
from jbackupd.service.ledger import CopyFacts, Ledger

KYOTO, HOKKAIDO = SiteId("kyoto"), SiteId("hokkaido")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def ledger(site: Site) -> Ledger:
    return Ledger(lambda _: site.store, {SiteId("saga"): site.signer.public})


def sign(site: Site, sequence: int, holder: SiteId) -> None:
    point = site.vault.points.chain(DATASET)[sequence - 1]
    receipt = Receipt(DATASET, sequence, point.name, holder, site.clock.now(), 3)
    site.store.put(ObjectKind.RECEIPT, encode_receipt(receipt, SiteSigner(b"k" * 64)))


def take(site: Site, day: int) -> int:
    source = MemorySource({b"a": os.urandom(50_000)}, times={b"a": day})
    return site.backup(source).new_object_bytes


def test_before_the_first_point_nothing_waits(site: Site) -> None:
    facts = ledger(site).look(DATASET, [KYOTO])
    assert (facts.newest, facts.copies, facts.error) == (None, {KYOTO: CopyFacts()}, None)


def test_what_is_not_signed_for_waits_with_all_that_it_adds(site: Site) -> None:
    book = ledger(site)
    sizes = [take(site, day) for day in (1, 2, 3)]
    sign(site, 1, KYOTO)
    facts = book.look(DATASET, [KYOTO, HOKKAIDO])
    assert facts.newest is not None
    assert facts.newest.sequence == 3
    kyoto, hokkaido = facts.copies[KYOTO], facts.copies[HOKKAIDO]
    assert (kyoto.waiting_points, kyoto.waiting_bytes) == (2, sum(sizes[1:]))
    assert kyoto.point is not None
    assert kyoto.point.sequence == 1
    assert (hokkaido.point, hokkaido.waiting_points, hokkaido.waiting_bytes) == (None, 3, sum(sizes))
    assert hokkaido.waiting_since == facts.newest.taken_at - timedelta(days=2)
    sign(site, 3, KYOTO)
    done = book.look(DATASET, [KYOTO]).copies[KYOTO]
    assert (done.waiting_points, done.waiting_bytes, done.waiting_since) == (0, 0, None)


def test_a_damaged_point_is_a_fact_and_not_the_end_of_the_look(site: Site) -> None:
    take(site, 1)
    (name,) = site.store.names(ObjectKind.POINT)
    path = site.folder / "vaults/imari/points" / name.hex()
    path.write_bytes(path.read_bytes()[:-1])
    facts = ledger(site).look(DATASET, [KYOTO])
    assert facts.newest is None
    assert facts.error is not None
    assert facts.error.exit_code == 4


def test_a_tenant_without_a_vault_is_a_fact_too(site: Site) -> None:
    def missing(tenant):
        raise NotFoundError("there is no vault of {tenant}", tenant=tenant)

    facts = Ledger(missing, {}).look(DatasetId.parse("karatsu/files"), [])
    assert isinstance(facts.error, NotFoundError)
