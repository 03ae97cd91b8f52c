"""What a site keeps for itself, and what people write: keyrings, journals, shares, cards, configurations, extracts."""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import posixpath
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import blake3
import msgspec

from jbackupd.codec.paper import bytes_of, lines_of, text_of
from jbackupd.codec.seal import open_blob, seal_blob
from jbackupd.codec.shares import Share
from jbackupd.continuity import officer, record
from jbackupd.continuity.failback import decode_note, encode_note
from jbackupd.continuity.intake import Ledger
from jbackupd.desk.accounts import Accounts
from jbackupd.desk.extract import load_extract
from jbackupd.desk.fields import ColumnMap
from jbackupd.desk.mapfile import load_map
from jbackupd.format.identity import Card, CardKind, decode_card, encode_card
from jbackupd.format.intake import decode_record as decode_intake
from jbackupd.format.intake import encode_record as encode_intake
from jbackupd.format.intakefile import IntakeFile, open_intake, seal_intake
from jbackupd.format.journal import CHECK_BYTES, NO_CHECK, encode_record, scan
from jbackupd.model.errors import (
    ConfigError,
    DamageError,
    JbackupdError,
    KeyringError,
    ProtocolError,
    RefusedError,
    ShareError,
)
from jbackupd.model.ids import DatasetId, PointSelector
from jbackupd.model.units import parse_address, parse_duration, parse_rate
from jbackupd.model.wareki import parse_day
from jbackupd.service import jobs
from jbackupd.service.wire import Answer, Failure, Request, decode_answer, decode_request, encode, error_of
from jbackupd.settings.load import load
from jbackupd.settings.plan import load_plan
from jbackupd.settings.schedule import Schedule
from jbackupd.storage.chain import GENESIS, _digest, read_chain
from jbackupd.storage.files import Files
from jbackupd.vault import identity, keylog, keyringfile
from jbackupd.vault.holds import Holds
from jbackupd.vault.retentionstate import load_state
from jbackupd.vault.store import ObjectStore
from tests.crash.memory import MemoryFiles
from tests.fuzz.kind import DAMAGE, LOCAL_KEY, SITE, TENANT, Kind

KEYRING_CONTEXT = b"jbackupd 1 keyring imari"
JSON_WORDS = (
    b"{", b"[", b"}", b"]", b'"', b",", b":", b"null", b"true", b"1e999", b"-1", b'"\\ud800"',
    b"[" * 2000, b'{"a":' * 2000,
    b'"message":1', b'"hint":1', b'"failure"', b"9" * 40, b"NaN",
)
TOML_WORDS = (b"[", b"]", b'"', b"=", b"\n", b"[[", b"]]", b"'''", b"[" * 600, b"{a=" * 600, "和".encode(),
              b"\xff", b"1" * 5000)
PASSPHRASE = "bcdf-ghjk-mnpq-rstv-wxyz"
OFFICER_COST_MAX = (2, 64)
"""Rounds and KiB of an officer's key that are worth their time here; the decoder allows 16 and 1 GiB."""


def files_with(path: str, data: bytes) -> MemoryFiles:
    """Return a disk on which there is this file."""
    files = MemoryFiles()
    files.make_folder(posixpath.dirname(path))
    files.create(path).write(data)
    return files


def at(path: str, read: Callable[[Files], Any]) -> Callable[[bytes], Any]:
    """Return a reader of bytes that lie at a path."""
    return lambda data: read(files_with(path, data))


@functools.cache
def _folder() -> str:
    return tempfile.mkdtemp(prefix="jbackupd-fuzz-")


def _on_disk(name: str, read: Callable[[str], Any]) -> Callable[[bytes], Any]:
    """Return a reader of bytes that lie in a real file."""

    def reading(data: bytes) -> Any:
        path = os.path.join(_folder(), name)
        with open(path, "wb") as file:
            file.write(data)
        return read(path)

    return reading


def _holds(files: Files) -> object:
    holds = Holds(ObjectStore(files, "v"))
    assert len(holds.all()) == 1, "a hold that cannot be read does not hold"
    return None


def _frozen(files: Files) -> object:
    assert Holds(ObjectStore(files, "v")).frozen() is not None, "a freeze that cannot be read does not freeze"
    return None


def _keyring_again(saved: keyringfile.SavedKeyring) -> keyringfile.SavedKeyring:
    files = MemoryFiles()
    files.make_folder(keyringfile.FOLDER)
    keyringfile.save(files, saved, LOCAL_KEY)
    return keyringfile.load(files, TENANT, LOCAL_KEY)


def identity_of(packed: bytes) -> bytes:
    """Return a site's identity with these fields, its check right where they can be read."""
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.msgpack.encode(msgspec.msgpack.decode(packed, type=identity._Saved).checked())
    return packed


def journal_of(joined: bytes) -> bytes:
    """Return a journal of records that a line feed parts."""
    data, check = b"", NO_CHECK
    for number, body in enumerate(joined.split(b"\n")):
        data += encode_record(number, body, check)
        check = data[-CHECK_BYTES:]
    return data


def _bodies(data: bytes) -> bytes:
    return b"\n".join(scan(data).records)


def _scan(data: bytes) -> tuple[bytes, ...]:
    found = scan(data)
    assert found.length + found.torn == len(data), "a journal forgets bytes"
    return found.records


def _journal_again(records: tuple[bytes, ...]) -> tuple[bytes, ...]:
    data, check = b"", NO_CHECK
    for number, body in enumerate(records):
        data += encode_record(number, body, check)
        check = data[-CHECK_BYTES:]
    return scan(data).records


def _jobs(data: bytes) -> Any:
    return jobs._fold(scan(data).records)


def _run(data: bytes) -> list[object]:
    return [record._decode(body) for body in scan(data).records]


def _intake(data: bytes) -> dict[str, object]:
    records = [decode_intake(body) for body in scan(data).records]
    assert [decode_intake(encode_intake(one)) for one in records] == records, "an intake record changes"
    return dict(Ledger.of(b"j" * 16, records).items)


def _carried(data: bytes) -> object:
    file = open_intake(data, PASSPHRASE)
    return file.tenant, file.desk, file.label, file.journal_id, file.key, file.journal, file.exported_at


def _carried_again(value: Any) -> object:
    return _carried(seal_intake(IntakeFile(*value), PASSPHRASE))


def audit_of(joined: bytes) -> bytes:
    """Return an audit log of entries that a line feed parts, the chain right."""
    data, head = b"", GENESIS
    for body in joined.split(b"\n"):
        head = _digest(head, body)
        data += head.encode() + b" " + body + b"\n"
    return data


def card_of(body: bytes) -> bytes:
    """Return a card with this text, its check right."""
    return body + b"check: " + blake3.blake3(body).hexdigest()[:16].encode() + b"\n"


def _card(data: bytes) -> Card:
    card = decode_card(data, CardKind.OFFICER if b"kind: officer" in data else CardKind.SITE)
    assert card.fingerprint
    return card


def _card_again(card: Card) -> Card:
    return decode_card(encode_card(card).encode(), card.kind)


def _share(data: bytes) -> Share:
    return Share.from_file(data, source="share")


def share_of(body: bytes) -> bytes:
    """Return a share with these bytes, its checks right."""
    whole = body[:1900] + blake3.blake3(body[:1900]).digest(8)
    return ("jbackupd share 1\n" + "\n".join(lines_of(whole)) + "\n").encode()


def _officer(data: bytes) -> object:
    with contextlib.suppress(ValueError, msgspec.DecodeError):
        saved = msgspec.msgpack.decode(base64.b64decode(data[len(officer.TITLE) :]), type=officer._Saved)
        if saved.iterations > OFFICER_COST_MAX[0] or saved.memory_kib > OFFICER_COST_MAX[1]:
            return None
    return officer.open_officer(data, "passphrase").officer


def officer_of(packed: bytes) -> bytes:
    """Return an officer's key file of its packed fields."""
    return officer.TITLE + base64.encodebytes(packed)


def _request_again(request: Request) -> Request:
    return decode_request(encode(request)[:-1])


def _answer(data: bytes) -> Answer:
    answer = decode_answer(data)
    if isinstance(answer, Failure):
        str(error_of(answer))
    return answer


def _answer_again(answer: Answer) -> Answer:
    return decode_answer(encode(answer)[:-1])


def _extract(data: bytes) -> int:
    mapping = ColumnMap.parse(
        {"番号": "宛名番号", "氏名": "氏名", "生年月日": "生年月日"}, ignore=["異動"], encoding="cp932"
    )
    database = os.path.join(_folder(), "desk.sqlite")
    moment = datetime(2026, 11, 23, tzinfo=UTC)
    return load_extract(BytesIO(data), mapping=mapping, database=database, as_of=moment, loaded_from="x").rows


def _words(data: bytes) -> None:
    """Read what people type: whatever it is, each reader takes it or refuses it."""
    text = os.fsdecode(data)
    for read in (DatasetId.parse, PointSelector.parse, parse_duration, parse_rate, parse_address, Schedule.parse):
        with contextlib.suppress(JbackupdError):
            read(text)
    with contextlib.suppress(JbackupdError, ValueError):
        parse_day(text)


def _audit(files: Files) -> Iterator[object]:
    return iter(list(read_chain(files, "audit")))


STATE = (
    Kind("keyring", at(keyringfile.path_of(TENANT), lambda files: keyringfile.load(files, TENANT, LOCAL_KEY)),
         (KeyringError,), _keyring_again, lambda data: open_blob(LOCAL_KEY, data, context=KEYRING_CONTEXT),
         lambda plain: seal_blob(LOCAL_KEY, plain, context=KEYRING_CONTEXT)),
    Kind("identity", at(identity._FILE, lambda files: identity.load_identity(files, SITE).card.id), (KeyringError,),
         None, lambda data: data, identity_of),
    Kind("share", _share, (ShareError,), lambda share: _share(share.to_text().encode()),
         lambda data: bytes_of(text_of(data), "share")[:-8], share_of),
    Kind("card", _card, DAMAGE, _card_again, lambda data: data.partition(b"check: ")[0], card_of,
         words=(b"\n", b":", b"kind: officer", b"id: ", b"ssh: ", b"=", b" ", b"\r\n")),
    Kind("officer-key", _officer, (KeyringError,), None,
         lambda data: base64.b64decode(data[len(officer.TITLE) :]), officer_of),
    Kind("share-note", at(f"{keylog.FOLDER}/imari/1.json", lambda files: keylog.events(files, TENANT)), DAMAGE,
         words=JSON_WORDS),
    Kind("hold", at("v/retention/hold-" + "11" * 32, _holds), (), words=JSON_WORDS),
    Kind("freeze", at("v/retention/frozen", _frozen), (), words=JSON_WORDS),
    Kind("reclaim-state", at("v/retention/state", lambda files: load_state(ObjectStore(files, "v"))), (),
         words=JSON_WORDS),
    Kind("journal", _scan, DAMAGE, _journal_again, _bodies, journal_of),
    Kind("jobs", _jobs, DAMAGE, None, _bodies, journal_of, words=JSON_WORDS),
    Kind("recovery-run", _run, DAMAGE, None, _bodies, journal_of, words=JSON_WORDS),
    Kind("intake", _intake, DAMAGE, None, _bodies, journal_of, words=JSON_WORDS),
    Kind("failback-note", decode_note, DAMAGE, lambda note: decode_note(encode_note(note)), words=JSON_WORDS),
    Kind("intake-file", _carried, (DamageError, KeyringError), _carried_again, slack_bytes=160 << 20),
    Kind("audit-log", at("audit", _audit), DAMAGE, None,
         lambda data: b"\n".join(line[65:] for line in data.split(b"\n")[:-1]), audit_of, words=JSON_WORDS),
    Kind("request", decode_request, (ProtocolError,), _request_again, words=JSON_WORDS),
    Kind("answer", _answer, (ProtocolError,), _answer_again, words=JSON_WORDS),
    Kind("accounts", lambda data: Accounts.decode(data).names, DAMAGE, words=JSON_WORDS, slack_bytes=64 << 20),
    Kind("configuration", _on_disk("jbackupd.toml", load), (ConfigError,), words=TOML_WORDS, slack_bytes=8 << 20),
    Kind("plan", _on_disk("plan.toml", load_plan), (ConfigError,), words=TOML_WORDS, slack_bytes=8 << 20),
    Kind("column-map", _on_disk("map.toml", load_map), (ConfigError, RefusedError), words=TOML_WORDS,
         slack_bytes=8 << 20),
    Kind("extract", _extract, (DamageError, ConfigError, RefusedError), slack_bytes=16 << 20,
         words=(b",", b'"', b"\n", b"\r", b"\0", "番号".encode("cp932"), "昭和".encode("cp932"))),
    Kind("words", _words, (), words=("令和".encode(), "元年".encode(), b"latest", b"before:", b"2026-11-23T04:00+09:00",
                                     "５".encode(), b"9" * 30, b"Mbit/s", b"\xff")),
)
