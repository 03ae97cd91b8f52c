"""The packages of a site: written anew at every point, and when somebody asks; how they stand is on the status page."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

import msgspec

from jbackupd.format.package import Manifest
from jbackupd.model.clock import Clock
from jbackupd.model.errors import JbackupdError
from jbackupd.model.ids import DatasetId
from jbackupd.model.texts import _
from jbackupd.runtime.offload import Offload
from jbackupd.service.board import Board
from jbackupd.service.continuityverbs import Registry
from jbackupd.service.control import Body, Call
from jbackupd.service.live import Live
from jbackupd.service.log import Log
from jbackupd.service.packages import is_founded, load, package_named
from jbackupd.service.packaging import make_package, written
from jbackupd.service.runner import Runner
from jbackupd.settings.schema import Package
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.identity import SiteIdentity

LOOK_SECONDS = 30.0
AGAIN = timedelta(minutes=15)
"""Before a package that could not be written is tried again."""


class PackageState(Enum):
    """How a package stands."""

    FRESH = "fresh"
    OLD = "old"
    """There is a newer point."""
    AWAY = "away"
    """Its folder is not there: the stick is somewhere else."""
    FAILED = "failed"
    EXPIRED = "expired"
    UNFOUNDED = "unfounded"
    """Nobody has a passphrase yet."""


class PackageArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which package."""

    package: str


@dataclass(frozen=True, slots=True)
class PackageFacts:
    """How a package stands.

    Attributes:
        last: What was written last, as it was last seen.
        away: Its folder, or the folder that this lies in, is not there.
        newest: The newest point of its dataset, TENANT/NAME@SEQUENCE; None if that is not known.
        error: Why the last try failed.
    """

    founded: bool = False
    last: Manifest | None = None
    away: bool = False
    newest: str | None = None
    error: JbackupdError | None = None

    def state(self, now: datetime) -> PackageState:
        """Return what people must know first."""
        if not self.founded:
            return PackageState.UNFOUNDED
        if self.last is not None and now > self.last.expires_at:
            return PackageState.EXPIRED
        if self.error is not None:
            return PackageState.FAILED
        if self.away:
            return PackageState.AWAY
        stale = self.last is None or (self.newest is not None and self.last.point != self.newest)
        return PackageState.OLD if stale else PackageState.FRESH


class Packages:
    """Owns the writing of packages in this run of the daemon.

    Args:
        board: Knows the newest point of each dataset.
        runner: Knows when the daemon stops, and rings when something has changed.
    """

    def __init__(
        self, live: Live, files: PosixFiles, identity: SiteIdentity, board: Board, runner: Runner, *,
        offload: Offload, clock: Clock, log: Log,
    ) -> None:
        self.facts: dict[str, PackageFacts] = {}
        self._live = live
        self._files = files
        self._identity = identity
        self._board = board
        self._runner = runner
        self._offload = offload
        self._clock = clock
        self._log = log
        self._not_before: dict[str, datetime] = {}
        self._turn = asyncio.Lock()

    def register(self, control: Registry) -> None:
        """Let commands ask for a package."""
        control.register("package.write", PackageArguments, self._asked)

    async def run(self) -> None:
        """Write each package anew when there is a newer point."""
        while not self._runner.stopping:
            seen = self._runner.news.revision
            wanted = {package.id: package for package in self._live.settings.packages}
            for gone in self.facts.keys() - wanted.keys():
                del self.facts[gone]
            for package in wanted.values():
                await self._look(package)
                if self._is_due(package):
                    await self._write_due(package)
            await self._runner.news.within(seen, LOOK_SECONDS)

    async def _look(self, package: Package) -> None:
        founded, away, last = await self._offload.disk(_seen, self._files, package)
        before = self.facts.get(package.id, PackageFacts())
        self.facts[package.id] = PackageFacts(
            founded, last or before.last, away, self._newest(package.dataset), before.error
        )

    def _newest(self, dataset: DatasetId) -> str | None:
        known = self._board.taken.get(dataset)
        return f"{dataset}@{known.newest.sequence}" if known is not None and known.newest is not None else None

    def _is_due(self, package: Package) -> bool:
        facts, now = self.facts[package.id], self._clock.now()
        if not facts.founded or facts.away or facts.newest is None or self._runner.stopping:
            return False
        waits = self._not_before.get(package.id, now) > now
        return not waits and (facts.last is None or facts.last.point != facts.newest)

    async def _write_due(self, package: Package) -> None:
        try:
            await self._write(package)
        except JbackupdError as error:
            before = self.facts[package.id].error
            self.facts[package.id] = replace(self.facts[package.id], error=error)
            self._not_before[package.id] = self._clock.now() + AGAIN
            if str(before) != str(error):
                self._log.error(_("the package {package} was not written: {reason}"), package=package.id, reason=error)
                self._runner.news.ring()

    async def _write(self, package: Package) -> Manifest:
        async with self._turn:
            known = await self._offload.disk(load, self._files, package.id, self._identity.local_key)
            manifest = await asyncio.to_thread(
                make_package, self._live.settings, package, known, self._identity.signer, self._clock.now()
            )
        self._not_before.pop(package.id, None)
        self.facts[package.id] = PackageFacts(True, manifest, False, self._newest(package.dataset))
        self._log.info(
            _("the package {package} was written of {point}: {residents} residents"), package=package.id,
            point=manifest.point, residents=manifest.residents,
        )
        self._runner.news.ring()
        return manifest

    async def _asked(self, call: Call[PackageArguments]) -> Body:
        return document(await self._write(package_named(self._live.settings, call.arguments.package)))


def document(manifest: Manifest) -> Body:
    """Return what commands tell of a package that was written; its files are counted."""
    found: Body = msgspec.to_builtins(manifest)
    return {**found, "files": len(manifest.files), "bytes": sum(fact.size for fact in manifest.files.values())}


def _seen(files: PosixFiles, package: Package) -> tuple[bool, bool, Manifest | None]:
    """Return whether it was founded, whether its folder is away, and what was written last."""
    there = os.path.isdir(package.to) or os.path.isdir(os.path.dirname(package.to.rstrip("/")))
    return is_founded(files, package.id), not there, written(package)
