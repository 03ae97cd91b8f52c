"""Makes the valid examples of the corpus: python -m tests.fuzz.examples. What is in the tree already stays."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from jbackupd.codec.compress import compress
from jbackupd.codec.hpke import RecipientPublic, RecipientSecret
from jbackupd.codec.seal import seal_blob
from jbackupd.codec.shares import split
from jbackupd.codec.signing import SiteSigner
from jbackupd.continuity import officer
from jbackupd.continuity.failback import ItemEvent, Note, QueueBegin, encode_note
from jbackupd.continuity.plan import StepEvent
from jbackupd.continuity.record import Beginning, End, Resume, StepNote
from jbackupd.desk.accounts import Account, Accounts
from jbackupd.format.declaration import Approval, Statement, declare, encode_declaration
from jbackupd.format.expiry import Expiry, RemovedPoint, encode_expiry
from jbackupd.format.identity import Card, CardKind, encode_card
from jbackupd.format.index import IndexedPack, encode_index
from jbackupd.format.intake import encode_record as encode_intake
from jbackupd.format.intakefile import IntakeFile, seal_intake
from jbackupd.format.intakekinds import Kind as IntakeKind
from jbackupd.format.key import KeyRole, seal_key
from jbackupd.format.keyrecord import (
    Details,
    Erasure,
    LostContent,
    LostPoint,
    RecoveryChange,
    encode_record,
    seal_details,
)
from jbackupd.format.pack import ChunkRecord, PackBuilder
from jbackupd.format.point import COMMITMENT_BYTES, PointBody, PointHeader, encode_point, seal_body
from jbackupd.format.receipt import Receipt, encode_receipt
from jbackupd.format.tree import TreeEncoder
from jbackupd.model.ids import (
    ChunkId,
    DatasetId,
    FrameId,
    ObjectKind,
    ObjectName,
    ObjectRef,
)
from jbackupd.model.records import Encoding, EntryType, Extent, Statistics, TreeEntry, Unreadable
from jbackupd.protocol import messages as m
from jbackupd.protocol.framing import FrameType, encode_frame
from jbackupd.service.jobs import JobRecord, JobState
from jbackupd.service.wire import Event, Failure, Request, Result, encode
from jbackupd.vault.holds import Freeze, Hold
from jbackupd.vault.identity import _Saved
from jbackupd.vault.keylog import ShareEvent
from jbackupd.vault.keyringfile import SavedKept, SavedKeyring, SavedSession
from jbackupd.vault.parts import encode_map
from jbackupd.vault.ranges import Ranges
from jbackupd.vault.retentionstate import ReclaimState
from tests.fuzz.codes import examples as _codes
from tests.fuzz.exports import PACK_BYTES
from tests.fuzz.kind import LOCAL_KEY, SITE, TENANT, NoSigner, Plain
from tests.fuzz.objects import FRAME_BYTES, PREFIX, RECIPIENT
from tests.fuzz.run import CORPUS
from tests.fuzz.state import KEYRING_CONTEXT, PASSPHRASE, audit_of, identity_of, journal_of
from tests.support.intakes import Desk

AT = datetime(2026, 11, 23, 1, 2, 3, 456789, tzinfo=UTC)
DATASET = DatasetId(TENANT, "juki")
NAMES = [ObjectName(bytes((n,)) * 32) for n in range(8)]
FRAMES = [FrameId(bytes((n,)) * 16) for n in range(4)]
CONFIGURATIONS = Path(__file__).parents[2] / "config"


def _pack() -> PackBuilder:
    builder = PackBuilder(Plain(), pack_id=b"p" * 16, session_id=b"s" * 16)
    builder.add(FRAMES[0], b"payload of a frame", plain_length=30, encoding=Encoding.ZSTD, bases=(),
                chunks=[ChunkRecord(ChunkId(b"c" * 16), 10), ChunkRecord(ChunkId(b"d" * 16), 20)])
    builder.add(FRAMES[1], b"payload of a delta", plain_length=9, encoding=Encoding.ZSTD_PREFIX,
                bases=[Extent(FRAMES[0], 3, 7), Extent(FRAMES[0], 20, 5)], chunks=[ChunkRecord(ChunkId(b"e" * 16), 9)])
    return builder


def _objects() -> Iterator[tuple[str, bytes]]:
    builder, signer = _pack(), NoSigner()
    yield "pack", builder.finish()
    packs = [IndexedPack(NAMES[1], 5000, b"s" * 16, tuple(builder.frames))]
    yield "index", encode_index(Plain(), packs, index_id=b"i" * 16, session_id=b"s" * 16)
    header = PointHeader(
        DATASET, 3, NAMES[0], SITE, 1, AT, AT, b"p" * 16, b"s" * 16,
        (ObjectRef(ObjectKind.PACK, NAMES[1]), ObjectRef(ObjectKind.INDEX, NAMES[2])),
        (ObjectRef(ObjectKind.KEY, NAMES[3]),), True,
    )
    yield "point", encode_point(header, b"body", signer)
    body = PointBody(
        (Extent(FRAMES[0], 0, 100),), 100, b"d" * 32,
        Statistics(3, 2, 1, 4000, 5, 4, 3, 2, unreadable=(Unreadable(b"d/\xff", "permission denied"),)), "files", 24,
        1 << 26,
    )
    yield "point-body", seal_body(Plain(), body)[COMMITMENT_BYTES:]
    public = RECIPIENT.public
    yield "key", seal_key(KeyRole.SESSION, b"k" * 32, public, tenant=TENANT, key_id=b"i" * 16)
    yield "key", seal_key(KeyRole.EPOCH, b"k" * 32, public, tenant=TENANT, key_id=b"i" * 16, label="2026",
                          public=public.to_bytes())
    yield "session-envelope", public.seal(b"k" * 32, b"context")
    for what in (
        RecoveryChange(2, b"n" * 16, b"b" * 16, b"s" * 8, 2, 3),
        Erasure(b"e" * 16, "2026", (NAMES[1],), (LostPoint(DATASET, 2, NAMES[2]),), 3, 2, 9000,
                ((NAMES[3], (NAMES[4], NAMES[5])),), b"sealed details"),
    ):
        yield "record", encode_record(what, tenant=TENANT, site=SITE, made_at=AT, signer=signer)
    details = Details("sato", "保存期間満了", b"s" * 8, (1, 2), (LostContent(DATASET, 2, 10, None),))
    yield "record-details", seal_details(details, LOCAL_KEY, tenant=TENANT)
    yield "kept-keys", b"".join(bytes((kind,)) + b"i" * 16 + b"k" * 64 for kind in (1, 2, 3))
    yield "receipt", encode_receipt(Receipt(DATASET, 3, NAMES[1], SITE, AT, 7), signer)
    yield "expiry", encode_expiry(
        Expiry(TENANT, SITE, 1, AT, (RemovedPoint(DATASET, 1, NAMES[1], "daily"),), ((NAMES[2], NAMES[3]),)), signer
    )
    declared = declare(Statement(SITE, 2, "kyoto", AT, "津波", b"e" * 32, b"n" * 16))
    yield "declaration", encode_declaration(declared.with_approval(Approval("sato", signer.sign(b"", b""))))


def _tree() -> bytes:
    encoder = TreeEncoder()
    common = (0o755, 1000, 100, -5, 10**18, 7)
    return b"".join([
        encoder.begin(),
        encoder.add(TreeEntry(b"a", EntryType.FOLDER, *common, 0, b"", (), b"")),
        encoder.add(TreeEntry(b"a/\xff", EntryType.FILE, *common, 30, b"d" * 32, (Extent(FRAMES[0], 0, 30),), b"")),
        encoder.add(TreeEntry(b"b", EntryType.SYMLINK, *common, 0, b"", (), b"a/\xff")),
        encoder.end(),
    ])


def _line() -> Iterator[tuple[str, bytes]]:
    yield "tree", _tree()
    plain = PREFIX[:FRAME_BYTES]
    yield "frame", bytes((Encoding.STORED,)) + plain
    yield "frame", bytes((Encoding.ZSTD,)) + compress(b"0123" * 1024)[1]
    yield "frame", bytes((Encoding.ZSTD_PREFIX,)) + compress(plain[::-1][:4000] + plain[:96], PREFIX)[1]
    item = m.ObjectItem(ObjectKind.PACK, NAMES[1], 5000)
    spoken = [
        m.Have("imari", [item]), m.Put("imari", item, 100), m.Commit("imari", NAMES[1]), m.Ping(7), m.Stop(),
        m.Get("imari", ObjectKind.INDEX, NAMES[2], 0, 100), m.Points("imari", "juki", 1), m.Offsets([0, 5000]),
        m.Receipt(b"receipt"), m.End(5000), m.Declare(b"declaration"), m.Kept(10, True),
    ]
    frames = [m.encode_message(message) for message in spoken]
    for frame in frames:
        yield "message", frame[4:]
    yield "line", frames[0]
    yield "line", b"".join(frames) + encode_frame(FrameType.DATA, b"bytes")


def _state() -> Iterator[tuple[str, bytes]]:
    public = RecipientSecret(b"e" * 32).public
    assert isinstance(public, RecipientPublic)
    session = SavedSession(b"i" * 16, b"k" * 32, AT)
    yield "keyring", seal_blob(LOCAL_KEY, msgspec.msgpack.encode(SavedKeyring(
        TENANT, b"t" * 32, public.to_bytes(), "2026", public.to_bytes(), NAMES[1], (session,), (b"object",),
        (NAMES[2],), (SavedKept(b"i" * 16, 1, b"o" * 16, b"k" * 64, AT),), (session,),
    )), context=KEYRING_CONTEXT)
    yield "identity", identity_of(msgspec.msgpack.encode(_Saved(1, SITE, b"s" * 64, b"h" * 32, b"l" * 32)))
    yield "share", split(b"s" * 32, threshold=2, count=3, label=TENANT)[1].to_text().encode()
    verifier = SiteSigner(b"s" * 64).public
    yield "card", encode_card(Card(CardKind.SITE, SITE, verifier, b"h" * 32)).encode()
    yield "card", encode_card(Card(CardKind.OFFICER, "sato", verifier)).encode()
    key = officer._stretch("passphrase", b"s" * 16, 1, 8)
    sealed = seal_blob(key, b"s" * 64, context=officer._CONTEXT + b"sato")
    yield "officer-key", officer.TITLE + base64.encodebytes(
        msgspec.msgpack.encode(officer._Saved("sato", b"s" * 16, 1, 8, sealed))
    )
    yield "share-note", msgspec.json.encode(ShareEvent(AT, "rehearsed", "aa" * 16, "bb" * 8, 2, 3, (1, 3), "opened", 9))
    yield "hold", msgspec.json.encode(Hold("訴訟", AT))
    yield "freeze", msgspec.json.encode(Freeze("復旧中", AT))
    yield "reclaim-state", msgspec.json.encode(ReclaimState(AT, {"imari/juki": 9}, 3, 10**9, 5))


def _journals() -> Iterator[tuple[str, bytes]]:
    yield "journal", journal_of(b"first\nsecond record\n\nlast")
    job = JobRecord(1, "backup", "imari/juki", "schedule", JobState.QUEUED, AT)
    failed = msgspec.structs.replace(
        job, state=list(JobState)[-1], begun_at=AT, ended_at=AT, result={"files": 3},
        failure=Failure("damage", "a {what}", "hint", {"what": "thing"}),
    )
    yield "jobs", journal_of(b"\n".join(map(msgspec.json.encode, (job, failed))))
    events = (
        Beginning("run1", "version = 1", "ab" * 32, AT, AT), StepNote(AT, "restore", StepEvent.BEGIN, {"files": 3}),
        Resume(AT), End(AT, True),
    )
    yield "recovery-run", journal_of(b"\n".join(map(msgspec.json.encode, events)))
    desk = Desk()
    first = desk.receive(IntakeKind.DEATH)
    desk.receive(IntakeKind.SAFETY)
    desk.correct(first, place="伊万里市立病院")
    desk.cancel(first)
    intakes = [encode_intake(one) for one in (desk.ledger.begin, *desk.ledger.entries) if one is not None]
    yield "intake", journal_of(b"\n".join(intakes))
    carried = IntakeFile("imari", "desk", "伊万里", b"i" * 16, b"k" * 32, journal_of(b"\n".join(intakes)), AT)
    yield "intake-file", seal_intake(carried, PASSPHRASE)
    yield "failback-note", encode_note(QueueBegin(AT, "imari"))
    yield "failback-note", encode_note(Note(AT, "69" * 16, first, 0, ItemEvent.RETURN, "kubo", "転出先が不明"))
    entries = (b'{"sequence":1,"at":"2026-11-23","event":"open"}', '{"sequence":2,"at":"x","who":"佐藤"}'.encode())
    yield "audit-log", audit_of(b"\n".join(entries))
    yield "request", encode(Request("backup", {"dataset": "imari/juki", "local": True}))[:-1]
    for answer in (Event({"files": 3}), Result({"point": "aa"}), Failure("damage", "{what}", "hint", {"what": "x"})):
        yield "answer", encode(answer)[:-1]
    yield "accounts", Accounts([Account("sato", b"s" * 16, b"d" * 32, 16, 8, 1)]).encode()


def _texts() -> Iterator[tuple[str, bytes]]:
    for file in sorted((CONFIGURATIONS / "examples").glob("*.toml")):
        yield "configuration", file.read_bytes()
    for file in sorted((CONFIGURATIONS / "plans").glob("*.toml")):
        yield "plan", file.read_bytes()
    columns = '"番号" = "宛名番号"\n"氏名" = "氏名"\n'
    yield "column-map", f'encoding = "cp932"\nignore = ["異動"]\n[columns]\n{columns}'.encode()
    rows = ("番号,氏名,生年月日,異動", "001,佐藤 花子,昭和30年1月2日,x", '2,"田中,\n一",19800229,')
    yield "extract", "\r\n".join((*rows, "")).encode("cp932")
    for text in ("imari/juki@before:2026-11-23T04:00+09:00", "90m", "10 Mbit/s", "[::1]:7420", "令和元年5月1日",
                 "mon..fri 22:00-06:00", "0 3 * * *"):
        yield "words", text.encode()


def _exports() -> Iterator[tuple[str, bytes]]:
    yield "part-map", encode_map(PACK_BYTES, Ranges([(0, 72), (4096, 65536), (PACK_BYTES - 9, PACK_BYTES)]))
    hello = struct.pack(">I", 3)
    go = struct.pack(">8sIII4sHH", b"IHAVEOPT", 7, 12, 4, b"disk", 1, 3)
    asked = b"".join(
        struct.pack(">IHHQQI", 0x25609513, flags, kind, kind, 4096, 512) + (b"w" * 512 if kind == 1 else b"")
        for kind, flags in ((0, 0), (1, 1), (4, 0), (6, 2))
    )
    end = struct.pack(">IHHQQI", 0x25609513, 0, 3, 9, 0, 0) + struct.pack(">IHHQQI", 0x25609513, 0, 2, 0, 0, 0)
    yield "nbd", hello + struct.pack(">8sII", b"IHAVEOPT", 3, 0) + go + asked + end
    yield "nbd", hello + struct.pack(">8sII", b"IHAVEOPT", 1, 5) + b"point" + asked + end
    yield "nbd", hello + struct.pack(">8sII", b"IHAVEOPT", 8, 0) + struct.pack(">8sII", b"IHAVEOPT", 2, 0)


def main() -> None:
    counts: dict[str, int] = {}
    for make in (_objects, _line, _state, _journals, _texts, _exports, _codes):
        for name, data in make():
            counts[name] = counts.get(name, 0) + 1
            path = CORPUS / name / f"{counts[name]:02d}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_bytes(data)


if __name__ == "__main__":
    main()
