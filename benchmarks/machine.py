"""Where figures were measured: without it they mean nothing."""

from __future__ import annotations

import os
import platform
import subprocess
import time

from benchmarks.tools import HERE


def machine_line() -> str:
    """Return processor, cores, memory and kernel in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0))
    return f"{_processor()}, {cores} cores, {memory / 2**30:.1f} GiB, {platform.system()} {platform.release()}, " \
           f"Python {platform.python_version()}"


def revision() -> str:
    """Return the commit that is measured, to be put after a comma; nothing outside a clone."""
    try:
        found = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return f", commit {found.stdout.strip()}" if found.returncode == 0 else ""


def busy_line() -> str | None:
    """Return a warning if the machine has other work; looks for a second."""
    before = _ticks()
    time.sleep(1)
    after = _ticks()
    busy = 1 - (after[0] - before[0]) / max(1, after[1] - before[1])
    return f"The machine was busy at the start ({busy:.0%}): do not trust the times." if busy > 0.1 else None


def filesystem_of(folder: str) -> str:
    """Return the kind of file system that holds a folder."""
    best, kind = "", "unknown"
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
        for line in file:
            _device, place, found, *_rest = line.split()
            if (folder + "/").startswith(place.rstrip("/") + "/") and len(place) >= len(best):
                best, kind = place, found
    return kind


def _ticks() -> tuple[int, int]:
    """Return idle and all ticks of all processors since they were started."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(field) for field in file.readline().split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
