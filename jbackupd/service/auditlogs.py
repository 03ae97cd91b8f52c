"""The audit logs of a site's desks, one a tenant: a chain has one writer, however many desks of a tenant are open."""

from __future__ import annotations

import threading

from jbackupd.desk.audit import DeskAudit, audit_folder, open_audit
from jbackupd.model.clock import Clock
from jbackupd.model.ids import TenantId
from jbackupd.storage.files import Files


class AuditLogs:
    """The audit logs of this site, one a tenant: a chain has one writer, however many desks of a tenant are open."""

    def __init__(self, files: Files, clock: Clock) -> None:
        self._files = files
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[TenantId, DeskAudit] = {}

    def of(self, tenant: TenantId) -> DeskAudit:
        """Return a tenant's, opened by the first who asks. Blocks.

        Raises:
            DamageError: It is broken; no desk may open on it.
        """
        with self._lock:
            if tenant not in self._open:
                self._open[tenant] = open_audit(self._files, audit_folder(tenant), self._clock)
            return self._open[tenant]
