"""The whole story on one machine: three sites, a day's changes, a disaster, a recovery, a resident found.

Everything is the real thing: daemons over SSH on loopback, officers' approvals, shares, the plan, the desk.
Every step checks what it promises; the first that does not hold ends the demo with its error.
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from jbackupd.codec.compress import compress
from jbackupd.continuity.officer import OfficerKey, make_officer
from jbackupd.demo.plan import CLERK, plan_text
from jbackupd.demo.sites import DemoSite, make_sites, peer_tables
from jbackupd.demo.town import DayReport, Town, advance_day, make_town
from jbackupd.desk.probe import probe_desk
from jbackupd.format.declaration import approve, decode_declaration, encode_declaration
from jbackupd.format.identity import encode_card
from jbackupd.model.errors import JbackupdError, RefusedError
from jbackupd.model.ids import TenantId
from jbackupd.model.texts import _, language
from jbackupd.model.units import show_size
from jbackupd.model.wareki import JST, show_moment
from jbackupd.service.wiring import create_vault
from jbackupd.settings.load import load

HOME, ACTING, OTHER = "saga", "kyoto", "hokkaido"
TENANT = TenantId("imari")
JUKI, OFFICE = "imari/juki", "imari/office"
OFFICERS = ("mori", "abe")
ADVANTAGE = 20
"""The day's change of the register must cross in at most this part of its compressed full copy."""
Tell = Callable[[str], None]


class PromiseBrokenError(JbackupdError):
    """A step of the demo did not keep what it promises."""

    code = "promise-broken"


@dataclass(slots=True)
class Moment:
    """A line of the timeline."""

    at: datetime
    what: str


@dataclass
class Outcome:
    """What the demo came to.

    Attributes:
        url: The desk's address.
        password: Of the clerk's account.
    """

    timeline: list[Moment] = field(default_factory=list)
    crossed_bytes: int = 0
    compressed_copy_bytes: int = 0
    plain_copy_bytes: int = 0
    rpo_seconds: float = 0.0
    rto_seconds: float = 0.0
    url: str = ""
    account: str = CLERK
    password: str = ""


@dataclass
class _Stage:
    """Where the story plays."""

    folder: str
    sites: dict[str, DemoSite]
    officers: list[OfficerKey]
    shares: list[str]
    town: Town

    @property
    def home(self) -> DemoSite:
        return self.sites[HOME]

    @property
    def acting(self) -> DemoSite:
        return self.sites[ACTING]


@contextmanager
def played(folder: str, *, residents: int, tell: Tell) -> Iterator[Outcome]:
    """Play the story; the sites that are left run until the context ends, and are stopped then whatever happens.

    Args:
        folder: An empty folder; it stays.
        residents: Of the generated town.
        tell: Prints a line.

    Raises:
        JbackupdError: A step did not keep its promise.
    """
    sites = make_sites(folder, (HOME, ACTING, OTHER))
    try:
        yield _Story(folder, sites, residents, tell).play()
    finally:
        for site in sites.values():
            site.stop()


class _Story:
    def __init__(self, folder: str, sites: dict[str, DemoSite], residents: int, tell: Tell) -> None:
        self._folder = folder
        self._sites = sites
        self._residents = residents
        self._tell = tell
        self._out = Outcome()

    def play(self) -> Outcome:
        """Play all acts in order."""
        stage = self._prepare()
        self._first_copy(stage)
        report = self._a_day_passes(stage)
        lost_at = self._disaster(stage)
        self._declare(stage)
        self._recover(stage, report, lost_at)
        self._return_of_the_lost(stage)
        self._show_timeline(lost_at)
        return self._out

    # Act one: three sites and a town.

    def _prepare(self) -> _Stage:
        self._act(_("Three sites and a town"))
        town = make_town(os.path.join(self._folder, "town"), residents=self._residents)
        officers = self._officers()
        self._configure(town)
        shares = create_vault(
            load(self._sites[HOME].config), TENANT, threshold=2, count=3,
            share_folder=os.path.join(self._folder, "shares"),
        ).shares
        for site in self._sites.values():
            site.start()
        made = _("a town of {residents} residents (cp932) and an office tree of {files} files; sites {sites}")
        self._note(made.format(
            residents=f"{town.residents:,}", files=town.office_files, sites=", ".join(self._sites)
        ))
        self._note(_("the recovery key is split: any 2 of 3 shares open it; no site keeps it"))
        return _Stage(self._folder, self._sites, officers, shares, town)

    def _officers(self) -> list[OfficerKey]:
        officers = [make_officer(name, secrets.token_hex(8))[0] for name in OFFICERS]
        os.makedirs(self._cards)
        for officer in officers:
            self._write(os.path.join(self._cards, f"{officer.officer}.card"), encode_card(officer.card))
        return officers

    def _configure(self, town: Town) -> None:
        for site in self._sites.values():
            self._write(os.path.join(self._cards, f"{site.name}.card"), site.found())
        officers = "".join(
            f'[[officer]]\nid = "{name}"\ncard = "{self._cards}/{name}.card"\n' for name in OFFICERS
        )
        own = f'[[tenant]]\nid = "{TENANT}"\n'
        for name, path, tier in ((JUKI, os.path.dirname(town.extract), 1), (OFFICE, town.office, 3)):
            own += (
                f'[[dataset]]\nid = "{name}"\nsource = {{ kind = "files", paths = ["{path}"] }}\n'
                f'schedule = "daily 02:00"\ntier = {tier}\n'
            )
        for site in self._sites.values():
            peers = peer_tables(site, self._sites, self._cards, holds={HOME: TENANT})
            site.configure((own if site.name == HOME else "") + peers + officers)

    # Act two: the first copy, and a day.

    def _first_copy(self, stage: _Stage) -> None:
        self._act(_("The first copy"))
        stage.home.until(lambda page: _receipted(page, {JUKI: 1, OFFICE: 1}), "receipts for the first points")
        page = stage.home.ask("status")
        for peer in page["peers"]:
            self._note(_("{peer} has signed for it; {size} crossed the line, sealed").format(
                peer=peer["id"], size=show_size(peer["bytes_sent"])
            ))

    def _a_day_passes(self, stage: _Stage) -> DayReport:
        self._act(_("A day passes"))
        report = advance_day(stage.town.folder)
        self._note(_("{changed} residents changed (moved {moved}, died {died}, left {left}, arrived {arrived})").format(
            changed=report.changed, moved=report.moved, died=report.died, left=report.left, arrived=report.arrived
        ))
        crossed = self._carry(stage, JUKI)
        with open(stage.town.extract, "rb") as file:
            extract = file.read()
        copy_bytes = len(compress(extract)[1])
        self._out.crossed_bytes, self._out.compressed_copy_bytes = crossed, copy_bytes
        self._out.plain_copy_bytes = len(extract)
        self._note(_(
            "the register's day crossed the line to each peer in {crossed}; a plain copy sends {plain}, compressed "
            "with zstd {compressed}: 1/{part} of that"
        ).format(
            crossed=show_size(crossed), plain=show_size(len(extract)), compressed=show_size(copy_bytes),
            part=copy_bytes // max(1, crossed),
        ))
        if crossed * ADVANTAGE > copy_bytes:
            raise PromiseBrokenError(
                "the day's change took {crossed} bytes, more than 1/{part} of the compressed copy of {copy}",
                crossed=crossed, part=ADVANTAGE, copy=copy_bytes,
            )
        office = self._carry(stage, OFFICE)
        self._note(_("the office tree's day crossed in {crossed}").format(crossed=show_size(office)))
        return report

    def _carry(self, stage: _Stage, dataset: str) -> int:
        """Take a point, wait for the receipts of both peers; return what crossed to the peer that took more."""
        before = {peer["id"]: peer["bytes_sent"] for peer in stage.home.ask("status")["peers"]}
        point = stage.home.ask("backup", dataset=dataset)
        stage.home.until(lambda page: _receipted(page, {dataset: point["sequence"]}), f"receipts for {point['point']}")
        after = stage.home.ask("status")["peers"]
        return max(int(peer["bytes_sent"] - before[peer["id"]]) for peer in after)

    # Act three: the disaster.

    def _disaster(self, stage: _Stage) -> datetime:
        self._act(_("The disaster"))
        lost_at = datetime.now(UTC)
        stage.home.kill()
        # What a flood would leave nothing of is kept aside, to show later that it is refused.
        os.rename(stage.home.state, os.path.join(self._folder, "aside"))
        shutil.rmtree(stage.home.folder)
        shutil.rmtree(stage.town.folder)
        self._mark(lost_at, _("{site} is lost: daemon killed, data and vault gone").format(site=HOME))
        return lost_at

    def _declare(self, stage: _Stage) -> None:
        begun = stage.acting.ask("site.declare", site=HOME, reason="demo")
        declaration = decode_declaration(_unpacked(begun["declaration"]))
        answer: dict[str, Any] = {}
        for officer in stage.officers:
            signed = declaration.with_approval(approve(declaration, officer.officer, officer.signer))
            answer = stage.acting.ask("site.submit", declaration=_packed(encode_declaration(signed)))
        known = stage.sites[OTHER].ask("site.status")["declarations"]
        if not answer["in_force"] or [each["lost"] for each in known] != [HOME]:
            raise PromiseBrokenError("the declaration is not in force at every site")
        self._mark(datetime.now(UTC), _("{officers} declare it lost; {site} acts from now on, {other} knows").format(
            officers=", ".join(OFFICERS), site=ACTING, other=OTHER
        ))

    # Act four: the recovery.

    def _recover(self, stage: _Stage, report: DayReport, lost_at: datetime) -> None:
        self._act(_("The recovery, at {site}").format(site=ACTING))
        given = stage.shares[0], stage.shares[2]
        shares = [{"source": os.path.basename(path), "text": _text(path)} for path in given]
        plan = plan_text(query=report.query, expect=report.address)
        self._write(os.path.join(self._folder, "plan.toml"), plan)
        document = stage.acting.ask(
            "recovery.run", self._hear, plan=plan, shares=shares, lost_at=lost_at.isoformat()
        )
        if not document["proved"]:
            raise PromiseBrokenError("the plan did not reach its end: {steps}", steps=_failures(document))
        self._out.rpo_seconds, self._out.rto_seconds = document["rpo_seconds"], document["rto_seconds"]
        desk = next(step["detail"] for step in document["steps"] if step["kind"] == "desk")
        self._out.url = desk["url"]
        self._out.account, self._out.password = _text(desk["passwords_file"]).split()[:2]
        self._look_up(report)

    def _hear(self, event: dict[str, Any]) -> None:
        names = {
            "keys": _("two officers' shares give the key"),
            "juki": _("the register is restored"),
            "office": _("the office tree is restored"),
            "desk": _("the counter is open"),
            "look-up": _("a look-up through the counter's page finds a resident who moved that day"),
        }
        if event.get("event") == "finish":
            self._mark(datetime.now(UTC), names[event["step"]])

    def _look_up(self, report: DayReport) -> None:
        """Do as a clerk does, and see the address of after the move; the one of before must be gone."""
        seen = probe_desk(self._out.url, self._out.account, self._out.password, report.query, report.address)
        try:
            probe_desk(self._out.url, self._out.account, self._out.password, report.query, report.old_address)
        except JbackupdError:
            pass
        else:
            raise PromiseBrokenError("the counter shows the address of before the move")
        self._note(_("the clerk types {query} and reads {address}; as of {as_of}").format(
            query=report.query, address=report.address, as_of=seen.as_of
        ))

    # Act five: the lost site comes back.

    def _return_of_the_lost(self, stage: _Stage) -> None:
        self._act(_("The lost site comes back"))
        os.makedirs(stage.home.folder)
        os.rename(os.path.join(self._folder, "aside"), stage.home.state)
        stage.home.configure(peer_tables(stage.home, self._sites, self._cards, holds={}))
        stage.home.start()
        page = stage.home.until(
            lambda page: all(peer["error"] is not None for peer in page["peers"]), "both links refused"
        )
        stage.home.stop()
        if {peer["error"]["code"] for peer in page["peers"]} != {"fenced"}:
            raise RefusedError("the returning site was not refused as fenced")
        self._note(_("it dials {acting} and {other} and is refused: its epoch is no longer in force").format(
            acting=ACTING, other=OTHER
        ))

    def _show_timeline(self, lost_at: datetime) -> None:
        self._act(_("The timeline"))
        for moment in self._out.timeline:
            after = (moment.at - lost_at).total_seconds()
            self._tell(f"  {after:+7.1f} s  {moment.what}")
        self._tell("")
        self._tell("  " + _("lost at {time}").format(time=_shown(lost_at)))
        self._tell("  " + _("RPO reached: {seconds} s (what was changed after the last point is missing)").format(
            seconds=f"{self._out.rpo_seconds:.1f}"
        ))
        self._tell("  " + _("RTO reached: {seconds} s (from the loss to the checked look-up)").format(
            seconds=f"{self._out.rto_seconds:.1f}"
        ))

    # Telling.

    @property
    def _cards(self) -> str:
        return os.path.join(self._folder, "cards")

    def _act(self, title: str) -> None:
        self._tell("")
        self._tell(f"■ {title}")

    def _note(self, text: str) -> None:
        self._tell(f"  ・{text}" if language() == "ja" else f"  - {text}")

    def _mark(self, at: datetime, what: str) -> None:
        self._out.timeline.append(Moment(at, what))
        self._note(what)

    @staticmethod
    def _write(path: str, text: str) -> None:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def _receipted(page: dict[str, Any], wanted: dict[str, int]) -> bool:
    """Tell whether every peer has signed for these points or later ones."""
    return all(
        copy["point"] is not None and copy["point"]["sequence"] >= wanted[dataset["id"]]
        for dataset in page["datasets"] if dataset["id"] in wanted for copy in dataset["copies"]
    )


def _failures(document: dict[str, Any]) -> str:
    failed = [step for step in document["steps"] if step["state"] != "done"]
    return "; ".join(
        f"{step['step']}: {step['detail'].get('error', {}).get('message', step['state'])}" for step in failed
    )


def _shown(moment: datetime) -> str:
    return show_moment(moment) if language() == "ja" else f"{moment.astimezone(JST):%Y-%m-%d %H:%M:%S} JST"


def _text(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _packed(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _unpacked(text: str) -> bytes:
    return base64.b64decode(text)


def wait_for_interrupt() -> None:
    """Stay until Ctrl-C."""
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return
