"""Would this plan succeed here, now? Looks at what a run would need, and changes nothing."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from jbackupd.continuity.epoch import read_declarations
from jbackupd.desk.fields import ColumnMap
from jbackupd.model.errors import JbackupdError, NotFoundError
from jbackupd.model.ids import ObjectKind, ObjectRef, PointSelector
from jbackupd.model.texts import to_translate
from jbackupd.model.units import Address, show_duration, show_size
from jbackupd.service.wiring import existing_store, known_verifiers
from jbackupd.settings.plan import Plan
from jbackupd.settings.schema import Settings
from jbackupd.settings.steps import DeskStep, RestoreStep
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.erased import destroyed_objects
from jbackupd.vault.receipts import ReceiptList
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import PointList, StoredPoint

SPACE_FACTOR = 6
"""Registers in CSV pack to a fifth and less; a plan should not begin on a disk that may fill up halfway."""


class Grade(Enum):
    """How good a finding is."""

    GOOD = "good"
    NOTE = "note"
    """To know; a run would not fail of it."""
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        step: The plan's step, or empty for the plan as a whole.
        text: English template.
        fields: For the template.
    """

    grade: Grade
    step: str
    text: str
    fields: dict[str, Any]


def readiness(settings: Settings, plan: Plan, now: datetime) -> list[Finding]:
    """Return what a run of a plan would find at this site, in the plan's order. Needs no daemon and no lock. Blocks."""
    look = _Look(settings, plan, now)
    return [*look.declaration(), *look.keys(), *look.steps(), *look.space()]


def check_desks(plan: Plan) -> None:
    """Check what only the desk knows of a plan: its column maps.

    Raises:
        ConfigError: A column is mapped to a field that there is not, or a required field is not filled.
    """
    for step in plan.steps:
        if isinstance(step, DeskStep):
            ColumnMap.parse(step.columns, ignore=step.ignore, encoding=step.encoding)


class _Look:
    def __init__(self, settings: Settings, plan: Plan, now: datetime) -> None:
        self._settings = settings
        self._plan = plan
        self._now = now
        self._files = PosixFiles(settings.site.state)
        self._store: ObjectStore | None = None
        try:
            self._store = existing_store(self._files, plan.tenant)
        except NotFoundError:
            self._points = None
        else:
            self._points = PointList(self._store, known_verifiers(settings))
        self._stored_bytes = 0

    def declaration(self) -> Iterator[Finding]:
        """Could the home site be declared lost, or is it already?"""
        home, needed, officers = self._plan.home, self._settings.approval.declare_lost, self._settings.officers
        if home == self._settings.site.id:
            yield _bad("", to_translate("{home} is this site: a plan is run at another one"), home=home)
        elif home not in {peer.id for peer in self._settings.peers}:
            yield _bad("", to_translate("{home} is no peer in the configuration: its points cannot be verified"),
                       home=home)
        declared = read_declarations(self._files).get(home)
        if declared is not None and declared.statement.acting != self._settings.site.id:
            yield _bad("", to_translate("{home} is declared lost, and {acting} acts for it"), home=home,
                       acting=declared.statement.acting)
        elif declared is not None:
            yield _good("", to_translate("{home} is declared lost"), home=home)
        elif len(officers) < needed:
            yield _bad("", to_translate("{needed} officers must approve a declaration, {count} are configured"),
                       needed=needed, count=len(officers))
        else:
            yield _note("", to_translate("{home} is not declared lost; until it is, a run is refused"), home=home)

    def keys(self) -> Iterator[Finding]:
        """Is there anything that the shares could open?"""
        tenant = self._plan.tenant
        if self._store is None:
            yield _bad("", to_translate("this site holds nothing of {tenant}"), tenant=tenant)
        elif not self._store.names(ObjectKind.KEY):
            yield _bad("", to_translate("this site holds no keys of {tenant}"), tenant=tenant)

    def steps(self) -> Iterator[Finding]:
        """Look at every step that needs something of this site."""
        for step in self._plan.steps:
            try:
                if isinstance(step, RestoreStep) and self._points is not None:
                    yield from self._restore(step, self._points)
                elif isinstance(step, DeskStep):
                    yield from self._desk(step)
            except JbackupdError as error:
                yield Finding(Grade.BAD, step.id, error.message, error.fields)

    def space(self) -> Iterator[Finding]:
        """Is there room for what would be restored?"""
        status = os.statvfs(self._settings.site.state)
        free, wanted = status.f_bavail * status.f_frsize, self._stored_bytes * SPACE_FACTOR
        fields = {"free": show_size(free), "wanted": show_size(wanted), "state": self._settings.site.state}
        if free < wanted:
            yield _bad("", to_translate("{free} are free in {state}; the restored data may need {wanted}"), **fields)
        elif wanted:
            yield _good("", to_translate("{free} are free in {state}"), **fields)

    def _restore(self, step: RestoreStep, points: PointList) -> Iterator[Finding]:
        point = points.find(PointSelector.parse(f"{step.dataset}@{step.point}"))
        age = (self._now - point.header.begun_at).total_seconds()
        fields = {
            "point": point.label, "time": point.header.begun_at, "age": show_duration(age), "age_seconds": round(age),
            "target": show_duration(self._plan.rpo.total_seconds()),
        }
        if age > self._plan.rpo.total_seconds():
            yield _bad(step.id, to_translate("{point} of {time} is {age} old, more than {target}"), **fields)
        else:
            yield _good(step.id, to_translate("{point} of {time}, {age} old"), **fields)
        if point.header.incomplete:
            yield _note(step.id, to_translate("{point} is incomplete: something could not be read when it was taken"),
                        point=point.label)
        yield from self._objects(step, points, point)
        yield from self._receipts(step, point)

    def _objects(self, step: RestoreStep, points: PointList, point: StoredPoint) -> Iterator[Finding]:
        assert self._store is not None
        needed = points.needed(point.header.dataset, point.header.sequence)
        needed -= destroyed_objects(self._store, points.verifiers)
        missing: list[ObjectRef] = []
        for ref in needed:
            try:
                self._stored_bytes += self._store.size(ref)
            except JbackupdError:
                missing.append(ref)
        if missing:
            yield _bad(step.id, to_translate("{point} lacks {count} of {needed} objects, {first} among them"),
                       point=point.label, count=len(missing), needed=len(needed), first=str(min(missing)))

    def _receipts(self, step: RestoreStep, point: StoredPoint) -> Iterator[Finding]:
        """Who else has this point, and has somebody signed for a newer one?"""
        assert self._store is not None
        given = [r for _name, r in ReceiptList(self._store).all() if r.dataset == step.dataset]
        others = {r.holder for r in given if r.point == point.name} - {self._settings.site.id}
        if others:
            yield _good(step.id, to_translate("{point} is also at {sites}"), point=point.label,
                        sites=", ".join(sorted(others)))
        newest = max((r.sequence for r in given), default=0)
        if step.point == "latest" and newest > point.header.sequence:
            sites = sorted({r.holder for r in given if r.sequence == newest})
            yield _note(step.id, to_translate("{dataset}@{sequence} is newer; {sites} signed for it and will be asked"),
                        dataset=step.dataset, sequence=newest, sites=", ".join(sites))

    def _desk(self, step: DeskStep) -> Iterator[Finding]:
        ColumnMap.parse(step.columns, ignore=step.ignore, encoding=step.encoding)
        for path in (step.certificate, step.private_key):
            if path is not None and not os.path.exists(path):
                yield _bad(step.id, to_translate("{path} does not exist"), path=path)
        reason = _why_not_free(step.listen)
        if reason is not None:
            yield _bad(step.id, to_translate("unable to listen at {address}: {reason}"), address=str(step.listen),
                       reason=reason)
        else:
            yield _good(step.id, to_translate("{address} is free for the desk"), address=str(step.listen))


def _why_not_free(address: Address) -> str | None:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            return os.strerror(error.errno or errno.EINVAL)
    return None


def _good(step: str, text: str, **fields: Any) -> Finding:
    return Finding(Grade.GOOD, step, text, fields)


def _note(step: str, text: str, **fields: Any) -> Finding:
    return Finding(Grade.NOTE, step, text, fields)


def _bad(step: str, text: str, **fields: Any) -> Finding:
    return Finding(Grade.BAD, step, text, fields)
