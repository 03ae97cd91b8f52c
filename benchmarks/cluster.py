"""A PostgreSQL cluster from a mounted base: how long until it has answered, and until everything is there.

    python -m benchmarks.cluster [--megabytes N] [--rows pgbench|random] [--no-fill] [--keep-cache]

Makes a cluster of one table, takes its base backup as a point, mounts the point with its fill, starts PostgreSQL on
the mount and asks it; then, for comparison, restores the point and starts PostgreSQL on the restored folder. Needs
PostgreSQL 15, FUSE, and, to drop the page cache before each half, root. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from jbackupd.restore.mounted import Mounted
from jbackupd.restore.options import RestoreOptions
from jbackupd.restore.place import restore
from jbackupd.restore.postmaster import Postmaster
from tests.support.clusters import Rig, base_backup

PORT = 54_557
ROW_BYTES = 208
"""Of the table below, with its index."""
TABLES = {
    "random": "md5(random()::text) || md5(random()::text) || md5(random()::text)",
    "pgbench": "repeat(' ', 96)",
}
KEYED = "SELECT length(rest) FROM juki WHERE number = {number}"
SCAN = "SELECT count(*), max(name) FROM juki"
ASKED = 200


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--rows", choices=sorted(TABLES), default="random", help="what fills the rows")
    parser.add_argument("--fill", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--keep-cache", action="store_true", help="do not drop the page cache")
    wanted = parser.parse_args()
    rows = wanted.megabytes * 1_000_000 // ROW_BYTES
    table = (
        f"CREATE TABLE juki AS SELECT n AS number, md5(n::text) AS name, {TABLES[wanted.rows]} AS rest "
        f"FROM generate_series(1, {rows}) AS n; ALTER TABLE juki ADD PRIMARY KEY (number);"
    )
    with base_backup(table) as base, tempfile.TemporaryDirectory(prefix="pg-") as folder:
        Path(folder).chmod(0o711)
        rig = Rig(Path(folder), base)
        found = {
            "megabytes": _megabytes(base), "rows": rows, "filled_with": wanted.rows, "files": _files(base),
            "vault_megabytes": _megabytes(rig.folder / "site"), "load": os.getloadavg()[0],
        }
        _forget(wanted)
        found["mounted"] = _mounted(rig, rows, fill=wanted.fill)
        _forget(wanted)
        found["restored"] = _restored(rig, rows)
        print(json.dumps(found, indent=2))


def _mounted(rig: Rig, rows: int, *, fill: bool) -> dict[str, Any]:
    begun = time.monotonic()
    found: dict[str, Any] = {}
    with rig.mounted(fill=fill) as mounted:
        found["mounted_seconds"] = _since(begun)
        with rig.server(rig.at, PORT) as server:
            found["first_answer_seconds"] = _since(begun)
            server.ask(KEYED.format(number=rows // 2))
            found["first_row_seconds"] = _since(begun)
            found["fetched_megabytes_then"] = _megabytes(rig.tree)
            found |= _asked(server, rows)
            if fill:
                rig.filled.wait()
                found["whole_seconds"] = _since(begun)
                assert mounted.is_filled
            begun_scan = time.monotonic()
            server.ask(SCAN)
            found["scan_seconds"] = _since(begun_scan)
        found["mount_peak_megabytes"] = _peak(mounted)
    return found


def _restored(rig: Rig, rows: int) -> dict[str, Any]:
    begun = time.monotonic()
    found: dict[str, Any] = {}
    target = rig.folder / "restored"
    restore(rig.site.open_point(), str(target), RestoreOptions(set_owner=os.geteuid() == 0))
    found["restored_seconds"] = _since(begun)
    with rig.server(target, PORT) as server:
        found["first_answer_seconds"] = _since(begun)
        server.ask(KEYED.format(number=rows // 2))
        found["first_row_seconds"] = _since(begun)
        found |= _asked(server, rows)
        begun_scan = time.monotonic()
        server.ask(SCAN)
        found["scan_seconds"] = _since(begun_scan)
    return found


def _asked(server: Postmaster, rows: int) -> dict[str, Any]:
    """Ask for rows all over the table, in one session: the server's own time of each."""
    numbers = [1 + (7919 * turn * 104_729) % rows for turn in range(ASKED)]
    script = "\\timing on\n" + "".join(KEYED.format(number=number) + ";\n" for number in numbers)
    done = subprocess.run(server.session(), input=script.encode(), capture_output=True, check=True, cwd="/")
    told = done.stdout.decode().splitlines()
    times = sorted(float(line.split()[1]) for line in told if line.startswith("Time:"))
    return {"row_median_ms": times[len(times) // 2], "row_worst_ms": times[-1]}


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 2)


def _megabytes(folder: Path) -> int:
    return sum(path.lstat().st_blocks for path in folder.rglob("*")) * 512 // 1_000_000


def _files(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def _peak(mounted: Mounted) -> int:
    status = Path(f"/proc/{mounted.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) // 1000


def _forget(wanted: argparse.Namespace) -> None:
    os.sync()
    if not wanted.keep_cache and os.geteuid() == 0:
        Path("/proc/sys/vm/drop_caches").write_text("3")


if __name__ == "__main__":
    main()
