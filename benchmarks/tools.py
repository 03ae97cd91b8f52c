"""Where the programs are that jbackupd is compared with: the newer ones that `fetch-tools` laid down, then PATH."""

from __future__ import annotations

import os
import shutil

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NEWER = os.environ.get("JBACKUPD_BENCH_TOOLS", os.path.join(HERE, "build", "bench"))
"""Where `benchmarks/fetch-tools` puts the newest borg (from PyPI), restic (from the next Debian) and real packages."""


def newest(name: str) -> str | None:
    """Return the path of the newest borg or restic there is."""
    for place in (f"{NEWER}/{name}/bin/{name}", f"{NEWER}/{name}/usr/bin/{name}"):
        if os.access(place, os.X_OK):
            return place
    return None


def debian(name: str) -> str | None:
    """Return the path of the program that the system has; what administrators call by full path counts as well."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def either(name: str) -> str:
    """Return the newest there is, or the bare name, which then is not installed."""
    return newest(name) or debian(name) or name
