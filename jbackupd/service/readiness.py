"""Would this plan succeed here, now? Looks at what a run would need, and changes nothing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from jbackupd.codec.shares import Share, combine
from jbackupd.continuity.authority import FIRST_EPOCH
from jbackupd.continuity.codes import usable_promises
from jbackupd.continuity.epoch import read_lineages
from jbackupd.continuity.runbook import people_age, people_are_fresh
from jbackupd.desk.fields import ColumnMap
from jbackupd.model.errors import JbackupdError, NotFoundError
from jbackupd.model.ids import ObjectKind, ObjectRef, PointSelector, SiteId
from jbackupd.model.reasons import reason_of
from jbackupd.model.texts import to_translate
from jbackupd.model.units import show_duration, show_size
from jbackupd.service.finding import Finding, Grade, bad, good, note
from jbackupd.service.readysteps import step_findings
from jbackupd.service.runbooks import last_printed
from jbackupd.service.wiring import existing_store, known_verifiers, officer_verifiers
from jbackupd.settings.plan import Plan
from jbackupd.settings.schema import Settings
from jbackupd.settings.steps import DeskStep, ExportStep, MountStep, RestoreStep
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.erased import destroyed_objects
from jbackupd.vault.keyring import RecoveredKeys
from jbackupd.vault.receipts import ReceiptList
from jbackupd.vault.soundness import Soundness
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import PointList, StoredPoint

Source = RestoreStep | ExportStep | MountStep
"""Steps that read a point."""
CODES_SOON = timedelta(days=30)
"""Officers need some weeks to meet their printers and safes."""
SPACE_FACTOR = 6
"""Registers in CSV pack to a fifth and less; a plan should not begin on a disk that may fill up halfway."""


def readiness(
    settings: Settings, plan: Plan, now: datetime, shares: Sequence[Share] = (), *, text: str
) -> list[Finding]:
    """Return what a run of a plan would find at this site, in the plan's order; nothing is changed or kept.

    Needs no daemon and no lock. Blocks.

    Args:
        shares: Are tried on the tenant's keys where they are given, and forgotten.
        text: Of the plan: is the paper that people hold of this very text?
    """
    look = _Look(settings, plan, now)
    return [*look.declaration(), *look.keys(shares), *look.steps(), *look.space(), *look.people(text)]


def is_ready(findings: Iterable[Finding]) -> bool:
    """Tell whether nothing that was found would keep a run from its end."""
    return not any(finding.grade is Grade.BAD for finding in findings)


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
            yield bad("", to_translate("{home} is this site: a plan is run at another one"), home=home)
        elif home not in {peer.id for peer in self._settings.peers}:
            yield bad("", to_translate("{home} is no peer in the configuration: its points cannot be verified"),
                       home=home)
        known = read_lineages(self._files).get(home)
        declared = None if known is None or known.acting == home else known.newest
        if declared is not None and declared.statement.acting != self._settings.site.id:
            yield bad("", to_translate("{home} is declared lost, and {acting} acts for it"), home=home,
                       acting=declared.statement.acting)
        elif declared is not None:
            yield good("", to_translate("{home} is declared lost"), home=home)
        elif len(officers) < needed:
            yield bad("", to_translate("{needed} officers must approve a declaration, {count} are configured"),
                       needed=needed, count=len(officers))
        else:
            yield note("", to_translate("{home} is not declared lost; until it is, a run is refused"), home=home)
            yield from self._codes(home, FIRST_EPOCH + 1 if known is None else known.epoch + 1)

    def _codes(self, home: SiteId, epoch: int) -> Iterator[Finding]:
        """Could enough officers approve by telephone, if it had to be now?"""
        own, needed = self._settings.site.id, self._settings.approval.declare_lost
        try:
            books = usable_promises(self._files, officer_verifiers(self._settings))
        except JbackupdError as error:
            yield Finding(Grade.BAD, "", error.message, error.fields)
            return
        ends = [
            max(fitting) for promises in books.values()
            if (fitting := [
                each.promise.valid_until for each in promises
                if (each.promise.lost, each.promise.acting, each.promise.epoch) == (home, own, epoch)
                and each.promise.valid_until > self._now
            ])
        ]
        fields = {"count": len(ends), "needed": needed, "home": home, "epoch": epoch}
        if len(ends) < needed:
            yield note("", to_translate("{count} of {needed} officers could approve by telephone that {home} is lost "
                                        "(epoch {epoch}): 'jbackupd officer codes'"), **fields)
            return
        end = sorted(ends, reverse=True)[needed - 1]
        text = to_translate("{count} officers could approve by telephone that {home} is lost (epoch {epoch}), "
                            "enough of them until {end}")
        yield (note if end - self._now < CODES_SOON else good)("", text, **fields, end=end)

    def keys(self, shares: Sequence[Share]) -> Iterator[Finding]:
        """Is there anything that the shares could open, and do they?"""
        tenant = self._plan.tenant
        if self._store is None:
            yield bad("", to_translate("this site holds nothing of {tenant}"), tenant=tenant)
        elif not self._store.names(ObjectKind.KEY):
            yield bad("", to_translate("this site holds no keys of {tenant}"), tenant=tenant)
        elif shares:
            yield from self._opened(shares, self._store)

    def _opened(self, shares: Sequence[Share], store: ObjectStore) -> Iterator[Finding]:
        try:
            keys = RecoveredKeys.from_store(combine(shares), self._plan.tenant, store)
        except JbackupdError as error:
            yield Finding(Grade.BAD, "", error.message, error.fields)
            return
        for damage in keys.damaged:
            yield Finding(Grade.BAD, "", damage.message, damage.fields)
        if not keys.damaged:
            yield good("", to_translate("{count} shares open all keys"), count=len(shares))

    def steps(self) -> Iterator[Finding]:
        """Look at every step that needs something of this site."""
        for step in self._plan.steps:
            yield from step_findings(step)
            try:
                if isinstance(step, (RestoreStep, ExportStep, MountStep)) and self._points is not None:
                    yield from self._restore(step, self._points)
            except JbackupdError as error:
                yield Finding(Grade.BAD, step.id, error.message, error.fields)

    def space(self) -> Iterator[Finding]:
        """Is there room for what would be restored?"""
        try:
            status = os.statvfs(self._settings.site.state)
        except OSError as error:
            yield bad("", to_translate("unable to look at {state}: {reason}"), state=self._settings.site.state,
                       reason=reason_of(error))
            return
        free, wanted = status.f_bavail * status.f_frsize, self._stored_bytes * SPACE_FACTOR
        fields = {"free": show_size(free), "wanted": show_size(wanted), "state": self._settings.site.state}
        if free < wanted:
            yield bad("", to_translate("{free} are free in {state}; the restored data may need {wanted}"), **fields)
        elif wanted:
            yield good("", to_translate("{free} are free in {state}"), **fields)

    def people(self, text: str) -> Iterator[Finding]:
        """Was the list of people confirmed lately, and have they the plan as it is on paper?"""
        plan, age = self._plan, people_age(self._plan, self._now.date())
        if not plan.people:
            yield note("", to_translate("the plan names no people to call"))
        elif age is None:
            yield note("", to_translate("nobody has confirmed the list of people yet"))
        elif not people_are_fresh(plan, self._now.date()):
            yield note("", to_translate("the list of people was confirmed {age} ago: call them, and write the day"),
                       age=show_duration(age.total_seconds()))
        printed = last_printed(self._files, plan.id)
        if printed is None:
            yield note("", to_translate("no runbook was printed yet: 'jbackupd recovery export'"))
        elif printed.digest != hashlib.sha256(text.encode()).hexdigest():
            yield note("", to_translate("the printed runbook is of an older text of the plan: print it again"))

    def _restore(self, step: Source, points: PointList) -> Iterator[Finding]:
        point = points.find(PointSelector.parse(f"{step.dataset}@{step.point}"))
        age = (self._now - point.header.begun_at).total_seconds()
        fields = {
            "point": point.label, "time": point.header.begun_at, "age": show_duration(age), "age_seconds": round(age),
            "target": show_duration(self._plan.rpo.total_seconds()),
        }
        if age > self._plan.rpo.total_seconds():
            yield bad(step.id, to_translate("{point} of {time} is {age} old, more than {target}"), **fields)
        else:
            yield good(step.id, to_translate("{point} of {time}, {age} old"), **fields)
        if point.header.incomplete:
            yield note(step.id, to_translate("{point} is incomplete: something could not be read when it was taken"),
                        point=point.label)
        yield from self._objects(step, points, point)
        yield from self._receipts(step, point)

    def _objects(self, step: Source, points: PointList, point: StoredPoint) -> Iterator[Finding]:
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
            yield bad(step.id, to_translate("{point} lacks {count} of {needed} objects, {first} among them"),
                       point=point.label, count=len(missing), needed=len(needed), first=str(min(missing)))
        yield from self._looks(step, point, needed)

    def _looks(self, step: Source, point: StoredPoint, needed: Collection[ObjectRef]) -> Iterator[Finding]:
        """Were its objects read back lately, and found sound?"""
        assert self._store is not None
        cover = self._settings.verify.cover
        looked = Soundness(self._store).coverage(needed, self._now - cover)
        fields = {"point": point.label, "count": looked.recent, "needed": looked.objects,
                  "within": show_duration(cover.total_seconds())}
        if looked.unsound:
            yield bad(step.id, to_translate("{point}: {count} of its objects are damaged; see 'jbackupd vault repair'"),
                      point=point.label, count=looked.unsound)
        elif looked.recent < looked.objects:
            yield note(step.id, to_translate("{point}: {count} of {needed} objects were verified within {within}"),
                       **fields)
        else:
            yield good(step.id, to_translate("{point}: all {needed} objects were verified within {within}"), **fields)

    def _receipts(self, step: Source, point: StoredPoint) -> Iterator[Finding]:
        """Who else has this point, and has somebody signed for a newer one?"""
        assert self._store is not None
        given = [r for _name, r in ReceiptList(self._store).all() if r.dataset == step.dataset]
        others = {r.holder for r in given if r.point == point.name} - {self._settings.site.id}
        if others:
            yield good(step.id, to_translate("{point} is also at {sites}"), point=point.label,
                        sites=", ".join(sorted(others)))
        newest = max((r.sequence for r in given), default=0)
        if step.point == "latest" and newest > point.header.sequence:
            sites = sorted({r.holder for r in given if r.sequence == newest})
            yield note(step.id, to_translate("{dataset}@{sequence} is newer; {sites} signed for it and will be asked"),
                        dataset=step.dataset, sequence=newest, sites=", ".join(sites))
