"""What clerks took in outlives the site that took it in: a second disaster, and then nothing but shares."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from daemons import SiteProcess, receipted

from jbackupd.desk.audit import open_audit
from jbackupd.desk.intake import Book, Clerk
from jbackupd.format.intakekinds import Kind
from jbackupd.model.clock import ManualClock
from jbackupd.model.ids import SiteId, TenantId
from jbackupd.service.intake import Books
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.identity import load_identity
from tests.support.intakes import AS_OF, AT, HANAKO, fields_of, nonce


class Counter:
    """A desk at a site, as a recovery plan opens one."""

    def __init__(self, site: SiteProcess) -> None:
        self._clock = ManualClock(AT)
        files = PosixFiles(str(site.state))
        key = load_identity(files, SiteId(site.name)).local_key
        self._book: Book = Books(files, lambda: key, self._clock).of(
            TenantId("imari"), "counter", "伊万里市", open_audit(files, "audit/imari", self._clock)
        )
        self._count = 0

    def receive(self, kind: Kind, **said: str) -> str:
        self._count += 1
        self._clock.advance(60)
        return self._book.receive(
            kind, (HANAKO,), fields_of(kind, **said), clerk=Clerk("kubo", "::1"), nonce=nonce(self._count), as_of=AS_OF
        ).number


def deposited(site: SiteProcess, *peers: str) -> None:
    """Wait until all that a site's desk has taken in lies at others too."""
    size = (site.state / "intake" / "imari" / "desks" / "counter" / "journal").stat().st_size

    def everywhere(page) -> bool:
        return [
            each["site"] for desk in page["intake"] for each in desk["deposits"] if each["bytes"] == size
        ] == sorted(peers)

    site.until(everywhere)


def test_receptions_survive_the_loss_of_the_site_that_took_them_in(town, tmp_path: Path) -> None:
    saga, kyoto, hokkaido = town.three()
    for site in town.sites:
        site.start()
    saga.until(lambda page: receipted(page, 1, peers=2))
    saga.kill()
    counter = Counter(kyoto)
    numbers = [counter.receive(Kind.DEATH, died_on="2026-11-23"), counter.receive(Kind.MOVE_OUT)]
    deposited(kyoto, "hokkaido")
    numbers.append(counter.receive(Kind.SAFETY))
    deposited(kyoto, "hokkaido")
    assert kyoto.metrics()['jbackupd_intake_undeposited_bytes{desk="counter",tenant="imari"}'] == 0
    (lying,) = hokkaido.command("desk", "journal", "deposits")["deposits"]
    assert (lying["site"], lying["desk"], lying["label"]) == ("kyoto", "counter", "伊万里")
    kept = b"".join(path.read_bytes() for path in (hokkaido.state / "deposits").rglob("*") if path.is_file())
    assert "佐藤".encode() not in kept and b"kubo" not in kept, "who keeps it cannot read it"

    # Home is up again in time: it gets its own, by itself.
    saga.start()
    deposited(kyoto, "hokkaido", "saga")

    kyoto.kill()
    shutil.rmtree(kyoto.state)
    hokkaido.kill()
    shares = [str(town.folder / "shares" / f"imari-share-{number}-of-3.txt") for number in (1, 3)]
    adopt = ["desk", "journal", "adopt", "kyoto", *(word for share in shares for word in ("--share", share))]
    assert hokkaido.command(*adopt)["journals"] == [
        {"desk": "counter", "label": "伊万里", "entries": 3, "new": 3}
    ]
    assert hokkaido.command(*adopt)["journals"][0]["new"] == 0, "harmless twice"
    queue = hokkaido.command("recovery", "failback", "list")
    assert [item["number"] for item in queue["items"]] == [number for number in numbers if "安否" not in number]

    # Once everything is home: nothing is left of it but what was taken in.
    assert len(hokkaido.command("desk", "journal", "erase-deposits", "kyoto", "--yes")["erased"]) == 1
    assert hokkaido.command("desk", "journal", "deposits")["deposits"] == []
    hokkaido.command(*adopt, expect=10)
    assert not any(path.is_file() for path in (hokkaido.state / "deposits").rglob("*"))
    assert os.listdir(hokkaido.state / "intake" / "imari" / "received")
