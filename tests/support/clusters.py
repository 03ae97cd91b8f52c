"""A real PostgreSQL cluster, its base backup as a point, and mounts of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from onesite import Site

from jbackupd.model.errors import JbackupdError
from jbackupd.model.ids import ObjectKind, ObjectRef
from jbackupd.model.units import Address
from jbackupd.restore.cluster import Cluster, as_user
from jbackupd.restore.mounted import Mounted
from jbackupd.restore.overlay import make_overlay
from jbackupd.restore.pointcontents import PointContents
from jbackupd.restore.postmaster import Postmaster
from jbackupd.restore.view import PointView
from jbackupd.sources.files import FilesSource

PROGRAMS = "/usr/lib/postgresql/15/bin"
ROWS = 30_000
TABLE = f"""
CREATE TABLE juki AS SELECT n AS number, md5(n::text) AS name, repeat('x', 60) AS rest
  FROM generate_series(1, {ROWS}) AS n;
ALTER TABLE juki ADD PRIMARY KEY (number);
"""

LATER = "INSERT INTO juki VALUES (0, 'later', ''); SELECT pg_switch_wal();"


def cluster_at(data: str | os.PathLike[str], private: Path, port: int, **more: object) -> Cluster:
    """Return how a cluster runs here."""
    kept = {"promote": True, **more}
    return Cluster(str(data), str(private), PROGRAMS, Address("127.0.0.1", port), "postgres", **kept)


@contextlib.contextmanager
def base_backup(table: str = TABLE) -> Iterator[Path]:
    """Make a cluster of one table and take its base backup, with the WAL that it needs.

    Beside it lies a folder `wal` with what was archived after the base: it adds a row.
    """
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        Path(folder).chmod(0o755)
        data, taken, archive = Path(folder, "data"), Path(folder, "base"), Path(folder, "wal")
        home = cluster_at(data, Path(folder), 1)

        def call(name: str, *arguments: str, text: str = "") -> None:
            subprocess.run(
                as_user(home, [os.path.join(PROGRAMS, name), *arguments]), input=text.encode(), check=True,
                capture_output=True, cwd="/",
            )

        for each in (data, taken, archive):
            each.mkdir(mode=0o700)
            if home.changes_user:
                shutil.chown(each, "postgres")
        call("initdb", "-k", "--no-sync", "-U", "postgres", "-D", str(data))
        options = f"-c listen_addresses= -c unix_socket_directories={data} -c fsync=off "
        options += f"-c archive_mode=on -c 'archive_command=cp %p {archive}/%f'"
        # Not with a pipe: the server would hold it open.
        start = [f"{PROGRAMS}/pg_ctl", "-D", str(data), "-o", options, "-l", str(data / "log"), "-w", "start"]
        subprocess.run(as_user(home, start), check=True, stdout=subprocess.DEVNULL, cwd="/")
        try:
            call("psql", "-h", str(data), "-U", "postgres", "-v", "ON_ERROR_STOP=1", text=table)
            call("pg_basebackup", "-h", str(data), "-U", "postgres", "-D", str(taken), "-c", "fast", "--no-sync")
            for each in archive.iterdir():
                each.unlink()
            call("psql", "-h", str(data), "-U", "postgres", text=LATER)
        finally:
            # The archive has everything when the server has ended.
            call("pg_ctl", "-D", str(data), "-m", "fast", "-w", "stop")
        yield taken


class Rig:
    """A point with a base backup, and a folder to mount it with."""

    def __init__(self, folder: Path, *sources: Path) -> None:
        self.folder = folder
        self.site = Site(folder / "site")
        self.site.backup(FilesSource([os.fsencode(path) for path in sources]))
        self.upper = folder / "upper"
        self.tree = self.upper / "tree"
        self.at = folder / "mount"
        self.at.mkdir()
        self.damage: list[JbackupdError] = []
        self.filled = threading.Event()
        self.ended = threading.Event()

    @contextlib.contextmanager
    def mounted(self, *, fill: bool) -> Iterator[Mounted]:
        self.filled.clear()
        self.ended.clear()
        with contextlib.closing(PointView(self.site.open_point())) as view:
            make_overlay(str(self.upper), "imari/juki@1", view.entries)
            contents = PointContents(view, lambda _, error: self.damage.append(error))
            with contextlib.closing(Mounted(
                str(self.upper), str(self.at), contents, name="imari/juki@1", writable=True, fill=fill, hear=self.hear,
            )) as mounted:
                yield mounted

    def hear(self, said) -> None:
        (self.filled if said["event"] == "filled" else self.ended).set()

    @contextlib.contextmanager
    def server(self, data: Path, port: int, **more: object) -> Iterator[Postmaster]:
        server = Postmaster(cluster_at(data, self.folder / "private", port, **more))
        server.start(threading.Event())
        try:
            yield server
        finally:
            server.stop()

    def path_of_table(self) -> bytes:
        """Return the path of the greatest file that is no WAL: the table."""
        files = [entry for entry in self.site.open_point().entries() if entry.path.startswith(b"base/")]
        return max(files, key=lambda entry: entry.size).path

    def damage_file(self, path: bytes) -> None:
        """Flip a bit in the last frame of a file."""
        entry = next(entry for entry in self.site.open_point().entries() if entry.path == path)
        frame = entry.extents[-1].frame
        place = self.site.catalog.find_frames([frame])[frame]
        pack = self.folder / "site" / self.site.store.path(ObjectRef(ObjectKind.PACK, place.pack))
        data = bytearray(pack.read_bytes())
        data[place.record.offset + place.record.sealed_length // 2] ^= 1
        pack.write_bytes(data)

    def lacks(self) -> bool:
        return bool(os.listdir(self.upper / "lazy"))


def run_program(name: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a program of PostgreSQL as us."""
    return subprocess.run([os.path.join(PROGRAMS, name), *arguments], capture_output=True, check=False)
