"""What a recovery run's steps work with at this site; `service.succession` fills it in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from jbackupd.codec.signing import SiteVerifier
from jbackupd.desk.audit import DeskAudit
from jbackupd.desk.oidc import Provider
from jbackupd.desk.roles import Roles
from jbackupd.engine.bring import Place
from jbackupd.engine.survey import Survey
from jbackupd.model.clock import Clock
from jbackupd.model.errors import JbackupdError
from jbackupd.model.ids import DatasetId, SiteId, TenantId
from jbackupd.service.bringers import Bringers
from jbackupd.service.intake import Books
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.store import ObjectStore


class Others(Protocol):
    """The other sites: what they say they hold, and taking it from them."""

    async def survey(self, tenant: TenantId) -> Survey:
        """Ask every site for its newest points of a tenant; who does not answer is a sighting with an error."""
        ...

    async def fetch(self, found: Survey, dataset: DatasetId, on_bytes: Callable[[int], None]) -> SiteId | None:
        """Bring what is newer elsewhere of a dataset here.

        May be called twice, and be cancelled: what has come stays, and the next call goes on at the byte.

        Args:
            on_bytes: Called with the count of each piece that came.

        Returns:
            The site that gave it; None if nothing newer is to be had.
        """
        ...

    def places(self, sites: Sequence[SiteId]) -> list[Place]:
        """Return where packs can be read on demand: those of some sites that can be dialled."""
        ...

    async def tell_of_loss(self, lost: SiteId) -> Mapping[SiteId, JbackupdError | None]:
        """Let every other site know that one is lost; return of each why it does not know, None where it does."""
        ...


@dataclass(frozen=True, slots=True)
class Premises:
    """What the steps of one tenant's runs work with.

    Attributes:
        files: The state folder.
        store: The tenant's objects at this site.
        verifiers: Who may sign points.
        others: Asked once in a run, before the first restore.
        bringers: Of this process: what points are read from elsewhere with.
        audit: Opens the tenant's one audit log, which all its desks share; blocks.
        language: Of the desk's pages until a clerk chooses.
        roles: What accounts of desks may do.
        provider: The municipality's sign-in service, as a desk is opened; without one only accounts sign in.
        books: Where desks write receptions; without them desks only look residents up.
    """

    files: PosixFiles
    store: ObjectStore
    verifiers: Mapping[SiteId, SiteVerifier]
    clock: Clock
    others: Others
    bringers: Bringers
    audit: Callable[[], DeskAudit]
    language: str
    books: Books | None = None
    roles: Roles = field(default_factory=Roles)
    provider: Callable[[], Provider | None] = lambda: None
