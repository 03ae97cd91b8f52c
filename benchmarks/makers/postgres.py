"""A municipal database on a real PostgreSQL server of its own: dumps and base backups of each day.

The server lives in a temporary folder, listens on a socket there and nowhere else, and is stopped at the end. It
writes no day through to the disk (fsync off): only its files count here.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from benchmarks.folders import day_folder
from benchmarks.makers.days import age
from benchmarks.makers.dump import BYTES_PER_RESIDENT, COLUMNS, Register

_OPTIONS = (
    "listen_addresses=''", "fsync=off", "full_page_writes=off", "autovacuum=off", "shared_buffers=128MB",
    "max_wal_size=4GB", "max_parallel_workers_per_gather=0", "synchronize_seqscans=off",
)
_TYPES = {"since": "date", "birth": "date", "due": "date", "paid": "date", "at": "timestamptz",
          "changed": "timestamptz", "base_amount": "bigint", "tax_amount": "bigint", "fiscal_year": "int"}
_UPDATES = {
    "history": "detail = detail || ' 訂正済', digest = md5(history_id::text || '{day}')",
    "household": "address = address || '改', since = since + 1",
    "resident": "address = case when hashint4(resident_id) % 2 = 0 then address || '別棟' else address end, "
                "changed = timestamptz '2026-04-01 09:00:00+09' + interval '{day} day' "
                "+ ((hashint4(resident_id) & 32767) || ' seconds')::interval",
    "tax": "paid = date '2026-04-01' + {day}, status = '9'",
}
UPDATED, DELETED, INSERTED_PART = 10_486, 1_049, 0.002
"""Of 1,048,576 values of a row's hash: 1 % are updated, 0.1 % deleted. Chosen so, the same rows change each time."""


def make_postgres(folder: str, megabytes: int, days: int) -> None:
    """Write register/dayN/dump.sql and basebackup/dayN/base.tar."""
    with tempfile.TemporaryDirectory(prefix="jbackupd-bench-pg-") as home, _server(home) as server:
        register = Register(megabytes * 10**6 // BYTES_PER_RESIDENT)
        server.sql("".join(_created(table) for table in COLUMNS))
        for table in COLUMNS:
            server.copy(table, register.rows(table))
        server.sql("".join(f"alter table {table} add primary key ({table}_id);" for table in COLUMNS))
        server.sql("".join(f"create index on {table} (resident_id);" for table in ("tax", "history")))
        server.sql("vacuum analyze;")
        for day in range(days + 1):
            if day:
                _advance(server, register, day)
            server.sql("checkpoint;")
            _save(server, folder, day)


def _save(server: _Server, folder: str, day: int) -> None:
    dump, base = (day_folder(os.path.join(folder, part), day) for part in ("register", "basebackup"))
    os.makedirs(dump)
    os.makedirs(base)
    server.run("pg_dump", "-Fp", "-f", f"{dump}/dump.sql", "town")
    server.run("pg_basebackup", "-D", base, "-Ft", "-X", "none", "-c", "fast")
    for name in os.listdir(base):
        if name != "base.tar":
            os.unlink(os.path.join(base, name))
    age(dump, day)
    age(base, day)


def _created(table: str) -> str:
    kinds = [f"{name} {_kind(name)}" for name in COLUMNS[table].split(", ")]
    return f"create table {table} ({', '.join(kinds)});"


def _kind(name: str) -> str:
    return "int" if name.endswith("_id") else _TYPES.get(name, "text")


def _advance(server: _Server, register: Register, day: int) -> None:
    """Let a day pass as an application and the night's VACUUM do."""
    for table in COLUMNS:
        chosen = f"(hashint8extended({table}_id::bigint, {{seed}}) & 1048575) < {{part}}"
        update = _UPDATES[table].format(day=day)
        server.sql(f"update {table} set {update} where {chosen.format(seed=1000 + day, part=UPDATED)};")
        server.sql(f"delete from {table} where {chosen.format(seed=1500 + day, part=DELETED)};")
        server.copy(table, register.more(table, INSERTED_PART))
    server.sql("vacuum;")


class _Server:
    """A running server: its tools, with the address in their environment."""

    def __init__(self, programs: str, socket: str) -> None:
        self._programs = programs
        self._env = {**os.environ, "PGHOST": socket, "PGPORT": "5432", "PGUSER": "postgres", "PGDATABASE": "town",
                     "TZ": "Asia/Tokyo", "PGCLIENTENCODING": "UTF8",
                     "PGOPTIONS": "-c client_min_messages=warning"}

    def run(self, program: str, *words: str, data: bytes | None = None) -> None:
        _quietly([f"{self._programs}/{program}", *words], env=self._env, data=data)

    def sql(self, text: str) -> None:
        self.run("psql", "-qX", "-v", "ON_ERROR_STOP=1", data=text.encode())

    def copy(self, table: str, rows: Iterator[str]) -> None:
        """Load rows in the format of a dump."""
        self.run("psql", "-qX", "-v", "ON_ERROR_STOP=1", "-c", f"copy {table} from stdin", data="".join(rows).encode())


@contextmanager
def _server(home: str) -> Iterator[_Server]:
    """Run a new cluster as the user postgres if we are root: the server refuses root."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    if not found:
        raise SystemExit("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    programs = os.path.dirname(found[-1])
    data = os.path.join(home, "data")
    os.mkdir(data)
    root = os.geteuid() == 0
    if root:
        for path in (home, data):
            shutil.chown(path, "postgres", "postgres")
    begin = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if root else []
    control = [*begin, f"{programs}/pg_ctl", "-D", data, "-w"]
    _quietly([*begin, f"{programs}/initdb", "-D", data, "-E", "UTF8", "--no-locale", "-A", "trust", "-N",
              "-U", "postgres"], folder=home)
    options = " ".join(f"-c {option}" for option in _OPTIONS)
    _quietly([*control, "-l", f"{data}/log", "-o", f"-k {home} {options}", "start"], folder=home)
    try:
        server = _Server(programs, home)
        server.run("createdb", "town")
        yield server
    finally:
        _quietly([*control, "-m", "fast", "stop"], folder=home)


def _quietly(
    command: Sequence[str], *, folder: str | None = None, env: Mapping[str, str] | None = None,
    data: bytes | None = None,
) -> None:
    """Run a command; what it says on standard error is left for people."""
    subprocess.run(command, cwd=folder, env=env, input=data, check=True, stdout=subprocess.DEVNULL)
