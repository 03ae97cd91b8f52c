"""What a site needs when another one is lost: evidence, declarations told to all, recovery runs; wired to its lines."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

from jbackupd.continuity.codes import Codes
from jbackupd.continuity.decision import Decisions
from jbackupd.continuity.drill import learned_times
from jbackupd.continuity.epoch import Epochs
from jbackupd.continuity.pending import PendingDeclarations
from jbackupd.continuity.waiting import Wait, wait_of
from jbackupd.format.declaration import Declaration
from jbackupd.model.clock import Clock
from jbackupd.model.errors import JbackupdError
from jbackupd.model.ids import SiteId, TenantId
from jbackupd.model.texts import _, language
from jbackupd.runtime.offload import Offload
from jbackupd.service.auditlogs import AuditLogs
from jbackupd.service.board import Board
from jbackupd.service.bringers import Bringers
from jbackupd.service.codeverbs import CodeVerbs
from jbackupd.service.continuityverbs import ContinuityVerbs
from jbackupd.service.control import Control
from jbackupd.service.depositing import Depositing
from jbackupd.service.deskaccess import provider_of, roles_of
from jbackupd.service.drillrecords import read_records
from jbackupd.service.elsewhere import Elsewhere
from jbackupd.service.evidence import Evidence
from jbackupd.service.evidenceverbs import EvidenceVerbs
from jbackupd.service.intake import Books
from jbackupd.service.live import Live
from jbackupd.service.log import Log
from jbackupd.service.peers import PeerSet
from jbackupd.service.premises import Premises
from jbackupd.service.recovering import Recoveries
from jbackupd.service.recoveryverbs import RecoveryVerbs
from jbackupd.service.returning import Returning
from jbackupd.service.wiring import store_of
from jbackupd.storage.files import PosixFiles


class Succession:
    """Declarations and recovery runs of this site.

    Args:
        peers: The lines to the other sites.
        codes: Officers' promises, and the codes that were heard.
        turn: What whoever writes a tenant's vault holds meanwhile.
    """

    def __init__(
        self, live: Live, epochs: Epochs, pending: PendingDeclarations, files: PosixFiles, board: Board, peers: PeerSet,
        *, codes: Codes, turn: Callable[[TenantId], asyncio.Lock], offload: Offload, clock: Clock, log: Log,
    ) -> None:
        self._turn = turn
        self._live = live
        self._epochs = epochs
        self._files = files
        self._board = board
        self._peers = peers
        self._clock = clock
        self._log = log
        self.audit_logs = AuditLogs(files, clock)
        self._books = Books(files, lambda: live.identity.local_key, clock, self._tell_of_broken)
        self._elsewhere = Elsewhere(live, epochs, files, board, peers, offload=offload, log=log)
        self._bringers = Bringers(files)
        self._decisions = Decisions(files, clock)
        self.recoveries = Recoveries(
            files, epochs=epochs, clock=clock, premises_of=self._premises_of, defect=log.defect,
            learned=lambda plan: learned_times(plan.id, read_records(files)), decided=self._decisions.case_ended_by,
        )
        self.returning = Returning(
            files, epochs, self._elsewhere, tenants=lambda: [tenant.id for tenant in live.settings.tenants],
            turn=turn, refresh=board.news.ring, log=log,
        )
        self.depositing = Depositing(
            files, live.identity.site, lambda: live.identity.local_key, live.verifiers, others=self._linked,
            line=self._elsewhere.line, changed=board.news.ring, offload=offload, log=log,
        )
        self._loop = asyncio.get_running_loop()
        epochs.heard, epochs.waits = self._heard, self._waits
        evidence = Evidence(
            live, files, peers, self._decisions, known=self.evidence, line=self._elsewhere.line, clock=clock
        )
        self._verbs = ContinuityVerbs(
            live.identity.site, epochs=epochs, pending=pending, clock=clock,
            evidence=self.evidence, sites=live.cards.keys, spread=self.spread, stopping=self._stopping,
            returning=self.returning.facts, evidence_of=evidence.of, decisions=self._decisions,
        )
        self._evidence_verbs = EvidenceVerbs(self._decisions, pending, evidence.of, self._verbs.check_known)
        self._code_verbs = CodeVerbs(codes, pending, clock, self._verbs.bring, self._greet_linked, log)

    def register(self, control: Control) -> None:
        """Let the commands about losses and recoveries be answered."""
        self._verbs.register(control)
        self._code_verbs.register(control)
        self._evidence_verbs.register(control)
        RecoveryVerbs(self.recoveries).register(control)

    async def close(self) -> None:
        """Settle the runs; they stay journalled as they are."""
        await self.recoveries.close()

    def _heard(self, declaration: Declaration) -> None:
        """Hear of a declaration in any thread."""
        try:
            if self._epochs.lineage(declaration.statement.lost).newest == declaration:
                self._decisions.in_force(declaration)
        except JbackupdError as error:
            self._log.error(_("unable to note when {id} came into force: {reason}"), id=declaration.id, reason=error)
        self._loop.call_soon_threadsafe(self._hear, declaration)

    def _waits(self, declaration: Declaration) -> Wait | None:
        """Return how long this site must still wait before a declaration lets it act; from any thread."""
        return wait_of(
            declaration, self._live.identity.site, wait=self._live.settings.approval.wait,
            last_contact=self._peers.contacts.last(declaration.statement.lost), now=self._clock.now(),
        )

    def _hear(self, declaration: Declaration) -> None:
        """Take note of what was declared, here or by a peer."""
        statement = declaration.statement
        self._log.warning(
            _("{site} is acted for by {acting} from now on, epoch {epoch}: declaration {id}"), site=statement.lost,
            acting=statement.acting, epoch=statement.epoch, id=declaration.id,
        )
        self.returning.hear()
        self._board.news.ring()

    def _linked(self) -> list[SiteId]:
        """Return the sites to which there is a line just now: nobody waits here for one that is gone."""
        return [site for site, facts in self._peers.facts().items() if facts.state.up]

    def evidence(self) -> dict[str, Any]:
        """Return what this site knows: of every other how the line stands and what it signed for; and what is held."""
        found: dict[str, Any] = {}
        for site, facts in self._peers.facts().items():
            received = self._board.signed_at(site)
            state, contact = facts.state, self._peers.contacts.last(site)
            found[site] = {
                "link": "up" if state.up or facts.links_from else "down",
                "since": state.changed_at.isoformat(timespec="seconds") if state.changed_at else None,
                "reason": str(state.error) if state.error is not None else None,
                "last_receipt": received.isoformat(timespec="seconds") if received is not None else None,
                "last_contact": contact.isoformat(timespec="seconds") if contact is not None else None,
            }
        held = {
            str(dataset): {"point": point.sequence, "begun_at": point.begun_at.isoformat(timespec="seconds")}
            for dataset, point in sorted(self._board.held.items()) if point is not None
        }
        return {"sites": found, "held": held}

    @contextlib.asynccontextmanager
    async def _stopping(self, declaration: Declaration) -> AsyncIterator[None]:
        """Keep quiet what a declaration would end here: recovery runs of its home, and this site's own backups."""
        home = declaration.statement.lost
        async with contextlib.AsyncExitStack() as quiet:
            await quiet.enter_async_context(self.recoveries.none_of(declaration))
            if home == self._live.identity.site:
                for tenant in sorted(tenant.id for tenant in self._live.settings.tenants):
                    await quiet.enter_async_context(self._turn(tenant))
            yield

    async def spread(self) -> None:
        """Tell every peer that can be reached of the declarations in force; the others hear of it when they answer."""
        # Also those that were lost: a return is told to the one that returns.
        await asyncio.gather(*(self._tell(site) for site in self._live.cards))

    async def _greet_linked(self) -> None:
        """Tell those what is new to whom there is a line just now; the others hear of it when they answer."""
        await asyncio.gather(*(self._tell(site) for site in self._linked()))

    async def _tell(self, site: SiteId) -> None:
        try:
            await self._board.greet(await self._elsewhere.line(site))
        except JbackupdError as error:
            self._log.warning(
                _("{peer} was not told of the declaration yet: {reason}"), peer=site, reason=error
            )

    def _premises_of(self, tenant: TenantId) -> Premises:
        return Premises(
            files=self._files, store=store_of(self._files, tenant), verifiers=self._live.verifiers,
            clock=self._clock, others=self._elsewhere, bringers=self._bringers,
            audit=functools.partial(self.audit_logs.of, tenant),
            language=self._live.settings.language or language(), books=self._books,
            roles=roles_of(self._live.settings), provider=functools.partial(provider_of, self._live.settings, tenant),
        )

    def _tell_of_broken(self, folder: str, error: JbackupdError) -> None:
        self._log.warning(_("desks do not show what stands in {folder}: {reason}"), folder=folder, reason=error)
