"""Two real endpoints: whom a site met, and officers' promises; what is refused leaves the link as it was."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from jbackupd.codec.signing import SiteSigner
from jbackupd.continuity.codebook import matters_of
from jbackupd.continuity.codes import Codes
from jbackupd.format.promise import MAGIC, Promise, encode_book, sign_promise
from jbackupd.model.errors import ApprovalError, FormatError, RefusedError
from jbackupd.model.ids import SiteId
from jbackupd.protocol.messages import ContactIs
from jbackupd.vault.holder import VaultHolder
from tests.support.twosites import START, Town, run

MORI = SiteSigner(b"m" * 64)
MADE = START - timedelta(days=30)


def book(officer: str = "mori", signer: SiteSigner = MORI, made_at: datetime = MADE, epochs: int = 2) -> bytes:
    """Return promises for every pair of sites; nobody can open them."""
    sites = [SiteId(site) for site in ("saga", "kyoto", "hokkaido")]
    matters = matters_of(sites, sites, range(2, 2 + epochs))
    return encode_book([
        sign_promise(Promise(
            officer, each.lost, each.acting, each.epoch, number, made_at, made_at + timedelta(days=400), b"s" * 16,
            b"c" * 32,
        ), signer)
        for number, each in enumerate(matters, 1)
    ])


@pytest.fixture
def kyoto(town: Town) -> VaultHolder:
    """A holder that has met saga at START, and knows the officer mori."""
    site = town.kyoto
    codes = Codes(site.files, lambda: {"mori": MORI.public})
    met = {SiteId("saga"): ContactIs(up=False, at=1_700_000_000_000_000, receipt=0)}
    return VaultHolder(
        site.files, site=site.id, signer=site.signer, verifiers=town.verifiers, rights=town.rights, book=site.book,
        clock=site.clock, met=met.get, promised=lambda given: codes.known(given, START),
    )


def test_a_site_tells_whom_it_met(town: Town, kyoto: VaultHolder) -> None:
    async def story() -> ContactIs:
        async with town.linked(dialler=town.hokkaido, holder=kyoto) as link:
            with pytest.raises(RefusedError, match="kyoto does not know osaka"):
                await link.contact(SiteId("osaka"))
            return await link.contact(SiteId("saga"))

    assert run(story()) == ContactIs(up=False, at=1_700_000_000_000_000, receipt=0)


def test_promises_are_taken_once_and_only_those_that_an_officer_made(town: Town, kyoto: VaultHolder) -> None:
    forged = book(signer=SiteSigner(b"x" * 64))

    async def story() -> list[dict[str, tuple[int, int]]]:
        async with town.linked(dialler=town.hokkaido, holder=kyoto) as link:
            before = await link.promises()
            for wrong, error in (
                (forged, ApprovalError), (book("tanaka"), ApprovalError),
                (book(made_at=START + timedelta(days=9)), ApprovalError),
            ):
                with pytest.raises(error):
                    await link.promises(wrong)
            after = await link.promises(book())
            with pytest.raises(RefusedError, match="newer ones are here"):
                await link.promises(book(made_at=MADE - timedelta(days=1)))
            return [dict(known) for known in (before, after, await link.promises())]

    before, after, again = run(story())
    micros = (MADE - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert (before, after, again) == ({}, {"mori": (micros, 12)}, {"mori": (micros, 12)})


def test_bytes_that_are_no_promises_are_refused_by_name(town: Town, kyoto: VaultHolder) -> None:
    async def story(given: bytes) -> None:
        async with town.linked(dialler=town.hokkaido, holder=kyoto) as link:
            await link.promises(given)

    for given in (b"x", MAGIC, MAGIC + b"\x90", book()[:-1]):
        with pytest.raises(FormatError):
            run(story(given))
    assert not town.kyoto.files.exists("site/codes/mori.codes")


def test_a_peer_of_an_older_version_is_told_apart(town: Town, kyoto: VaultHolder) -> None:
    town.hokkaido.local = replace(
        town.hokkaido.local, own=replace(town.hokkaido.local.own, versions=(1, 2))
    )

    async def story() -> None:
        async with town.linked(dialler=town.hokkaido, holder=kyoto) as link:
            with pytest.raises(RefusedError, match="older version of jbackupd that does not tell whom it met"):
                await link.contact(SiteId("saga"))
            with pytest.raises(RefusedError, match="older version of jbackupd that takes no codes"):
                await link.promises()
            assert await link.ping() >= 0

    run(story())
