"""Declarations and recovery runs without a daemon: in the command's own process, over what this machine holds.

For the laptop in the shelter that got a vault by hand. No other site is asked or told: the report says so, and a
daemon that starts here later tells its peers of the declarations.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from jbackupd.continuity.codes import Codes
from jbackupd.continuity.decision import Decisions
from jbackupd.continuity.pending import PendingDeclarations
from jbackupd.continuity.waiting import Wait, wait_of
from jbackupd.engine.bring import Place
from jbackupd.engine.survey import Sighting, Survey
from jbackupd.format.declaration import Declaration
from jbackupd.model.clock import Clock, SystemClock
from jbackupd.model.errors import JbackupdError, PeerError, UsageError
from jbackupd.model.ids import DatasetId, SiteId, TenantId
from jbackupd.model.texts import language
from jbackupd.service.auditlogs import AuditLogs
from jbackupd.service.bringers import Bringers
from jbackupd.service.codeverbs import CodeVerbs
from jbackupd.service.contacts import last_contacts
from jbackupd.service.continuityverbs import ContinuityVerbs
from jbackupd.service.control import Call, Handler
from jbackupd.service.deskaccess import provider_of, roles_of
from jbackupd.service.evidence import local_evidence
from jbackupd.service.evidenceverbs import EvidenceVerbs
from jbackupd.service.intake import Books
from jbackupd.service.lock import state_lock
from jbackupd.service.log import Log
from jbackupd.service.premises import Premises
from jbackupd.service.recovering import Recoveries
from jbackupd.service.recoveryverbs import RecoveryVerbs
from jbackupd.service.wire import Answer, Event
from jbackupd.service.wiring import Site, officer_verifiers, open_epochs, open_site, store_of
from jbackupd.settings.schema import Settings

A = TypeVar("A", bound=msgspec.Struct)
Watch = Callable[[dict[str, Any]], None]


class Alone:
    """Answers what the daemon would about losses and recoveries; made by `alone`."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._verbs: dict[str, tuple[type[msgspec.Struct], Handler[Any]]] = {}

    def register(self, verb: str, arguments: type[A], handler: Handler[A]) -> None:
        """Let a verb be answered; see `Control.register`."""
        self._verbs[verb] = (arguments, handler)

    def __call__(self, verb: str, watch: Watch = lambda _: None, /, **arguments: Any) -> dict[str, Any]:
        """Do something and return the result; see `client.call`. Blocks."""
        kind, handler = self._verbs[verb]

        async def send(answer: Answer) -> None:
            if isinstance(answer, Event):
                watch(answer.body)

        async def do() -> dict[str, Any]:
            return dict(await handler(Call(msgspec.convert(arguments, kind), send)))

        try:
            return self._runner.run(do())
        except msgspec.ValidationError as error:
            raise UsageError("unable to {verb}: {reason}", verb=verb, reason=str(error)) from error

    def aside(self, verb: str, /, **arguments: Any) -> dict[str, Any]:
        """Do something while `__call__` does something else; from another thread. Blocks."""
        kind, handler = self._verbs[verb]

        async def hear(_answer: Answer) -> None:
            """Tell nobody: whoever watches is told."""

        async def do() -> dict[str, Any]:
            return dict(await handler(Call(msgspec.convert(arguments, kind), hear)))

        return asyncio.run_coroutine_threadsafe(do(), self._runner.get_loop()).result()

    def serve(self) -> None:
        """Let open desks answer until SIGINT or SIGTERM. Blocks."""
        self._runner.run(_until_signalled())


@contextlib.contextmanager
def alone(settings: Settings) -> Iterator[Alone]:
    """Hold the state folder's lock and answer in this process; leaving settles the runs and closes the desks.

    Raises:
        BusyError: A daemon runs, or another command.
        NotFoundError: The site has no identity yet.
    """
    with state_lock(settings.site.state), asyncio.Runner() as runner:
        site = open_site(settings)
        epochs = open_epochs(site)
        clock, log = SystemClock(), Log()
        audit_logs = AuditLogs(site.files, clock)
        bringers = Bringers(site.files)
        books = Books(site.files, lambda: site.identity.local_key, clock)

        def premises_of(tenant: TenantId) -> Premises:
            return Premises(
                files=site.files, store=store_of(site.files, tenant), verifiers=site.verifiers, clock=clock,
                others=_Unasked(site), bringers=bringers, audit=functools.partial(audit_logs.of, tenant),
                language=settings.language or language(), books=books,
                roles=roles_of(settings), provider=functools.partial(provider_of, settings, tenant),
            )

        decisions = Decisions(site.files, clock)
        epochs.heard = decisions.in_force
        epochs.waits = functools.partial(_waits, settings, last_contacts(site.files), clock)
        recoveries = Recoveries(
            site.files, epochs=epochs, clock=clock, premises_of=premises_of, defect=log.defect,
            decided=decisions.case_ended_by,
        )
        here = Alone(runner)
        pending, officers = PendingDeclarations(site.files, epochs), officer_verifiers(settings)

        async def evidence_of(about: SiteId) -> dict[str, Any]:
            local = await asyncio.to_thread(local_evidence, site.files, site.verifiers, decisions, about)
            return {**local, "about": about, "by": settings.site.id,
                    "at": clock.now().isoformat(timespec="seconds"), **_evidence(site),
                    "contacts": []}

        verbs = ContinuityVerbs(
            settings.site.id, epochs=epochs, pending=pending, clock=clock, evidence=lambda: _evidence(site),
            sites=site.cards.keys, spread=_tell_nobody, stopping=recoveries.none_of, evidence_of=evidence_of,
            decisions=decisions,
        )
        verbs.register(here)
        EvidenceVerbs(decisions, pending, evidence_of, verbs.check_known).register(here)
        CodeVerbs(Codes(site.files, lambda: officers), pending, clock, verbs.bring, _tell_nobody, log).register(here)
        RecoveryVerbs(recoveries).register(here)
        try:
            yield here
        finally:
            runner.run(recoveries.close())


class _Unasked:
    """The other sites, of a machine that has no line to them."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def survey(self, tenant: TenantId) -> Survey:
        """Say of every site that it was not asked."""
        sightings = [Sighting(site, False, error=_not_asked(site)) for site in self._site.cards]
        return Survey(tuple(sightings), {}, ())

    async def fetch(self, found: Survey, dataset: DatasetId, on_bytes: Callable[[int], None]) -> None:
        """Fetch nothing."""

    def places(self, sites: Sequence[SiteId]) -> list[Place]:
        """Return none."""
        return []

    async def tell_of_loss(self, lost: SiteId) -> Mapping[SiteId, JbackupdError | None]:
        """Tell nobody; the daemon does when it runs again."""
        return {site: _not_asked(site) for site in self._site.cards if site != lost}


def _not_asked(site: SiteId) -> PeerError:
    return PeerError("{site} was not asked: no daemon is running here", site=site)


def _waits(
    settings: Settings, contacts: Mapping[SiteId, datetime], clock: Clock, declaration: Declaration
) -> Wait | None:
    """Return how long this machine must still wait before a declaration lets it act."""
    return wait_of(
        declaration, settings.site.id, wait=settings.approval.wait,
        last_contact=contacts.get(declaration.statement.lost), now=clock.now(),
    )


def _evidence(site: Site) -> dict[str, Any]:
    unknown = {"link": "down", "since": None, "last_receipt": None, "last_contact": None}
    return {"sites": {name: {**unknown, "reason": str(_not_asked(name))} for name in site.cards}, "held": {}}


async def _tell_nobody() -> None:
    """The daemon tells the peers when it runs again."""


async def _until_signalled() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        await stop.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
