"""Keys that change, with a second site that holds the vault: the commands at both, the real holder between them."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from jbackupd.engine.fetch import fetch
from jbackupd.engine.replicate import replicate
from jbackupd.model.clock import ManualClock
from jbackupd.model.errors import NotFoundError
from jbackupd.model.ids import DatasetId, ObjectName, ObjectRef, SiteId, TenantId
from jbackupd.protocol.messages import ObjectItem
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.holder import FixedRights, VaultHolder
from jbackupd.vault.identity import load_or_create
from jbackupd.vault.peer import Head
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import PointList
from tests.operator.conftest import Town
from tests.support.twosites import Epochs

IMARI = TenantId("imari")
JUKI = DatasetId(IMARI, "juki")
SAGA = SiteId("saga")


class Near:
    """A holding site as a `Peer`, without a line.

    Args:
        days: How far its clock is ahead.
    """

    def __init__(self, town: TwoSites, name: str, days: int = 0) -> None:
        self.site = SiteId(name)
        files = PosixFiles(town.path(name))
        self.identity = load_or_create(files, self.site)
        self.verifiers = {SAGA: town.saga.signer.public, self.site: self.identity.signer.public}
        self._holder = VaultHolder(
            files, site=self.site, signer=self.identity.signer, verifiers=self.verifiers,
            rights=FixedRights({IMARI: frozenset({SAGA})}), book=Epochs(),
            clock=ManualClock(datetime.now(UTC) + timedelta(days=days)),
        )
        self._files = files

    async def have(self, tenant: TenantId, items: Sequence[ObjectItem]) -> list[int]:
        return self._holder.have(SAGA, tenant, items)

    async def put(
        self, tenant: TenantId, item: ObjectItem, offset: int, read: Callable[[int, int], bytes],
        on_kept: Callable[[int], None] | None = None,
    ) -> None:
        self._holder.begin(SAGA, tenant, item, offset)
        self._holder.write(SAGA, tenant, item, offset, read(offset, item.size - offset))
        self._holder.finish(SAGA, tenant, item)

    async def commit(self, tenant: TenantId, point: ObjectName) -> bytes:
        return self._holder.commit(SAGA, tenant, point)

    async def heads(self, tenant: TenantId) -> list[Head]:
        return [
            Head(JUKI, item.sequence, self._point(item.name), ()) for item in self._holder.heads(SAGA, tenant)
        ]

    async def points(self, tenant: TenantId, dataset: str, from_sequence: int) -> list[bytes]:
        return [self._point(item.name) for item in self._holder.points(SAGA, tenant, dataset, from_sequence)]

    async def get(self, tenant: TenantId, ref: ObjectRef, offset: int, length: int) -> AsyncIterator[bytes]:
        store = ObjectStore(self._files, "vaults/imari")
        if not store.has(ref):
            raise NotFoundError("{object} is not here", object=ref)
        yield store.read(ref)[offset : offset + length]

    async def declare(self, declaration: bytes) -> None:
        raise NotImplementedError

    def _point(self, name: ObjectName) -> bytes:
        return self._files.read(f"vaults/imari/points/{name.hex()}")


class TwoSites(Town):
    """A site that owns, with the commands of `Town`, and sites that hold its vault."""

    @property
    def saga(self):
        return load_or_create(PosixFiles(self.path("state")), SAGA)

    def send(self, name: str, days: int = 0) -> int:
        """Bring all points to a site, some days from now; return how many it has signed for."""
        peer = Near(self, name, days)
        store = ObjectStore(PosixFiles(self.path("state")), "vaults/imari")
        chain = PointList(store, {SAGA: self.saga.signer.public}).chain(JUKI)
        return len(asyncio.run(replicate(peer, store, chain, verifier=peer.identity.signer.public)))

    def take(self, day: int) -> None:
        self.write("source/a.txt", content(day))
        self.document("backup", "imari/juki", "--local")

    def at(self, name: str) -> Town:
        """Return another site, which reads what it holds with its own commands."""
        shutil.copy(self.path("state/site/saga.card"), self.path("saga.card"))
        text = (
            f'version = 1\n[site]\nid = "{name}"\nstate = "{name}"\n[[peer]]\nid = "saga"\ncard = "saga.card"\n'
            'holds = ["imari"]\n'
        )
        self.write(f"{name}.toml", text.encode())
        other = Town(self.folder)
        other.config = self.path(f"{name}.toml")
        return other


def content(day: int) -> bytes:
    return b"day %d\n" % day * 2000


@pytest.fixture
def town(tmp_path) -> TwoSites:
    made = TwoSites(str(tmp_path))
    made.make_vault()
    made.document("site", "card")
    return made


def given(town: Town, *numbers: int, folder: str = "shares") -> list[str]:
    return [word for n in numbers for word in ("--share", town.path(f"{folder}/imari-share-{n}-of-3.txt"))]


def change_recovery(town: Town) -> str:
    call = ("--recovery", *given(town, 1, 2), "--shares", "2-of-3", "--share-dir", town.path("new"))
    return town.document("key", "rotate", "imari", *call)["set"]


def read_at(site: Town, day: int, *keys: str, expected: int = 0) -> None:
    target = site.path(f"out-{day}-{len(os.listdir(site.folder))}")
    done = site.run("restore", f"imari/juki@{day}", "--to", target, *keys)
    assert done.returncode == expected, done.stderr.decode()
    if not expected:
        with open(os.path.join(target, "a.txt"), "rb") as file:
            assert file.read() == content(day)


def test_after_a_new_recovery_key_the_site_is_lost_and_a_peer_recovers_with_the_new_shares(town):
    town.take(1)
    town.take(2)
    assert town.send("kyoto") == 2
    newest_set = change_recovery(town)
    assert town.document("key", "show", "imari")["without_recovery_key"] == ["kyoto"]
    assert "not yet at: kyoto" in town.run("key", "show", "imari").stdout.decode()

    # Until the next point is there, the old shares are what a lost site is recovered with.
    kyoto = town.at("kyoto")
    read_at(kyoto, 2, *given(town, 1, 3))
    read_at(kyoto, 2, *given(town, 1, 3, folder="new"), expected=6)

    town.take(3)
    assert town.send("kyoto") == 1
    assert town.document("key", "show", "imari")["without_recovery_key"] == []
    shutil.rmtree(town.path("state"))
    for day in (1, 2, 3):
        read_at(kyoto, day, *given(town, 2, 3, folder="new"))
    rehearsed = kyoto.document("key", "rehearse", "imari", *given(town, 1, 2, folder="new"))
    assert rehearsed["sessions_opened"] == 3
    for call in (
        ("restore", "imari/juki", "--to", town.path("x"), *given(town, 1, 2)),
        ("key", "recover", "imari", *given(town, 1, 2)),
        ("key", "recover", "imari", "--keep", *given(town, 1, 2)),
    ):
        error = kyoto.document(*call, expected=6)["error"]
        assert newest_set in error["hint"]


def test_an_erasure_is_pending_where_copies_of_the_key_are_and_a_new_site_gets_none(town):
    town.take(1)
    town.take(2)
    town.send("kyoto")
    town.document("key", "rotate", "imari")
    town.take(3)
    epoch = town.document("key", "show", "imari")["epochs"][0]["name"]
    who = ("--asked-by", "sato", "--reason", "court order", "--confirm", f"imari/{epoch}")
    done = town.document(
        "key", "erase", "imari", epoch, *given(town, 1, 2), "--give-up", "imari/juki@1", *who
    )
    assert done["pending_at"] == ["kyoto"]
    town.take(4)
    assert (town.send("kyoto"), town.send("osaka", days=2)) == (2, 4)
    assert town.document("key", "show", "imari")["epochs"][0]["pending_at"] == ["kyoto"]
    assert town.run("verify", "--full").returncode == 0

    for name in ("kyoto", "osaka"):
        site = town.at(name)
        assert [point["sequence"] for point in site.document("points", "list")["points"] if point["erased_at"]] == [1]
        for day in (2, 3, 4):
            read_at(site, day, *given(town, 1, 3))
        call = ("rescue", site.path(f"{name}/vaults/imari"), "imari/juki@2", "a.txt", *given(town, 1, 2), "--to", "-")
        done = site.run(*call)
        assert (done.returncode, done.stdout) == (0, content(2))
    # Osaka never had a copy of the key: nobody reads the point there, with all shares and all that it holds.
    read_at(town.at("osaka"), 1, *given(town, 1, 2, 3), expected=6)
    assert town.at("osaka").run("verify", "--full").returncode == 0

    # A site that is built anew from Osaka alone gets everything but what was erased.
    osaka = Near(town, "osaka")
    store = ObjectStore(PosixFiles(town.path("nagoya")), "vaults/imari")
    store.create()
    asyncio.run(fetch(osaka, store, IMARI, verifiers=osaka.verifiers))
    nagoya = town.at("nagoya")
    for day in (2, 3, 4):
        read_at(nagoya, day, *given(town, 2, 3))
    read_at(nagoya, 1, *given(town, 1, 2, 3), expected=6)


def test_a_point_without_the_keys_that_no_record_speaks_of_is_not_receipted(town):
    town.take(1)
    keys = town.path("state/vaults/imari/keys")
    biggest = max(os.listdir(keys), key=lambda name: os.path.getsize(os.path.join(keys, name)))
    os.remove(os.path.join(keys, biggest))
    with pytest.raises(Exception, match="is missing from the vault"):
        town.send("kyoto")
