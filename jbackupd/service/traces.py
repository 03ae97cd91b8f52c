"""Is anything left of a drill? Files, mounts, processes, namespaces, open files; each is looked for by itself."""

from __future__ import annotations

import os
from collections.abc import Iterator

from jbackupd.continuity.drill import Trace


def traces_of(work: str, namespace: str) -> list[Trace]:
    """Return what was looked for, and what is still there.

    Args:
        work: The drill's folder.
        namespace: Of its network, as /proc/PID/ns/net reads: net:[4026532008]. Empty where it never had one.
    """
    return [
        Trace("files", work, tuple(_files(work))),
        Trace("mounts", "/proc/self/mountinfo", tuple(_mounts(work, namespace))),
        Trace("processes", f"/proc/*/ns/net = {namespace or '-'}", tuple(_processes(namespace, work))),
        Trace("namespaces", f"/proc/*/ns, /proc/*/fd: {namespace or '-'}", tuple(_held_open(namespace))),
        Trace("keys", f"/proc/*/fd: {work}/; the memory of ended processes", tuple(_open_files(work))),
    ]


def _files(work: str) -> Iterator[str]:
    if os.path.lexists(work):
        yield work
        for folder, _folders, names in os.walk(work):
            yield from (os.path.join(folder, name) for name in names[:20])


def _mounts(work: str, namespace: str) -> Iterator[str]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split()
            if fields[4].startswith(work) or (namespace and namespace in line):
                yield fields[4]


def _processes(namespace: str, work: str) -> Iterator[str]:
    """Yield processes that live in the drill's network, or work in its folder."""
    for pid in _pids():
        inside = bool(namespace) and _link(f"/proc/{pid}/ns/net") == namespace
        if inside or _link(f"/proc/{pid}/cwd").startswith(work + "/"):
            yield f"process {pid}"


def _held_open(namespace: str) -> Iterator[str]:
    """Yield whoever keeps the namespace alive without living in it."""
    if not namespace:
        return
    for pid in _pids():
        for name in _names(f"/proc/{pid}/fd"):
            if _link(f"/proc/{pid}/fd/{name}") == namespace:
                yield f"process {pid}, descriptor {name}"


def _open_files(work: str) -> Iterator[str]:
    """Yield whoever still has a file of the drill open, removed or not: it may hold what was restored."""
    for pid in _pids():
        for name in _names(f"/proc/{pid}/fd"):
            target = _link(f"/proc/{pid}/fd/{name}")
            if target.startswith(work + "/"):
                yield f"process {pid}: {target}"


def _pids() -> list[str]:
    return [name for name in _names("/proc") if name.isdigit()]


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        # It has ended meanwhile, or is somebody else's and not ours to look into.
        return []


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
