"""A vault whose packs lie only at other sites: real lines on loopback, real holders, and a reader that has none."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from jbackupd.engine.bring import Place, SiteLine
from jbackupd.model.ids import PointSelector, SiteId
from jbackupd.service.bringers import Bringers
from jbackupd.service.reaching import Reached, reached_point
from jbackupd.storage.files import PosixFiles
from jbackupd.transport.dial import dial
from tests.support import onesite, twosites


@dataclass
class Away:
    """An owner's vault, taken; two sites that hold it; a reader with points, keys and indexes, without packs.

    Attributes:
        dialled: Which sites were dialled, in order.
    """

    owner: onesite.Site
    town: twosites.Town
    folder: Path
    dialled: list[str] = field(default_factory=list)

    @classmethod
    def made(cls, folder: Path, take: Callable[[onesite.Site], None]) -> Away:
        owner = onesite.Site(folder / "owner")
        take(owner)
        found = cls(owner, twosites.Town(str(folder)), folder)
        for name in ("kyoto", "hokkaido"):
            shutil.copytree(folder / "owner" / "vaults", folder / name / "vaults")
        reader = folder / "reader" / "vaults"
        shutil.copytree(folder / "owner" / "vaults", reader, ignore=shutil.ignore_patterns("packs"))
        (reader / "imari" / "packs").mkdir()
        return found

    @property
    def reader(self) -> Path:
        return self.folder / "reader" / "vaults" / "imari"

    def packs(self, site: str) -> list[Path]:
        found = (self.folder / site / "vaults" / "imari" / "packs").rglob("*")
        return sorted(path for path in found if path.is_file())

    @contextlib.asynccontextmanager
    async def reached(
        self, *, sites: tuple[str, ...] = ("kyoto",), cache_bytes: int = 1 << 20, holder: object = None,
        bringers: Bringers | None = None,
    ) -> AsyncIterator[Reached]:
        """Open the newest point at the reader, over lines to these sites."""
        async with contextlib.AsyncExitStack() as stack:
            places = []
            for name in sites:
                site = getattr(self.town, name)
                endpoint = await stack.enter_async_context(self.town.listening(site, holder))
                places.append(Place(SiteId(name), partial(self._dial, site, endpoint.port)))
            files = PosixFiles(str(self.folder / "reader"))
            yield await stack.enter_async_context(reached_point(
                files, PointSelector(onesite.DATASET, None), lambda _: self.owner.keyring, places,
                bringers or Bringers(files), verifiers={SiteId("saga"): self.owner.signer.public},
                cache_bytes=cache_bytes,
            ))

    async def _dial(self, site: twosites.Site, port: int) -> SiteLine:
        self.dialled.append(site.id)
        return await dial(self.town.saga.local, site.pinned, "127.0.0.1", port)
