"""A small Linux boots from an image that lies only at a peer, and finds at its second boot what it wrote at its first.

Needs the Debian packages qemu-system-x86, linux-image-cloud-amd64, busybox-static and e2fsprogs; without them it
fails, and says so: it is part of the soak alone.
"""

from __future__ import annotations

import glob
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from daemons import SiteProcess, Town, receipted

from tests.integration.export.test_nbd import exported, shares

IMAGE_BYTES = 96 * 1024 * 1024
UNUSED_BYTES = 60_000_000
BOOT_SECONDS = 600
INIT = """#!/bin/sh
/bin/busybox mkdir -p /proc /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev 2>/dev/null
echo "SUM $(/bin/busybox md5sum /data/used | /bin/busybox cut -c1-32)"
echo "FOUND $(/bin/busybox cat /written 2>/dev/null)"
echo one more boot >> /written
/bin/busybox sync
/bin/busybox mount -o remount,ro /
echo "BOOTED"
/bin/busybox poweroff -f
"""


def needed(*patterns: str) -> list[str]:
    """Return the newest file of each pattern; fails where there is none."""
    found = [sorted(glob.glob(pattern)) for pattern in patterns]
    missing = [pattern for pattern, files in zip(patterns, found, strict=True) if not files]
    assert not missing, f"{missing}: install qemu-system-x86 linux-image-cloud-amd64 busybox-static e2fsprogs"
    return [files[-1] for files in found]


def make_image(path: Path, folder: Path) -> str:
    """Make a root file system; return the MD5 of the file that its init reads."""
    busybox, _ = needed("/bin/busybox", "/sbin/mke2fs")
    for name in ("bin", "sbin", "proc", "dev", "data"):
        (folder / name).mkdir(parents=True)
    shutil.copy(busybox, folder / "bin" / "busybox")
    (folder / "bin" / "sh").symlink_to("busybox")
    (folder / "sbin" / "init").write_text(INIT)
    (folder / "sbin" / "init").chmod(0o755)
    (folder / "data" / "unused").write_bytes(random.Random(2).randbytes(UNUSED_BYTES))
    (folder / "data" / "used").write_bytes(random.Random(3).randbytes(3_000_000))
    with open(path, "wb") as file:
        file.truncate(IMAGE_BYTES)
    subprocess.run(["/sbin/mke2fs", "-q", "-t", "ext4", "-d", str(folder), str(path)], check=True)
    done = subprocess.run(["md5sum", str(folder / "data" / "used")], capture_output=True, check=True)
    return done.stdout.decode()[:32]


def boot(uri: str) -> list[str]:
    """Boot from a block device until the guest powers off; return the lines of its console."""
    qemu, kernel, initrd = needed("/usr/bin/qemu-system-x86_64", "/boot/vmlinuz-*cloud*", "/boot/initrd.img-*cloud*")
    done = subprocess.run(
        [qemu, "-accel", "tcg", "-cpu", "max", "-m", "384", "-display", "none", "-serial", "stdio", "-monitor", "none",
         "-no-reboot", "-kernel", kernel, "-initrd", initrd, "-append", "root=/dev/vda rw console=ttyS0 panic=-1",
         "-drive", f"file={uri},if=virtio,format=raw"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=BOOT_SECONDS, check=False,
    )
    lines = [line.strip() for line in done.stdout.decode("utf-8", "replace").splitlines()]
    assert "BOOTED" in lines, (lines[-40:], done.stderr[-2000:])
    return lines


@pytest.fixture
def at_a_peer(town: Town, tmp_path: Path) -> tuple[SiteProcess, str]:
    """Hokkaido, which holds nothing, after Saga's image came to Kyoto and Saga was lost; and the used file's MD5."""
    digest = make_image(town.data / "disk.img", tmp_path / "root")
    saga, kyoto, hokkaido = town.three()
    saga.config.write_text(saga.config.read_text().replace("schedule = ", 'access = "random"\nschedule = '))
    for site in (saga, kyoto):
        site.start()
    saga.command("backup", "imari/juki")
    saga.until(lambda page: receipted(page, 1, peers=1))
    saga.kill()
    shutil.rmtree(saga.state / "vaults")
    return hokkaido, digest


@pytest.mark.soak
def test_a_system_boots_from_an_image_that_lies_at_a_peer(
    town: Town, at_a_peer: tuple[SiteProcess, str], tmp_path: Path
) -> None:
    hokkaido, digest = at_a_peer
    options = (*shares(town), "--writable", str(tmp_path / "overlay"))
    with exported(hokkaido, tmp_path / "s", *options, "--no-fill") as export:
        lines = boot(export.uri)
        assert f"SUM {digest}" in lines and "FOUND" in lines
    parts = (hokkaido.state / "vaults" / "imari" / "parts").iterdir()
    brought = sum(path.stat().st_blocks * 512 for path in parts)
    assert brought < UNUSED_BYTES / 2, "a boot fetches what it reads"
    with exported(hokkaido, tmp_path / "s", *options) as export:
        lines = boot(export.uri)
        assert f"SUM {digest}" in lines and "FOUND one more boot" in lines
