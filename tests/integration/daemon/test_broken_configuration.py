"""A configuration that was broken on disk hides nothing of the daemon that runs on the one before."""

from __future__ import annotations

import subprocess
import sys

from jbackupd.model.errors import ConfigError, NotFoundError


def told(saga, *arguments: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "jbackupd", "-c", str(saga.config), *arguments]
    return subprocess.run(call, capture_output=True, text=True, env=saga.environment, check=False)


def test_the_daemon_is_still_asked_and_the_broken_file_is_told(town) -> None:
    saga = town.alone().start()
    good = saga.config.read_text()
    assert saga.command("status")["configuration"]["on_disk_error"] is None
    for bad in (good.replace("[[dataset]]", "[[dataset]]\nshedule = 1"), good + "[[dataset\n"):
        saga.config.write_text(bad)
        page = saga.command("status", "imari/juki")
        assert page["datasets"][0]["id"] == "imari/juki"
        assert page["configuration"]["error"] is None
        assert page["configuration"]["on_disk_error"]["code"] == ConfigError.code
        for asked in (("peer", "list"), ("limit", "show"), ("site", "status"), ("recovery", "history")):
            saga.command(*asked)
    english, japanese = (told(saga, "--language", language, "status") for language in ("en", "ja"))
    assert english.returncode == japanese.returncode == 0
    assert "the daemon goes on with the one before" in english.stderr and str(saga.config) in english.stderr
    assert "前の設定のまま動いています" in japanese.stderr
    assert "imari/juki" in english.stdout
    assert saga.stop() == 0
    # Nobody runs any more: the broken file is what has to be mended first.
    saga.command("status", expect=ConfigError.exit_code)
    saga.config.write_text(good)
    saga.command("status", expect=NotFoundError.exit_code)
