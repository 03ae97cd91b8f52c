"""What only reads starts without what only takes points or speaks to other sites: that costs a fifth of a second."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

NEVER = {"asyncio", "asyncssh", "numpy", "rich", "starlette", "uvicorn", "jbackupd.engine.backup"}
CALLED = """
import json, os, sys
from jbackupd.cli.main import main
told = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
code = main(sys.argv[1:])
os.write(told, json.dumps([code, sorted(sys.modules)]).encode())
"""


@pytest.mark.parametrize("call", [
    ["points", "list"], ["points", "show", "imari/juki"], ["ls", "imari/juki", "-r"], ["cat", "imari/juki", "a.txt"],
    ["restore", "imari/juki", "--to", "OUT"], ["verify"], ["vault", "info", "imari"],
], ids=" ".join)
def test_a_reading_command_loads_nothing_of_what_takes_points(vaulted, call):
    vaulted.document("backup", "imari/juki", "--local")
    arguments = [vaulted.path("out") if word == "OUT" else word for word in call]
    assert loaded(vaulted, *arguments) & NEVER == set()


def test_a_backup_that_finds_nothing_new_loads_nothing_of_what_makes_frames(vaulted):
    # What a test wrote just now is read twice, since it may have changed within its clock's grain.
    vaulted.configure(f'kind = "files", paths = ["{Path(__file__).parents[2] / "docs" / "format"}"]')
    vaulted.document("backup", "imari/juki", "--local")
    modules = loaded(vaulted, "backup", "imari/juki", "--local")
    assert modules & (NEVER - {"jbackupd.engine.backup"} | {"jbackupd.engine.making"}) == set()


def loaded(installation, *arguments):
    """Return the modules that a command has loaded when it ends."""
    done = subprocess.run(
        [sys.executable, "-c", CALLED, "-c", installation.config, *arguments], capture_output=True, check=True
    )
    code, modules = json.loads(done.stdout)
    assert code == 0
    return set(modules)
