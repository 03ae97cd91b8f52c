"""How a cluster is made ready: what is taken over from the lost site, and what is refused."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from jbackupd.model.errors import NotFoundError, RefusedError
from jbackupd.model.units import Address
from jbackupd.restore.cluster import (
    Cluster,
    check_cluster,
    cluster_version,
    command_line,
    find_programs,
    shape,
    write_configuration,
)


@pytest.fixture
def data(tmp_path):
    """Return a folder that looks like a cluster."""
    folder = tmp_path / "data"
    (folder / "pg_tblspc").mkdir(parents=True)
    (folder / "pg_wal").mkdir()
    (folder / "PG_VERSION").write_text("15\n")
    return folder


def cluster(data, **more) -> Cluster:
    private = data.parent / "private"
    private.mkdir(exist_ok=True)
    fields = {"programs": "/programs", "listen": Address("10.0.0.1", 5433), "user": "postgres", "promote": True}
    return Cluster(str(data), str(private), **{**fields, **more})


def settings(call: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for before, word in pairwise(call) if before == "-c")


def test_nothing_of_the_lost_sites_archive_and_standbys_is_in_force(data):
    found = settings(command_line(cluster(data), "/sockets"))
    assert found["archive_mode"] == "off"
    assert found["synchronous_standby_names"] == found["primary_conninfo"] == found["shared_preload_libraries"] == ""
    assert (found["listen_addresses"], found["port"]) == ("10.0.0.1", "5433")


@pytest.mark.parametrize(("more", "signals", "command"), [
    ({}, [], ""),
    ({"wal": "/it's/100%"}, ["recovery.signal"], "cp -- '/it'\\''s/100%%/%f' '%p'"),
    ({"promote": False}, ["standby.signal"], "/bin/false"),
])
def test_what_the_server_does_with_wal(data, more, signals, command):
    (data / "standby.signal").write_text("")
    (data / "postmaster.pid").write_text("1\n")
    shape(cluster(data, **more))
    assert sorted(path.name for path in data.glob("*.signal")) == signals
    assert not (data / "postmaster.pid").exists()
    assert settings(command_line(cluster(data, **more), "/sockets"))["restore_command"] == command


def test_who_may_sign_in_is_as_before_but_nobody_is_trusted(data):
    (data / "pg_hba.conf").write_text(
        "local all all peer\nhost juki app 10.1.0.0/16 scram-sha-256\nhost all all 10.2.0.0/16 trust\n# host x\n"
        "hostssl all all 0.0.0.0/0 cert\nhostnossl all all 10.3.0.0/16 md5\n"
    )
    made = cluster(data)
    write_configuration(made, {"max_connections setting": "321"})
    lines = Path(made.private, "pg_hba.conf").read_text().splitlines()
    assert lines == [
        "local all all trust", "host all all samehost scram-sha-256", "host juki app 10.1.0.0/16 scram-sha-256",
        "hostnossl all all 10.3.0.0/16 md5",
    ]
    assert "max_connections = 321\n" in Path(made.private, "postgresql.conf").read_text()


def test_tables_outside_of_the_folder_are_refused(data):
    os.symlink("/srv/fast-disk", data / "pg_tblspc" / "16400")
    with pytest.raises(RefusedError, match="/srv/fast-disk"):
        check_cluster(str(data))


def test_what_is_missing_is_said(data, tmp_path):
    assert cluster_version(str(data)) == "15"
    with pytest.raises(NotFoundError, match="no PostgreSQL cluster"):
        cluster_version(str(tmp_path))
    with pytest.raises(NotFoundError, match="PostgreSQL 15 is not here"):
        find_programs(str(data), str(tmp_path))
    (data / "PG_VERSION").write_text("9\n")
    with pytest.raises(NotFoundError, match="PostgreSQL 9 is not here"):
        find_programs(str(data), None)
