"""A share of a town hall: small texts and tables, zipped documents, pictures, and a tree of installed packages.

Names are bytes: a part of them is cp932, as a tree has that was moved from an old file server.
"""

from __future__ import annotations

import io
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable
from random import Random

from benchmarks.makers.days import paths, put, write_days
from benchmarks.makers.packages import install, upgrade
from benchmarks.makers.text import report
from jbackupd.demo.names import DEPARTMENTS, FAMILY_NAMES, TOWNS

FILES_PER_MEGABYTE = 87
"""20,000 files in 230 MB."""
_KINDS = ((0.42, b".txt"), (0.6, b".csv"), (0.72, b".xml"), (0.95, b".bin"), (0.97, b".jpg"), (0.98, b".pdf"),
          (0.99, b".xlsx"), (1.0, b".docx"))
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def make_office(folder: str, megabytes: int, days: int) -> None:
    """Write share/ and app/: edits each day, the packages upgraded on day 2, a department renamed on day 3."""
    random = Random(4)
    write_days(folder, days, lambda at: _new_office(at, random, megabytes), lambda at, day: _advance(at, random, day))


def _new_office(folder: str, random: Random, megabytes: int) -> None:
    for number in range(megabytes * FILES_PER_MEGABYTE * 3 // 4):
        kind = _kind(random)
        put(_place(folder, random, number) + kind, new_file(random, kind))
    install(os.path.join(folder, "app"), megabytes * 10**6 // 3)


def _kind(random: Random) -> bytes:
    chance = random.random()
    return next(ending for part, ending in _KINDS if chance < part)


def _place(folder: str, random: Random, number: int) -> bytes:
    path = f"share/{random.choice(DEPARTMENTS)}/{random.randint(1, 40):02d}_{random.choice(TOWNS)}".encode()
    encoding = "cp932" if number % 7 == 0 else "utf-8"
    name = f"{random.choice(FAMILY_NAMES)[0]}_{number:05d}_文書"
    return os.path.join(os.fsencode(folder), path, name.encode(encoding, "replace"))


def new_file(random: Random, kind: bytes) -> bytes:
    """Return a file's content by its ending."""
    size = 20 + int(min(random.lognormvariate(6.0, 1.1), 40_000))
    match kind:
        case b".csv":
            return "".join(_line(random, number) for number in range(size // 10 + 2)).encode("cp932", "replace")
        case b".xml":
            pieces = [f'<p s="{random.randrange(9)}">{report(random, 40)}</p>' for _ in range(size // 60)]
            return f"<doc>{''.join(pieces)}</doc>".encode()
        case b".bin":
            return random.randbytes(min(size, 3_000))
        case b".jpg":
            return b"\xff\xd8\xff\xe0" + random.randbytes(random.randint(40_000, 250_000))
        case b".pdf" | b".docx" | b".xlsx":
            pieces = [report(random, 200) for _ in range(random.randint(20, 200))]
            picture = random.randbytes(random.randint(5_000, 60_000)) if random.random() < 0.5 else b""
            return _wrap(kind, pieces, picture)
        case _:
            return content(random, size * 4)


def content(random: Random, size: int) -> bytes:
    """Return a text of about so many bytes; every third is cp932."""
    return report(random, size // 3).encode("cp932" if random.random() < 0.33 else "utf-8", "replace")


def _line(random: Random, number: int) -> str:
    return (f"{number},{random.choice(FAMILY_NAMES)[0]},{random.choice(DEPARTMENTS)},{random.randrange(10**6)},"
            f"2026/{random.randint(1, 12):02d}/{random.randint(1, 28):02d}\r\n")


def _wrap(kind: bytes, pieces: list[str], picture: bytes) -> bytes:
    """Return a document: a PDF's compressed streams, or a zip archive."""
    if kind == b".pdf":
        streams = [zlib.compress("".join(pieces[at : at + 8]).encode()) for at in range(0, len(pieces), 8)]
        objects = [b"%d 0 obj <</Length %d>> stream\n%s\nendstream endobj\n" % (number, len(stream), stream)
                   for number, stream in enumerate([*streams, picture])]
        return b"%PDF-1.7\n" + b"".join(objects) + b"%%EOF\n"
    held = io.BytesIO()
    main = "xl/worksheets/sheet1.xml" if kind == b".xlsx" else "word/document.xml"
    body = "".join(f"<w:p><w:r><w:t>{piece}</w:t></w:r></w:p>" for piece in pieces)
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("[Content_Types].xml", _LONG_AGO), "<Types/>" * 20, zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo(main, _LONG_AGO), f"<w:document>{body}</w:document>", zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo("styles.xml", _LONG_AGO), "<w:style/>" * 300, zipfile.ZIP_DEFLATED)
        if picture:
            archive.writestr(zipfile.ZipInfo("media/image1.jpeg", _LONG_AGO), picture, zipfile.ZIP_STORED)
    return held.getvalue()


def edit(data: bytes, kind: bytes, random: Random) -> bytes:
    """Return a file after somebody worked on it: a sentence into a text or document, another picture."""
    match kind:
        case b".jpg" | b".bin":
            return random.randbytes(len(data))
        case b".docx" | b".xlsx":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                parts = {info.filename: (archive.read(info), info.compress_type) for info in archive.infolist()}
            return _saved_again(parts, random)
        case b".pdf":
            # An incremental update: what was there stays, the new objects follow.
            return data + _wrap(b".pdf", [report(random, 300)], b"")
        case _:
            at = random.randrange(len(data) + 1)
            return data[:at] + report(random, 60).encode("cp932", "replace") + data[at + random.choice((0, 0, 10)) :]


def _saved_again(parts: dict[str, tuple[bytes, int]], random: Random) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (data, how) in parts.items():
            if name.endswith(("document.xml", "sheet1.xml")):
                at = data.index(b"</w:t>", random.randrange(len(data) * 9 // 10))
                data = data[:at] + report(random, 60).encode() + data[at:]
            archive.writestr(zipfile.ZipInfo(name, _LONG_AGO), data, how)
    return held.getvalue()


def _advance(folder: str, random: Random, day: int) -> None:
    """Edit 1.3 % of the files, add 0.3 %, delete 0.15 %; then what the day brings besides."""
    share = sorted(paths(os.fsencode(os.path.join(folder, "share"))))
    for path in random.sample(share, max(3, len(share) * 13 // 1000)):
        with open(path, "rb") as file:
            put(path, edit(file.read(), os.path.splitext(path)[1], random))
    for number in range(max(1, len(share) * 3 // 1000)):
        kind = _kind(random)
        put(_place(folder, random, 100_000 * day + number) + kind, new_file(random, kind))
    for path in random.sample(share, max(1, len(share) * 15 // 10_000)):
        os.unlink(path)
    besides: dict[int, Callable[[], None]] = {
        2: lambda: upgrade(os.path.join(folder, "app")), 3: lambda: _rename(os.path.join(folder, "share")),
    }
    besides.get(day, lambda: None)()


def _rename(share: str) -> None:
    shutil.move(os.path.join(share, DEPARTMENTS[1]), os.path.join(share, DEPARTMENTS[1] + "(市税収納課)"))
