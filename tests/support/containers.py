"""A tiny image made of busybox, and a place where podman can run it.

crun refuses a machine whose control groups are split over both versions (an old kernel's way, and some test machines').
There the second version's folder is taken away in a mount namespace of a thread of our own: what that thread starts,
threads too, sees it like this.
"""

from __future__ import annotations

import ctypes
import io
import os
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

SPLIT = "/sys/fs/cgroup/unified"
BUSYBOX = "/bin/busybox"
NAME = "localhost/jbackupd-test:1"
_CLONE_NEWNS, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x20000, 0x4000, 0x40000, 2
_libc = ctypes.CDLL(None, use_errno=True)


def where_containers_run(do: Callable[[], T]) -> T:
    """Return what a function returns that starts containers."""
    came: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            if os.path.ismount(SPLIT):
                _unshare_mounts()
            came.append(do())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return came[0]


def command_where_containers_run(command: list[str]) -> list[str]:
    """Return a command line that runs another one where containers run."""
    if not os.path.ismount(SPLIT):
        return command
    return ["unshare", "--mount", "sh", "-c", f'umount -l {SPLIT} && exec "$@"', "sh", *command]


class Images:
    """A host's image store with one image in it, and the same image as a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.archive = folder / "image.tar"
        folder.mkdir()
        (folder / "root.tar").write_bytes(_root())
        storage = f'[storage]\ndriver = "overlay"\ngraphroot = "{self.store}"\nrunroot = "{folder}/run"\n'
        (folder / "storage.conf").write_text(storage + '[storage.options.overlay]\nskip_mount_home = "true"\n')
        engine = f'[engine]\nlock_type = "file"\nevents_logger = "none"\ntmp_dir = "{folder}/tmp"\n'
        (folder / "containers.conf").write_text(engine + f'[network]\nnetwork_config_dir = "{folder}/net"\n')
        self.sha256 = self.podman("import", str(folder / "root.tar"), NAME).removeprefix("sha256:")
        self.podman("save", "--output", str(self.archive), NAME)

    def podman(self, *arguments: str) -> str:
        environment = {
            **os.environ, "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
        }
        done = subprocess.run(["podman", *arguments], env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def _root() -> bytes:
    """Return a root file system: one static program with many names."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for folder in ("bin", "proc", "sys", "dev", "etc", "tmp", "data", "www"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        tar.add(shutil.which("busybox") or BUSYBOX, "bin/busybox")
        for name in ("sh", "httpd", "sleep", "cat", "env", "ls", "touch", "ip", "kill", "mkfifo"):
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return out.getvalue()


def _unshare_mounts() -> None:
    for called in (
        _libc.unshare(_CLONE_NEWNS),
        _libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None),
        _libc.umount2(SPLIT.encode(), _MNT_DETACH),
    ):
        if called != 0:
            raise OSError(ctypes.get_errno(), "unable to make a mount namespace for containers")
