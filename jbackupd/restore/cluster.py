"""A PostgreSQL cluster from a base backup, made ready to start here: decided from what lies in its folder.

Nothing of the lost site's configuration is used but who may sign in from where (pg_hba.conf, its host lines): its
memory, its paths, its libraries, its archive and its standbys are not here. What a standby must not have less of than
its primary (connections, workers, locks) is read from the cluster's control file. All settings that matter stand on
the server's command line, which no file overrules.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jbackupd.model.errors import NotFoundError, RefusedError, ScriptError, StorageError
from jbackupd.model.units import Address

PLACES = ("/usr/lib/postgresql/{version}/bin", "/usr/pgsql-{version}/bin", "/usr/local/pgsql/bin")
"""Where Debian, Red Hat and the source put the programs."""
SHARED_MEMORY_BYTES_MAX = 512 * 1024 * 1024
"""A quarter of the memory, but no more: others start on this machine at the same time."""
_AS_PRIMARY = {
    "max_connections setting": "max_connections", "max_worker_processes setting": "max_worker_processes",
    "max_wal_senders setting": "max_wal_senders", "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
}
"""Lines of pg_controldata, and the settings they are of. Source: PostgreSQL 15, 27.4.3, hot standby parameters."""
_NOT_OF_THE_LOST_SITE = (
    "archive_mode=off", "archive_command=", "synchronous_standby_names=", "primary_conninfo=", "primary_slot_name=",
    "shared_preload_libraries=", "ssl=off", "logging_collector=off", "log_destination=stderr",
    "recovery_target=", "recovery_target_lsn=", "recovery_target_name=", "recovery_target_time=",
    "recovery_target_xid=", "recovery_target_timeline=latest", "recovery_end_command=", "archive_cleanup_command=",
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster and how it is to run.

    Attributes:
        data: Its folder.
        private: A folder for the configuration that is made here; only ours.
        programs: Folder of postgres, psql and pg_controldata.
        listen: Where it answers.
        user: Who it runs as; also the role that asks it. Another than ours only for root.
        promote: Whether it takes writes; else it is a standby that waits for more.
        wal: Folder with archived WAL to be replayed, if there is one beside what the base brought.
    """

    data: str
    private: str
    programs: str
    listen: Address
    user: str
    promote: bool
    wal: str | None = None

    def program(self, name: str) -> str:
        """Return a program's path."""
        return os.path.join(self.programs, name)

    @property
    def changes_user(self) -> bool:
        """Whether its programs run as another user than we."""
        return os.geteuid() == 0


def find_programs(data: str, folder: str | None) -> str:
    """Return the folder of the programs that fit a cluster.

    Args:
        folder: Where to look; the usual places and PATH without it.

    Raises:
        NotFoundError: There are none, or not of its version; or the folder holds no cluster.
    """
    version = cluster_version(data)
    usual = [place.format(version=version) for place in PLACES]
    path = shutil.which("postgres")
    candidates = [folder] if folder else [*usual, *([os.path.dirname(os.path.realpath(path))] if path else [])]
    for place in candidates:
        if _version_of(place) == version:
            return place
    raise NotFoundError(
        "PostgreSQL {version} is not here: looked for it in {places}",
        "install that version's server, or name its folder in the step's programs",
        version=version, places=", ".join(candidates),
    )


def cluster_version(data: str) -> str:
    """Return a cluster's major version.

    Raises:
        NotFoundError: The folder holds no cluster.
    """
    try:
        with open(os.path.join(data, "PG_VERSION"), encoding="ascii") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NotFoundError(
            "there is no PostgreSQL cluster in {folder}",
            "name its folder in the step's directory; 'jbackupd ls' shows it", folder=data,
        ) from error


def _version_of(programs: str) -> str | None:
    try:
        done = subprocess.run(
            [os.path.join(programs, "postgres"), "--version"], stdin=subprocess.DEVNULL, capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(rb" (\d+)[.\w]*", done.stdout)
    return found[1].decode() if found else None


def check_cluster(data: str) -> None:
    """Check that a cluster can run where it lies.

    Raises:
        RefusedError: It keeps tables elsewhere.
    """
    for link in glob.glob(os.path.join(glob.escape(data), "pg_tblspc", "*")):
        if os.path.islink(link):
            raise RefusedError(
                "the cluster keeps tables outside of its folder: {link} points to {target}",
                "take the base with 'pg_basebackup --tablespace-mapping', or restore that folder to its place first",
                link=os.path.basename(link), target=os.readlink(link),
            )


def shape(cluster: Cluster) -> None:
    """Let a cluster's folder be as its server wants it: its mode, its signals, no trace of the lost one's process.

    Raises:
        StorageError: It cannot be changed.
    """
    try:
        os.chmod(cluster.data, 0o700)
        for name in ("postmaster.pid", "postmaster.opts", "recovery.signal", "standby.signal"):
            if os.path.lexists(os.path.join(cluster.data, name)):
                os.unlink(os.path.join(cluster.data, name))
        signal = _signal(cluster)
        if signal is not None:
            _write(os.path.join(cluster.data, signal), "")
        # PostgreSQL insists on these; a list of files does not always hold the empty ones.
        for name in ("pg_commit_ts", "pg_dynshmem", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat",
                     "pg_stat_tmp", "pg_subtrans", "pg_tblspc", "pg_twophase", "pg_wal/archive_status"):
            os.makedirs(os.path.join(cluster.data, name), mode=0o700, exist_ok=True)
    except OSError as error:
        raise StorageError(
            "unable to prepare the cluster in {folder}: {reason}", "check the disk and the rights of the folder",
            folder=cluster.data, reason=os.strerror(error.errno or 0),
        ) from error


def _signal(cluster: Cluster) -> str | None:
    """Return the file that tells the server what to do with WAL; without one it replays what lies there, and is up."""
    if not cluster.promote:
        return "standby.signal"
    return "recovery.signal" if cluster.wal else None


def write_configuration(cluster: Cluster, control: Mapping[str, str]) -> None:
    """Write the configuration files into the private folder.

    Args:
        control: As `read_control` returns it.
    """
    _write(os.path.join(cluster.private, "postgresql.conf"), "".join(
        f"{name} = {value}\n" for name, value in _file_settings(control).items()
    ))
    _write(os.path.join(cluster.private, "pg_ident.conf"), "")
    # Who reaches the socket may do anything: it lies in a folder that only this user can enter.
    _write(os.path.join(cluster.private, "pg_hba.conf"), "".join(
        line + "\n" for line in ("local all all trust", *_host_lines(cluster.data))
    ))


def _file_settings(control: Mapping[str, str]) -> dict[str, str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "shared_buffers": f"{min(memory // 4, SHARED_MEMORY_BYTES_MAX) // 1024}kB",
        "hot_standby": "on",
        # It makes code to run, which a hardened unit forbids.
        "jit": "off",
        "log_timezone": "'Asia/Tokyo'", "timezone": "'Asia/Tokyo'",
        "password_encryption": "'scram-sha-256'",
        **{setting: control[line] for line, setting in _AS_PRIMARY.items() if line in control},
    }


def _host_lines(data: str) -> Iterator[str]:
    """Yield who may come in over the network: as at the lost site, and from this machine with a password."""
    yield "host all all samehost scram-sha-256"
    try:
        with open(os.path.join(data, "pg_hba.conf"), encoding="utf-8", errors="surrogateescape") as file:
            # Trust at the lost site was trust in its network.
            yield from (
                line.strip() for line in file if re.match(r"\s*host(nossl)?\s", line) and "trust" not in line.split()
            )
    except FileNotFoundError:
        return


def command_line(cluster: Cluster, sockets: str) -> list[str]:
    """Return how the server is called.

    Args:
        sockets: Folder of its socket.
    """
    own = [
        f"config_file={cluster.private}/postgresql.conf", f"hba_file={cluster.private}/pg_hba.conf",
        f"ident_file={cluster.private}/pg_ident.conf", f"unix_socket_directories={sockets}",
        f"listen_addresses={cluster.listen.host}", f"port={cluster.listen.port}", "cluster_name=jbackupd",
        f"restore_command={_restore_command(cluster)}", *_NOT_OF_THE_LOST_SITE,
    ]
    call = [cluster.program("postgres"), "-D", cluster.data]
    for setting in own:
        call += ["-c", setting]
    return as_user(cluster, call)


def _restore_command(cluster: Cluster) -> str:
    if cluster.wal is None:
        # A standby must have one; there is no more than what the base brought.
        return "" if cluster.promote else "/bin/false"
    quoted = cluster.wal.replace("%", "%%").replace("'", "'\\''")
    return f"cp -- '{quoted}/%f' '%p'"


def as_user(cluster: Cluster, call: list[str]) -> list[str]:
    """Return a call that runs as the cluster's user."""
    if not cluster.changes_user:
        return call
    return ["setpriv", f"--reuid={cluster.user}", f"--regid={cluster.user}", "--init-groups", "--", *call]


def read_control(cluster: Cluster) -> dict[str, str]:
    """Return what the cluster's control file says, as pg_controldata names it.

    Raises:
        ScriptError: It is damaged.
    """
    call = as_user(cluster, [cluster.program("pg_controldata"), "-D", cluster.data])
    done = subprocess.run(
        call, stdin=subprocess.DEVNULL, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"}
    )
    if done.returncode:
        raise ScriptError(
            "unable to read the control file of the cluster in {folder}: {reason}",
            "look at the point with 'jbackupd verify'; take another point",
            folder=cluster.data, reason=done.stderr.decode("utf-8", "replace").strip()[-500:],
        )
    lines = (line.partition(":") for line in done.stdout.decode("utf-8", "replace").splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
