"""A base backup that lies only at a peer: mounted where nothing of it is, and asked while it comes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

from clusters import ROWS, cluster_at
from daemons import Town, free_port, receipted

from jbackupd.restore.overlay import is_whole
from jbackupd.restore.postmaster import Postmaster


def test_a_cluster_that_lies_only_at_a_peer_answers(place: Path, base: Path) -> None:
    town = Town(place)
    saga, kyoto, hokkaido = town.three()
    try:
        saga.config.write_text(saga.config.read_text().replace(str(town.data), str(base)))
        for site in (saga, kyoto):
            site.start()
        saga.command("backup", "imari/juki")
        saga.until(lambda page: receipted(page, 1, peers=1))
        saga.kill()
        shutil.rmtree(saga.state / "vaults")
        at, upper = place / "at", place / "upper"
        at.mkdir()
        shares = [word for number in (1, 2) for word in ("--share", f"{place}/shares/imari-share-{number}-of-3.txt")]
        with subprocess.Popen(
            [sys.executable, "-m", "jbackupd", "-c", str(hokkaido.config), "--language", "en", "mount", "imari/juki",
             str(at), "--writable", str(upper), "--no-fill", *shares],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=hokkaido.environment,
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            assert process.stdout.readline(), process.stderr.read()
            server = Postmaster(cluster_at(at, place / "private", free_port()))
            try:
                server.start(threading.Event())
                assert server.ask("SELECT count(*) FROM juki") == str(ROWS)
                assert not is_part_of_vault(hokkaido.state)
                assert os.listdir(upper / "lazy")
            finally:
                server.stop()
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=60)
            assert process.returncode == 0
        assert not is_whole(str(upper))
    finally:
        for site in town.sites:
            if site.process is not None:
                site.kill()


def is_part_of_vault(state: Path) -> bool:
    """Tell whether a site lists a point."""
    points = state / "vaults" / "imari" / "points"
    return points.exists() and bool(list(points.iterdir()))
