"""From "declared lost" to the first look-up at the counter: technical time, in a real run between real daemons.

    python -m benchmarks.continuity [--residents N] [--image-gb N] [--cluster-gb N] [--acting holder|bystander]

Three sites on loopback: one takes the town's register (and, if wanted, a disk image and a PostgreSQL cluster) and is
lost, one holds all of it. `holder` recovers where the data lies; `bystander` at a third site that holds nothing, so
that everything comes over a line first. The image is exported and the cluster mounted and started in tier 3 of the
same plan. The clock starts when the last officer's approval is handed in. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import resource
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.cluster import ROW_BYTES, TABLES
from jbackupd.continuity.officer import OfficerKey, make_officer
from jbackupd.demo.plan import plan_text
from jbackupd.demo.sites import make_sites, peer_tables
from jbackupd.demo.town import DayReport, Town, advance_day, make_town
from jbackupd.format.declaration import approve, decode_declaration, encode_declaration
from jbackupd.format.identity import encode_card
from jbackupd.model.errors import TryLaterError
from jbackupd.model.ids import TenantId
from jbackupd.service.wiring import create_vault
from jbackupd.settings.load import load
from tests.support.clusters import base_backup
from tests.support.daemons import free_port

HOME, HOLDER, BYSTANDER = "saga", "kyoto", "hokkaido"
TENANT = "imari"
OFFICERS = ("mori", "abe")
GIGA = 10**9
WRITTEN_PART = 0.4
"""Of a disk image that holds something; the rest is zeros, as on a server's disk."""
_FEW_BYTES = bytes(b"0123456789abcdef"[byte % 8] for byte in range(256))
"""Makes noise compressible: three bits a byte."""
IMAGE_STEPS = """
[[step]]
id = "server"
kind = "export"
dataset = "imari/disk"
file = "disk.img"
tier = 3
needs = ["keys"]
on_failure = "continue"
"""
CLUSTER_STEPS = """
[[step]]
id = "base"
kind = "mount"
dataset = "imari/cluster"
tier = 3
needs = ["keys"]
on_failure = "continue"

[[step]]
id = "database"
kind = "postgres"
data = "base"
listen = "127.0.0.1:{port}"
tier = 3
needs = ["base"]
on_failure = "continue"

[[step]]
id = "rows"
kind = "check"
postgres = "database"
sql = "SELECT length(rest) FROM juki WHERE number = {number}"
expect = "96"
tier = 3
needs = ["database"]
on_failure = "continue"
"""


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--residents", type=int, default=30_000)
    parser.add_argument("--image-gb", type=float, default=0.0)
    parser.add_argument("--cluster-gb", type=float, default=0.0)
    parser.add_argument("--acting", choices=["holder", "bystander"], default="holder")
    parser.add_argument("--folder", help="where to work: needs twice the data")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jbackupd-continuity-", dir=wanted.folder) as folder:
        # Servers of PostgreSQL pass through it as another user.
        Path(folder).chmod(0o711)
        print(json.dumps(_Scene(Path(folder), wanted).play(), indent=2))


class _Scene:
    def __init__(self, folder: Path, wanted: argparse.Namespace) -> None:
        self._folder = folder
        self._wanted = wanted
        self._sites = make_sites(str(folder), (HOME, HOLDER, BYSTANDER))
        self._cards = folder / "cards"
        self._officers = [make_officer(name, secrets.token_hex(8))[0] for name in OFFICERS]
        self._acting = self._sites[HOLDER if wanted.acting == "holder" else BYSTANDER]

    def play(self) -> dict[str, Any]:
        """Return what was measured."""
        try:
            town = make_town(str(self._folder / "town"), residents=self._wanted.residents)
            day = advance_day(town.folder)
            self._configure(town)
            sizes = self._take()
            self._lose()
            load = os.getloadavg()[0]
            found = self._recover(day, int(sizes.pop("rows")))
            return {
                "residents": self._wanted.residents, "acting": self._wanted.acting, **sizes, "load": load, **found,
                "peak_megabytes_of_any_process": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1000,
            }
        finally:
            for site in self._sites.values():
                site.stop()

    def _configure(self, town: Town) -> None:
        self._cards.mkdir()
        for officer in self._officers:
            (self._cards / f"{officer.officer}.card").write_text(encode_card(officer.card))
        for site in self._sites.values():
            (self._cards / f"{site.name}.card").write_text(site.found())
        officers = "".join(f'[[officer]]\nid = "{name}"\ncard = "{self._cards}/{name}.card"\n' for name in OFFICERS)
        own = f'[[tenant]]\nid = "{TENANT}"\n'
        sources = {
            "juki": os.path.dirname(town.extract), "office": town.office, "disk": self._folder / "disk",
            "cluster": self._folder / "base",
        }
        for name, path in sources.items():
            access = "random" if name in ("disk", "cluster") else "stream"
            own += (
                f'[[dataset]]\nid = "{TENANT}/{name}"\nsource = {{ kind = "files", paths = ["{path}"] }}\n'
                f'access = "{access}"\n'
            )
        for site in self._sites.values():
            holds = {HOME: TENANT} if site.name != HOME else {}
            peers = peer_tables(site, self._sites, str(self._cards), holds=holds)
            site.configure((own if site.name == HOME else "") + peers + officers)

    def _take(self) -> dict[str, float]:
        """Take what is wanted, one after the other: each source goes when its point is held elsewhere."""
        create_vault(
            load(self._sites[HOME].config), TenantId(TENANT), threshold=2, count=3,
            share_folder=str(self._folder / "shares"),
        )
        for name in (HOME, HOLDER):
            self._sites[name].start()
        self._carry("juki")
        self._carry("office")
        rows = 0
        if self._wanted.cluster_gb:
            rows = int(self._wanted.cluster_gb * GIGA / ROW_BYTES)
            with _cluster(rows) as base:
                (self._folder / "base").symlink_to(base)
                self._carry("cluster")
        if self._wanted.image_gb:
            _write_image(self._folder / "disk", int(self._wanted.image_gb * GIGA))
            self._carry("disk")
            shutil.rmtree(self._folder / "disk")
        packs = Path(self._sites[HOLDER].state, "vaults").rglob("*")
        return {
            "image_gigabytes": self._wanted.image_gb, "cluster_gigabytes": self._wanted.cluster_gb, "rows": rows,
            "held_megabytes": sum(path.lstat().st_blocks for path in packs) * 512 // 1_000_000,
        }

    def _carry(self, name: str) -> None:
        home = self._sites[HOME]
        point = home.ask("backup", dataset=f"{TENANT}/{name}")
        while True:
            with contextlib.suppress(TryLaterError):
                home.until(lambda page: _is_held(page, f"{TENANT}/{name}", point["sequence"]), "a receipt")
                return

    def _lose(self) -> None:
        home = self._sites[HOME]
        home.kill()
        shutil.rmtree(home.folder)
        os.sync()
        if os.geteuid() == 0:
            Path("/proc/sys/vm/drop_caches").write_text("3")
        self._sites[BYSTANDER].start()

    def _recover(self, day: DayReport, rows: int) -> dict[str, Any]:
        plan = plan_text(query=day.query, expect=day.address)
        if self._wanted.image_gb:
            plan += IMAGE_STEPS
        if self._wanted.cluster_gb:
            plan += CLUSTER_STEPS.format(port=free_port(), number=rows // 2)
        begun = self._declared()
        reached: dict[str, float] = {}

        def hear(event: dict[str, Any]) -> None:
            if event.get("event") == "finish":
                reached[event["step"]] = round(time.monotonic() - begun, 2)

        shares = [
            {"source": path.name, "text": path.read_text()} for path in sorted((self._folder / "shares").iterdir())[:2]
        ]
        document = self._acting.ask("recovery.run", hear, plan=plan, shares=shares)
        if not document["proved"]:
            raise SystemExit(json.dumps(document["steps"], indent=2, ensure_ascii=False))
        return {"look_up_seconds": reached["look-up"], "finished_seconds": reached}

    def _declared(self) -> float:
        """Declare the loss; return the moment when it came into force."""
        begun = self._acting.ask("site.declare", site=HOME, reason="benchmark")
        declaration = decode_declaration(base64.b64decode(begun["declaration"]))
        moment = 0.0
        for officer in self._officers:
            moment = time.monotonic()
            self._approve(officer, declaration)
        return moment

    def _approve(self, officer: OfficerKey, declaration: Any) -> None:
        signed = declaration.with_approval(approve(declaration, officer.officer, officer.signer))
        self._acting.ask("site.submit", declaration=base64.b64encode(encode_declaration(signed)).decode())


def _is_held(page: dict[str, Any], name: str, sequence: int) -> bool:
    """Tell whether the holder has signed for a point."""
    dataset = next(each for each in page["datasets"] if each["id"] == name)
    copy = next(each for each in dataset["copies"] if each["peer"] == HOLDER)
    return copy["point"] is not None and copy["point"]["sequence"] >= sequence


@contextlib.contextmanager
def _cluster(rows: int) -> Iterator[Path]:
    table = (
        f"CREATE TABLE juki AS SELECT n AS number, md5(n::text) AS name, {TABLES['random']} AS rest "
        f"FROM generate_series(1, {rows}) AS n; ALTER TABLE juki ADD PRIMARY KEY (number);"
    )
    with base_backup(table) as base:
        # The server's own folder is as large again, and of no more use.
        shutil.rmtree(base.parent / "data")
        yield base


def _write_image(folder: Path, size: int) -> None:
    folder.mkdir()
    with open(folder / "disk.img", "wb") as file:
        for _block in range(int(size * WRITTEN_PART) >> 20):
            file.write(os.urandom(1 << 20).translate(_FEW_BYTES))
        while (left := size - file.tell()) > 0:
            file.write(bytes(min(left, 1 << 20)))


if __name__ == "__main__":
    main()
