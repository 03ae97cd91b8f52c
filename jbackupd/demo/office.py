"""The office tree of the demo's town: about 300 files and 20 MB as a town hall's share holds them.

Names are bytes: most are UTF-8, those under `旧システム` come from a system that wrote cp932.
"""

from __future__ import annotations

import os
from random import Random

from jbackupd.demo.names import DEPARTMENTS, DOCUMENTS, SENTENCES, TOWNS, seeded

OLD_SYSTEM = "旧システム"
_YEARS = ("令和6年度", "令和7年度", "令和8年度")
_LINE_FEED = "\r\n"


def make_office(folder: str, seed: int) -> int:
    """Write the tree into a folder; return the number of files, the symlink among them."""
    random = seeded(f"office {seed}")
    root = os.fsencode(folder)
    count = 0
    for department in DEPARTMENTS:
        for year in _YEARS:
            for document in random.sample(DOCUMENTS, 6):
                count += _write(root, f"{department}/{year}/{document}.txt".encode(), _report(random, 60_000).encode())
        count += _write(root, f"{department}/集計.csv".encode(), _table(random, 1200).encode("cp932"))
        for page in range(1, 6):
            count += _write(root, f"{department}/図面/{page:02d}.bin".encode(), random.randbytes(192 * 1024))
        old = f"{OLD_SYSTEM}/{department}".encode("cp932")
        for document in random.sample(DOCUMENTS, 4):
            name = f"{document}(旧).txt".encode("cp932")
            count += _write(root, old + b"/" + name, _report(random, 24_000).encode("cp932"))
    plan = f"{DEPARTMENTS[8]}/{_YEARS[-1]}/防災計画.txt".encode()
    os.symlink(plan, os.path.join(root, "最新の防災計画.txt".encode()))
    return count + 1 + _write(root, plan, _report(random, 90_000).encode())


def advance_office(folder: str, seed: int, day: int) -> int:
    """Change the tree as a day does: lines are added, a table is made anew, files come and one goes.

    Returns:
        How many files were touched.
    """
    random = seeded(f"office {seed} day {day}")
    root = os.fsencode(folder)
    texts = sorted(_texts(root))
    for path in random.sample(texts, 8):
        with open(path, "ab") as file:
            file.write(_report(random, 600).encode())
    department = random.choice(DEPARTMENTS)
    count = 8 + _write(root, f"{department}/集計.csv".encode(), _table(random, 1200).encode("cp932"))
    count += _write(root, f"{department}/{_YEARS[-1]}/日報{day:03d}.txt".encode(), _report(random, 6_000).encode())
    count += _write(root, f"{department}/図面/追加{day:03d}.bin".encode(), random.randbytes(64 * 1024))
    os.unlink(random.choice(texts))
    return count + 1


def _texts(root: bytes) -> list[bytes]:
    old = OLD_SYSTEM.encode("cp932")
    return [
        os.path.join(folder, name)
        for folder, _folders, names in os.walk(root) if old not in folder
        for name in names if name.endswith(b".txt") and not os.path.islink(os.path.join(folder, name))
    ]


def _write(root: bytes, path: bytes, data: bytes) -> int:
    full = os.path.join(root, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "wb") as file:
        file.write(data)
    return 1


def _report(random: Random, size: int) -> str:
    """Return a text of about so many UTF-8 bytes, in numbered paragraphs."""
    lines = []
    for number in range(1, size // 300 + 2):
        chosen = "".join(random.choices(SENTENCES, k=3))
        lines.append(f"{number}. {chosen}(文書番号 {random.randrange(10**8):08d})")
    return _LINE_FEED.join(lines) + _LINE_FEED


def _table(random: Random, rows: int) -> str:
    lines = ["番号,町字,件数,金額,備考"]
    lines += [
        f"{number},{random.choice(TOWNS)},{random.randint(0, 400)},{random.randint(0, 9_999_999)},"
        f"{random.choice(SENTENCES)[:12]}"
        for number in range(1, rows + 1)
    ]
    return _LINE_FEED.join(lines) + _LINE_FEED
