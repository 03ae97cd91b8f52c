"""The desk of a run: loaded once, over https too, proved by look-ups; what is wrong with an extract is said."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
import socket
import ssl
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from jbackupd.demo.town import COLUMNS, IGNORE, make_town
from jbackupd.desk.probe import probe_desk
from jbackupd.engine.survey import Survey
from jbackupd.model.clock import SystemClock
from jbackupd.model.errors import ConfigError, FormatError, NotFoundError, PeerError, RefusedError
from jbackupd.model.ids import DatasetId, TenantId
from jbackupd.service.auditlogs import AuditLogs
from jbackupd.service.bringers import Bringers
from jbackupd.service.counter import Counter, Restored
from jbackupd.service.intake import Books
from jbackupd.service.premises import Premises
from jbackupd.settings.steps import CheckStep, DeskStep
from jbackupd.storage.chain import verify_chain
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.store import ObjectStore

TENANT = TenantId("imari")

AS_OF = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
Runner = Callable[[Coroutine[Any, Any, Any]], Any]


class Nobody:
    """No other site."""

    async def survey(self, tenant: TenantId) -> Survey:
        return Survey((), {}, ())

    async def fetch(self, found: Survey, dataset: DatasetId, on_bytes: Callable[[int], None]) -> None:
        return None


@pytest.fixture
def premises(tmp_path: Path) -> Premises:
    files, clock = PosixFiles(str(tmp_path / "state")), SystemClock()
    files.make_folder("")
    store = ObjectStore(files, "vaults/imari")
    audit = functools.partial(AuditLogs(files, clock).of, TENANT)
    return Premises(files, store, {}, clock, Nobody(), Bringers(files), audit, "en")


@pytest.fixture
def restored(tmp_path: Path) -> Restored:
    made = make_town(str(tmp_path / "town"), residents=60)
    return Restored("imari/juki@7", AS_OF, os.path.dirname(made.extract))


def desk(**changed: Any) -> DeskStep:
    wanted: dict[str, Any] = {
        "id": "desk", "kind": "desk", "data": "juki", "file": "住民抽出.csv", "columns": dict(COLUMNS),
        "ignore": list(IGNORE), "title": "伊万里市", "listen": "127.0.0.1:0", "accounts": ["clerk"],
    }
    return DeskStep.model_validate({**wanted, **changed})


LOOK = CheckStep.model_validate({"id": "look-up", "kind": "check", "desk": "desk", "samples": 4})


def certificate(folder: Path) -> dict[str, str]:
    """Make a certificate that nobody but its owner knows, for an address that it does not name."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "desk.imari.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = {"certificate": str(folder / "desk.pem"), "private_key": str(folder / "desk.key")}
    Path(paths["certificate"]).write_bytes(made.public_bytes(serialization.Encoding.PEM))
    Path(paths["private_key"]).write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ))
    return paths


async def served(counter: Counter, step: DeskStep, restored: Restored) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        opened = await counter.open(step, restored)
        return dict(opened), dict(await asyncio.to_thread(counter.check, LOOK))
    finally:
        await counter.close()


def test_a_desk_is_opened_and_proved_and_keeps_its_accounts(
    premises: Premises, restored: Restored, run: Runner
) -> None:
    first, seen = run(served(Counter(premises, "recovery/r1/desk", TENANT), desk(), restored))
    assert (first["residents"], seen["look_ups"]) == (60, 4)
    passwords = Path(first["passwords_file"]).read_text()
    again, _seen = run(served(Counter(premises, "recovery/r1/desk", TENANT), desk(), restored))
    assert Path(again["passwords_file"]).read_text() == passwords, "what clerks were given stays right"
    with pytest.raises(PeerError):
        probe_desk(again["url"], "clerk", passwords.split()[1], "x", "x")


def test_a_desk_over_https_is_proved_by_its_own_certificate(
    premises: Premises, restored: Restored, run: Runner, tmp_path: Path
) -> None:
    paths = certificate(tmp_path)
    opened, seen = run(served(Counter(premises, "d", TENANT), desk(**paths), restored))
    assert opened["url"].startswith("https://") and seen["look_ups"] == 4
    other = ssl.create_default_context(cafile=paths["certificate"])
    assert other.check_hostname, "browsers go on checking the name"


def test_two_desks_write_one_unbroken_log(premises: Premises, restored: Restored, run: Runner) -> None:
    async def both() -> None:
        counters = [Counter(premises, f"recovery/r{number}/desk", TENANT) for number in range(2)]
        try:
            await asyncio.gather(*(counter.open(desk(), restored) for counter in counters))
            await asyncio.gather(*(asyncio.to_thread(counter.check, LOOK) for counter in counters))
        finally:
            for counter in counters:
                await counter.close()

    run(both())
    report = verify_chain(premises.files, "audit/imari/desk.chain")
    assert report.broken is None and report.entries > 20


def test_an_address_that_is_taken_is_said_and_nothing_stays_open(
    premises: Premises, restored: Restored, run: Runner
) -> None:
    counter = Counter(premises, "d", TENANT)
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigError, match="unable to serve the desk"),
    ):
        run(served(counter, desk(listen=f"127.0.0.1:{taken.getsockname()[1]}"), restored))
    with pytest.raises(NotFoundError, match="is not open"):
        counter.check(LOOK)


def test_an_extract_that_is_not_as_planned_opens_nothing(premises: Premises, restored: Restored, run: Runner) -> None:
    for changed, error in (
        ({"ignore": []}, RefusedError), ({"file": "nothing.csv"}, NotFoundError),
        ({"file": "../town/secret"}, RefusedError),
    ):
        with pytest.raises(error):
            run(served(Counter(premises, "d", TENANT), desk(**changed), restored))
    extract = Path(restored.folder) / desk().file
    whole = extract.read_bytes()
    for broken in (b"", whole.split(b"\n", 1)[1], whole.split(b"\n", 1)[0] + b"\n"):
        # No header line, or nobody below it: a step that found no resident must not pass.
        extract.write_bytes(broken)
        with pytest.raises(FormatError):
            run(served(Counter(premises, "d", TENANT), desk(), restored))
    extract.write_bytes(whole)
    assert run(served(Counter(premises, "d", TENANT), desk(), restored))[0]["residents"] == 60


def test_what_clerks_take_in_lies_apart_from_the_run_but_in_a_drill(
    premises: Premises, restored: Restored, run: Runner
) -> None:
    books = Books(premises.files, lambda: b"l" * 32, premises.clock)
    writing = dataclasses.replace(premises, books=books)
    for drill in (True, False):
        run(served(Counter(writing, f"recovery/r{drill:d}/desk", TENANT, drill=drill), desk(), restored))
        found = {path.relative_to(premises.files.root).parts[0] for path in Path(premises.files.root).rglob("journal")}
        assert found == ({"recovery"} if drill else {"recovery", "intake"})
    assert list(Path(premises.files.root, "recovery/r0").rglob("journal")) == []
