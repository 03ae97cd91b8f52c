"""Runs are begun by people only, told whole even when one of them is broken, and a run that stops says why."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from jbackupd.codec.shares import Share, split
from jbackupd.codec.signing import SiteSigner
from jbackupd.continuity.epoch import Epochs
from jbackupd.continuity.telling import outcome_text
from jbackupd.engine.survey import Survey
from jbackupd.format.declaration import Statement, approve, declare, encode_declaration
from jbackupd.model.clock import ManualClock
from jbackupd.model.errors import (
    BusyError,
    ConfigError,
    NoSpaceError,
    NotFoundError,
    RefusedError,
    ShareError,
    UsageError,
)
from jbackupd.model.ids import DatasetId, SiteId, TenantId
from jbackupd.service.auditlogs import AuditLogs
from jbackupd.service.bringers import Bringers
from jbackupd.service.premises import Premises
from jbackupd.service.recovering import Recoveries
from jbackupd.storage.files import Handle, PosixFiles
from jbackupd.vault.store import ObjectStore

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
OFFICERS = {name: SiteSigner(name.encode().ljust(64, b".")) for name in ("mori", "abe")}
T = TypeVar("T")
PLAN = """
version = 1
id = "counter"
title = "x"
tenant = "imari"
home = "saga"
[[step]]
id = "keys"
kind = "unlock"
[[step]]
id = "juki"
kind = "restore"
dataset = "imari/juki"
needs = ["keys"]
"""
DESK = """
[[step]]
id = "desk"
kind = "desk"
data = "juki"
file = "r.csv"
title = "x"
accounts = ["clerk"]
columns = { "no" = "宛名番号", "name" = "名前" }
needs = ["juki"]
"""


class Nobody:
    """No other site."""

    async def survey(self, tenant: TenantId) -> Survey:
        return Survey((), {}, ())

    async def fetch(self, found: Survey, dataset: DatasetId, on_bytes: Callable[[int], None]) -> None:
        return None


class Site:
    """The runs of a site that holds nothing."""

    def __init__(
        self, folder: Path, files: PosixFiles | None = None, *, declared: bool = True, others: Nobody | None = None
    ) -> None:
        self.files = files or PosixFiles(str(folder))
        public = {name: signer.public for name, signer in OFFICERS.items()}
        epochs = Epochs(self.files, SiteId("kyoto"), officers=lambda: public, needed=lambda: 2)
        if declared:
            lost = declare(Statement(SiteId("saga"), 2, SiteId("kyoto"), NOW, "", b"e" * 32, b"n" * 16))
            for name, signer in OFFICERS.items():
                lost = lost.with_approval(approve(lost, name, signer))
            epochs.learn(encode_declaration(lost))
        clock = ManualClock(NOW)
        self.defects: list[str] = []
        self.runs = Recoveries(
            self.files, epochs=epochs, clock=clock, premises_of=lambda tenant: Premises(
                self.files, ObjectStore(self.files, f"vaults/{tenant}"), {}, clock, others or Nobody(),
                Bringers(self.files),
                functools.partial(AuditLogs(self.files, clock).of, tenant), "en",
            ), defect=lambda where, error: self.defects.append(where),
        )

    async def ended(self, run: str) -> dict[str, Any]:
        async for _news in self.runs.watch(run):
            pass
        return self.runs.document(run)


def shares() -> list[Share]:
    return list(split(b"s" * 32, threshold=2, count=3, label="imari")[:2])


def do(site: Site, work: Coroutine[Any, Any, T]) -> T:
    async def all_of_it() -> T:
        try:
            return await work
        finally:
            await site.runs.close()

    return asyncio.run(all_of_it())


def test_a_run_whose_home_is_not_declared_lost_never_begins(tmp_path: Path) -> None:
    site = Site(tmp_path, declared=False)
    with pytest.raises(RefusedError, match="saga is not declared lost"):
        do(site, site.runs.begin(PLAN, shares()))
    assert site.runs.history() == []


def test_what_is_wrong_is_said_before_there_is_a_run(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with pytest.raises(ConfigError, match="名前"):
        do(site, site.runs.begin(PLAN + DESK, shares()))
    with pytest.raises(ShareError):
        do(site, site.runs.begin(PLAN, shares()[:1]))
    assert site.runs.history() == []


def test_a_loss_in_the_future_is_a_mistake(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with pytest.raises(UsageError, match="in the future"):
        do(site, site.runs.begin(PLAN, shares(), lost_at=NOW + timedelta(hours=1)))


def test_two_runs_of_a_tenant_never_begin_at_once(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def both() -> list[str | BaseException]:
        begun = await asyncio.gather(
            *(site.runs.begin(PLAN, shares()) for _ in range(2)), return_exceptions=True
        )
        await site.ended(next(one for one in begun if isinstance(one, str)))
        return begun

    assert sorted(type(one).__name__ for one in do(site, both())) == ["BusyError", "str"]


def test_history_tells_every_run_also_the_broken_ones(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def one() -> str:
        run = await site.runs.begin(PLAN, shares())
        document = await site.ended(run)
        assert document["steps"][0]["detail"]["error"]["code"] == "not-found"
        return run

    run = do(site, one())
    (tmp_path / "recovery" / "20261101T000000-killed-0000").mkdir()
    (tmp_path / "recovery" / "20261102T000000-killed-0000").mkdir()
    (tmp_path / "recovery" / "20261102T000000-killed-0000" / "journal").touch()
    (tmp_path / "recovery" / "20261103T000000-broken-0000").mkdir()
    (tmp_path / "recovery" / "20261103T000000-broken-0000" / "journal").write_bytes(b"x" * 100)
    told = site.runs.history()
    assert [one["run"] for one in told] == ["20261103T000000-broken-0000", run]
    assert told[0]["error"]["exit_code"] == 4


def test_a_run_is_resumed_only_with_shares_that_open_where_keys_are_needed(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def again() -> None:
        run = await site.runs.begin(PLAN, shares())
        await site.ended(run)
        for given in ([], shares()[:1]):
            with pytest.raises(ShareError):
                await site.runs.resume(run, given)
        await site.runs.resume(run, shares())
        assert (await site.ended(run))["steps"][0]["attempts"] == 2
        for unknown in ("nothing", "../recovery/" + run):
            with pytest.raises(NotFoundError):
                await site.runs.resume(unknown, shares())

    do(site, again())


def laid_out(tmp_path: Path, run: str) -> Path:
    folder = tmp_path / "recovery" / run / "data" / "juki@1"
    folder.mkdir(parents=True)
    (folder / "residents.csv").write_bytes(b"r" * 50)
    return folder


def test_what_a_run_laid_out_is_removed_with_a_record_and_the_run_is_never_resumed(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def cleaned() -> None:
        run = await site.runs.begin(PLAN, shares())
        await site.ended(run)
        folder = laid_out(tmp_path, run)
        seen = await site.runs.clean(run, dry_run=True)
        assert (seen["removed"], seen["report"]["clean_begun_at"]) == (None, None)
        assert {"path": "data/juki@1", "files": 1, "bytes": 50} in seen["parts"] and folder.exists()
        done = await site.runs.clean(run)
        assert (done["parts"], done["removed"]["bytes"]) == (seen["parts"], 50)
        assert os.listdir(tmp_path / "recovery" / run) == ["journal"]
        report = site.runs.document(run)
        assert report["cleaned"]["files"] == done["removed"]["files"]
        assert [entry["event"] for entry in report["timeline"]][-2:] == ["clean", "cleaned"]
        with pytest.raises(RefusedError, match="was removed"):
            await site.runs.resume(run, shares())
        # Once more is no harm: it is noted again.
        assert (await site.runs.clean(run))["removed"] == {"files": 0, "bytes": 0}
        with pytest.raises(NotFoundError):
            await site.runs.clean("../recovery/" + run)

    do(site, cleaned())


def test_a_run_that_did_not_end_keeps_what_it_restored_until_it_is_given_up(tmp_path: Path) -> None:
    site = Site(tmp_path, others=Silent())

    async def given_up() -> None:
        run = await site.runs.begin(PLAN, shares())
        with pytest.raises(BusyError):
            await site.runs.clean(run, given_up=True)
        await site.runs.end(run)
        folder = laid_out(tmp_path, run)
        for dry_run in (True, False):
            with pytest.raises(RefusedError, match="did not end"):
                await site.runs.clean(run, dry_run=dry_run)
        assert folder.exists()
        await site.runs.clean(run, given_up=True)
        assert not folder.exists()
        with pytest.raises(RefusedError):
            await site.runs.resume(run, shares())
        assert outcome_text(site.runs.document(run)) == "given up; what it laid out is removed"

    do(site, given_up())


class Stuck(PosixFiles):
    """A disk on which the second note of a removal finds no room."""

    def append(self, path: str) -> Handle:
        handle = super().append(path)
        if not path.endswith("/journal"):
            return handle

        class Full:
            def write(self, data: bytes | memoryview) -> None:
                if b'"cleaned"' in bytes(data):
                    raise NoSpaceError("the disk is full")
                handle.write(data)

            def sync(self) -> None:
                handle.sync()

            def close(self) -> None:
                handle.close()

        return Full()


def test_a_removal_that_was_cut_short_is_told_and_taken_up(tmp_path: Path) -> None:
    site, stuck = Site(tmp_path), Site(tmp_path, Stuck(str(tmp_path)))

    async def cut() -> str:
        run = await site.runs.begin(PLAN, shares())
        await site.ended(run)
        laid_out(tmp_path, run)
        with pytest.raises(NoSpaceError):
            await stuck.runs.clean(run)
        return run

    run = do(site, cut())
    assert "removed in part" in outcome_text(site.runs.document(run))
    with pytest.raises(RefusedError):
        do(site, site.runs.resume(run, shares()))
    assert do(site, site.runs.clean(run))["report"]["cleaned"] is not None


class Silent(Nobody):
    """Sites that never answer."""

    async def survey(self, tenant: TenantId) -> Survey:
        await asyncio.Event().wait()
        raise AssertionError


def test_a_run_that_is_ended_lets_its_watchers_go_and_stays_to_be_resumed(tmp_path: Path) -> None:
    site = Site(tmp_path, others=Silent())

    async def ended() -> dict[str, Any]:
        run = await site.runs.begin(PLAN, shares())
        seen: list[Any] = []

        async def watch() -> None:
            async for news in site.runs.watch(run):
                seen.append(news)

        watching = asyncio.create_task(watch())
        await asyncio.sleep(0)
        await site.runs.end(run)
        async with asyncio.timeout(10):
            await watching
        with pytest.raises(NotFoundError):
            await site.runs.end(run)
        return site.runs.document(run)

    document = do(site, ended())
    assert not document["over"] and not document["under_way"]


class Filling(PosixFiles):
    """A disk that is full after some appends to a run's journal."""

    left = 2

    def append(self, path: str) -> Handle:
        handle, files = super().append(path), self
        if not path.endswith("/journal"):
            return handle

        class Full:
            def write(self, data: bytes | memoryview) -> None:
                files.left -= 1
                if files.left < 0:
                    raise NoSpaceError("the disk is full")
                handle.write(data)

            def sync(self) -> None:
                handle.sync()

            def close(self) -> None:
                handle.close()

        return Full()


def test_a_run_that_cannot_write_its_journal_stops_and_says_why(tmp_path: Path) -> None:
    site = Site(tmp_path, Filling(str(tmp_path)))

    async def filled() -> dict[str, Any]:
        return await site.ended(await site.runs.begin(PLAN, shares()))

    document = do(site, filled())
    assert document["stopped"]["exit_code"] == 9
    assert not document["over"] and not document["under_way"]
    assert site.defects == []
