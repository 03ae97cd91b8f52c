"""The daemon: opens everything in order, keeps it going, reloads it, and closes it in the opposite order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from jbackupd.continuity.codes import Codes
from jbackupd.continuity.epoch import Epochs
from jbackupd.continuity.pending import PendingDeclarations
from jbackupd.model.clock import Clock, SystemClock
from jbackupd.model.errors import InvariantError, JbackupdError, TryLaterError
from jbackupd.model.ids import DatasetId, SiteId, TenantId
from jbackupd.model.records import Access, Preset
from jbackupd.model.texts import _, set_language
from jbackupd.model.units import Address
from jbackupd.policy.deadline import Deadline
from jbackupd.runtime.news import News
from jbackupd.runtime.offload import Offload, settled
from jbackupd.runtime.supervisor import Supervisor
from jbackupd.service.board import Board
from jbackupd.service.checks import Checks
from jbackupd.service.control import Control
from jbackupd.service.elsewhere import Elsewhere
from jbackupd.service.feeds import Feeds
from jbackupd.service.http import Page, Pages
from jbackupd.service.jobs import JobBook
from jbackupd.service.ledger import Ledger
from jbackupd.service.live import Live, check, check_successor, open_epochs
from jbackupd.service.lock import state_lock
from jbackupd.service.log import Log, set_level
from jbackupd.service.metrics import CONTENT_TYPE, render
from jbackupd.service.notify import Notifier, keep_alive
from jbackupd.service.packagekeeping import Packages
from jbackupd.service.peers import PeerSet
from jbackupd.service.planchecks import PlanChecks
from jbackupd.service.reclaims import Reclaims
from jbackupd.service.runner import Runner
from jbackupd.service.samples import Samples
from jbackupd.service.scheduler import Scheduler
from jbackupd.service.status import Facts, dataset_deadline, status_document
from jbackupd.service.succession import Succession
from jbackupd.service.taken import Taken
from jbackupd.service.taking import take_point
from jbackupd.service.verbs import Verbs
from jbackupd.service.wiring import (
    Site,
    clear_leftovers,
    dataset_named,
    existing_store,
    open_own_vault,
    source_of,
    tenants_here,
)
from jbackupd.settings.load import load
from jbackupd.settings.schema import CommandSource, Settings
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.identity import load_identity

FILES_PATIENCE_SECONDS = 3600.0
"""A disk that hands out no block of 4 MiB for an hour is as good as gone."""
COMMAND_PATIENCE_SECONDS = 600.0
"""Beyond a command's own timeout, after which it is killed."""
STOP_SECONDS = 75.0
"""Less than the unit's TimeoutStopSec; what has not settled by then is cut off, which everything here survives."""
STANDING_SECONDS = 2.0
STANDING_LONGEST_SECONDS = 60.0


def run_daemon(config: str, settings: Settings, log: Log) -> int:
    """Run the daemon until it is told to stop; return the exit code. Holds the state folder's lock.

    Raises:
        BusyError: Another process holds the lock; nothing was touched.
        JbackupdError: It cannot begin.
    """
    with state_lock(settings.site.state):
        return asyncio.run(_run(config, settings, log))


async def _run(config: str, settings: Settings, log: Log) -> int:
    async with daemon(config, settings, log) as running:
        return await running.run()


@contextlib.asynccontextmanager
async def daemon(
    config: str, settings: Settings, log: Log, *, notifier: Notifier | None = None, clock: Clock | None = None
) -> AsyncIterator[Daemon]:
    """Open a daemon; leaving the context settles and closes it. Whoever calls holds the state folder's lock.

    Raises:
        JbackupdError: It cannot begin.
    """
    notifier, clock = notifier or Notifier(), clock or SystemClock()
    files = PosixFiles(settings.site.state)
    async with contextlib.AsyncExitStack() as stack:
        offload = await stack.enter_async_context(Offload(clock=clock))
        await offload.disk(clear_leftovers, files)
        identity = await offload.disk(load_identity, files, settings.site.id)
        live = Live(await offload.disk(check, settings), identity)
        epochs = await offload.disk(open_epochs, files, live)
        pending = await offload.disk(PendingDeclarations, files, epochs)
        book = await offload.disk(JobBook.open, files, clock.now())
        stack.push_async_callback(offload.disk, book.close)
        if book.set_aside is not None:
            log.error(_("the job book was damaged; it was set aside as {path}"), path=book.set_aside)
        tasks = await stack.enter_async_context(Supervisor(_reporter(log)))
        running = Daemon(
            config, live, epochs, pending, book, files, tasks, offload=offload, notifier=notifier, clock=clock, log=log
        )
        stack.push_async_callback(running.close)
        await running.open()
        yield running


class Daemon:
    """A daemon whose state is open; made by `daemon`.

    Args:
        config: The configuration file, for reloads.
        live: The configuration in force.
        epochs: The declarations of lost sites.
        pending: Declarations that lack approvals.
        book: The jobs.
        files: The state folder.
        tasks: Owns everything that goes on.
    """

    def __init__(
        self, config: str, live: Live, epochs: Epochs, pending: PendingDeclarations, book: JobBook, files: PosixFiles,
        tasks: Supervisor, *, offload: Offload, notifier: Notifier, clock: Clock, log: Log,
    ) -> None:
        self.live = live
        self.epochs = epochs
        self.files = files
        self.offload = offload
        self.clock = clock
        self.log = log
        self._config = config
        self._tasks = tasks
        self._notifier = notifier
        self._begun_at = self._loaded_at = clock.now()
        self._config_error: JbackupdError | None = None
        self._broken: InvariantError | None = None
        self._stop = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._is_closing = False
        self._received = News()
        self._received_tenants: set[TenantId] = set()
        self._reload_task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._pages: Pages | None = None
        self.news = News()
        """Rings at any change of jobs, points, receipts, links or configuration."""
        ledger = Ledger(lambda tenant: existing_store(files, tenant), live.verifiers)
        codes = Codes(files, lambda: live.officers)
        self.board = Board(
            live, ledger, epochs, lambda: tenants_here(files), codes=codes, offload=offload, log=log, above=self.news
        )
        self.runner = Runner(
            book, self._take, self._patience, committed=self.board.refresh, offload=offload, clock=clock, log=log,
            above=self.news,
        )
        self.peer_set = PeerSet(
            live, epochs, files, self.board, tasks, codes=codes, received=self._hear, offload=offload, clock=clock,
            log=log, above=self.news,
        )
        self._scheduler = Scheduler(self.runner, live.timetable, self._newest_point, clock=clock)
        self.control = Control(live.settings.site.state, self._defect)
        Verbs(self).register(self.control)
        self._reclaims = Reclaims(live, epochs, files, self.runner, offload=offload, clock=clock, log=log)
        self._reclaims.register(self.control)
        elsewhere = Elsewhere(live, epochs, files, self.board, self.peer_set, offload=offload, log=log)
        self._checks = Checks(live, epochs, files, elsewhere, self.runner, offload=offload, clock=clock, log=log)
        self._checks.register(self.control)
        self._plan_checks = PlanChecks(live, files, self.runner, offload=offload, clock=clock, log=log)
        self._succession = Succession(
            live, epochs, pending, files, self.board, self.peer_set, codes=codes, turn=self.runner.turn,
            offload=offload, clock=clock, log=log,
        )
        self._succession.register(self.control)
        self._samples = Samples(live, files, self.runner, offload=offload, clock=clock, log=log)
        self._samples.register(self.control)
        self._feeds = Feeds(live, self._succession.audit_logs.of, self.runner, offload=offload, clock=clock, log=log)
        self._feeds.register(self.control)
        self._packages = Packages(
            live, files, live.identity, self.board, self.runner, offload=offload, clock=clock, log=log
        )
        self._packages.register(self.control)

    # Its life.

    async def open(self) -> None:
        """Look at everything, listen, begin what goes on by itself, and say that it is ready.

        Raises:
            JbackupdError: It cannot begin; `close` must follow.
        """
        # Before anybody is told that it is ready: a SIGHUP without a handler ends a process.
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._on_end_signal, number)
        self._loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        # The watchdog next: a look at a large vault may take minutes.
        self._tasks.start("watchdog", lambda: keep_alive(self._notifier, self.offload, self._stalled))
        settings = self.live.settings
        await self.board.refresh_all()
        await self.peer_set.use_endpoint(await self.peer_set.new_endpoint(settings.site.listen))
        self._pages = await self._new_pages(settings.metrics.listen if settings.metrics else None)
        await self.control.open()
        await self.peer_set.follow()
        self._tasks.start("schedule", self._scheduler.run)
        self._tasks.start("reclaim", self._reclaims.run)
        self._tasks.start("verify", self._checks.run)
        self._tasks.start("plans", self._plan_checks.run)
        self._tasks.start("return", self._succession.returning.run)
        self._tasks.start("samples", self._samples.run)
        self._tasks.start("feeds", self._feeds.run)
        self._tasks.start("packages", self._packages.run)
        self._tasks.start("deposits", self._succession.depositing.run)
        self._tasks.start("contacts", self.peer_set.contacts.run)
        self._tasks.start("received points", self._follow_received)
        self._tasks.start("standing", self._tell_standing)
        self._notifier.ready()
        self.log.info(_("site {site} is ready"), site=settings.site.id)

    async def run(self) -> int:
        """Go on until SIGTERM, SIGINT or a command ends it; SIGHUP reloads. Returns the exit code.

        Raises:
            InvariantError: A defect that it must not go on with.
        """
        waits = [asyncio.ensure_future(wait) for wait in (self._stop.wait(), self._tasks.watch(), self.runner.watch())]
        try:
            done, _rest = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in done:
                wait.result()
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        if self._broken is not None:
            raise self._broken
        return 0

    def stop(self) -> None:
        """Begin to stop; harmless twice."""
        self._stop.set()

    async def close(self) -> None:
        """Settle and close everything, whatever was opened."""
        self._is_closing = True
        self._notifier.stopping()
        self.log.info(_("site {site} is stopping"), site=self.live.settings.site.id)
        cut = asyncio.get_running_loop().call_later(STOP_SECONDS, self._cut_off)
        try:
            async with self._reloading:
                # A reload that is under way opens what is closed below.
                await self._tasks.stop("schedule")
                self.runner.stopping = True
                await self._tasks.stop("reclaim")
                await self._tasks.stop("verify")
                await self._tasks.stop("plans")
                await self._tasks.stop("return")
                await self._tasks.stop("deposits")
                await self._tasks.stop("feeds")
                await self._tasks.stop("packages")
                await self._tasks.stop("samples")
            await self._succession.close()
            await self.runner.stop()
            await self.peer_set.close()
            if self._pages is not None:
                await self._pages.close()
            await self.control.close()
        finally:
            cut.cancel()

    # Reloading.

    async def reload(self) -> None:
        """Take the configuration anew; what cannot be taken leaves everything as it was.

        Raises:
            JbackupdError: The new configuration is not good; the old one stays in force.
        """
        async with self._reloading:
            if self._is_closing:
                raise TryLaterError("the daemon is stopping", "start it again: it reads its configuration then")
            self._notifier.reloading()
            try:
                # A caller that hangs up must not leave half of a configuration in force.
                await settled(self._take_over())
            except JbackupdError as error:
                self._config_error = error
                self.runner.news.ring()
                self.log.error(
                    _("the configuration was not taken, the one before stays in force: {reason}"), reason=error
                )
                raise
            finally:
                self._notifier.ready()

    async def _take_over(self) -> None:
        old = self.live.settings
        new = await self.offload.disk(load, self._config)
        check_successor(old, new)
        checked = await self.offload.disk(check, new)
        async with contextlib.AsyncExitStack() as opened:
            listen, metrics = new.site.listen, new.metrics.listen if new.metrics else None
            moved = listen != old.site.listen
            pages_moved = metrics != (old.metrics.listen if old.metrics else None)
            endpoint = await self.peer_set.new_endpoint(listen) if moved else None
            if endpoint is not None:
                opened.push_async_callback(endpoint.close)
            pages = await self._new_pages(metrics) if pages_moved else self._pages
            # From here on nothing fails.
            opened.pop_all()
        self.live.take(checked)
        if moved:
            await self.peer_set.use_endpoint(endpoint)
        if pages_moved:
            before, self._pages = self._pages, pages
            if before is not None:
                await before.close()
        set_level(new.log.level)
        if new.language is not None:
            set_language(new.language)
        await self.board.refresh_all()
        await self.peer_set.follow()
        self._loaded_at, self._config_error = self.clock.now(), None
        self.runner.news.ring()
        self.log.info(_("the configuration was taken: {path}"), path=self._config)

    # What the verbs ask.

    def status(self) -> dict[str, Any]:
        """Return the page of how everything stands."""
        return status_document(self.facts(), self.clock.now())

    def check_dataset(self, dataset: DatasetId) -> None:
        """Return, or raise NotFoundError for a dataset that is not in the configuration."""
        dataset_named(self.live.settings, dataset)

    def limits(self) -> dict[SiteId, tuple[float | None, int | None]]:
        """Return the limit in force and the configured one, by peer."""
        return self.peer_set.limits()

    def set_limit(self, peer: SiteId, bytes_per_second: int | None) -> None:
        """Change a peer's limit."""
        self.peer_set.set_limit(peer, bytes_per_second)

    def peers(self) -> list[SiteId]:
        """Return all peers."""
        return [peer.id for peer in self.live.settings.peers]

    async def ping(self, peer: SiteId) -> float:
        """Return the round-trip time in seconds."""
        return await self.peer_set.queue(peer).ping()

    def facts(self) -> Facts:
        """Return what is known at this moment; a value that nobody changes later."""
        datasets = [dataset.id for dataset in self.live.settings.datasets]
        book, now = self.runner.book, self.clock.now()
        return Facts(
            settings=self.live.settings, begun_at=self._begun_at, pid=os.getpid(),
            taken=dict(self.board.taken), held=dict(self.board.held),
            peers={
                site: replace(facts, state=replace(facts.state, troubles=dict(facts.state.troubles)))
                for site, facts in self.peer_set.facts().items()
            },
            next_runs={dataset: self._scheduler.next_run(dataset, now) for dataset in datasets},
            jobs=[job.document() for job in self.runner.active()],
            last_ends={dataset: end for dataset in datasets if (end := book.last_end(str(dataset)))},
            last_results={dataset: end for dataset in datasets if (end := book.last_result(str(dataset)))},
            loaded_at=self._loaded_at, config_error=self._config_error, reclaims=dict(self._reclaims.facts),
            checks=dict(self._checks.facts), plans=dict(self._plan_checks.facts), drills=self._plan_checks.drills,
            calls=dict(self._plan_checks.calls),
            deposits=dict(self._succession.depositing.desks), feeds=dict(self._feeds.facts),
            packages=dict(self._packages.facts),
            samples=dict(self._samples.facts), asking=self._succession.recoveries.asking(),
            conflicts=self.epochs.disputes(), free_bytes=self.files.free_bytes(),
        )  # fmt: skip

    # What the runner asks.

    def _take(
        self, dataset: DatasetId, progress: Callable[[int, int], None], stopped: Callable[[], bool], /
    ) -> Taken:
        """Take a point, in a thread."""
        live = self.live
        self._succession.returning.check(dataset.tenant)
        site = Site(live.settings, self.files, live.identity, live.cards, live.verifiers)
        chosen = dataset_named(live.settings, dataset)
        with open_own_vault(site, dataset.tenant, self.epochs) as own:
            return take_point(
                own, dataset, source_of(chosen), preset=Preset(chosen.preset), access=Access(chosen.access),
                clock=self.clock, progress=progress, stopped=stopped,
            )

    def _patience(self, dataset: DatasetId, /) -> float:
        found = self.live.settings.dataset(dataset)
        if found is not None and isinstance(found.source, CommandSource):
            return found.source.timeout.total_seconds() + COMMAND_PATIENCE_SECONDS
        return FILES_PATIENCE_SECONDS

    def _newest_point(self, dataset: DatasetId) -> datetime | None:
        facts = self.board.taken.get(dataset)
        return facts.newest.begun_at if facts is not None and facts.newest is not None else None

    # What goes on by itself.

    def _hear(self, tenant: TenantId) -> None:
        """Take note, in a thread, that a point of a tenant has come in."""
        self._loop.call_soon_threadsafe(self._received_tenants.add, tenant)
        self._loop.call_soon_threadsafe(self._received.ring)

    async def _follow_received(self) -> None:
        seen = self._received.revision
        while True:
            while self._received_tenants:
                await self.board.refresh_held(self._received_tenants.pop())
            seen = await self._received.after(seen)

    async def _tell_standing(self) -> None:
        """Keep the line of `systemctl status` true."""
        while True:
            seen = self.news.revision
            self._notifier.status(standing(self.facts(), self.clock))
            await asyncio.sleep(STANDING_SECONDS)
            # Ages grow without news.
            await self.news.within(seen, STANDING_LONGEST_SECONDS)

    async def _new_pages(self, address: Address | None) -> Pages | None:
        if address is None:
            return None
        pages = Pages({"/metrics": self._metrics_page})
        where = await pages.open(address)
        self.log.info(_("metrics at http://{address}/metrics"), address=where)
        return pages

    async def _metrics_page(self) -> Page:
        return Page(await self.offload.cpu(render, self.facts(), self.clock.now()), CONTENT_TYPE)

    # Signals and defects.

    def _on_end_signal(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            # Whoever asks twice does not want to wait; every state on disk survives it.
            os._exit(128 + number)
        self.log.info(_("stopping: {signal}"), signal=number.name)
        self.stop()

    def _on_hangup(self) -> None:
        self._reload_task = asyncio.get_running_loop().create_task(self._reload_quietly(), name="reload")

    async def _reload_quietly(self) -> None:
        # The log and the status say why.
        with contextlib.suppress(JbackupdError):
            await self.reload()

    def _stalled(self, lanes: list[str]) -> None:
        self.log.error(_("a worker makes no progress: {lanes}; the watchdog is not fed"), lanes=", ".join(lanes))

    def _defect(self, where: str, error: Exception) -> None:
        self.log.defect(where, error)
        if isinstance(error, InvariantError):
            self._broken = error
            self.stop()

    def _cut_off(self) -> None:
        self.log.error(_("something did not settle in time and is cut off"))
        os._exit(1)


def standing(facts: Facts, clock: Clock) -> str:
    """Return one line for `systemctl status`."""
    now = clock.now()
    late = [str(d.id) for d in facts.settings.datasets if dataset_deadline(facts, d, now) is not Deadline.MET]
    up = sum(peer.state.up for peer in facts.peers.values())
    parts = [
        f"{len(facts.settings.datasets)} datasets, {len(late)} behind their RPO" + (f" ({late[0]})" if late else ""),
        f"links {up} of {len(facts.peers)}",
        f"{len(facts.jobs)} jobs",
    ]
    if facts.config_error is not None:
        parts.append("the new configuration was not taken")
    return "; ".join(parts)


def _reporter(log: Log) -> Callable[[str, Exception, float], None]:
    def report(name: str, error: Exception, pause: float) -> None:
        if isinstance(error, JbackupdError):
            log.error(_("{task} failed, again in {seconds} s: {reason}"), task=name, seconds=round(pause), reason=error)
        else:
            log.defect(name, error)

    return report
